"""A consumer with nothing but curl."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.serving import Service, serving

DOCS = Path(__file__).parent.parent.parent / "docs"
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


def consume(service: Service, script: str, place: Path) -> str:
    """Run a shell script as a consumer; return what it printed."""
    environment = {**os.environ, "SERVER": service.url, "TOKEN": service.consumer()}
    done = subprocess.run(
        ["/bin/sh", "-euc", script, "sh", str(place)],
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@needs_curl
def test_the_story_of_the_prototypes_ends_as_it_should(tmp_path: Path) -> None:
    script = Path(__file__).with_name("seed.sh").read_text("utf-8")
    with serving(tmp_path) as service:
        told = consume(service, script, tmp_path)

    chapters = dict(re.findall(r"^== (.*)\n((?:(?!== ).*\n?)*)", told, re.MULTILINE))
    assert chapters["a job that ends well"].strip() == "SUCCEEDED"
    assert "copied '/etc/os-release'" in chapters["log"]
    assert f'"size":{Path("/etc/os-release").stat().st_size}' in chapters["download"]
    assert chapters["a job that fails"].split() == ["FAILED", "nonzero-exit"]
    assert chapters["a job that is canceled"].strip() == "CANCELED"


@needs_curl
def test_the_page_about_curl_is_one_script_that_works(tmp_path: Path) -> None:
    page = (DOCS / "http.md").read_text("utf-8")
    script = "\n".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL))
    (tmp_path / "book.txt").write_text("to be or not to be\n")
    with serving(tmp_path) as service:
        told = consume(service, script, tmp_path)

    assert '"words": 6' in told
    assert '"differentWords": 4' in told
