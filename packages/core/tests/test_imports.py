"""What is loaded when: importing Longshore is cheap, and what is heavy comes when it is used."""

import subprocess
import sys

import pytest

HEAVY = {"asyncio", "sqlite3", "jsonschema_rs", "subprocess", "tarfile", "zipfile", "hypothesis"}
FOREIGN = {"click", "rich", "litestar", "starlette", "fastapi", "kubernetes", "boto3", "fsspec"}


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has after ``statement``."""
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


def test_importing_longshore_loads_nothing_that_is_not_used() -> None:
    modules = loaded_by("import longshore")
    assert not modules & (HEAVY | FOREIGN)
    assert not [name for name in modules if name.startswith("longshore.")]


def test_everything_public_loads_no_store_no_backend_and_no_framework() -> None:
    modules = loaded_by("from longshore import *")
    assert "longshore.service" in modules
    late = {"sqlite3", "jsonschema_rs", "tarfile", "longshore.stores.sqlite"}
    assert not modules & (late | FOREIGN)
    assert "longshore.backends.local.backend" not in modules


@pytest.mark.parametrize("name", sorted(__import__("longshore").__all__))
def test_every_public_name_can_be_had(name: str) -> None:
    import longshore  # noqa: PLC0415 - its names are loaded when they are asked for

    assert getattr(longshore, name).__name__ == name
    assert name in dir(longshore)
