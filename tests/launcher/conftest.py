"""The launcher, built once, and places to run it in."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.launcher.places import Place
from tests.support import end_processes_of

SOURCE = Path(__file__).parents[2] / "packages" / "mover" / "launcher"
#: who the worker is in a container; launcher and worker share it
WORKER_UID = 10001


def go(*arguments: str, cwd: Path = SOURCE) -> str:
    """Run the tools of Go, which must have nothing to say against it."""
    tools = shutil.which("go")
    if tools is None:
        pytest.skip("go is not here: the launcher cannot be built")
    done = subprocess.run(
        [tools, *arguments],
        cwd=cwd,
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOPROXY": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def rebuilt(place: Path, changes: Mapping[Path, str]) -> Path:
    """Return the launcher, built with other sources in the place of these files."""
    instead = {}
    for number, (path, content) in enumerate(changes.items()):
        (place / f"{number}.go").write_text(content)
        instead[str(path)] = str(place / f"{number}.go")
    (place / "overlay.json").write_text(json.dumps({"Replace": instead}))
    go("build", "-overlay", str(place / "overlay.json"), "-o", str(place / "launcher"), ".")
    return place / "launcher"


def changed(name: str, old: str, new: str) -> dict[Path, str]:
    """Return a file of the launcher's source with one change, for ``rebuilt``."""
    source = (SOURCE / name).read_text()
    assert source.count(old) == 1
    return {SOURCE / name: source.replace(old, new)}


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launcher as it is shipped."""
    built = tmp_path_factory.mktemp("launcher") / "launcher"
    go("build", "-trimpath", "-ldflags", "-s -w", "-o", str(built), ".")
    return built


@pytest.fixture
def place(program: Path, tmp_path: Path) -> Iterator[Place]:
    """A directory with the launcher installed; what runs for it ends with the test."""
    directory = tmp_path / "ls-job-1"
    with Place(program, directory) as opened:
        yield opened
    end_processes_of(directory)


@pytest.fixture
def unprivileged(program: Path) -> Iterator[Place]:
    """A place whose launcher and worker have no rights, as in a container."""
    user = WORKER_UID if os.geteuid() == 0 else None
    if user is not None and not Path("/usr/bin/python3").exists():
        pytest.skip("/usr/bin/python3 is not here, and no other is open to every user")
    # pytest's own directories are closed to other users
    above = Path(tempfile.mkdtemp(prefix="longshore-launcher-"))
    above.chmod(0o755)
    if user is not None:
        os.chown(above, user, user)
    shared = Path(shutil.copy(program, above / "program"))
    shared.chmod(0o755)
    with Place(shared, above / "ls-job-1", user=user) as opened:
        yield opened
    end_processes_of(above)
    shutil.rmtree(above)
