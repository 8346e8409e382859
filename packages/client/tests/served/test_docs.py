"""The examples of docs/client.md run as they stand there, against a real server."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[4] / "docs" / "client.md"
TEXT = PAGE.read_text("utf-8") if PAGE.exists() else ""
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize(
    ("example", "said"),
    list(zip(EXAMPLES, ['"word": "three"', "\n", "SUCCEEDED", "/outputs/summary"], strict=True)),
    ids=["blocking", "map", "async", "fsspec"],
)
def test_an_example_runs(server: Any, tmp_path: Path, example: str, said: str) -> None:
    named = {"LONGSHORE_SERVER": server.url, "LONGSHORE_TOKEN": server.token}
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env={**os.environ, **named},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


def test_every_public_method_is_on_the_page() -> None:
    from longshore_client import blocking  # noqa: PLC0415 - what the page is about

    kinds = (blocking.Client, blocking.JobHandle, blocking.Output, blocking.Agreements)
    methods = {name for kind in kinds for name in vars(kind) if not name.startswith("_")}
    little = {"close", "job", "state", "output", "about"}
    assert {name for name in methods - little if name not in TEXT} == set()
