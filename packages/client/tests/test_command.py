"""The command around its sub-commands: help, what others offer, errors, completion."""

import subprocess
import sys
from typing import Any

import pytest

from longshore_client import entrypoints
from longshore_client.command import main

VERBS = (
    *("run", "workflows", "jobs", "status", "logs", "cancel", "results", "completion"),
    *("login", "logout", "agreements", "tokens"),
)


def test_help_names_every_verb_and_what_other_packages_offer(longshore: Any) -> None:
    shown = longshore("--help")
    assert shown.returncode == 0
    lines = {line.split()[0]: line for line in shown.stdout.splitlines() if line.split()}
    assert set(VERBS) <= set(lines)
    assert lines["offered"].endswith("Do what another package offers.")
    assert [verb for verb in VERBS if lines[verb].endswith("...")] == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(longshore: Any, verb: str) -> None:
    shown = longshore(verb, "--help")
    assert shown.returncode == 0
    assert f"longshore {verb}" in shown.stdout.partition("Example:")[2]
    assert longshore.calls() == []


@pytest.mark.parametrize(
    "module",
    [
        *("rich", "importlib.metadata", "fake_provider", "longshore", "asyncio", "tarfile"),
        *("tempfile", "httpx2", "anyio", "ssl"),
    ],
)
def test_help_is_quick_because_it_imports_nothing_heavy(longshore: Any, module: str) -> None:
    program = (
        "import sys\nfrom longshore_client.command import main\n"
        f"try: main(['--help'])\nfinally: sys.exit({module!r} in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=longshore.environment({}),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, module


def test_a_wrong_option_or_verb_ends_with_2(longshore: Any) -> None:
    assert longshore("status", "--no-such").returncode == 2
    unknown = longshore("launch")
    assert unknown.returncode == 2
    assert "No such command 'launch'" in unknown.stderr


@pytest.mark.parametrize(("verb", "package"), [("serve", "longshore-api"), ("demo", "longshore")])
def test_a_verb_whose_package_is_missing_names_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: str, package: str
) -> None:
    monkeypatch.setattr(entrypoints, "find", lambda _: {})
    with pytest.raises(SystemExit, match="2"):
        main([verb])
    assert f"{verb} needs the package {package}: install it" in capsys.readouterr().err


def test_version_is_that_of_the_package(longshore: Any) -> None:
    assert longshore("--version").stdout.startswith("longshore 0.")


def test_what_others_offer_gets_its_arguments_as_they_are(longshore: Any) -> None:
    done = longshore("--state", "/x y", "offered", "a b", "--help", "--", "-n", "--state=q")
    assert done.stdout == '[["a b", "--help", "--", "-n", "--state=q"], "/x y"]\n'
    assert done.returncode == 7


def test_a_broken_offer_is_named_when_it_is_used_and_breaks_nothing_else(longshore: Any) -> None:
    done = longshore("broken")
    assert done.returncode == 1
    assert "broken cannot be used: No module named 'no_such_package'" in done.stderr
    assert longshore("--help").returncode == 0


def test_without_a_provider_the_command_says_what_to_install(longshore: Any) -> None:
    program = (
        "from longshore_client import session\n"
        "session.find = lambda group: {}\n"
        "from longshore_client.command import main\n"
        "main(['workflows'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=longshore.environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "error: there is no provider to speak to" in done.stderr
    assert "install the package longshore into the same environment" in done.stderr


def test_a_refused_request_is_told_with_its_places_and_a_hint(longshore: Any) -> None:
    done = longshore("jobs", fail={"jobs": "request"})
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: it is refused",
        "  /parameters/top: too many",
        "hint: ask for less",
    ]
    assert done.stdout == ""


def test_an_error_that_no_other_request_avoids_ends_with_1(longshore: Any) -> None:
    assert longshore("jobs", fail={"jobs": "retry"}).returncode == 1


def test_a_mistake_of_ours_is_one_line_and_the_traceback_is_kept_for_who_asks(
    longshore: Any,
) -> None:
    done = longshore("jobs", fail={"jobs": "bug"})
    assert done.returncode == 1
    assert "error: unexpected KeyError: 'surprise'" in done.stderr
    assert "Traceback" not in done.stderr
    again = longshore("jobs", fail={"jobs": "bug"}, env={"LONGSHORE_DEBUG": "1"})
    assert "Traceback" in again.stderr


def test_the_session_is_opened_with_the_state_and_config_that_are_given(longshore: Any) -> None:
    longshore("--state", "s", "jobs", env={"LONGSHORE_CONFIG": "c.toml"})
    assert longshore.calls("open") == [{"call": "open", "state": "s", "config": "c.toml"}]
    assert longshore.calls()[-1]["call"] == "close"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(longshore: Any, shell: str) -> None:
    done = longshore("completion", shell)
    assert done.returncode == 0
    assert f"{shell}_complete" in done.stdout


def test_a_press_of_tab_completes_verbs_without_asking_a_provider(longshore: Any) -> None:
    answer = longshore(
        env={
            "_LONGSHORE_COMPLETE": "bash_complete",
            "COMP_WORDS": "longshore wor",
            "COMP_CWORD": "1",
        }
    )
    assert answer.stdout.split() == ["plain,workflows"]
    assert longshore.calls() == []
