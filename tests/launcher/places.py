"""A directory in which a launcher runs a worker, as the mover beside it sees it."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support import PATIENCE, until

from longshore.staging import files
from longshore_mover.worker_end import WorkerEnd, ask_to_stop, give_go, new_key, wait_for_end

Launcher = subprocess.Popen[bytes]


class Place:
    """Starts launchers in ``directory``; a context manager that ends them."""

    def __init__(
        self, program: Path, directory: Path, *, user: int | None = None, install: bool = True
    ) -> None:
        self.directory = directory
        self.name = directory.name
        self.key = new_key()
        self.program = directory / "launcher" if install else program
        self._user = user
        self._started: list[Launcher] = []
        if user is None:
            directory.mkdir(exist_ok=True)
        if install:
            done = self.start(program, "install", directory, "in/0", "out")
            assert done.wait(PATIENCE) == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End whatever was started here."""
        for one in self._started:
            one.kill()
            one.wait(PATIENCE)
            for stream in (one.stdout, one.stderr):
                if stream is not None:
                    stream.close()

    def start(self, program: Path, *arguments: object, **options: Any) -> Launcher:
        """Start a use of the launcher."""
        argv = [str(program), *map(str, arguments)]
        options = {"stdout": subprocess.DEVNULL, **options}
        started = subprocess.Popen(argv, user=self._user, group=self._user, **options)
        self._started.append(started)
        return started

    def run(
        self, *argv: object, go: bool = True, popen: dict[str, Any] | None = None, **options: object
    ) -> Launcher:
        """Start a worker; ``options`` are the launcher's."""
        given = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
        command = [self.program, "run", "--dir", self.directory, *given, "--", *argv]
        if go:
            self.give_go()
        return self.start(*command, **(popen or {}))  # type: ignore[arg-type]  # the path comes first

    def sh(self, script: str, **options: Any) -> Launcher:
        """Start a worker that is a shell script."""
        return self.run("/bin/sh", "-c", script, **options)

    def python(self, script: str, **options: Any) -> Launcher:
        """Start a worker that is a Python script."""
        # an interpreter below somebody's home is closed to other users
        interpreter = sys.executable if self._user is None else "/usr/bin/python3"
        return self.run(interpreter, "-c", script, **options)

    def keep(self, script: str, *options: str) -> Launcher:
        """Start the keeper of a mover that is a shell script."""
        command = ("keep", *options, "--", "/bin/sh", "-c", script)
        return self.start(self.program, *command, stderr=subprocess.PIPE)

    def give_go(self) -> None:
        """Let the worker start."""
        if self._user is None:
            give_go(self.directory, self.key)
            return
        draft = self.directory / ".go"  # the mover has the same user
        draft.write_text(f"{self.key}\n")
        os.chown(draft, self._user, self._user)
        draft.rename(self.directory / files.GO)

    def ask_to_stop(self, grace: float = 0.0) -> None:
        """Ask for the end as the mover does."""
        ask_to_stop(self.directory, grace=grace)

    def end(self, key: str | None = None) -> WorkerEnd:
        """Return the worker's end, as the mover sees it."""
        wanted = self.key if key is None else key
        end = wait_for_end(self.directory, self.name, wanted, timeout=PATIENCE)
        assert end is not None, "nobody said how the worker ended"
        return end

    def said(self, text: bytes = b"ready") -> None:
        """Return when the worker has printed ``text``."""
        until(lambda: text in self.log(), f"{text!r} in the log")

    def log(self) -> bytes:
        """Return the log as it is."""
        path = self.directory / files.LOG
        return path.read_bytes() if path.exists() else b""

    def pid(self, name: str) -> int:
        """Return the process id that the worker wrote into a file of its scratch."""
        path = self.directory / files.SCRATCH / name
        return int(until(lambda: path.exists() and path.read_text().strip(), f"a pid in {name}"))

    def records(self) -> list[Any]:
        """Return what the attempt's lines say, sealed or not, less the first."""
        content = (self.directory / files.ATTEMPT).read_bytes().rstrip(b"\0")
        return [json.loads(line)[2] for line in content.splitlines()[1:]]

    def is_locked(self) -> bool:
        """Say whether somebody has the attempt's file locked."""
        with (self.directory / files.ATTEMPT).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False
