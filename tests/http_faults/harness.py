"""Kills ``longshore serve`` again and again while 24 clients submit, and counts what came of it."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import attrs
from tests.http_faults.http import BROKEN, Answer, Client
from tests.http_faults.mutations import mutated
from tests.kill.harness import Harness, Tally
from tests.ports import free_port
from tests.serving import Service, serving
from tests.support import attempts_in, end_processes_of, processes_of, until

from longshore.lifecycle import FINAL

CLIENTS = 24
#: of so many submissions one has an input that is uploaded
UPLOADS = 5
_BACKLOG = 150
#: of all lives of the server so many are short
_MOMENTS = 0.3
_PATIENCE = 40.0
_WORKFLOWS = {
    "append.toml": """\
id = "append"
command = ["/bin/sh", "-c", "echo $LS_PARAM_NUMBER >> {numbers}"]
[parameters]
type = "object"
[parameters.properties.number]
type = "integer"
[resources]
memory = "64 MiB"
""",
    "upload.toml": """\
id = "upload"
command = ["/bin/sh", "-c", "cat $LS_INPUT_TEXT >> {numbers}"]
[parameters]
type = "object"
[parameters.properties.number]
type = "integer"
[inputs.text]
kind = "file"
max_size = "1 MiB"
[resources]
memory = "64 MiB"
""",
}
_SETTINGS = """\
[limits]
requests_per_second = 0
[workflows]
directory = "workflows"
shipped = false
[backends.local]
isolation = "none"
slots = 4
"""


class Over(Exception):
    """The run has ended: a client need not go on."""


@attrs.define(kw_only=True)
class HttpHarness(Harness):
    """One run: ``home`` is the state directory; ``mutations`` those of ``mutations``."""

    mutations: str = "second-look"
    pause: tuple[float, float] = (0.0, 0.4)

    admin: str = attrs.field(default="", init=False)
    token: str = attrs.field(default="", init=False)
    #: answers that contradict an earlier one, or that nobody should get
    contradictions: list[str] = attrs.field(factory=list[str], init=False)
    port: int = attrs.field(factory=free_port, init=False)
    _up: threading.Event = attrs.field(factory=threading.Event, init=False)
    _over: threading.Event = attrs.field(factory=threading.Event, init=False)
    _numbers: Iterator[int] = attrs.field(init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    @property
    def place(self) -> Path:
        """Where settings, workflows and the state are."""
        return self.home.parent

    def run(self) -> Tally:
        """Submit everything, kill, drain, and count."""
        began = time.monotonic()
        self.numbers.touch()
        self._numbers = iter(range(self.submissions))
        self._write_workflows()
        try:
            with ThreadPoolExecutor(CLIENTS) as threads:
                try:
                    working = [threads.submit(self._submit_all) for _ in range(CLIENTS)]
                    self._kill_again_and_again()
                    if not self.enough(self):
                        self._drain_over_http(lambda: all(one.done() for one in working))
                finally:
                    self._over.set()
                    self._up.set()
            for one in working:
                one.result()
            return self._count(time.monotonic() - began)
        finally:
            end_processes_of(self.place)

    def _write_workflows(self) -> None:
        folder = self.place / "workflows"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in _WORKFLOWS.items():
            (folder / name).write_text(text.replace("{numbers}", str(self.numbers)))

    def _kill_again_and_again(self) -> None:
        while self.killed < self.kills and not (self.killed and self.enough(self)):
            with self._serving() as service:
                self._live()
                self._up.clear()
                service.process.kill()
                service.process.wait()
            self.killed += 1

    def _live(self) -> None:
        """Serve for a share of the submissions, now and then only for a moment."""
        share = self.submissions * (self.killed + 1) // (self.kills + 1)
        if self._random.random() > _MOMENTS:
            self._until(lambda: len(self.acked) >= share, "submissions to be accepted")
        self._over.wait(self._random.uniform(*self.pause))

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait, for as long as it goes on."""
        at = -1

        def moves() -> bool:
            return condition() or len(self.acked) + self._ran() > at

        while not condition():
            at = len(self.acked) + self._ran()
            until(moves, what, _PATIENCE)

    @contextmanager
    def _serving(self) -> Iterator[Service]:
        with serving(
            self.place,
            settings=_SETTINGS,
            arguments=("--port", str(self.port)),
            admin=self.admin,
            program=mutated(*self.mutations.split(",")),
        ) as service:
            self.admin = service.admin
            self.token = self.token or service.consumer()
            self._up.set()
            try:
                yield service
            finally:
                self._up.clear()

    def _drain_over_http(self, is_submitted: Callable[[], bool]) -> None:
        with self._serving() as service:
            self._until(is_submitted, "every submission to be answered")
            until(self._is_idle, "every job to end", _PATIENCE)
            assert service.stop() == 0
        until(lambda: not processes_of(self.home), "the keepers to leave")

    def _is_idle(self) -> bool:
        return all(row[1] in FINAL for row in self.rows()) and not attempts_in(self.home)

    # a client

    def _submit_all(self) -> None:
        client = Client(self.port)
        chance = random.Random(threading.get_ident())
        try:
            while True:
                with self._lock:
                    number = next(self._numbers, None)
                if number is None:
                    return
                self._wait_for_room()
                self._submit(client, number, chance)
        except Over:
            return
        finally:
            client.close()

    def _wait_for_room(self) -> None:
        def is_room() -> bool:
            return self._over.is_set() or len(self.acked) < self._ran() + _BACKLOG

        until(is_room, "jobs to run", _PATIENCE)

    def _submit(self, client: Client, number: int, chance: random.Random) -> None:
        has_upload = number % UPLOADS == 0
        body = {"workflow": "append", "parameters": {"number": number}}
        text = f"{number}\n".encode()
        if has_upload:
            body |= {"workflow": "upload", "inputs": {"text": {"upload": {"size": len(text)}}}}
        while True:
            made = self._ask(client, "/v1/jobs", body, str(number))
            job = made.json
            with self._lock:
                if self.acked.setdefault(str(number), job["id"]) != job["id"]:
                    self.contradictions.append(f"{number}: {self.acked[str(number)]}, {job['id']}")
            if not has_upload or job["state"] != "CREATED" or self._upload(client, job, text):
                break
        if chance.random() < 1 / CLIENTS:  # somebody whose answer was lost asks again
            again = self._ask(client, "/v1/jobs", body, str(number))
            if (again.status, again.json["id"]) != (200, job["id"]):
                self.contradictions.append(f"{number}: {job['id']}, then {again}")

    def _upload(self, client: Client, job: dict[str, object], text: bytes) -> bool:
        """Send the input and start the job; say whether that was done."""
        uploads = json.loads(json.dumps(job["uploads"]))
        client.token = self.token
        try:
            if "text" in uploads and client.put(uploads["text"]["url"], text).status >= 400:
                return False
            return client.post(f"/v1/jobs/{job['id']}/start").status == 200
        except BROKEN:
            return False

    def _ask(self, client: Client, target: str, body: object, key: str) -> Answer:
        """Ask until there is an answer that is not 'later'."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            self._up.wait(_PATIENCE)
            if self._over.is_set():
                raise Over
            client.token = self.token
            try:
                answer = client.ask("POST", target, body, {"idempotency-key": key})
            except BROKEN:
                continue
            if answer.status in {200, 201}:
                return answer
            if answer.status not in {429, 503} or "retry-after" not in answer.headers:
                self.contradictions.append(f"{key}: {answer}")
                raise Over
        raise AssertionError(f"no answer to {target} {key}")
