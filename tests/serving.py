"""``longshore serve`` as a process of its own, for tests of the whole service."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import httpx2
from tests.support import end_processes_of, until

#: what ``longshore serve`` is
PROGRAM = "import sys; from longshore_api.serve import serve; sys.exit(serve(sys.argv[1:]))"
_LISTENS = re.compile(r"Longshore listens on (http://\S+) ")
_TOKEN = re.compile(r"^admin token \(shown once\): (ls_\S+)$", re.MULTILINE)
_PATIENCE = 60.0
#: workflows of the tests, by file name
WORKFLOWS = {
    "hello.toml": """\
id = "hello"
command = ["/bin/sh", "-c", "echo hello; cp {inputs.text} {outputs.copy}"]
[inputs.text]
kind = "file"
max_size = "64 MiB"
[outputs.copy]
kind = "file"
max_size = "64 MiB"
[resources]
memory = "256 MiB"
""",
    "patient.toml": """\
id = "patient"
command = ["/bin/sh", "-c", "echo begun; while [ ! -e $LS_PARAM_GATE ]; do sleep 0.05; done; \
echo over; echo done > $LS_OUTPUT_SAID"]
[parameters]
type = "object"
[parameters.properties.gate]
type = "string"
[outputs.said]
kind = "file"
max_size = "1 MiB"
[resources]
memory = "256 MiB"
""",
}
SETTINGS = """\
[workflows]
directory = "workflows"
[backends.local]
isolation = "none"
slots = 4
[deadlines]
stop_grace = "1s"
"""


@attrs.frozen(kw_only=True)
class Service:
    """A running service, and what it said: ``out`` and ``err`` are files."""

    url: str
    admin: str
    process: "subprocess.Popen[bytes]"
    home: Path
    out: Path
    err: Path

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def client(self, token: str | None = None) -> httpx2.Client:
        """Return a client with a token, or with none."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=30.0)

    def as_admin(self) -> httpx2.Client:
        """Return a client with the administrator's token."""
        return self.client(self.admin)

    def consumer(self, tenant: str = "acme", workflows: Sequence[str] = ("*",)) -> str:
        """Return a token of a new agreement."""
        with self.as_admin() as client:
            asked = {"tenant": tenant, "workflows": list(workflows)}
            made = client.post("/v1/agreements", json=asked)
            assert made.status_code == 201, made.text
            issued = client.post(f"/v1/agreements/{made.json()['id']}/tokens", json={})
            assert issued.status_code == 201, issued.text
            return str(issued.json()["token"])

    def said(self) -> str:
        """Return all that it said on standard error."""
        return self.err.read_text("utf-8")

    def log(self) -> list[dict[str, Any]]:
        """Return the events of its log; every line but the administrator's token is one."""
        return [json.loads(line) for line in self.said().splitlines() if not _TOKEN.fullmatch(line)]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, and return how it ended."""
        self.process.send_signal(how)
        return self.process.wait(_PATIENCE)


def workspace(place: Path, settings: str = SETTINGS) -> Path:
    """Write settings and workflows below ``place``; return the file of settings."""
    (place / "workflows").mkdir(parents=True, exist_ok=True)
    for name, text in WORKFLOWS.items():
        (place / "workflows" / name).write_text(text)
    config = place / "longshore.toml"
    config.write_text(settings)
    return config


@contextlib.contextmanager
def serving(
    place: Path,
    *,
    settings: str = SETTINGS,
    arguments: Sequence[str] = ("--port", "0"),
    environment: Mapping[str, str] | None = None,
    admin: str = "",
    program: str = PROGRAM,
) -> Iterator[Service]:
    """Start the service below ``place``, where it may have run before; kill it at the end.

    ``admin`` is the administrator's token where the state has given it away before. ``program`` is
    what Python runs.
    """
    config = workspace(place, settings)
    home = place / "state"
    out, err = place / "out.txt", place / "err.txt"
    argv = [sys.executable, "-c", program, "--config", str(config), "--state", str(home)]
    with (
        out.open("wb") as to_out,
        err.open("wb") as to_err,
        subprocess.Popen(
            [*argv, *arguments],
            stdout=to_out,
            stderr=to_err,
            cwd=place,
            env={**os.environ, **(environment or {})},
        ) as process,
    ):
        try:
            yield _wait(process, home, out, err, admin)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def _wait(
    process: "subprocess.Popen[bytes]", home: Path, out: Path, err: Path, admin: str
) -> Service:
    def listens() -> re.Match[str] | None:
        assert process.poll() is None, err.read_text("utf-8")
        return _LISTENS.search(out.read_text("utf-8"))

    url = until(listens, "the service to listen", _PATIENCE)
    assert url is not None
    token = _TOKEN.search(err.read_text("utf-8"))
    return Service(
        url=url[1],
        admin=token[1] if token else admin,
        process=process,
        home=home,
        out=out,
        err=err,
    )


def end_everything(place: Path) -> None:
    """Kill, each by its id, whatever still works below ``place``."""
    end_processes_of(place)
