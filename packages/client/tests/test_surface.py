"""What the package offers is pinned, and nothing is loaded before it is used."""

import importlib
import subprocess
import sys

import pytest

import longshore_client

PUBLIC = {
    *("Agreement", "Caller", "Client", "Conflict", "Denied", "Event", "Invalid", "Job"),
    *("JobFailed", "JobHandle", "Jobs", "LongshoreClient", "LongshoreError", "NotFound", "Output"),
    *("ReportError", "RequestError", "Retry", "RetryError", "Token", "Unauthenticated"),
    "Workflow",
}


def test_the_public_names_are_those_and_no_others() -> None:
    assert set(longshore_client.__all__) == PUBLIC
    assert longshore_client.__all__ == sorted(longshore_client.__all__)
    assert dir(longshore_client) == longshore_client.__all__
    assert set(longshore_client._HOME) == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_is_documented_and_is_where_it_says(name: str) -> None:
    value = getattr(longshore_client, name)
    assert value.__doc__
    assert getattr(importlib.import_module(value.__module__), name) is value


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Job5'"):
        _ = longshore_client.Job5


def test_importing_the_package_loads_nothing_else() -> None:
    program = "import sys; import longshore_client; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"httpx2", "anyio", "asyncio", "click", "rich", "ssl"}
    assert {name for name in loaded if name.startswith("longshore_client.")} == set()


#: a program that blocks is given the answer where the other one awaits it
OWN = {"Client": {"close"}, "JobHandle": {"job", "state", "output"}}
AWAITED = {"JobHandle": {"refresh"}}


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Client", "client.LongshoreClient"),
        ("JobHandle", "handles.JobHandle"),
        ("Output", "handles.Output"),
        ("Agreements", "access.Agreements"),
    ],
)
def test_the_blocking_twin_has_the_same_methods(name: str, other: str) -> None:
    def public(dotted: str) -> set[str]:
        module, _, attribute = dotted.partition(".")
        kind = getattr(importlib.import_module(f"longshore_client.{module}"), attribute)
        return {one for one in vars(kind) if not one.startswith("_")}

    ours, theirs = public(f"blocking.{name}"), public(other)
    assert ours - OWN.get(name, set()) == theirs - AWAITED.get(name, set())
