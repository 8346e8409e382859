"""What the package offers is pinned, and importing it costs little."""

import importlib
import subprocess
import sys

import pytest

import longshore

PUBLIC = {
    *("Clock", "Embedded", "Job", "JobEvent", "JobFailed", "JobHandle", "JobQuery", "JobRequest"),
    *("JobService", "JobState", "Longshore", "LongshoreError", "Output", "StorageBackend", "Store"),
    *("SupportsCapacity", "SupportsCheck", "SupportsProbe", "SystemClock"),
    *("Workflow", "WorkflowBackend"),
    *("load_workflow", "open_embedded", "parse_workflow"),
}
#: what many programs never need, or what costs more than all of ours
HEAVY = {
    *("asyncio", "sqlite3", "jsonschema_rs", "click", "rich", "subprocess", "tarfile", "zipfile"),
    *("litestar", "starlette", "fastapi", "flask", "aiohttp", "httpx", "requests", "uvicorn"),
    *("kubernetes", "boto3", "botocore", "fsspec", "s3fs", "obstore", "pytest", "hypothesis"),
}


def loaded_after(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has after ``statement``."""
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    argv = [sys.executable, "-S", "-I", "-c", script]
    paths = [path for path in sys.path if path]
    argv[-1] = f"import sys\nsys.path[:] = {paths!r}\n{script}"
    return set(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split())


def test_the_public_names_are_those_and_no_others() -> None:
    assert set(longshore.__all__) == PUBLIC
    assert longshore.__all__ == sorted(longshore.__all__)
    assert dir(longshore) == longshore.__all__


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_is_there_and_is_documented(name: str) -> None:
    value = getattr(longshore, name)
    assert value.__doc__
    assert getattr(importlib.import_module(value.__module__), name) is value


def test_every_public_name_is_where_type_checkers_look_for_it() -> None:
    assert set(longshore._HOME) == PUBLIC
    for module, names in longshore._HOMES.items():
        for name in names:
            assert getattr(importlib.import_module(module), name) is getattr(longshore, name)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'longshore' has no attribute 'Job5'"):
        _ = longshore.Job5


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = loaded_after("import longshore")
    assert "longshore" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("Workflow", set[str]()),
        ("WorkflowBackend", {"asyncio"}),
        ("parse_workflow", set[str]()),
        ("JobService", {"asyncio"}),
    ],
)
def test_a_name_loads_only_what_it_needs(name: str, allowed: set[str]) -> None:
    loaded = loaded_after(f"from longshore import {name}")
    assert not loaded & (HEAVY - allowed)
