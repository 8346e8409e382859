"""The ``longshore`` command as a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-c", "from longshore_client.command import main; main()"]


class Command:
    """The command in a directory of its own, with all that it needs in its environment."""

    def __init__(self, directory: Path, **variables: str) -> None:
        self.directory = directory
        taken = ("LONGSHORE_", "XDG_CONFIG", "NO_COLOR")
        clean = {name: it for name, it in os.environ.items() if not name.startswith(taken)}
        self._environment = {**clean, "XDG_CONFIG_HOME": str(directory / "config"), **variables}

    def __call__(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.directory,
            env=self._environment,
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        argv = [*COMMAND, *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            argv, cwd=self.directory, env=self._environment, stdout=pipe, stderr=pipe
        )

    def json(self, *arguments: str) -> Any:
        done = self(*arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
