"""S7: tenants cannot see or touch each other, and nobody else sees or touches anything."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from tests.matrix import REFUSED, ROWS, World, cells, routes, state_of, world as make_world

from longshore.models import Caller
from longshore.service import JobService
from longshore_api import requests
from longshore_api.gate import Gate

_PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with make_world(tmp_path_factory.mktemp("world") / "state") as made:
        yield made


def test_every_route_has_its_row() -> None:
    there = {(method, path) for method, path, _ in routes() if method not in {"HEAD", "OPTIONS"}}

    assert there == set(ROWS)


def test_what_can_be_read_has_head_and_everything_has_options() -> None:
    for _, _, methods in routes():
        assert "OPTIONS" in methods
        assert ("GET" in methods) is ("HEAD" in methods)


def _role_of(who: str) -> str:
    return "admin" if who.startswith("admin") else "consumer"


def _wrong(answer: httpx2.Response, status: int) -> str | None:
    """Return what is wrong with a refusal; None where nothing is."""
    if answer.status_code != status:
        return f"{answer.status_code} instead of {status}"
    if answer.headers["content-type"] != _PROBLEM:
        return f"is {answer.headers['content-type']}"
    if status == 401 and not answer.headers.get("www-authenticate", "").startswith("Bearer"):
        return "does not say how to authenticate"
    return None


def _refused_without_a_good_token(world: World) -> list[str]:
    found = []
    for who in REFUSED:
        for method, path, row in cells():
            if not row.is_open:
                answer = world.ask(who, method, world.path_to_theirs(path, row), row)
                if wrong := _wrong(answer, 401):
                    found.append(f"{who}: {method} {path}: {wrong}")
    return found


def _refused_for_the_role(world: World) -> list[str]:
    found = []
    for who in ("owner", "admin", "other tenant"):
        for method, path, row in cells():
            if not row.is_open and _role_of(who) not in row.roles:
                answer = world.ask(who, method, world.path_to_theirs(path, row), row)
                if wrong := _wrong(answer, 403):
                    found.append(f"{who}: {method} {path}: {wrong}")
    return found


def _refused_for_the_scope(world: World) -> list[str]:
    found = []
    for method, path, row in cells():
        for role in row.roles if row.scope else ():
            who = f"{'admin ' if role == 'admin' else ''}without {row.scope}"
            answer = world.ask(who, method, world.path_to_theirs(path, row), row)
            if wrong := _wrong(answer, 403):
                found.append(f"{who}: {method} {path}: {wrong}")
    return found


def _shape(answer: httpx2.Response) -> tuple[int, dict[str, str], str]:
    """Return an answer without what must differ: ids, and the name of what was asked for."""
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name not in {"date", "x-request-id", "content-length"}
    }
    body = re.sub(r'"requestId":"[^"]*"', "", answer.text)
    return answer.status_code, headers, re.sub(r"'(0{26}|[0-9a-z]{26}|copy|nothing)'", "X", body)


def _other_tenant_sees(world: World) -> list[str]:
    """Return where another tenant's things are not as if they were not there."""
    found = []
    for method, path, row in cells():
        if row.is_open or "consumer" not in row.roles:
            continue
        answer = world.ask("other tenant", method, world.path_to_theirs(path, row), row)
        said = answer.text + str(answer.headers)
        if any(secret in said for secret in (world.agreement, world.token_id)):
            found.append(f"{method} {path}: names the other's agreement")
        if "{" in path:
            missing = world.ask("other tenant", method, world.path_to_nothing(path), row)
            if _shape(answer) != _shape(missing) or answer.status_code != 404:
                found.append(f"{method} {path}: {_shape(answer)}, of nothing {_shape(missing)}")
        elif world.job in said or world.finished in said:
            found.append(f"{method} {path}: names the other's job")
    return found


@pytest.mark.parametrize(
    "violations",
    [
        _refused_without_a_good_token,
        _refused_for_the_role,
        _refused_for_the_scope,
        _other_tenant_sees,
    ],
)
def test_whoever_may_not_is_refused_everywhere_and_changes_nothing(
    world: World, violations: Callable[[World], list[str]]
) -> None:
    before = state_of(world)

    assert violations(world) == []
    assert state_of(world) == before


@pytest.mark.parametrize("role", ["owner", "admin"])
def test_whoever_may_is_answered_everywhere(world: World, role: str) -> None:
    for method, path, row in cells():
        if row.is_open or _role_of(role) in row.roles:
            answer = world.ask(role, method, world.fresh(path, row), row)
            assert answer.status_code == row.status, f"{method} {path}: {answer.text}"
            assert method != "HEAD" or answer.content == b""


def test_what_is_open_is_open_to_everybody(world: World) -> None:
    for method, path, row in cells():
        if row.is_open:
            for who in (*REFUSED, "other tenant"):
                answer = world.ask(who, method, world.path_to_theirs(path, row), row)
                assert answer.status_code == row.status, f"{who}: {method} {path}"


def test_under_an_ended_agreement_one_reads_and_starts_nothing(world: World) -> None:
    for method, path, row in cells():
        if "consumer" in row.roles and not row.is_open:
            answer = world.ask("of an ended agreement", method, world.fresh(path, row), row)
            assert answer.status_code == (row.ended or row.status), f"{method} {path}"
            if row.ended:
                assert answer.json()["reason"] == "agreement-ended"


def test_options_need_a_token_and_tell_all_methods(world: World) -> None:
    for method, path, methods in routes():
        row = ROWS.get((method, path))
        if row is not None:
            target = world.path_to_theirs(path, row)
            refused = world.clients["no token"].options(target)
            answer = world.clients["other tenant"].options(target)
            assert refused.status_code == (204 if row.is_open else 401)
            assert answer.status_code == 204
            assert set(answer.headers["allow"].split(", ")) == methods


# the negative controls: what protects is taken away, and the matrix says so


@pytest.fixture
def unprotected(tmp_path: Path) -> Iterator[World]:
    """A world that may be destroyed."""
    with make_world(tmp_path / "state") as made:
        yield made


def test_without_the_check_of_ownership_the_matrix_fails(
    unprotected: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owned = JobService.job

    async def anybodys(self: JobService, _: str | None, job_id: str) -> object:
        return await owned(self, None, job_id)

    monkeypatch.setattr(JobService, "job", anybodys)

    found = _other_tenant_sees(unprotected)

    assert any("GET /v1/jobs/{job_id}:" in one for one in found)
    assert any("POST /v1/jobs/{job_id}/cancel" in one for one in found)


def test_without_the_check_of_roles_and_scopes_the_matrix_fails(
    unprotected: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "check_access", lambda *_: None)

    assert len(_refused_for_the_scope(unprotected)) > 10
    assert any("/metrics" in one for one in _refused_for_the_role(unprotected))


def test_without_authentication_the_matrix_fails(
    unprotected: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = unprotected.clients["owner"].headers["authorization"].partition(" ")[2]
    admit = Gate._admit

    async def as_owner(self: Gate, state: Caller, _: bytes | None, answer: object) -> None:
        await admit(self, state, f"Bearer {token}".encode(), answer)  # type: ignore[arg-type]  # any

    monkeypatch.setattr(Gate, "_admit", as_owner)

    assert len(_refused_without_a_good_token(unprotected)) > 50
