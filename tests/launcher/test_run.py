"""The launcher in front of a worker: waiting, stopping, passing on."""

import re
import signal
import subprocess
import time

import pytest
from tests.launcher.places import Place
from tests.support import PATIENCE, stat_fields, until

from longshore.models import OutcomeKind
from longshore.staging import files
from longshore_mover.worker_end import Watch

OBEDIENT = "trap 'exit 5' TERM; echo ready; sleep 1000 & wait"
TICKS = 100


def waits(place: Place) -> None:
    until(lambda: (place.directory / files.ATTEMPT).exists() and place.records(), "the launcher")


def test_it_exits_with_the_workers_code_and_passes_on_what_the_log_has(place: Place) -> None:
    launcher = place.sh("seq 1000; exit 7", popen={"stdout": subprocess.PIPE})
    passed, _ = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == 7
    assert passed == place.log() == "".join(f"{n}\n" for n in range(1, 1001)).encode()


def test_a_worker_ended_by_a_signal_is_128_and_its_number(place: Place) -> None:
    assert place.sh("kill -9 $$").wait(PATIENCE) == 137


def test_it_waits_for_go_and_burns_nothing(place: Place) -> None:
    launcher = place.sh("echo ready", go=False)
    waits(place)
    fields = stat_fields(launcher.pid)
    before, begin = sum(map(int, fields[11:13])), time.monotonic()
    until(lambda: time.monotonic() > begin + 1, "a second")
    assert sum(map(int, stat_fields(launcher.pid)[11:13])) - before <= TICKS / 50
    assert launcher.poll() is None
    assert place.records()[-1] == [{"phase": "waiting"}, {}]
    place.give_go()
    assert launcher.wait(PATIENCE) == 0
    assert not (place.directory / files.GO).exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_it_waits_ends_it_and_the_worker_never_ran(
    place: Place, number: signal.Signals
) -> None:
    launcher = place.sh("echo ready", go=False)
    waits(place)
    launcher.send_signal(number)
    assert launcher.wait(PATIENCE) == 143
    end = place.end(key="")
    assert (end.outcome, end.reason) == (None, "canceled")
    assert end.message == "stopped before the worker started"
    assert place.log() == b""
    place.give_go()  # too late: nobody takes it any more
    assert place.end().reason == "canceled"


def test_the_file_stop_ends_it_while_it_waits(place: Place) -> None:
    launcher = place.sh("echo ready", go=False)
    waits(place)
    place.ask_to_stop()
    assert launcher.wait(PATIENCE) == 143
    assert place.end(key="").reason == "canceled"


def test_stop_counts_before_go(place: Place) -> None:
    place.ask_to_stop()
    assert place.sh("echo ready").wait(PATIENCE) == 143
    end = place.end()
    assert (end.outcome, end.reason) == (None, "canceled")
    assert place.log() == b""


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2]
)
def test_a_signal_goes_on_to_the_worker_and_is_noted(place: Place, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    launcher = place.sh(f"trap 'echo got {name}; exit 0' {name}; echo ready; sleep 1000 & wait")
    place.said()
    launcher.send_signal(number)
    assert launcher.wait(PATIENCE) == 0
    end = place.end()
    assert end.outcome is not None
    assert end.outcome.kind is OutcomeKind.STOPPED
    assert (end.outcome.by, end.outcome.exit_code) == ("stop", 0)
    assert place.log().endswith(f"got {name}\n".encode())
    noted = place.records()[-1][1]["stop"]
    assert noted["how"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", noted["at"])


def test_the_whole_group_gets_the_signal(place: Place) -> None:
    child = "trap 'echo child; exit 0' TERM; echo ready; sleep 1000 & wait"
    launcher = place.sh(f'sh -c "{child}" & trap "wait; echo parent; exit 0" TERM; wait')
    place.said()
    launcher.terminate()
    assert launcher.wait(PATIENCE) == 0
    assert place.log().splitlines()[-2:] == [b"child", b"parent"]


def test_who_asked_is_written_down_before_the_worker_can_know(place: Place) -> None:
    record = place.directory / files.ATTEMPT
    script = f"trap 'grep -c terminated {record}; exit 0' TERM; echo ready; sleep 1000 & wait"
    launcher = place.sh(script)
    place.said()
    launcher.terminate()
    launcher.wait(PATIENCE)
    assert place.log() == b"ready\n1\n"


def test_after_a_stop_the_walltime_changes_nothing(place: Place) -> None:
    launcher = place.sh(
        "trap '' TERM; echo ready; while :; do sleep 0.1; done", grace=1, walltime=0.5
    )
    place.said()
    launcher.terminate()
    assert launcher.wait(PATIENCE) == 137
    end = place.end()
    assert end.outcome is not None
    assert (end.outcome.by, end.outcome.reason) == ("stop", None)


def test_a_walltime_of_zero_is_none(place: Place) -> None:
    launcher = place.sh(OBEDIENT, walltime=0)
    place.said()
    begin = time.monotonic()
    until(lambda: time.monotonic() > begin + 0.5, "half a second")
    assert launcher.poll() is None
    place.ask_to_stop(grace=20)
    assert launcher.wait(PATIENCE) == 5


def test_what_the_log_lacks_is_counted_and_said_in_its_last_line(place: Place) -> None:
    cap = 10_000
    launcher = place.sh("seq 100000", log_cap=cap, popen={"stdout": subprocess.PIPE})
    passed, _ = launcher.communicate(timeout=PATIENCE)
    log = place.log()
    kept = log[: cap - files.LOG_NOTE]
    assert len(log) == cap
    assert passed.startswith(kept)
    assert len(passed) > 500_000
    missing = len(passed) - len(kept)
    last = log.splitlines()[-1].decode()
    assert f"longshore: {missing} more bytes of output are not in this log" in last
    end = place.end()
    assert end.log_cut == missing
    assert str(missing) in end.message


@pytest.mark.parametrize("surplus", [-1, 0, 1])
def test_a_log_of_exactly_its_cap_is_whole(place: Place, surplus: int) -> None:
    cap = 5_000
    launcher = place.python(f"print('x' * {cap + surplus}, end='')", log_cap=cap)
    assert launcher.wait(PATIENCE) == 0
    whole = surplus <= 0
    assert (place.end().log_cut == 0) is whole
    assert (place.log() == b"x" * (cap + surplus)) is whole
    assert len(place.log()) == cap + min(surplus, 0)


@pytest.mark.parametrize("cap", [0, 1, 100])
def test_a_tiny_cap_has_no_room_for_a_sentence(place: Place, cap: int) -> None:
    assert place.sh("seq 1000", log_cap=cap).wait(PATIENCE) == 0
    assert len(place.log()) == cap
    assert place.end().log_cut == 3893 - cap


def test_a_reader_follows_the_log_while_it_is_written(place: Place) -> None:
    script = "for i in 1 2 3 4 5; do echo line $i; until [ -e $HOME/$i ]; do sleep 0.01; done; done"
    launcher = place.sh(script)
    for number in range(1, 6):
        place.said(f"line {number}\n".encode())
        assert launcher.poll() is None
        (place.directory / files.SCRATCH / str(number)).touch()
    assert launcher.wait(PATIENCE) == 0
    assert place.log() == b"".join(b"line %d\n" % number for number in range(1, 6))


def test_a_worker_is_never_started_twice(place: Place) -> None:
    first = place.sh("echo ready; until [ -e $HOME/on ]; do sleep 0.01; done; exit 3")
    place.said()
    place.give_go()
    second = place.sh("echo second", popen={"stderr": subprocess.PIPE})
    _, words = second.communicate(timeout=PATIENCE)
    assert second.returncode == 125
    assert b"another launcher works here" in words
    (place.directory / files.SCRATCH / "on").touch()
    assert first.wait(PATIENCE) == 3
    third = place.sh("echo third", popen={"stderr": subprocess.PIPE})
    _, words = third.communicate(timeout=PATIENCE)
    assert third.returncode == 125
    assert b"never begun twice" in words
    end = place.end()
    assert end.outcome is not None
    assert end.outcome.exit_code == 3
    assert place.log() == b"ready\n"


def test_more_than_the_disk_limit_stops_the_worker(place: Place) -> None:
    script = "echo ready; head -c 20000000 /dev/zero > $HOME/big; sleep 1000"
    launcher = place.sh(script, disk=10_000_000, grace=5)
    assert launcher.wait(PATIENCE) == 143
    end = place.end()
    assert end.outcome is not None
    assert end.outcome.kind is OutcomeKind.STOPPED
    assert (end.outcome.by, end.outcome.reason) == ("disk", "disk")


def test_a_request_to_stop_that_is_cut_short_has_no_grace(place: Place) -> None:
    launcher = place.sh("trap '' TERM; echo ready; while :; do sleep 0.1; done")
    place.said()
    (place.directory / files.STOP).write_text('{"gra')
    assert launcher.wait(PATIENCE) == 137


def test_a_mover_that_was_away_finds_the_end(place: Place) -> None:
    assert place.sh("exit 3").wait(PATIENCE) == 3
    end = place.end()
    assert end.outcome is not None
    assert end.outcome.exit_code == 3
    assert not place.is_locked()


def test_nobody_has_begun_and_a_launcher_that_lives_are_both_no_end(place: Place) -> None:
    with Watch(place.directory, place.name) as watch:
        assert watch.look() is None
        launcher = place.sh("exit 0", go=False)
        waits(place)
        assert watch.look() is None
        launcher.kill()
        launcher.wait(PATIENCE)
        end = watch.look()
    assert end is not None
    assert (end.outcome, end.reason) == (None, "internal")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("fly",),
        ("install",),
        ("keep",),
        ("run", "--dir", "/tmp"),
        ("run", "--dir", "relative", "--", "true"),
        ("run", "--dir", "/tmp", "--name", 'a"b', "--", "true"),
        ("run", "--dir", "/tmp", "--walltime", "-1", "--", "true"),
        ("run", "--dir", "/tmp", "--grace", "nan", "--", "true"),
        ("run", "--dir", "/tmp", "--log-cap", "many", "--", "true"),
    ],
)
def test_a_mistake_in_its_use_is_said_and_nothing_is_done(
    place: Place, arguments: tuple[str, ...]
) -> None:
    done = place.start(place.program, *arguments, stderr=subprocess.PIPE)
    _, words = done.communicate(timeout=PATIENCE)
    assert done.returncode == 2
    assert words
    assert not (place.directory / files.ATTEMPT).exists()
