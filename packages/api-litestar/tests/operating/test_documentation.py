"""What docs/operating.md tells people to do works, word for word; what it lists is there."""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx2
import pytest
from tests.serving import Service, serving

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "operating.md").read_text("utf-8")
UNIT = ROOT / "deploy" / "longshore.service"

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@needs_curl
def test_the_boxes_are_a_script_that_works(place: Path) -> None:
    script = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
    backup = place / "backup"
    backup.mkdir()
    with serving(place) as service:
        variables = {
            "SERVER": service.url,
            "ADMIN": service.admin,
            "STATE": str(service.home),
            "BACKUP": str(backup),
        }
        done = subprocess.run(
            ["sh", "-euc", script],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert done.returncode == 0, done.stdout + done.stderr
    assert '"tenant":"acme"' in done.stdout
    assert 'longshore_up{part="store"} 1.0' in done.stdout
    assert done.stdout.endswith("ok\n")
    assert {"state.db", "storage", "secret.key"} <= {path.name for path in backup.iterdir()}
    (place / "state").rename(place / "lost")
    (place / "backup").rename(place / "state")
    with serving(place, admin=service.admin) as restored, restored.as_admin() as client:
        (agreement,) = client.get("/v1/agreements").json()["items"]
        assert agreement["state"] == "revoked"


def test_every_metric_is_in_the_table(service: Service, admin: httpx2.Client) -> None:
    text = admin.get("/metrics").text
    names = set(re.findall(r"^# TYPE (longshore_\w+)", text, re.MULTILINE))

    assert names == set(re.findall(r"^\| `(longshore_\w+)`", PAGE, re.MULTILINE))
    assert service.url


@needs_systemd
def test_the_unit_is_one_that_systemd_understands(place: Path) -> None:
    unit = place / "longshore.service"
    program = shutil.which("true")
    unit.write_text(UNIT.read_text().replace("/opt/longshore/bin/longshore", str(program)))

    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_lets_jobs_go_on() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # as configparser documents it
    unit.read(UNIT)
    service = unit["Service"]

    assert service["KillMode"] == "process"
    assert service["OOMPolicy"] == "continue"
    # these keep bubblewrap from working, or take the jobs' files away
    forbidden = {"RestrictNamespaces", "ProtectKernelTunables", "ProtectKernelLogs", "PrivateUsers"}
    assert not {name for name in (*forbidden, "PrivateTmp") if service.get(name, "no") != "no"}
