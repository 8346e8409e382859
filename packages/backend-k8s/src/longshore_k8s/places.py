"""Where an attempt's parts lie in its pod, and where the worker sees them. Pure.

One volume, the workspace, holds the launcher and, below ``job``, the attempt's directory. The
worker sees the launcher read-only, its directory, and each declared place at its own path.
"""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import attrs

from longshore.backends.local.layout import Bind, lay_out
from longshore.errors import WorkflowRefused
from longshore.models.run import JobSpec
from longshore.models.workflow import Dataset, InputKind
from longshore.placing import place, variable

BASE = "/longshore"
ROOT = f"{BASE}/job"
LAUNCHER = f"{BASE}/launcher"
STATE = f"{BASE}/state"
PLAN = f"{BASE}/plan"
SCRATCH = "/tmp"  # noqa: S108 - of the pod: its own volume
_SCRATCH_SOURCE = f"{ROOT}{SCRATCH}"
#: volumes of a pod
WORKSPACE, MOVER_STATE, SECRET, PARAMETERS = "workspace", "state", "plan", "parameters"
#: keys of the attempt's Secret
PLAN_KEY, PARAMETERS_KEY, AUTHORITIES_KEY = "plan.json", "parameters.json", "ca.crt"
_TENTH = 10

Json = dict[str, Any]


@attrs.frozen(kw_only=True)
class Places:
    """Where things are.

    ``argv`` has its places filled in, ``variables`` name them for the worker. ``directories`` are
    made by the launcher, below ``BASE``. ``mounts`` are the worker's, ``volumes`` the datasets'
    and the parameters'.
    """

    argv: tuple[str, ...]
    variables: Mapping[str, str]
    directories: tuple[str, ...]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    mounts: tuple[Json, ...]
    volumes: tuple[Json, ...]


def workspace_size(spec: JobSpec) -> int:
    """Return the bytes of an attempt's volume: all that may lie in it at once, and a tenth."""
    inputs = sum(
        one.max_unpacked if one.kind is InputKind.ARCHIVE else one.max_size for one in spec.inputs
    )
    outputs = sum(one.max_size for one in spec.outputs)
    size = inputs + outputs + spec.log_cap + spec.resources.disk
    return size + size // _TENTH


def place_worker(spec: JobSpec, secret: str, entrypoint: tuple[str, ...] = ()) -> Places:
    """Return where the parts of ``spec`` are.

    Args:
        spec: what is placed.
        secret: the name of the attempt's Secret.
        entrypoint: the image's own argv, for workflows without a command.

    Raises:
        WorkflowRefused: two parts would lie in one place, or there is nothing to run.
    """
    command = spec.command or entrypoint
    if not command:
        raise WorkflowRefused(
            "neither the workflow nor its image says what to run",
            hint="give the workflow a command",
        )
    layout = lay_out(
        attrs.evolve(spec, directory=None, datasets=()), ROOT, inside=True, python="python3"
    )
    data = [
        (f"/job/data/{one.name}" if one.path is None else one.path, one) for one in spec.datasets
    ]
    seen = {**layout.seen, **{f"datasets.{one.name}": target for target, one in data}}
    mounts = (
        _mount(WORKSPACE, LAUNCHER, "launcher", read_only=True),
        _mount(WORKSPACE, ROOT, "job"),
        # what the launcher keeps it may write to; what was fetched nobody
        *([_mount(WORKSPACE, f"{ROOT}/in", "job/in", read_only=True)] if spec.inputs else []),
        *map(_bound, layout.binds),
        *(_dataset_mount(number, *one) for number, one in enumerate(data)),
    )
    declared = [one.target for one in layout.binds if one.source != _SCRATCH_SOURCE]
    _check([*declared, *(target for target, _ in data)])
    return Places(
        argv=place(command, seen),
        variables={
            variable(f"LS_{kind[:-1].upper()}", name): target
            for key, target in seen.items()
            for kind, _, name in [key.partition(".")]
            if name
        },
        directories=tuple(str(PurePosixPath(one).relative_to(BASE)) for one in layout.directories),
        inputs=layout.inputs,
        outputs=layout.outputs,
        mounts=mounts,
        volumes=(
            *([_parameters(secret)] if layout.parameters else []),
            *(_dataset_volume(number, one) for number, (_, one) in enumerate(data)),
        ),
    )


def _bound(bind: Bind) -> Json:
    if bind.source == f"{ROOT}/{PARAMETERS_KEY}":
        return _mount(PARAMETERS, bind.target, PARAMETERS_KEY, read_only=True)
    path = str(PurePosixPath(bind.source).relative_to(BASE))
    return _mount(WORKSPACE, bind.target, path, read_only=not bind.writable)


def _mount(volume: str, target: str, path: str = "", *, read_only: bool = False) -> Json:
    return {
        "name": volume,
        "mountPath": target,
        **({"subPath": path} if path else {}),
        **({"readOnly": True} if read_only else {}),
    }


def _parameters(secret: str) -> Json:
    return {"name": PARAMETERS, "secret": secret_items(secret, PARAMETERS_KEY)}


def secret_items(secret: str, *keys: str) -> Json:
    """Return the source of a volume with these keys of a Secret; our group may read them."""
    items = [{"key": key, "path": key} for key in keys]
    return {"secretName": secret, "defaultMode": 0o440, "items": items}


def _dataset_mount(number: int, target: str, dataset: Dataset) -> Json:
    _, _, path = dataset.source.partition("/")
    return _mount(f"dataset-{number}", target, path, read_only=True)


def _dataset_volume(number: int, dataset: Dataset) -> Json:
    """Return the volume of a dataset, whose source is ``CLAIM`` or ``CLAIM/PATH/BELOW/IT``."""
    claim = dataset.source.partition("/")[0]
    source = {"claimName": claim, "readOnly": True}
    return {"name": f"dataset-{number}", "persistentVolumeClaim": source}


def _check(targets: Iterable[str]) -> None:
    """Refuse places that hide each other, or that a container cannot have.

    Raises:
        WorkflowRefused: naming the first.
    """
    taken = [BASE, SCRATCH]
    for target in targets:
        around = next((one for one in taken if _overlap(one, target)), None)
        if around is not None:
            raise WorkflowRefused(
                f"{target} and {around} cannot both be places in a pod",
                hint="give inputs, outputs and datasets directories of their own",
            )
        taken.append(target)


def _overlap(one: str, other: str) -> bool:
    here, there = PurePosixPath(one), PurePosixPath(other)
    return here.is_relative_to(there) or there.is_relative_to(here)
