"""Where the parts of an attempt lie, on the machine and for the worker. Pure."""

import os
import posixpath
from collections.abc import Mapping

import attrs

from longshore.models.run import JobSpec
from longshore.models.workflow import Input, Output

WORKFLOW = "/workflow"
_PARAMETERS = "parameters.json"
_PLACEHOLDER = "{parameters_file}"


@attrs.frozen
class Bind:
    """``source`` of the machine is seen at ``target``."""

    source: str
    target: str
    writable: bool = False


@attrs.frozen(kw_only=True)
class Layout:
    """Where things are.

    ``inputs`` and ``outputs`` are the places for staging, by name; ``seen`` is what the worker is
    told, by placeholder. ``directories`` are made before staging, in this order. ``parameters``
    is the file to write them to, "" where none is needed.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    seen: Mapping[str, str]
    binds: tuple[Bind, ...]
    directories: tuple[str, ...]
    scratch: str
    parameters: str


def lay_out(spec: JobSpec, root: str, *, inside: bool, python: str) -> Layout:
    """Return the layout of an attempt whose directory is ``root``.

    Args:
        spec: what is laid out.
        root: the attempt's directory.
        inside: whether the worker runs in a sandbox, where things are at paths of their own.
        python: the interpreter for ``{python}``.
    """
    builder = _Builder(root, inside=inside)
    for kind, entries in (("inputs", spec.inputs), ("outputs", spec.outputs)):
        for entry in entries:
            builder.add(kind, entry)
    for dataset in spec.datasets:
        target = dataset.path or f"/job/data/{dataset.name}"
        builder.seen[f"datasets.{dataset.name}"] = target
        builder.binds.append(Bind(dataset.source, target))
    scratch, parameters = f"{root}/tmp", f"{root}/{_PARAMETERS}"  # noqa: S108 - not the system's
    if spec.directory is not None:
        builder.binds.append(Bind(str(spec.directory), WORKFLOW))
    builder.binds.append(Bind(scratch, "/tmp", writable=True))  # noqa: S108 - the sandbox's own
    if spec.parameters_json == "{}" and _PLACEHOLDER not in "".join(spec.command):
        parameters = ""  # one file less for the many jobs that have none
    else:
        builder.binds.append(Bind(parameters, f"/job/{_PARAMETERS}"))
        builder.seen["parameters_file"] = f"/job/{_PARAMETERS}" if inside else parameters
    builder.seen["python"] = python
    return Layout(
        inputs=builder.places["inputs"],
        outputs=builder.places["outputs"],
        seen=builder.seen,
        # a mount point must be there before what is mounted below it
        binds=tuple(sorted(builder.binds, key=lambda bind: bind.target.count("/")))
        if inside
        else (),
        directories=(*builder.directories, scratch),
        scratch="/tmp" if inside else scratch,  # noqa: S108 - the sandbox's own
        parameters=parameters,
    )


class _Builder:
    """Gives each directory that the worker knows a directory of the machine.

    A path is reached by mounting its parent: the worker makes an output itself, and may replace
    it by a rename, which no mounted file allows.
    """

    def __init__(self, root: str, *, inside: bool) -> None:
        self._root = root
        self._inside = inside
        self._parents: dict[str, str] = {}
        self.places: dict[str, dict[str, str]] = {"inputs": {}, "outputs": {}}
        self.seen: dict[str, str] = {}
        self.binds: list[Bind] = []
        self.directories: list[str] = []

    def add(self, kind: str, entry: Input | Output) -> None:
        short = "in" if kind == "inputs" else "out"
        target = entry.path or f"/job/{short}/{entry.name}"
        parent, name = posixpath.split(target)
        if parent not in self._parents:
            self._parents[parent] = self._open(short, parent)
        place = os.path.join(self._parents[parent], name)
        self.places[kind][entry.name] = place
        self.seen[f"{kind}.{entry.name}"] = target if self._inside else place

    def _open(self, short: str, parent: str) -> str:
        base = f"{self._root}/{short}"
        if base not in self.directories:
            self.directories.append(base)
        if not self._inside:
            return base
        source = f"{base}/{len(self._parents)}"
        self.directories.append(source)
        self.binds.append(Bind(source, parent, writable=short == "out"))
        return source
