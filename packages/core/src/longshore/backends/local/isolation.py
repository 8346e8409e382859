"""What a worker runs in: which engine takes a workflow, and the argv that starts it there."""

import functools
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from longshore.backends.local import attempts
from longshore.backends.local.attempts import Order
from longshore.backends.local.layout import WORKFLOW, Layout, lay_out
from longshore.backends.local.settings import Isolation, LocalSettings
from longshore.backends.local.worker import STATUS_FD
from longshore.errors import IsolationUnavailable, WorkflowRefused
from longshore.models.run import JobSpec, RunRef
from longshore.models.workflow import Input, Network, Output
from longshore.placing import place, variable
from longshore.transfer import TransferPlan

PATH = "/usr/local/bin:/usr/bin:/bin"
_PROBE_LIMIT = 20
#: bubblewrap's own processes between us and the worker: the monitor and the namespace's first
_BWRAP_INNER = 2
_CONTAINERS = (Isolation.PODMAN, Isolation.DOCKER)
_CLOSED = {"network": "closed", "filesystem": "sandbox"}
_OPEN = {"network": "not enforced", "filesystem": "not enforced"}


def choose(spec: JobSpec, wanted: Isolation, works: Callable[[Isolation], bool]) -> Isolation:
    """Return what this workflow runs in.

    Args:
        spec: the job.
        wanted: the provider's setting.
        works: says whether an engine works here; asked only where it matters.

    Raises:
        WorkflowRefused: the setting does not allow this kind of workflow.
        IsolationUnavailable: no engine that it needs works here.
    """
    if spec.image is not None:
        if wanted is Isolation.NONE:
            raise WorkflowRefused(
                "a workflow with an image never runs on the host",
                hint='set isolation = "podman" or "docker"',
            )
        engines = _CONTAINERS if wanted not in _CONTAINERS else (wanted,)
    elif wanted is Isolation.NONE:
        _check_host(spec)
        return wanted
    elif wanted in _CONTAINERS:
        raise WorkflowRefused(
            f"{wanted.value} runs workflows with an image only",
            hint='set isolation = "bubblewrap" or "auto" for commands of the host',
        )
    else:
        engines = (Isolation.BUBBLEWRAP,)
    for engine in engines:
        if works(engine):
            return engine
    names = " nor ".join(engine.value for engine in engines)
    raise IsolationUnavailable(
        f"{'neither ' if len(engines) > 1 else ''}{names} works on this machine",
        hint="install it, or allow host commands by isolation = none"
        if spec.image is None
        else "install podman or docker",
    )


def _check_host(spec: JobSpec) -> None:
    if spec.datasets or spec.network is Network.CLOSED:
        raise WorkflowRefused(
            "isolation = none can neither close the network nor protect a dataset",
            hint="install bubblewrap and remove isolation = none",
        )
    entries: tuple[Input | Output, ...] = (*spec.inputs, *spec.outputs)
    if paths := [entry.path for entry in entries if entry.path]:
        raise WorkflowRefused(
            f"isolation = none has no {paths[0]}: the workflow declares a path of its own",
            hint="use {inputs.NAME} and {outputs.NAME} instead, or install bubblewrap",
        )


def make_order(
    ref: RunRef,
    spec: JobSpec,
    plan: TransferPlan,
    *,
    root: str,
    engine: Isolation,
    settings: LocalSettings,
) -> Order:
    """Return all that a runner needs to carry the attempt out in ``engine``."""
    inside = engine is not Isolation.NONE
    layout = lay_out(spec, root, inside=inside, python=_python(engine))
    argv = place(spec.command, layout.seen)
    mark = dict([attempts.mark(root).split("=", 1)])
    environment = {**worker_environment(spec, layout), **mark}
    inner = 0
    control: dict[str, tuple[str, ...]] = {}
    if engine is Isolation.NONE:
        argv = tuple(_on_host(element, spec) for element in argv)
    elif engine is Isolation.BUBBLEWRAP:
        argv = (*bubblewrap(layout, settings.visible), "--", *argv)
        inner = _BWRAP_INNER
    else:
        argv, control = _container(engine, ref, spec, layout, argv, environment, settings)
        environment = {**_engine_environment(), **mark}
    return Order(
        job_id=ref.job_id,
        attempt=ref.attempt,
        argv=argv,
        environment=environment,
        cwd=f"{root}/tmp",  # noqa: S108 - not the system's
        inner=inner,
        **control,
        resources=spec.resources,
        pids=settings.pids,
        grace=spec.grace,
        log_cap=spec.log_cap,
        outage=settings.outage,
        directories=layout.directories,
        files={layout.parameters: spec.parameters_json} if layout.parameters else {},
        inputs=spec.inputs,
        outputs=spec.outputs,
        input_places=layout.inputs,
        output_places=layout.outputs,
        enforced=_CLOSED if inside else _OPEN,
        plan=plan,
    )


def _on_host(element: str, spec: JobSpec) -> str:
    if spec.directory is not None and element.startswith(f"{WORKFLOW}/"):
        return f"{spec.directory}{element.removeprefix(WORKFLOW)}"
    return element


def worker_environment(spec: JobSpec, layout: Layout) -> dict[str, str]:
    """Return the worker's whole environment: nothing of the service's."""
    named = {
        variable(f"LS_{kind[:-1].upper()}", name): seen
        for key, seen in layout.seen.items()
        for kind, _, name in [key.partition(".")]
        if name
    }
    return {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "HOME": layout.scratch,
        "TMPDIR": layout.scratch,
        **spec.environment,
        **named,
    }


def _python(engine: Isolation) -> str:
    return "python3" if engine in _CONTAINERS else sys.executable


def bubblewrap(layout: Layout, visible: tuple[Path, ...]) -> tuple[str, ...]:
    """Return the argv up to the worker's own; see ``base_view`` for what it may see."""
    binds = [
        word
        for bind in layout.binds
        for word in ("--bind" if bind.writable else "--ro-bind", bind.source, bind.target)
    ]
    # an interpreter below /tmp, as in a checkout there, is hidden by the job's own /tmp
    binds += [
        word
        for path in (*_interpreter(), *visible)
        if any(path.is_relative_to(bind.target) for bind in layout.binds)
        for word in ("--ro-bind", str(path), str(path))
    ]
    report = ("--json-status-fd", str(STATUS_FD))
    return (*base_view(visible), *binds, "--remount-ro", "/", "--chdir", layout.scratch, *report)


def base_view(visible: tuple[Path, ...]) -> tuple[str, ...]:
    """Return what every sandbox sees: system, interpreter and ``visible``, all read-only.

    Of ``/etc`` it sees what everybody may read: as root, a worker would own the rest. No network,
    no other process, no capability. The death of whoever started it does not end it.
    """
    view, stamps = _base_view(visible)
    if stamps != tuple((path, _stamp(path)) for path, _ in stamps):
        _base_view.cache_clear()  # what is hidden came or went, and would be seen, or missed
        view, _ = _base_view(visible)
    return view


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


@functools.lru_cache(maxsize=4)
def _base_view(visible: tuple[Path, ...]) -> tuple[tuple[str, ...], tuple[tuple[Path, int], ...]]:
    """Return the view, and the directories on which it depends as they were."""
    argv = [_program("bwrap"), "--unshare-all", "--cap-drop", "ALL", "--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            argv += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            argv += ["--ro-bind", str(path), str(path)]
    argv += ["--ro-bind", "/etc", "/etc"]
    private = sorted(_private(Path("/etc")))
    stamps = tuple((path, _stamp(path)) for path in {Path("/etc"), *(p.parent for p in private)})
    for path in private:
        argv += ["--tmpfs", str(path)] if path.is_dir() else ["--ro-bind", "/dev/null", str(path)]
    argv += ["--proc", "/proc", "--dev", "/dev", "--dir", "/var/tmp", "--dir", "/run"]  # noqa: S108 - the sandbox's own
    for path in (*_interpreter(), *visible):
        argv += ["--ro-bind", str(path), str(path)]
    return tuple(argv), stamps


def _private(directory: Path) -> list[Path]:
    found: list[Path] = []
    for path in directory.iterdir():
        if path.is_symlink():
            continue
        mode = path.stat().st_mode
        if path.is_dir() and mode & stat.S_IROTH and mode & stat.S_IXOTH:
            found += _private(path)
        elif not mode & stat.S_IROTH or path.is_dir():
            found.append(path)
    return found


def _interpreter() -> list[Path]:
    """Return the directories that the service's interpreter needs and ``/usr`` does not have."""
    needed = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parents[1]}
    return sorted(path for path in needed if not path.is_relative_to("/usr"))


def _container(
    engine: Isolation,
    ref: RunRef,
    spec: JobSpec,
    layout: Layout,
    argv: tuple[str, ...],
    environment: Mapping[str, str],
    settings: LocalSettings,
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    program = _program(engine.value)
    command = [program, "run", "--rm", "--name", ref.name, "--log-driver", "none"]
    command += ["--network", "none", "--read-only", "--cap-drop", "all"]
    command += ["--security-opt", "no-new-privileges", "--workdir", layout.scratch]
    command += ["--memory", str(spec.resources.memory), "--cpus", str(spec.resources.cpu)]
    command += ["--pids-limit", str(settings.pids)]
    for bind in layout.binds:
        option = "" if bind.writable else ":ro"
        command += ["--volume", f"{bind.source}:{bind.target}{option}"]
    for name, value in environment.items():
        if name != "PATH":  # the image's own
            command += ["--env", f"{name}={value}"]
    if argv:
        command += ["--entrypoint", argv[0]]
    control = {
        "stop": (program, "kill", "--signal", "TERM", ref.name),
        "kill": (program, "rm", "--force", ref.name),
    }
    return (*command, spec.image or "", *argv[1:]), control


def _engine_environment() -> dict[str, str]:
    # engines are configured by their user's environment; no other variable reaches them
    passed = (
        "HOME",
        "XDG_RUNTIME_DIR",
        "CONTAINERS_CONF",
        "CONTAINERS_STORAGE_CONF",
        "DOCKER_HOST",
    )
    found = {name: os.environ[name] for name in passed if name in os.environ}
    return {"PATH": f"{PATH}:/usr/sbin:/sbin:/usr/local/sbin", **found}


def works(engine: Isolation, visible: tuple[Path, ...]) -> bool:
    """Say whether ``engine`` works here, by using it: that it is installed proves nothing."""
    if engine is Isolation.BUBBLEWRAP:
        argv = (*base_view(visible), "--", "true")
        environment = {"PATH": PATH}
    else:
        argv = (_program(engine.value), "info")
        environment = _engine_environment()
    try:
        done = subprocess.run(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_LIMIT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _program(name: str) -> str:
    return shutil.which(name) or name


@attrs.define
class Probes:
    """Each engine is tried once per open backend."""

    visible: tuple[Path, ...]
    _known: dict[Isolation, bool] = attrs.field(factory=dict[Isolation, bool])

    def knows(self, engine: Isolation) -> bool:
        """Say whether the engine was tried."""
        return engine in self._known

    def works(self, engine: Isolation) -> bool:
        """Say whether the engine worked when it was tried."""
        if engine not in self._known:
            self._known[engine] = works(engine, self.visible)
        return self._known[engine]
