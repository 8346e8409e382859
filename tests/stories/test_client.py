"""A consumer with the Python client, and one with the command, through the prototypes' story."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.serving import Service, serving

from longshore_client import Client, JobFailed

_COPY = {"env": "SOURCE=/etc/os-release\nDESTINATION=/output/result\nSLEEPTIME=0\n"}
_LONG = {"env": "SOURCE=/etc/os-release\nDESTINATION=/output/result\nSLEEPTIME=600\n"}
_NOWHERE = {"env": "SOURCE=/nowhere\nDESTINATION=/output/result\nSLEEPTIME=0\n"}


def test_the_story_in_python(tmp_path: Path) -> None:
    with serving(tmp_path) as service, Client(service.url, service.consumer()) as client:
        assert "dummy" in {workflow.id for workflow in client.workflows()}

        job = client.run("dummy", inputs=_COPY)
        log = b"".join(job.logs(follow=True))
        outputs = job.result()
        assert b"copied '/etc/os-release'" in log
        assert outputs["result"].read_bytes() == Path("/etc/os-release").read_bytes()
        assert job.job.state == "SUCCEEDED"

        with pytest.raises(JobFailed) as failed:
            client.run("dummy", inputs=_NOWHERE).result()
        assert failed.value.reason_code == "nonzero-exit"

        long = client.run("dummy", inputs=_LONG)
        long.cancel()
        assert long.wait().state == "CANCELED"


def test_the_story_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "env").write_text(_COPY["env"])
    with serving(tmp_path) as service:
        token = service.consumer()
        assert '"dummy"' in command(service, token, tmp_path, "workflows", "-o", "json")
        done = command(
            service, token, tmp_path, "run", "dummy", "-i", "env=env", "-d", "made", "-o", "json"
        )
        job = json.loads(done)
        assert job["state"] == "SUCCEEDED"
        assert (tmp_path / "made" / "result").read_bytes() == Path("/etc/os-release").read_bytes()
        assert "copied" in command(service, token, tmp_path, "logs", job["id"])


def command(service: Service, token: str, place: Path, *arguments: str) -> str:
    """Run ``longshore`` against the service; return what it printed."""
    environment = {
        **os.environ,
        "LONGSHORE_SERVER": service.url,
        "LONGSHORE_TOKEN": token,
        "XDG_CONFIG_HOME": str(place / "config"),
    }
    done = subprocess.run(
        [str(Path(sys.executable).with_name("longshore")), *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
