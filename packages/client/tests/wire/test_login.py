"""`login`, `logout`, which server is spoken to, and what a press of TAB offers: as processes."""

import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

JOB_ID = "01k9x3v0c8e6h4y2t7r5w1q9za"
TOKEN = "ls_" + "a" * 43
#: a package `keyring` that keeps what it is given in a file
KEYRING = """\
import json, os, pathlib
_file = pathlib.Path(os.environ["FAKE_KEYRING"])
class Keyring: pass
def get_keyring(): return Keyring()
def _all(): return json.loads(_file.read_text()) if _file.exists() else {}
def get_password(service, name): return _all().get(name)
def set_password(service, name, text):
    if os.environ.get("KEYRING_LOCKED"): raise RuntimeError("locked")
    _file.write_text(json.dumps({**_all(), name: text}))
def delete_password(service, name):
    kept = _all(); del kept[name]; _file.write_text(json.dumps(kept))
"""


@pytest.fixture
def configuration(longshore: Any) -> Path:
    path: Path = longshore.config / "longshore" / "client.toml"
    return path


def log_in(longshore: Any, provider: Any, env: Mapping[str, str] | None = None) -> Any:
    arguments = ("login", provider.url, "--token-stdin")
    return longshore(*arguments, stdin=TOKEN.encode() + b"\n", env=env)


def test_login_tries_the_token_and_keeps_it_for_nobody_else(
    longshore: Any, provider: Any, configuration: Path
) -> None:
    done = log_in(longshore, provider)
    assert done.returncode == 0, done.stderr
    assert "as acme (consumer; workflows: copy)" in done.stderr
    assert provider.requests("GET", "/v1/me")[0].headers["authorization"] == f"Bearer {TOKEN}"
    kept = tomllib.loads(configuration.read_text())
    assert kept == {"server": provider.url, "tokens": {provider.url: TOKEN}}
    assert stat.S_IMODE(configuration.stat().st_mode) == 0o600
    assert [path.name for path in configuration.parent.iterdir()] == ["client.toml"]
    assert TOKEN not in done.stderr + done.stdout


def test_a_token_that_the_server_does_not_know_is_not_kept(
    longshore: Any, provider: Any, configuration: Path
) -> None:
    provider.fail("GET", "/v1/me", status=401, body={"code": "unauthenticated", "detail": "no"})
    done = log_in(longshore, provider)
    assert done.returncode == 2
    assert f"hint: longshore login {provider.url}" in done.stderr
    assert not configuration.exists()


@pytest.mark.parametrize("text", [b"", b"a b", "tökén".encode(), b"\x1b[2J"])
def test_what_is_no_token_is_not_sent(longshore: Any, provider: Any, text: bytes) -> None:
    done = longshore("login", provider.url, "--token-stdin", stdin=text)
    assert done.returncode == 2
    assert provider.seen == []


def test_where_nobody_can_be_asked_for_the_token_it_says_how_to_give_it(
    longshore: Any, provider: Any
) -> None:
    done = longshore("login", provider.url, stdin=b"")
    assert done.returncode == 2
    assert "give it with --token-stdin" in done.stderr
    assert provider.seen == []


def test_a_person_is_asked_for_the_token_and_does_not_see_it(longshore: Any, provider: Any) -> None:
    terminal = longshore.terminal("login", provider.url)
    terminal.wait_for("token for http")
    terminal.type(TOKEN + "\n")
    terminal.wait_for("longshore logout")
    assert terminal.end() == 0
    assert TOKEN not in terminal.seen


def test_after_login_the_commands_speak_to_that_server(longshore: Any, provider: Any) -> None:
    log_in(longshore, provider)
    assert longshore("jobs").stdout.splitlines()[1].startswith(JOB_ID)
    assert longshore.calls() == []
    asked = provider.requests("GET", "/v1/jobs")[0]
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["--state", "s", "jobs"], {}),
        (["--server", "none", "jobs"], {}),
        (["jobs"], {"LONGSHORE_SERVER": "none"}),
    ],
)
def test_the_service_of_this_machine_is_still_there(
    longshore: Any, provider: Any, arguments: list[str], env: dict[str, str]
) -> None:
    log_in(longshore, provider)
    assert longshore(*arguments, env=env).returncode == 0
    assert len(longshore.calls("jobs")) == 1


@pytest.mark.parametrize("how", ["option", "environment"])
def test_a_server_and_a_token_may_be_named_without_login(
    longshore: Any, provider: Any, how: str
) -> None:
    env = {"LONGSHORE_TOKEN": TOKEN}
    if how == "option":
        done = longshore("--server", provider.url, "jobs", env=env)
    else:
        done = longshore("jobs", env={**env, "LONGSHORE_SERVER": provider.url})
    assert JOB_ID in done.stdout
    assert provider.seen[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_the_token_of_one_server_is_not_sent_to_another(longshore: Any, provider: Any) -> None:
    log_in(longshore, provider)
    other = provider.url.replace("127.0.0.1", "localhost")
    longshore("--server", other, "jobs")
    assert "authorization" not in provider.requests("GET", "/v1/jobs")[0].headers


def test_a_server_that_wants_a_token_is_told_with_the_way_to_one(
    longshore: Any, provider: Any
) -> None:
    provider.fail("GET", "/v1/jobs", status=401)
    done = longshore("--server", provider.url, "jobs")
    assert done.returncode == 2
    assert "wants a token, and none is known for it" in done.stderr


def test_an_error_of_the_provider_is_told_with_what_finds_it_in_the_log(
    longshore: Any, provider: Any
) -> None:
    problem = {"code": "internal", "detail": "something is wrong", "requestId": "r7"}
    provider.fail("GET", "/v1/jobs", status=500, body=problem)
    done = longshore("--server", provider.url, "jobs")
    assert done.returncode == 1
    assert "error: something is wrong" in done.stderr
    assert "request r7" in done.stderr


def test_https_to_a_server_without_it_is_told_at_once(longshore: Any, provider: Any) -> None:
    url = provider.url.replace("http://", "https://")
    done = longshore("login", url, "--token-stdin", stdin=TOKEN.encode())
    assert done.returncode == 2
    assert "does not speak https\nhint: is its address http://?" in done.stderr
    assert "tried" not in done.stderr


def test_logout_forgets(longshore: Any, provider: Any, configuration: Path) -> None:
    log_in(longshore, provider)
    assert longshore("logout").returncode == 0
    assert tomllib.loads(configuration.read_text()) == {"tokens": {}}
    again = longshore("logout")
    assert again.returncode == 2
    assert "not logged in" in again.stderr


@pytest.fixture
def keyring(longshore: Any) -> dict[str, str]:
    """Install a keyring, and return the environment in which it works."""
    (longshore.listing.parent.parent / "keyring.py").write_text(KEYRING)
    return {"FAKE_KEYRING": str(longshore.directory / "ring")}


def test_the_keyring_keeps_the_token_where_it_works(
    longshore: Any, provider: Any, configuration: Path, keyring: dict[str, str]
) -> None:
    done = log_in(longshore, provider, keyring)
    assert "kept in the system's keyring" in done.stderr
    assert TOKEN not in configuration.read_text()
    longshore("jobs", env=keyring)
    assert provider.requests("GET", "/v1/jobs")[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert longshore("logout", env=keyring).returncode == 0
    assert TOKEN not in Path(keyring["FAKE_KEYRING"]).read_text()


def test_a_keyring_that_does_not_work_is_no_reason_to_fail(
    longshore: Any, provider: Any, configuration: Path, keyring: dict[str, str]
) -> None:
    done = log_in(longshore, provider, {**keyring, "KEYRING_LOCKED": "1"})
    assert done.returncode == 0
    assert TOKEN in configuration.read_text()


@pytest.mark.parametrize("text", ["server = ", "tokens = 7", "\xff"])
def test_a_broken_configuration_is_named(longshore: Any, configuration: Path, text: str) -> None:
    configuration.parent.mkdir(parents=True)
    configuration.write_bytes(text.encode("latin-1"))
    done = longshore("jobs")
    assert done.returncode == 2
    assert str(configuration) in done.stderr


def press_tab(longshore: Any, line: str, **env: str) -> list[str]:
    count = str(len(line.split(" ")) - 1)
    done = longshore(
        env={"_LONGSHORE_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": count, **env}
    )
    assert done.stderr == ""
    return [word.removeprefix("plain,") for word in done.stdout.split()]


def test_a_press_of_tab_offers_what_the_server_has(longshore: Any, provider: Any) -> None:
    provider.workflows = [{"id": "copy"}, {"id": "count", "title": "a\nb"}, {"id": "other"}]
    named = {"LONGSHORE_SERVER": provider.url}
    assert press_tab(longshore, "longshore run co", **named) == ["copy", "count"]
    assert press_tab(longshore, f"longshore --server {provider.url} run o") == ["other"]
    assert press_tab(longshore, "longshore status 01", **named) == [JOB_ID]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_also_say_what_it_is(longshore: Any, provider: Any, shell: str) -> None:
    provider.workflows = [{"id": "copy", "title": "Give back"}]
    done = longshore(
        env={
            "_LONGSHORE_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": "longshore run co",
            "COMP_CWORD": "2" if shell == "zsh" else "co",
            "LONGSHORE_SERVER": provider.url,
        }
    )
    assert done.stdout.split() == ["plain", "copy", "Give", "back"] or done.stdout.split() == [
        "plain,copy",
        "Give",
        "back",
    ]


def test_a_press_of_tab_offers_nothing_where_nobody_answers(longshore: Any, provider: Any) -> None:
    provider.fail("GET", "/v1/workflows", status=500, times=9)
    assert press_tab(longshore, "longshore run co", LONGSHORE_SERVER=provider.url) == []
    assert press_tab(longshore, "longshore run co", LONGSHORE_SERVER="http://127.0.0.1:9") == []
    assert press_tab(longshore, "longshore run co") == []
    assert longshore.calls() == []
