"""The command as a person starts it, a process of its own, against a provider in memory."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

PROVIDER = Path(__file__).parent / "provider"
ENTRY_POINTS = """\
[longshore.sessions]
embedded = fake_provider:open_session

[longshore.commands]
offered = fake_provider:offered
broken = no_such_package.anywhere:verb
"""
COMMAND = [sys.executable, "-c", "from longshore_client.command import main; main()"]
_PATIENCE = 20.0


class Terminal:
    """A command on a terminal: what a person sees of both its streams, and types."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master
        self.seen = ""

    def wait_for(self, text: str) -> str:
        """Return everything shown once ``text`` is among it."""
        deadline = time.monotonic() + _PATIENCE
        while text not in self.seen:
            assert time.monotonic() < deadline, f"no {text!r} in {self.seen!r}"
            assert self._more(), f"no {text!r} at the end of {self.seen!r}"
        return self.seen

    def _more(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], _PATIENCE)
        if not ready:
            return False
        try:
            chunk = os.read(self._master, 65536)
        except OSError:  # Linux: nobody holds the other side any more
            return False
        self.seen += chunk.decode(errors="replace").replace("\r\n", "\n")
        return bool(chunk)

    def type(self, text: str) -> None:
        """Type ``text``."""
        os.write(self._master, text.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Return the exit code, after everything was read."""
        while self._more():
            pass
        return self.process.wait(_PATIENCE)


class Longshore:
    """Starts the command in a directory of its own and knows what the provider was asked."""

    def __init__(self, directory: Path, compiled: Path) -> None:
        self._compiled = compiled
        self.directory = directory / "here"
        self.directory.mkdir()
        self._record = directory / "record"
        self.config = directory / "config"
        listing = directory / "path" / "fake-1.dist-info" / "entry_points.txt"
        listing.parent.mkdir(parents=True)
        listing.write_text(ENTRY_POINTS)
        self.listing = listing
        self._open: list[tuple[subprocess.Popen[bytes], int]] = []

    def environment(self, script: Mapping[str, Any]) -> dict[str, str]:
        ours = [str(self.listing.parent.parent), str(PROVIDER)]
        others = {"NO_COLOR", "PYTHONDONTWRITEBYTECODE", "LONGSHORE_SERVER", "LONGSHORE_TOKEN"}
        clean = {name: value for name, value in os.environ.items() if name not in others}
        return clean | {
            "PYTHONPATH": os.pathsep.join([*ours, os.environ.get("PYTHONPATH", "")]),
            "PYTHONPYCACHEPREFIX": str(self._compiled),
            "FAKE_SCRIPT": json.dumps(script),
            "FAKE_RECORD": str(self._record),
            "XDG_CONFIG_HOME": str(self.config),
            "TERM": "xterm",
            "COLUMNS": "120",
        }

    def __call__(
        self,
        *arguments: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        **script: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run the command with its streams in pipes."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.directory,
            env={**self.environment(script), **(env or {})},
            input=stdin,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode("latin-1"), done.stderr.decode()
        )

    def start(self, *arguments: str, **script: Any) -> subprocess.Popen[bytes]:
        """Start the command with its streams in pipes."""
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.directory,
            env=self.environment(script),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._open.append((process, -1))
        return process

    def terminal(
        self, *arguments: str, env: Mapping[str, str] | None = None, **script: Any
    ) -> Terminal:
        """Start the command on a terminal."""
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.directory,
            env={**self.environment(script), **(env or {})},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        self._open.append((process, master))
        return Terminal(process, master)

    def calls(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return what the provider was asked, in order."""
        lines = self._record.read_text().splitlines() if self._record.exists() else []
        calls: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [call for call in calls if name in (None, call["call"])]

    def received(self, name: str) -> Path:
        """Return the file that came to the provider as the input ``name``."""
        return self._record.with_name(f"received-{name}")

    def close(self) -> None:
        for process, master in self._open:
            process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
            if master >= 0:
                os.close(master)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where all started commands keep what they compile: starting is half of each test."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def longshore(tmp_path: Path, compiled: Path) -> Iterator[Longshore]:
    command = Longshore(tmp_path, compiled)
    yield command
    command.close()


@pytest.fixture
def text(longshore: Longshore) -> Path:
    path = longshore.directory / "a text.txt"
    path.write_bytes(b"one two three\n")
    return path


@pytest.fixture
def read_until() -> Any:
    """Return a function that reads a pipe until a line holds a text."""

    def read(process: subprocess.Popen[bytes], wanted: str) -> str:
        assert process.stderr is not None
        seen = ""
        for line in process.stderr:
            seen += line.decode()
            if re.search(wanted, seen):
                return seen
        raise AssertionError(f"no {wanted!r} in {seen!r}")

    return read
