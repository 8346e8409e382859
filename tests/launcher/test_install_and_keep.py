"""The launcher's other two uses: putting itself there, and keeping a mover."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
from tests.launcher.conftest import SOURCE, go
from tests.launcher.places import Launcher, Place
from tests.support import PATIENCE, started, until, zombies_below


def ended(keeper: Launcher) -> tuple[int, str]:
    _, words = keeper.communicate(timeout=PATIENCE)
    return keeper.returncode, words.decode()


def test_it_installs_itself_and_the_directories(place: Place, program: Path) -> None:
    assert place.program.read_bytes() == program.read_bytes()
    assert stat.S_IMODE(place.program.stat().st_mode) == 0o555
    assert {path.name for path in place.directory.iterdir()} == {"launcher", "in", "out", "tmp"}
    assert (place.directory / "in" / "0").is_dir()


def test_installing_again_replaces_a_program_that_runs(place: Place) -> None:
    keeper = place.keep("echo; exec sleep 1000")
    before = place.program.stat().st_ino
    again = place.start(place.program, "install", place.directory)
    assert again.wait(PATIENCE) == 0
    assert place.program.stat().st_ino != before
    assert keeper.poll() is None
    assert len(list(place.directory.glob(".*"))) == 0


@pytest.mark.parametrize("name", ["../out", "/out", "in/../../out"])
def test_a_directory_elsewhere_is_not_made(place: Place, name: str) -> None:
    done = place.start(place.program, "install", place.directory, name)
    assert done.wait(PATIENCE) == 2
    assert not (place.directory.parent / "out").exists()


def test_it_depends_on_nothing(program: Path) -> None:
    content = program.read_bytes()
    assert content.startswith(b"\x7fELF")
    assert b"ld-linux" not in content
    assert b"libc.so" not in content


def test_the_source_is_formatted_and_vetted() -> None:
    assert go("vet", "./...") == ""
    done = subprocess.run(["gofmt", "-l", "."], cwd=SOURCE, capture_output=True, check=True)
    assert done.stdout == b""


def test_a_mover_that_is_done_ends_its_keeper(place: Place) -> None:
    assert ended(place.keep("exit 0")) == (0, "")


def test_a_mover_that_dies_is_started_again(place: Place) -> None:
    count = place.directory / "count"
    script = f"echo x >> {count}; [ $(wc -l < {count}) -ge 3 ] && exit 0; kill -9 $$"
    code, words = ended(place.keep(script))
    assert code == 0
    assert words.count("the mover ended with exit code 137") == 2


def test_a_mover_that_always_dies_is_given_up(place: Place) -> None:
    code, words = ended(place.keep("exit 9", "--restarts", "2"))
    assert code == 9
    assert words.splitlines()[-1] == "launcher: the mover ended 3 times; giving up"


def test_a_mover_that_is_not_there_is_not_waited_for(place: Place) -> None:
    keeper = place.start(place.program, "keep", "--", "/nowhere/mover", stderr=subprocess.PIPE)
    assert ended(keeper) == (127, "launcher: /nowhere/mover: no such file or directory\n")


@pytest.mark.parametrize("code", [0, 8])
def test_a_request_to_stop_goes_to_the_mover_which_is_not_started_again(
    place: Place, code: int
) -> None:
    ready = place.directory / "ready"
    script = f"trap 'exit {code}' TERM; echo x >> {ready}; sleep 1000 & wait"
    keeper = place.keep(script)
    until(ready.exists, "the mover")
    keeper.terminate()
    assert ended(keeper) == (code, "")
    assert ready.read_text() == "x\n"


def test_a_request_to_stop_between_two_movers_ends_it(place: Place) -> None:
    count = place.directory / "count"
    keeper = place.keep(f"echo x >> {count}; exit 1")
    until(lambda: count.exists() and len(count.read_text()) >= 8, "some restarts")
    keeper.terminate()
    code, _ = ended(keeper)
    assert code in {1, 143}


def test_what_a_mover_left_is_gone_before_the_next_one(place: Place) -> None:
    left = place.directory / "left"
    script = f"if [ -e {left} ]; then exit 0; fi; setsid sleep 1000 & echo $! > {left}; exit 1"
    code, _ = ended(place.keep(script))
    assert code == 0
    assert started(int(left.read_text())) is None


def test_orphans_are_taken_in(place: Place) -> None:
    ready = place.directory / "ready"
    keeper = place.keep(f"for i in 1 2 3; do (sleep 0 &); done; touch {ready}; exec sleep 1000")
    until(ready.exists, "the mover")
    until(lambda: not zombies_below([keeper.pid]), "the orphans to be taken in")
    assert os.waitpid(keeper.pid, os.WNOHANG) == (0, 0)
