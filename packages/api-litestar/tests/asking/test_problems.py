"""Every error is one kind of problem, and tells nobody what is the provider's own business."""

import json
from collections.abc import Iterator

import pytest

from longshore import errors as core
from longshore_api import errors
from longshore_api.problems import STATUS, TITLES, problem_of, to_answer

_PRIVATE = "/srv/longshore/state.db is on fire"


def _kinds(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _kinds(one)


def _made(kind: type[BaseException]) -> BaseException:
    """Return an error of a kind, whatever its constructor wants."""
    error = kind.__new__(kind)
    error.__dict__.update(
        message=_PRIVATE,
        hint=_PRIVATE,
        problems=(),
        missing=("text",),
        checks={"store": "failed"},
        reason="why",
        pointer=None,
        allow="GET",
        size=3,
        retry_after=0.2,
    )
    return error


_KINDS = sorted(
    {
        kind
        for kind in _kinds(core.LongshoreError)
        if kind.__module__ in {core.__name__, errors.__name__}
    },
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", _KINDS)
def test_whoever_can_do_nothing_about_it_is_told_nothing_of_it(kind: type[BaseException]) -> None:
    problem = problem_of(_made(kind), "id")
    is_theirs = issubclass(kind, core.RequestError)

    assert (problem.status < 500) is (is_theirs or kind is errors.RateLimited)
    assert problem.title == TITLES[problem.status]
    tells = is_theirs or kind in {errors.RateLimited, errors.Overloaded}
    assert (_PRIVATE in problem.detail) is tells
    assert (_PRIVATE in problem.hint) is (problem.status < 500)


@pytest.mark.parametrize("kind", _KINDS)
def test_an_answer_has_the_headers_that_belong_to_its_status(kind: type[BaseException]) -> None:
    status, pairs, body = to_answer(_made(kind), "id")
    headers = {name.decode(): value.decode() for name, value in pairs}

    assert headers["content-type"] == "application/problem+json"
    assert headers["cache-control"] == "no-store"
    assert int(headers["content-length"]) == len(body)
    assert ("retry-after" in headers) is (status in {429, 503})
    assert ("www-authenticate" in headers) is (status == 401)
    assert ("allow" in headers) is (status == 405)
    assert ("content-range" in headers) is (status == 416)
    assert json.loads(body)["requestId"] == "id"


def test_a_defect_is_an_internal_error_without_its_text() -> None:
    problem = problem_of(ZeroDivisionError(_PRIVATE), "id")

    assert (problem.status, problem.code) == (500, "internal")
    assert _PRIVATE not in str(problem)


def test_every_status_has_a_title() -> None:
    assert set(STATUS.values()) == set(TITLES)
