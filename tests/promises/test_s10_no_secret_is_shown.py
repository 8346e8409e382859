"""S10: secrets of settings and tokens leave no trace where somebody else could read them."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.serving import PROGRAM, SETTINGS, Service, end_everything, serving, workspace
from tests.support import command_of, processes_of, until

PLUGIN = '''\
"""A stranger's plug-in: the core's own backends behind settings full of secrets."""

import logging
from contextlib import asynccontextmanager

import attrs

from longshore.backends.local import Isolation, LocalSettings, open_local
from longshore.errors import StorageUnavailable
from longshore.hookspecs import StorageBackendPlugin, WorkflowBackendPlugin, hookimpl
from longshore.storages.local import LocalStorageSettings, open_local_storage

log = logging.getLogger("longshore.vault")


@attrs.frozen(kw_only=True)
class VaultSettings:
    endpoint: str = "https://vault.example"
    access_key: str
    secret_key: str
    api_token: str
    password: str


@attrs.frozen(kw_only=True)
class CloudSettings:
    auth_token: str
    client_secret: str
    proxy_password: str


@asynccontextmanager
async def open_vault(settings, context):
    log.warning("opened with %s", settings)
    async with open_local_storage(LocalStorageSettings(), context) as storage:
        stat = storage.stat

        async def chatty(key):
            url = f"{settings.endpoint}/{key}?X-Signature={settings.secret_key}"
            log.warning("asked %s", url, extra={"settings": attrs.asdict(settings)})
            return await stat(key)

        async def broken(key, **_):
            raise StorageUnavailable(
                f"GET {settings.endpoint}/{key}?X-Signature={settings.secret_key}: "
                f"Authorization: Bearer {settings.api_token}"
            )

        storage.stat = chatty
        storage.sign_read = broken
        yield storage


@asynccontextmanager
async def open_cloud(settings, context):
    log.warning("opened", extra={"settings": settings, "password": settings.proxy_password})
    async with open_local(LocalSettings(isolation=Isolation.NONE), context) as backend:
        yield backend


@hookimpl
def longshore_storage_backends():
    return [StorageBackendPlugin(name="vault", settings=VaultSettings, open=open_vault)]


@hookimpl
def longshore_workflow_backends():
    return [WorkflowBackendPlugin(name="cloud", settings=CloudSettings, open=open_cloud)]
'''
_FILE = {
    "backends.cloud": ("auth_token", "client_secret", "proxy_password"),
    "storage": ("access_key", "secret_key", "password"),
}
#: the one that comes by the environment
_VARIABLE = "LONGSHORE_STORAGE__API_TOKEN"
_TELLING = """\
id = "telling"
command = ["/bin/sh", "-c", "env; cat /proc/$PPID/cmdline; env > $LS_OUTPUT_SAID"]
[outputs.said]
kind = "file"
max_size = "1 MiB"
[resources]
memory = "256 MiB"
"""
#: the same service without the line that takes secrets out of the log
_UNPROTECTED = (
    "import longshore_api.logging_setup as setup\n"
    "setup.redact = lambda value, name='': value if isinstance(value, str) else repr(value)\n"
    f"{PROGRAM}"
)


def canary(section: str, name: str) -> str:
    return f"CANARY-{section}-{name}-5b1f".replace(".", "-")


def canaries() -> dict[str, str]:
    """Return a secret for every slot, by its place."""
    found = {
        f"{section}.{name}": canary(section, name)
        for section, names in _FILE.items()
        for name in names
    }
    return {**found, "storage.api_token": canary("storage", "api_token")}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    end_everything(tmp_path)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The stranger's distribution is installed, and one secret is in a variable."""
    folder = tmp_path / "site"
    info = folder / "longshore_vault-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "longshore_vault.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: longshore-vault\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[longshore]\nvault = longshore_vault\n")
    return {"PYTHONPATH": str(folder), _VARIABLE: canary("storage", "api_token")}


def configured() -> str:
    sections = {
        "backends.cloud": 'plugin = "cloud"\n',
        "storage": 'plugin = "vault"\n',
    }
    text = '[workflows]\ndirectory = "workflows"\n'
    for section, head in sections.items():
        lines = "".join(f'{name} = "{canary(section, name)}"\n' for name in _FILE[section])
        text += f"[{section}]\n{head}{lines}"
    return text


def use(service: Service) -> tuple[list[str], list[str]]:
    """Do what consumers do, well and badly; return the tokens, and every answer."""
    token = service.consumer()
    with service.client(token) as client, service.as_admin() as admin, service.client() as nobody:
        made = client.post("/v1/jobs", json={"workflow": "telling"})
        job = made.json()["id"]
        until(
            lambda: client.get(f"/v1/jobs/{job}").json()["state"] in {"SUCCEEDED", "FAILED"},
            "the job to end",
        )
        # a token where none belongs: whoever sent it may be told of it, and nobody else
        assert client.get(f"/v1/jobs/{token}").status_code == 404
        assert client.get("/v1/jobs", params={"cursor": token}).status_code < 500
        told = (
            made,
            client.get(f"/v1/jobs/{job}"),
            client.get(f"/v1/jobs/{job}/events"),
            client.get(f"/v1/jobs/{job}/logs"),
            client.get(f"/v1/jobs/{job}/outputs/said"),  # 503: the storage cannot sign
            client.get("/v1/me"),
            client.post("/v1/jobs", json={"workflow": "telling", "token": token}),
            admin.get("/v1/agreements"),
            admin.get("/metrics"),
            admin.put("/v1/workflows/x", json={"id": "x", "password": "x"}),
            nobody.get("/readyz"),
            nobody.get("/openapi.json"),
            nobody.get("/v1/jobs", headers={"authorization": f"Bearer {token}x"}),
        )
    return [token, service.admin], [answer.text for answer in told]


def shown(service: Service, answers: list[str]) -> dict[str, str]:
    """Return everything that somebody else may read, by what it is."""
    log = "\n".join(line for line in service.said().splitlines() if "(shown once)" not in line)
    found = {"log": log, "answers": "\n".join(answers), "output": service.out.read_text()}
    with closing(sqlite3.connect(service.home / "state.db")) as database:
        found["database"] = "\n".join(database.iterdump())
    for path in service.home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            found[str(path.relative_to(service.home))] = path.read_bytes().decode("latin-1")
    ours = {*processes_of(service.home), service.process.pid}
    found["argv"] = "\n".join(command_of(pid).decode("latin-1") for pid in ours)
    return found


def hits(texts: dict[str, str], secrets: dict[str, str]) -> list[str]:
    """Return where which secret is found; never the secret."""
    return [
        f"{name} in {what}"
        for what, text in texts.items()
        for name, secret in secrets.items()
        if secret in text
    ]


def test_secrets_of_settings_and_tokens_are_nowhere(
    place: Path, environment: dict[str, str]
) -> None:
    workspace(place)
    (place / "workflows" / "telling.toml").write_text(_TELLING)
    with serving(place, settings=configured(), environment=environment) as service:
        tokens, answers = use(service)
        texts = shown(service, answers)
        events: list[dict[str, Any]] = service.log()

    secrets = {**canaries(), "a consumer's token": tokens[0], "the admin token": tokens[1]}
    assert hits(texts, secrets) == []
    # the service did say what it says of them: the places are there, the values are not
    assert any(event["logger"] == "longshore.vault" for event in events)
    assert "secret_key=***" in texts["log"]
    assert any("cannot be answered" in event["event"] for event in events)


def test_without_redaction_they_would_be_in_the_log(
    place: Path, environment: dict[str, str]
) -> None:
    """Negative control: the same service, without the one line."""
    workspace(place)
    (place / "workflows" / "telling.toml").write_text(_TELLING)
    with serving(
        place, settings=configured(), environment=environment, program=_UNPROTECTED
    ) as service:
        _, answers = use(service)
        found = hits(shown(service, answers), canaries())

    assert {one.rpartition(" in ")[2] for one in found} == {"log"}
    assert "storage.secret_key in log" in found
    assert "backends.cloud.proxy_password in log" in found


@pytest.mark.parametrize("arguments", [["--check"], []])
def test_mistakes_in_settings_do_not_show_them(
    place: Path, environment: dict[str, str], arguments: list[str]
) -> None:
    settings = configured().replace('password = "', 'passwort = "')
    config = workspace(place, settings.replace('secret_key = "', 'secret_key = ["') + "\n")
    text = config.read_text()
    wrong = canary("storage", "secret_key")
    config.write_text(text.replace(f'["{wrong}"', f'["{wrong}"]'))

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments, "--config", str(config),
         "--state", str(place / "state"), "--port", "0"],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode == 2
    assert "storage.secret_key" in done.stdout + done.stderr
    assert hits({"said": done.stdout + done.stderr}, canaries()) == []


def test_every_secret_slot_of_the_settings_has_its_canary() -> None:
    """The plug-in's settings and the canaries name the same slots."""
    named = {line.strip().partition(":")[0] for line in PLUGIN.splitlines() if ": str" in line}

    assert {place.rpartition(".")[2] for place in canaries()} == named - {"endpoint"}
    assert json.dumps(SETTINGS)
