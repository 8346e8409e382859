"""R11: a follower gets every line once, whatever restarts; the log stays after the job."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import attrs
import pytest
from tests.conftest import Open
from tests.support import attempts_in, holders_of, shell, until

from longshore import Longshore
from longshore.handles import JobHandle
from longshore.logs import Logs
from longshore.models import Job, JobState
from longshore.specs import make_spec
from longshore.supervisor import dispatch

pytestmark = pytest.mark.timeout(300)

LINES = 500_000
WIDTH = 100
SIZE = LINES * WIDTH
HALF = LINES // 2
#: prints numbered lines of 100 bytes
COUNT = """awk 'BEGIN {{ for (i = {}; i <= {}; i++) printf "%099d\\n", i }}'"""


def _talker(folder: Path) -> str:
    wait = f"until [ -e {folder}/go ]; do sleep 0.02; done"
    return "\n".join([COUNT.format(1, HALF), wait, COUNT.format(HALF + 1, LINES)])


class Follower:
    """Checks numbered lines as they come, without keeping them."""

    def __init__(self) -> None:
        self.size = 0
        self.next = 1
        self._rest = b""

    def take(self, chunk: bytes) -> None:
        self.size += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            assert len(line) == WIDTH - 1, f"after line {self.next}: {line!r}"
            assert int(line) == self.next, f"line {int(line)} where {self.next} must be"
            self.next += 1

    def follow(self, handle: JobHandle, *, enough: int = SIZE + 1) -> None:
        """Follow from where it stopped, to the end or until ``enough`` bytes came."""
        for chunk in handle.logs(self.size, follow=True):
            self.take(chunk)
            if self.size >= enough:
                return


def test_a_log_of_fifty_megabytes_is_followed_across_a_restart_without_gap_or_double(
    opened: Open, home: Path, tmp_path: Path, count: Callable[[str], None]
) -> None:
    follower = Follower()
    with opened(shell(_talker(tmp_path))) as longshore:
        handle = longshore.run("script")
        follower.follow(handle, enough=SIZE // 4)
        assert handle.state is JobState.RUNNING
    (detached,) = until(lambda: holders_of(home), "the supervisor that goes on")
    os.kill(detached, signal.SIGKILL)
    with opened() as longshore:
        handle = longshore.job(handle.id)
        follower.follow(handle, enough=SIZE // 2)
        (tmp_path / "go").touch()
        follower.follow(handle)
        assert handle.wait(30).state is JobState.SUCCEEDED
        until(lambda: not attempts_in(home), "the engine to forget it")
        kept = Follower()
        kept.follow(handle)
    for one in (follower, kept):
        assert one.next - 1 == LINES
        assert one.size == SIZE
    count(f"{LINES} lines, {SIZE} bytes, 0 lost, 0 doubled")


def test_the_log_of_a_killed_worker_is_kept_to_its_last_line(opened: Open) -> None:
    with opened(shell("echo first; echo last >&2; kill -9 $$")) as longshore:
        handle = longshore.run("script")
        assert handle.wait(30).exit_code == 137
        assert b"".join(handle.logs()) == b"first\nlast\n"


def test_a_log_beyond_its_cap_keeps_its_beginning_and_fails_nobody(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    cap = 1_000_000
    monkeypatch.setattr(
        dispatch, "make_spec", lambda *a, **k: attrs.evolve(make_spec(*a, **k), log_cap=cap)
    )
    script = COUNT.format(1, 50_000)
    with opened(shell(script)) as longshore:
        handle = longshore.run("script")
        assert handle.wait(30).state is JobState.SUCCEEDED
        kept = b"".join(handle.logs())
        follower = Follower()
        follower.take(kept)
        assert len(kept) == cap
        assert follower.next - 1 == cap // WIDTH


def test_negative_control_a_reader_that_forgets_its_offset_is_seen(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = Logs._chunks

    async def from_the_start(self: Logs, job: Job, start: int) -> AsyncIterator[bytes]:
        async for chunk in chunks(self, job, max(0, start - WIDTH)):
            yield chunk

    monkeypatch.setattr(Logs, "_chunks", from_the_start)
    script = """for i in 1 2 3 4 5 6; do printf "%099d\\n" $i; sleep 0.3; done"""
    with opened(shell(script)) as longshore:
        handle = longshore.run("script")
        with pytest.raises(AssertionError, match="where"):
            Follower().follow(handle)
        _end(longshore, handle)


def _end(longshore: Longshore, handle: JobHandle) -> None:
    longshore.job(handle.id).wait(30)
