"""R10 behind the launcher: a worker cannot say of itself how it ended."""

import pytest
from tests.launcher.places import Place
from tests.support import PATIENCE, until

from longshore.models import OutcomeKind
from longshore.staging import files
from longshore_mover.worker_end import Watch, WorkerEnd

#: writes what a launcher without a key would write at the end of a worker that ended with 0
FORGE = """
import binascii, json, os, signal
path, name = {path!r}, {name!r}
outcome = {{"kind": "exited", "exit_code": 0}}
body = json.dumps([{{"phase": "staging-out", "outcome": outcome}}, {{}}])
proof = binascii.crc32((name + body).encode())
line = '["%s",%d,%s]\\n' % (name, proof, body)
"""
OVERWRITE = "fd = os.open(path, os.O_RDWR); os.pwrite(fd, line.encode(), {at}); os.close(fd)\n"
KILL = "os.kill(os.getppid(), signal.SIGKILL)\n"
END = "raise SystemExit(3)\n"


def script(place: Place, *steps: str) -> str:
    path = str(place.directory / files.ATTEMPT)
    return FORGE.format(path=path, name=place.name) + "".join(steps)


def forged(place: Place, *steps: str) -> WorkerEnd:
    """Return what is seen of a worker that does this; the mover has looked before."""
    with Watch(place.directory, place.name, place.key) as watch:
        launcher = place.python(script(place, *steps), go=False)
        until((place.directory / files.ATTEMPT).exists, "the launcher")
        place.give_go()
        end = until(watch.look, "an end")
        assert end is not None
        launcher.wait(PATIENCE)
        assert watch.look() == end
    return end


@pytest.mark.parametrize("at", [0, 200, 1000, 4000], ids=lambda at: f"at {at}")
def test_a_forged_end_is_not_believed(unprivileged: Place, at: int) -> None:
    end = forged(unprivileged, OVERWRITE.format(at=at), END)
    assert end.outcome is not None
    assert (end.outcome.kind, end.outcome.exit_code) == (OutcomeKind.EXITED, 3)


def test_a_worker_that_forges_and_kills_the_launcher_is_lost(unprivileged: Place) -> None:
    end = forged(unprivileged, OVERWRITE.format(at=1000), KILL, END)
    assert end.outcome is not None
    assert end.outcome.kind is OutcomeKind.LOST


def test_negative_control_without_a_key_it_is_believed(unprivileged: Place) -> None:
    unprivileged.key = ""
    end = forged(unprivileged, OVERWRITE.format(at=1000), KILL, END)
    assert end.outcome is not None
    assert (end.outcome.kind, end.outcome.exit_code) == (OutcomeKind.EXITED, 0)


@pytest.mark.parametrize(
    "destroy",
    [
        "os.truncate(path, 0)\n",
        "open(path, 'wb').write(b'x' * 100)\n",
        "os.unlink(path); open(path, 'w').write(line)\n",
        "os.rename(path, path + '.old')\n",
        "os.chmod(os.path.dirname(path), 0)\n",
    ],
)
def test_whatever_it_does_to_the_file_its_code_comes_through(
    unprivileged: Place, destroy: str
) -> None:
    end = forged(unprivileged, destroy, END)
    assert end.outcome is not None
    assert (end.outcome.kind, end.outcome.exit_code) == (OutcomeKind.EXITED, 3)
    unprivileged.directory.chmod(0o755)


def test_all_destroyed_and_the_launcher_killed_is_lost(unprivileged: Place) -> None:
    end = forged(unprivileged, "os.truncate(path, 0)\n", KILL, END)
    assert end.outcome is not None
    assert end.outcome.kind is OutcomeKind.LOST


def test_nothing_where_a_worker_may_look_holds_the_key(unprivileged: Place) -> None:
    search = (
        "import glob, os\n"
        "def tried(path):\n"
        "    try:\n"
        "        with open(path, 'rb') as f: f.read(1)\n"
        "        return True\n"
        "    except OSError: return False\n"
        "own = f'/proc/{os.getppid()}/'\n"
        "paths = [own + n for n in ('mem', 'environ', 'maps', 'auxv', 'pagemap')]\n"
        "print([p for p in paths if tried(p)], glob.glob(own + 'fd/*'))\n"
        f"print(os.path.exists({str(unprivileged.directory / files.GO)!r}))\n"
        "print(sorted(os.environ.items()))\n"
    )
    assert unprivileged.python(search).wait(PATIENCE) == 0
    found, *rest = unprivileged.log().decode().splitlines()
    assert found == "[] []"
    assert rest[0] == "False"
    assert unprivileged.key not in unprivileged.log().decode()


def test_a_key_is_not_in_what_the_launcher_leaves(unprivileged: Place) -> None:
    assert unprivileged.sh("exit 0").wait(PATIENCE) == 0
    kept = [path for path in unprivileged.directory.rglob("*") if path.is_file()]
    assert len(kept) >= 2
    assert [path for path in kept if unprivileged.key.encode() in path.read_bytes()] == []


def test_the_end_of_another_attempt_is_not_this_ones(place: Place) -> None:
    assert place.sh("exit 0").wait(PATIENCE) == 0
    with Watch(place.directory, "ls-job-2", place.key) as watch:
        end = watch.look()
    assert end is not None
    assert end.outcome is not None
    assert end.outcome.kind is OutcomeKind.LOST
    with Watch(place.directory, "ls-job-2") as watch:
        assert watch.look() is None
