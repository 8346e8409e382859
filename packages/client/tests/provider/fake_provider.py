"""A provider in memory, which another process scripts by two environment variables.

``FAKE_SCRIPT`` is JSON: ``log`` (pieces), ``end`` (members of the final job), ``hang`` (the job
ends only when it is canceled), ``fail`` (method: kind of error), ``job`` (members of the
first job).
``FAKE_RECORD`` is a file to which every call is appended as a line of JSON.
"""

import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

JOB_ID = "01k9x3v0c8e6h4y2t7r5w1q9za"
OUTPUT = b'{"words": 3}\n'
TIMES = {
    "createdAt": "2026-01-02T03:04:05.000000Z",
    "startedAt": "2026-01-02T03:04:06.000000Z",
    "finishedAt": "2026-01-02T03:04:08.500000Z",
}
WORKFLOWS: dict[str, dict[str, Any]] = {
    "wordcount": {
        "id": "wordcount",
        "title": "Count words \x1b[2J\u202e",
        "version": "1",
        "parameters": {
            "type": "object",
            "properties": {
                "top": {"type": "integer", "default": 20, "description": "how many"},
                "title": {"type": "string"},
                "weights": {"type": ["array", "null"]},
            },
        },
        "inputs": {
            "text": {"kind": "file", "required": True, "maxSize": 1073741824},
            "stop": {"kind": "file", "required": False},
        },
        "outputs": {"counts": {"kind": "file"}},
        "resources": {"cpu": 1, "walltime": 3600},
    },
    "tree": {"id": "tree", "inputs": {"data": {"kind": "archive", "required": True}}},
    "nothing": {"id": "nothing"},
}


class RefusedError(Exception):
    """An error as a session raises it."""

    def __init__(self, *, is_request: bool) -> None:
        super().__init__("no")
        self.code = "refused"
        self.message = "it is refused"
        self.hint = "ask for less"
        self.problems = ("/parameters/top: too many",)
        self.is_request = is_request


_ERRORS: dict[str, Callable[[], Exception]] = {
    "request": lambda: RefusedError(is_request=True),
    "retry": lambda: RefusedError(is_request=False),
    "bug": lambda: KeyError("surprise"),
}


class FakeSession:
    """One job, as the script says."""

    def __init__(self, **opened: str | None) -> None:
        self.script = json.loads(os.environ.get("FAKE_SCRIPT") or "{}")
        self.over = threading.Event()
        self.canceled = False
        self.current: dict[str, Any] = {"id": JOB_ID, "workflow": "wordcount", "state": "CREATED"}
        self.current |= {"createdAt": TIMES["createdAt"], **self.script.get("job", {})}
        self.record("open", **opened)

    def record(self, call: str, **details: Any) -> None:
        with Path(os.environ["FAKE_RECORD"]).open("a") as lines:
            lines.write(json.dumps({"call": call, **details}) + "\n")
        if call in self.script.get("fail", {}):
            error = _ERRORS[self.script["fail"][call]]()
            raise error

    def final(self) -> dict[str, Any]:
        end = {"state": "SUCCEEDED", "exitCode": 0, **self.script.get("end", {})}
        return {"state": "CANCELED"} if self.canceled else end

    def workflows(self) -> list[dict[str, Any]]:
        self.record("workflows")
        return list(WORKFLOWS.values())

    def workflow(self, workflow_id: str) -> dict[str, Any]:
        self.record("workflow", id=workflow_id)
        return WORKFLOWS[workflow_id]

    def submit(self, request: dict[str, Any], *, key: str | None = None) -> dict[str, Any]:
        self.record("submit", request=request, key=key)
        self.announced = request["inputs"]
        return {**self.current, "uploads": {name: {"method": "PUT"} for name in self.announced}}

    def put_input(
        self, job_id: str, name: str, path: Path, progress: Callable[[int], None]
    ) -> None:
        content = path.read_bytes()
        assert hashlib.sha256(content).hexdigest() == self.announced[name]["upload"]["sha256"]
        assert len(content) == self.announced[name]["upload"]["size"]
        keep = Path(os.environ["FAKE_RECORD"]).with_name(f"received-{name}")
        keep.write_bytes(content)
        progress(len(content))
        self.record("put_input", id=job_id, name=name)

    def start(self, job_id: str) -> dict[str, Any]:
        self.record("start", id=job_id)
        self.current["state"] = "QUEUED"
        return self.current

    def job(self, job_id: str) -> dict[str, Any]:
        self.record("job", id=job_id)
        return self.current

    def jobs(self, **selection: Any) -> dict[str, Any]:
        self.record("jobs", **selection)
        return {"items": [self.current | {"state": "FAILED"} | TIMES], "next": "more"}

    def events(
        self, job_id: str, after: int = 0, *, follow: bool = False
    ) -> Iterator[dict[str, Any]]:
        self.record("events", id=job_id, after=after, follow=follow)
        for seq, state in enumerate(("QUEUED", "STAGING_IN", "RUNNING"), after + 1):
            yield {"seq": seq, "type": "JobMoved", "state": state}
        if self.script.get("hang"):
            self.over.wait()
        self.current |= {**TIMES, **self.final()}
        yield {"seq": 9, "type": "JobEnded", "state": self.current["state"]}

    def logs(self, job_id: str, start: int = 0, *, follow: bool = False) -> Iterator[bytes]:
        self.record("logs", id=job_id, start=start, follow=follow)
        for piece in self.script.get("log", ["counting\n"]):
            yield piece.encode("latin-1")
        for _ in range(self.script.get("endless", 0)):
            yield b"more\n" * 1000
        if self.script.get("hang"):
            self.over.wait()

    def cancel(self, job_id: str) -> dict[str, Any]:
        self.record("cancel", id=job_id)
        self.canceled = True
        if not self.script.get("stubborn"):
            self.over.set()
        return self.current

    def outputs(self, job_id: str) -> list[dict[str, Any]]:
        self.record("outputs", id=job_id)
        one = {"name": "counts", "size": len(OUTPUT), "mediaType": "application/json"}
        return [] if self.script.get("empty") else [one]

    def download(self, job_id: str, name: str, into: Path, progress: Callable[[int], None]) -> Path:
        self.record("download", id=job_id, name=name)
        path = into / name
        path.write_bytes(OUTPUT)
        progress(len(OUTPUT))
        return path


@contextmanager
def open_session(*, state: str | None, config: str | None) -> Iterator[FakeSession]:
    """Open the session; closing it ends what still follows."""
    session = FakeSession(state=state, config=config)
    try:
        yield session
    finally:
        session.over.set()
        session.record("close")


def offered(arguments: list[str]) -> int:
    """Do what another package offers.

    Not part of the summary.
    """
    sys.stdout.write(json.dumps([arguments, os.environ.get("LONGSHORE_STATE")]) + "\n")
    return 7
