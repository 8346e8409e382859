"""``longshore serve --check``: every mistake at once, and nothing is touched."""

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.serving import PROGRAM, SETTINGS, serving, workspace
from tests.support import needs_bubblewrap, small_disk

Check = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def check(place: Path) -> Check:
    """Check the settings below ``place``."""

    def run(
        settings: str = SETTINGS, *arguments: str, state: Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        config = workspace(place, settings)
        argv = ["--check", "--config", str(config), "--state", str(state or place / "state")]
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *argv, "--port", "0", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ},
            timeout=60,
        )

    return run


def outcome(answer: "subprocess.CompletedProcess[str]", what: str) -> tuple[str, str]:
    """Return how a check came out, and what was said of it."""
    lines = answer.stdout.splitlines()
    number, line = next(
        (number, line) for number, line in enumerate(lines) if line[8:].startswith(f"{what} ")
    )
    more = []
    for following in lines[number + 1 :]:
        if not following.startswith("        "):
            break
        more.append(following.strip())
    return line[:8].strip(), "\n".join([line[8 + len(what) :].strip(), *more])


def test_good_settings_are_well_and_leave_nothing(check: Check, place: Path) -> None:
    answer = check()

    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.endswith("all is well\n")
    assert not (place / "state").exists()
    assert sorted(path.name for path in place.iterdir()) == ["longshore.toml", "workflows"]


def test_every_mistake_is_named_at_once(check: Check, place: Path) -> None:
    (place / "workflows").mkdir()
    (place / "workflows" / "broken.toml").write_text("id = 3\n")
    (place / "workflows" / "lost.toml").write_text(
        'id = "lost"\ncommand = ["/bin/true"]\nbackend = "clouds"\n'
    )
    answer = check(
        """\
[service]
public_url = "ftp://compute.example"
job_url = "http://user@host"
stop_timeout = "soon"
[servise]
[limits]
bursts = 1
[workflows]
directory = "workflows"
[backends.local]
isolashun = "none"
[backends.clouds]
plugin = "kubernots"
[storage]
directory = 5
"""
    )

    assert answer.returncode == 2
    for what, said in {
        "settings": ("service.stop_timeout", "servise", "limits.bursts"),
        "public_url": ("must be an address",),
        "job_url": ("may have no user",),
        "workflows": ("broken.toml: id",),
        "storage": ("storage.directory: 5 is no text",),
        "backend local": ("did you mean 'isolation'",),
        "backend clouds": ("no workflow backend plug-in 'kubernots'",),
    }.items():
        how, text = outcome(answer, what)
        assert how == "failed", what
        assert all(one in text for one in said), text
    assert outcome(answer, "state")[0] == outcome(answer, "database")[0] == "ok"
    assert answer.stdout.endswith("7 of 10 failed\n")


def test_a_mistake_is_told_with_the_place_where_it_was_made(
    check: Check, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LONGSHORE_LIMITS__BURST", "0")
    settings = "[limits]\nburst = 5\nstreams = 0\n"
    answer = check(settings, "--port", "99999")
    start = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--port", "99999", "--state", str(place / "state")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    file = place / "longshore.toml"
    port = "service.port: 'port' must be <= 65535: 99999 (--port)"
    burst = "limits.burst: 'burst' must be >= 1: 0 (LONGSHORE_LIMITS__BURST)"
    how, said = outcome(answer, "settings")
    assert how == "failed"
    assert set(said.splitlines()) == {
        port,
        burst,
        f"limits.streams: 'streams' must be >= 1: 0 ({file})",
    }
    assert start.returncode == 2
    assert start.stderr.splitlines() == [
        "longshore serve: the settings have mistakes (environment, options)",
        f"  {burst}",
        f"  {port}",
    ]


def test_a_workflow_without_a_backend_is_a_mistake(check: Check, place: Path) -> None:
    (place / "workflows").mkdir()
    (place / "workflows" / "lost.toml").write_text(
        'id = "lost"\ncommand = ["/bin/true"]\nbackend = "lokal"\n'
    )

    how, said = outcome(check(), "workflows")

    assert (how, said) == ("failed", "lost: there is no backend 'lokal'; did you mean 'local'?")


def test_a_command_that_no_worker_would_find_is_a_mistake(check: Check, place: Path) -> None:
    folder = place / "workflows" / "own"
    folder.mkdir(parents=True)
    (folder / "there").write_text("#!/bin/sh\n")
    (folder / "there").chmod(0o755)
    (folder / "plain").write_text("text")
    commands = {
        "gone": "no-such-command",
        "far": "/opt/nowhere/tool",
        "odd": "bin/tool",
        "plain": "/workflow/plain",
        "ours": "/workflow/there",
        "python": "{python}",
        "named": "sh",
        "whole": "/bin/sh",
    }
    for name, command in commands.items():
        (folder / f"{name}.toml").write_text(f'id = "{name}"\ncommand = ["{command}"]\n')
    settings = SETTINGS.replace('"workflows"', '"workflows/own"')

    answer = check(settings)

    hint = "(install it, or change the workflow's command)"
    how, said = outcome(answer, "commands of local")
    assert (answer.returncode, how) == (2, "failed")
    assert sorted(said.splitlines()) == [
        f"far: there is no command '/opt/nowhere/tool' {hint}",
        "gone: there is no command 'no-such-command' in /usr/local/bin:/usr/bin:/bin " + hint,
        f"odd: the command 'bin/tool' is neither a name nor an absolute path {hint}",
        f"plain: the command '/workflow/plain' cannot be executed {hint}",
    ]
    assert outcome(answer, "workflows")[0] == outcome(answer, "backend local")[0] == "ok"


@needs_bubblewrap
def test_a_command_that_the_sandbox_hides_is_a_mistake(check: Check, place: Path) -> None:
    tool = place / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    (place / "workflows").mkdir()
    (place / "workflows" / "hidden.toml").write_text(f'id = "hidden"\ncommand = ["{tool}"]\n')
    sandboxed = SETTINGS.replace('"none"', '"bubblewrap"')

    seen = sandboxed.replace("slots = 4", f'slots = 4\nvisible = ["{place}"]')

    how, said = outcome(check(sandboxed), "commands of local")
    assert (how, "is not seen in the sandbox" in said) == ("failed", True)
    assert check(seen).returncode == 0


def test_a_backend_that_does_not_work_is_a_mistake(
    check: Check, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{place}/nothing")

    how, said = outcome(check(SETTINGS.replace('"none"', '"docker"')), "backend local")

    assert how == "failed"
    assert "docker does not work" in said


def test_a_port_that_somebody_else_has_is_a_mistake(check: Check) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answer = check(SETTINGS, "--port", str(taken.getsockname()[1]))

    how, said = outcome(answer, "address")
    assert answer.returncode == 2
    assert how == "failed"
    assert "in use" in said


def test_a_running_service_is_told_of_and_left_alone(check: Check, place: Path) -> None:
    with serving(place) as service, service.client() as client:
        before = sorted(path.name for path in service.home.iterdir())
        answer = check(SETTINGS, "--port", str(service.port))

        assert answer.returncode == 0, answer.stdout
        assert outcome(answer, "address")[0] == "note"
        assert outcome(answer, "running")[0] == "note"
        assert client.get("/readyz").status_code == 200
        assert sorted(path.name for path in service.home.iterdir()) == before


def test_a_state_directory_that_cannot_be_one_is_a_mistake(check: Check, place: Path) -> None:
    (place / "file").touch()

    answer = check(state=place / "file")

    assert answer.returncode == 2
    assert outcome(answer, "state")[0] == "failed"


def test_a_full_disk_is_a_mistake(check: Check, place: Path) -> None:
    full = place / "full"
    full.mkdir()
    with small_disk(full):
        how, said = outcome(check(state=full), "state")

    assert how == "failed"
    assert "free" in said


def test_the_state_of_a_newer_version_is_a_mistake(check: Check, place: Path) -> None:
    (place / "state").mkdir()
    with sqlite3.connect(place / "state" / "state.db") as database:
        database.execute("PRAGMA user_version = 999")
    database.close()

    how, said = outcome(check(), "database")

    assert how == "failed"
    assert "schema 999" in said


@pytest.mark.parametrize("content", [b"no database at all" * 100, b""])
def test_a_file_that_is_no_database_is_found(check: Check, place: Path, content: bytes) -> None:
    (place / "state").mkdir()
    (place / "state" / "state.db").write_bytes(content)

    how, _ = outcome(check(), "database")

    assert how == ("failed" if content else "ok")


def test_a_secret_in_the_wrong_place_is_not_shown(check: Check) -> None:
    answer = check('[service]\nport = "1"\n[storage]\nsecret_key = "CANARY-1"\n')

    assert "CANARY-1" not in answer.stdout + answer.stderr
    assert "storage.secret_key" in answer.stdout
