"""Kills a service with SIGKILL again and again while it is used, and counts what came of it."""

import collections
import contextlib
import json
import os
import random
import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import attrs
import pytest
from tests.support import attempts_in, end_processes_of, in_role, kill, processes_of, until

from longshore.lifecycle import FINAL

SERVICE = Path(__file__).parent / "service.py"
#: submissions that are on their way at once
SUBMITTERS = 24
#: jobs that have not run yet, at most: so submissions go on to the last kill
_BACKLOG = 100
_DRAIN_LIMIT = 60.0
_LEAVE_LIMIT = 10.0


@attrs.frozen(kw_only=True)
class Tally:
    """What came of a run. All but the first four must be zero."""

    submitted: int
    kills: int
    others_killed: int
    seconds: float
    lost: int
    doubled: int
    unknown: int
    without_a_job: int
    with_more_jobs: int
    unwritten_success: int
    not_succeeded: int
    unfinished: int
    attempts_left: int
    processes_left: int

    @property
    def faults(self) -> dict[str, int]:
        """What is not as it must be."""
        fine = {"submitted", "kills", "others_killed", "seconds"}
        return {name: n for name, n in attrs.asdict(self).items() if n and name not in fine}

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:g}" for name, value in attrs.asdict(self).items())


@attrs.define(kw_only=True)
class Harness:
    """One run. ``pause`` is how long a service lives after it is ready, in seconds, at random."""

    home: Path
    submissions: int
    kills: int
    seed: int
    mutations: str = "slow-engine"
    pause: tuple[float, float] = (0.25, 0.6)
    #: roles of the backend's processes that are killed now and then as well
    targets: tuple[str, ...] = ()
    #: asked after every kill; true ends the run at once
    enough: Callable[["Harness"], bool] = lambda _: False

    acked: dict[str, str] = attrs.field(factory=dict[str, str], init=False)
    killed: int = attrs.field(default=0, init=False)
    others_killed: int = attrs.field(default=0, init=False)
    _next: int = attrs.field(default=0, init=False)
    _random: random.Random = attrs.field(init=False)
    _rest: bytes = attrs.field(default=b"", init=False)
    _ready: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.seed)

    @property
    def numbers(self) -> Path:
        """The file to which every worker appends its number."""
        return self.home.with_name(f"{self.home.name}-numbers")

    def run(self) -> Tally:
        """Submit everything, kill, drain, and count."""
        began = time.monotonic()
        self.numbers.touch()
        try:
            while self.killed < self.kills and not (self.killed and self.enough(self)):
                with self._service() as service:
                    self._use(service, self._end_of_life())
                    service.kill()
                    service.wait()
                    self._take(service, b"".join(iter(lambda: os.read(_out(service), 65536), b"")))
                self.killed += 1
            if not self.enough(self):
                self._drain()
            return self._count(time.monotonic() - began)
        finally:
            end_processes_of(self.home)

    @contextlib.contextmanager
    def _service(self) -> Iterator[subprocess.Popen[bytes]]:
        argv = [sys.executable, str(SERVICE), str(self.home), str(self.numbers), self.mutations]
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        ) as service:
            os.set_blocking(_out(service), False)
            self._rest, self._ready = b"", False
            try:
                for number in range(self._next):
                    if str(number) not in self.acked:
                        self._send(service, number)
                yield service
            finally:
                service.kill()

    def _send(self, service: subprocess.Popen[bytes], number: int) -> None:
        line = json.dumps({"key": str(number), "number": number}) + "\n"
        with contextlib.suppress(BrokenPipeError):
            os.write(_in(service), line.encode())

    def _end_of_life(self) -> float:
        """Return seconds from ready to the kill; or, negative, from the start."""
        if self._random.random() < 0.15:
            return -self._random.uniform(0.05, 0.4)
        return self._random.uniform(*self.pause)

    def _use(self, service: subprocess.Popen[bytes], life: float) -> None:
        """Submit, until the service's life is over."""
        end = time.monotonic() + (-life if life < 0 else _DRAIN_LIMIT)
        others_at = end
        while (now := time.monotonic()) < end:
            pause = max(0.0, min(end, others_at, now + 0.05) - now)
            if select.select([_out(service)], [], [], pause)[0]:
                was_ready = self._ready
                chunk = os.read(_out(service), 65536)
                assert chunk, f"the service ended by itself: {service.wait()}"
                self._take(service, chunk)
                if self._ready and not was_ready and life > 0:
                    end = time.monotonic() + life
                    if self.targets:
                        others_at = time.monotonic() + life * self._random.random()
            self._submit_more(service)
            if self.targets and time.monotonic() >= others_at:
                others_at = end
                self._kill_another(self._random.choice(self.targets))

    def _kill_another(self, role: str) -> None:
        found = in_role(self.home, role)
        if found:
            self.others_killed += kill([self._random.choice(found)])

    def _take(self, service: subprocess.Popen[bytes], chunk: bytes) -> None:
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            words = line.decode().split()
            if words[0] == "ready":
                self._ready = True
            else:
                _, key, job_id = words
                assert self.acked.setdefault(key, job_id) == job_id, f"key {key} has two jobs"
        self._submit_more(service)

    def _submit_more(self, service: subprocess.Popen[bytes]) -> None:
        limit = min(self.submissions, len(self.acked) + SUBMITTERS, self._ran() + _BACKLOG)
        while self._next < limit:
            self._send(service, self._next)
            self._next += 1

    def _ran(self) -> int:
        with self.numbers.open("rb") as file:
            return file.read().count(b"\n")

    def _drain(self) -> None:
        """Let a last service finish everything."""
        with self._service() as service:
            end = time.monotonic() + _DRAIN_LIMIT
            while len(self.acked) < self.submissions:
                assert time.monotonic() < end, f"no progress after {len(self.acked)} submissions"
                self._submit_more(service)
                if select.select([_out(service)], [], [], 0.05)[0]:
                    self._take(service, os.read(_out(service), 65536))
                    end = time.monotonic() + _DRAIN_LIMIT
            _in_file(service).close()
            try:
                assert service.wait(_DRAIN_LIMIT) == 0
            except subprocess.TimeoutExpired:
                pytest.fail(f"not drained: {self._left()}")
        until(lambda: not processes_of(self.home), "the keepers to leave", _LEAVE_LIMIT)

    def _left(self) -> str:
        """Say what is unfinished, for whoever must find out why."""
        folder = self.home / "backends" / "local" / "attempts"
        attempts = {name: _contents(folder / name) for name in attempts_in(self.home)[:5]}
        rows = [row for row in self.rows() if row[1] != "SUCCEEDED"]
        return f"{rows[:5]} of {len(rows)} jobs, attempts {attempts}"

    # counting

    def has_doubled(self) -> bool:
        """Say whether one submission has become two jobs already."""
        jobs_of = collections.Counter(number for _, _, number, _ in self.rows())
        return any(n > 1 for n in jobs_of.values())

    def lacks_a_job(self) -> bool:
        """Say whether something was accepted that is not there."""
        ids = {job_id for job_id, *_ in self.rows()}
        return any(job_id not in ids for job_id in list(self.acked.values()))

    def rows(self) -> list[tuple[str, str, int, str]]:
        """Return id, state, number and code of the reason of every job."""
        if not (self.home / "state.db").exists():
            return []
        with contextlib.closing(sqlite3.connect(self.home / "state.db", timeout=10)) as database:
            found = database.execute(
                "SELECT id, state, json_extract(parameters, '$.number'),"
                " json_extract(reason, '$.code') FROM jobs"
            ).fetchall()
        return [(str(i), str(s), int(n), str(code)) for i, s, n, code in found]

    def history(self) -> str:
        """Return reason, outcome and events of some jobs that did not succeed."""
        with contextlib.closing(sqlite3.connect(self.home / "state.db", timeout=10)) as database:
            found = database.execute(
                "SELECT id, reason, outcome FROM jobs WHERE state != 'SUCCEEDED' LIMIT 3"
            ).fetchall()
            events = "SELECT seq, type, at, data FROM events WHERE job_id = ? ORDER BY seq"
            lines = [(*row, *database.execute(events, row[:1]).fetchall()) for row in found]
        return "\n".join(str(part) for line in lines for part in line)

    def reasons(self) -> collections.Counter[str]:
        """Return the codes of the reasons why jobs did not succeed."""
        return collections.Counter(code for _, _, _, code in self.rows() if code != "None")

    def written(self) -> collections.Counter[int]:
        """Return how often each number was written."""
        return collections.Counter(int(line) for line in self.numbers.read_text().split())

    def _count(self, seconds: float) -> Tally:
        rows, written = self.rows(), self.written()
        jobs_of = collections.Counter(number for _, _, number, _ in rows)
        ids = {job_id for job_id, *_ in rows}
        return Tally(
            submitted=len(self.acked),
            kills=self.killed,
            others_killed=self.others_killed,
            seconds=round(seconds, 1),
            lost=sum(state in FINAL and not written[number] for _, state, number, _ in rows),
            doubled=sum(n > 1 for n in written.values()),
            unknown=sum(number not in jobs_of for number in written),
            without_a_job=sum(job_id not in ids for job_id in self.acked.values()),
            with_more_jobs=sum(n > 1 for n in jobs_of.values()),
            unwritten_success=sum(
                state == "SUCCEEDED" and not written[number] for _, state, number, _ in rows
            ),
            not_succeeded=sum(state in FINAL and state != "SUCCEEDED" for _, state, _, _ in rows),
            unfinished=sum(state not in FINAL for _, state, _, _ in rows),
            attempts_left=len(attempts_in(self.home)),
            processes_left=len(processes_of(self.home)),
        )


def _contents(folder: Path) -> dict[str, str]:
    with contextlib.suppress(OSError):
        return {
            file.name: file.read_text(errors="replace")[-600:] if file.is_file() else "directory"
            for file in folder.iterdir()
        }
    return {}


def _out(service: subprocess.Popen[bytes]) -> int:
    assert service.stdout is not None
    return service.stdout.fileno()


def _in(service: subprocess.Popen[bytes]) -> int:
    return _in_file(service).fileno()


def _in_file(service: subprocess.Popen[bytes]) -> IO[bytes]:
    assert service.stdin is not None
    return service.stdin
