"""A real server, `longshore serve` as a process of its own, which tests kill and start again."""

import contextlib
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.ports import free_port

from longshore_client import Client

try:
    from tests.commanding import Command
    from tests.support import end_processes_of, until

    import longshore_api.serve
except ImportError:
    SERVE = ""
else:
    SERVE = longshore_api.serve.__name__

_PROGRAM = "import sys; from longshore_api.serve import serve; sys.exit(serve(sys.argv[1:]))"
_SETTINGS = """\
[limits]
requests_per_second = {rate}
burst = {burst}
[workflows]
directory = "workflows"
[backends.local]
isolation = "none"
slots = 4
[deadlines]
stop_grace = "1s"
"""
_ANY = """\
[outputs.data]
kind = "file"
max_size = "2 GiB"
[resources]
memory = "256 MiB"
disk = "4 GiB"
walltime = "5m"
"""
WORKFLOWS = {
    "copy": """\
id = "copy"
title = "Give back what came"
command = ["/bin/cp", "{inputs.data}", "{outputs.data}"]
[inputs.data]
kind = "file"
max_size = "2 GiB"
""",
    "names": """\
id = "names"
command = ["/bin/sh", "-c", "cd $LS_INPUT_DATA && find . -type f | sort > $LS_OUTPUT_DATA"]
[inputs.data]
kind = "archive"
max_size = "64 MiB"
""",
    "talk": """\
id = "talk"
command = ["/bin/sh", "/workflow/talk.sh"]
[inputs.gate]
kind = "file"
""",
    "chatter": """\
id = "chatter"
command = ["/bin/sh", "-c", "seq -f 'line number %.0f, and some more words' $LS_PARAM_LINES"]
[parameters]
type = "object"
[parameters.properties.lines]
type = "integer"
""",
    "break": """\
id = "break"
command = ["/bin/sh", "-c", "echo it breaks; exit 3"]
[parameters]
type = "object"
additionalProperties = false
[parameters.properties.n]
type = "integer"
maximum = 5
""",
}
#: writes a line at a time until the file whose name came as an input is there
_TALK = """\
gate=$(cat $LS_INPUT_GATE)
i=0
while [ ! -e "$gate" ]; do echo "line $i"; i=$((i + 1)); sleep 0.02; done
echo "end" | tee $LS_OUTPUT_DATA
"""


class Served:
    """A server, its state, and its tokens."""

    def __init__(self, directory: Path, rate: int, burst: int) -> None:
        self.home = directory / "state"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = directory / "longshore.toml"
        self.config.write_text(_SETTINGS.format(rate=rate, burst=burst))
        self._said = directory / "stderr"
        workflows = directory / "workflows"
        workflows.mkdir()
        for name, text in WORKFLOWS.items():
            (workflows / f"{name}.toml").write_text(text + _ANY)
        (workflows / "talk.sh").write_text(_TALK)
        self.process: subprocess.Popen[bytes] | None = None
        self.token = ""
        self.starts = 0

    def start(self) -> None:
        """Start it, and return when it answers."""
        argv = [sys.executable, "-c", _PROGRAM, "--state", str(self.home)]
        argv += ["--config", str(self.config), "--port", str(self.port)]
        with self._said.open("ab") as said:
            self.process = subprocess.Popen(argv, stderr=said, stdout=said)
        until(self._answers, "the server to answer")
        self.starts += 1
        if not self.token:
            self.token = self._consumer()

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self._said.read_text()
        with contextlib.suppress(httpx2.TransportError):
            return httpx2.get(f"{self.url}/v1/me").status_code == httpx2.codes.UNAUTHORIZED
        return False

    @property
    def admin_token(self) -> str:
        """The token that the first start shows once."""
        shown = re.compile(r"ls_[A-Za-z0-9_-]{43}")
        found: list[str] = until(lambda: shown.findall(self._said.read_text()), "the admin token")
        return found[0]

    def _consumer(self) -> str:
        with Client(self.url, self.admin_token) as admin:
            agreement = admin.agreements.create("acme", ["*"])
            return admin.agreements.issue_token(agreement.id).secret or ""

    def kill(self) -> None:
        """Kill it, as a power cut would; jobs go on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ask it to end, and wait for it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)

    def restart(self) -> threading.Thread:
        """Kill it and start it again, while the caller goes on with what it does."""
        self.kill()
        thread = threading.Thread(target=self.start)
        thread.start()
        return thread

    def client(self, **more: Any) -> Client:
        """Return a client of the consumer."""
        return Client(self.url, self.token, **more)

    def close(self) -> None:
        """End it and everything that works for it."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        end_processes_of(self.home)


@pytest.fixture(scope="session")
def start_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Served]]:
    """Return a function that starts a server."""
    if not SERVE:
        pytest.skip("the package longshore-api is not installed")
    opened: list[Served] = []

    def start(rate: int = 0, burst: int = 1000) -> Served:
        server = Served(tmp_path_factory.mktemp("served"), rate, burst)
        opened.append(server)
        server.start()
        return server

    yield start
    for server in opened:
        server.close()


@pytest.fixture(scope="session")
def server(start_server: Callable[..., Served]) -> Served:
    """Return a server for all tests that do it no harm."""
    return start_server()


@pytest.fixture
def own_server(start_server: Callable[..., Served]) -> Iterator[Served]:
    """Return a server that the test may kill."""
    server = start_server()
    yield server
    server.close()


@pytest.fixture
def client(server: Served) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture(autouse=True)
def no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the configuration of the person who runs the tests out of them."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("LONGSHORE_SERVER", raising=False)
    monkeypatch.delenv("LONGSHORE_TOKEN", raising=False)


@pytest.fixture
def over_http(server: Any, tmp_path: Path) -> Command:
    return Command(tmp_path, LONGSHORE_SERVER=server.url, LONGSHORE_TOKEN=server.token)
