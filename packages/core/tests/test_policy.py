"""A request is allowed as a whole, or every mistake in it is named."""

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from longshore import dotenv, parameters, policy
from longshore.dotenv import MAX_SIZE
from longshore.errors import MOST_TOLD
from longshore.models import (
    Agreement,
    AgreementState,
    AnnouncedInput,
    InlineInput,
    Input,
    InputKind,
    JobRequest,
    Resources,
    Workflow,
)
from longshore.policy import Allow, Deny, covers, decide

WORKFLOW = Workflow(
    id="w",
    command=("true",),
    parameters={"properties": {"top": {"type": "integer", "default": 3}, "name": {}}},
    inputs={
        "text": Input(name="text", max_size=10),
        "env": Input(name="env", kind=InputKind.ENV, names=("A", "B"), max_size=100),
    },
    resources=Resources(cpu=1.0, memory=1000, gpu=0, disk=500, walltime=timedelta(minutes=1)),
    max_resources=Resources(cpu=4.0, memory=4000, gpu=0, disk=500, walltime=timedelta(hours=1)),
)
SHA = "a" * 64
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def allowed(**request: Any) -> Allow:
    decision = decide(JobRequest(workflow="w", **request), WORKFLOW, agreement=None, now=NOW)
    assert isinstance(decision, Allow)
    return decision


def denied(workflow: Workflow = WORKFLOW, **request: Any) -> tuple[str, dict[str, str]]:
    decision = decide(JobRequest(workflow="w", **request), workflow, agreement=None, now=NOW)
    assert isinstance(decision, Deny)
    return decision.reason, {problem.where: problem.message for problem in decision.problems}


def test_an_empty_request_is_the_workflow_with_its_defaults() -> None:
    decision = allowed()
    assert decision.parameters == {"top": 3}
    assert decision.resources == WORKFLOW.resources


def test_what_is_given_goes_before_defaults() -> None:
    decision = allowed(parameters={"top": 5, "name": "x"}, resources={"memory": "2 kB"})
    assert decision.parameters == {"top": 5, "name": "x"}
    assert decision.resources == attrs.evolve(WORKFLOW.resources, memory=2000)


def test_resources_are_chosen_up_to_their_bounds() -> None:
    chosen = {"cpu": 4, "memory": 4000, "gpu": 0, "disk": 0, "walltime": "1h"}
    assert allowed(resources=chosen).resources == Resources(
        cpu=4.0, memory=4000, gpu=0, disk=0, walltime=timedelta(hours=1)
    )


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"cpu": 4.5}, "4.5 is more than the workflow's bound, 4.0"),
        ({"memory": "4 KiB"}, "4 KiB is more than"),
        ({"gpu": 1}, "1 is more than the workflow's bound, 0"),
        ({"disk": 501}, "501 is more than"),
        ({"walltime": "61m"}, "61m is more than the workflow's bound, 1:00:00"),
        ({"memory": 0}, "more than nothing"),
        ({"memory": -1}, "is not a size"),
        ({"cpu": "2"}, "is not a number of CPUs"),
        ({"cpu": float("nan")}, "is not a number of CPUs"),
        ({"memroy": 1}, "is no resource; did you mean 'memory'?"),
        ({"image": "evil"}, "is no resource; known are"),
    ],
)
def test_a_resource_that_is_not_offered_is_refused(resources: dict[str, Any], said: str) -> None:
    reason, problems = denied(resources=resources)
    ((where, message),) = problems.items()
    assert reason == "request-invalid"
    assert where == f"/resources/{next(iter(resources))}"
    assert said in message


def test_without_bounds_the_workflows_own_resources_are_the_most() -> None:
    narrow = attrs.evolve(WORKFLOW, max_resources=None)
    _, problems = denied(narrow, resources={"memory": 1001})
    assert problems == {"/resources/memory": "1001 is more than the workflow's bound, 1000"}


def test_every_mistake_is_named_at_once() -> None:
    reason, problems = denied(
        parameters={"top": "x", "nam": 1},
        resources={"cpu": 0},
        inputs={
            "tex": AnnouncedInput(),
            "text": AnnouncedInput(size=11),
            "env": InlineInput(content=b"A=1\nC=2\nPATH=/x\n"),
        },
    )
    assert reason == "request-invalid"
    assert set(problems) == {
        "/parameters/top",
        "/parameters/nam",
        "/resources/cpu",
        "/inputs/tex",
        "/inputs/text",
        "/inputs/env",
    }
    assert "did you mean 'text'?" in problems["/inputs/tex"]


@pytest.mark.parametrize("given", [AnnouncedInput(size=11), InlineInput(content=b"x" * 11)])
def test_an_input_that_is_only_too_large_says_so(given: InlineInput | AnnouncedInput) -> None:
    assert denied(inputs={"text": given}) == (
        "too-large",
        {"/inputs/text": "has 11 B (11 bytes); it may have 10 B"},
    )


@pytest.mark.parametrize(
    "given",
    [
        AnnouncedInput(),
        AnnouncedInput(size=0),
        AnnouncedInput(size=10, sha256=SHA),
        InlineInput(content=b"x" * 10),
        InlineInput(content=b""),
    ],
)
def test_an_input_up_to_its_size_is_taken(given: InlineInput | AnnouncedInput) -> None:
    allowed(inputs={"text": given})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (AnnouncedInput(size=-1), "cannot have -1 bytes"),
        (AnnouncedInput(sha256="A" * 64), "64 lower-case"),
        (AnnouncedInput(sha256="a" * 63), "64 lower-case"),
        (AnnouncedInput(sha256=SHA + "\n"), "64 lower-case"),
    ],
)
def test_an_announcement_that_nobody_can_keep_is_refused(given: AnnouncedInput, said: str) -> None:
    reason, problems = denied(inputs={"text": given})
    assert reason == "request-invalid"
    assert said in problems["/inputs/text"]


def test_an_env_input_is_read_before_it_is_taken() -> None:
    allowed(inputs={"env": InlineInput(content=b"A=1\nB='x y'\n")})
    _, problems = denied(inputs={"env": InlineInput(content=b"A=1\nC=2\n")})
    assert problems["/inputs/env"].startswith("line 2: C is not declared by the workflow")


def test_an_env_input_that_is_too_large_is_not_read() -> None:
    reason, _ = denied(inputs={"env": InlineInput(content=b"?" * 101)})
    assert reason == "too-large"


def test_a_parameter_that_no_variable_can_hold_is_refused_before_there_is_a_job() -> None:
    _, problems = denied(parameters={"name": "x\0y"})
    assert problems == {"/parameters/name": "holds NUL"}


def test_nothing_is_asked_of_a_workflow_that_takes_nothing() -> None:
    closed = Workflow(id="w", command=("true",))
    _, problems = denied(closed, parameters={"a": 1}, inputs={"x": AnnouncedInput()})
    assert set(problems) == {"/parameters/a", "/inputs/x"}


# what an agreement allows

AGREEMENT = Agreement(
    id="a",
    tenant="acme",
    workflows=("w",),
    created_at=NOW,
    valid_from=NOW,
    valid_until=NOW + timedelta(hours=1),
)
MOMENT = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("fields", "at", "reason"),
    [
        ({}, NOW - MOMENT, "agreement-not-started"),
        ({}, NOW, None),
        ({}, NOW + timedelta(hours=1) - MOMENT, None),
        ({}, NOW + timedelta(hours=1), "agreement-ended"),
        ({"valid_from": None, "valid_until": None}, NOW, None),
        ({"state": AgreementState.ENDED}, NOW, "agreement-ended"),
        ({"state": AgreementState.ENDED, "valid_until": None}, NOW, "agreement-ended"),
        ({"state": AgreementState.REVOKED}, NOW, "agreement-revoked"),
        ({"state": AgreementState.REVOKED}, NOW - MOMENT, "agreement-revoked"),
    ],
)
def test_an_agreement_allows_from_its_beginning_to_before_its_end(
    fields: dict[str, Any], at: datetime, reason: str | None
) -> None:
    agreement = attrs.evolve(AGREEMENT, **fields)
    decision = decide(JobRequest(workflow="w"), WORKFLOW, agreement=agreement, now=at)
    assert (decision.reason if isinstance(decision, Deny) else None) == reason


def test_an_agreement_that_is_over_goes_before_every_mistake_of_the_request() -> None:
    request = JobRequest(workflow="w", resources={"cpu": 99})
    ended = attrs.evolve(AGREEMENT, state=AgreementState.ENDED)
    decision = decide(request, WORKFLOW, agreement=ended, now=NOW)
    assert isinstance(decision, Deny)
    assert decision.reason == "agreement-ended"


@pytest.mark.parametrize(
    ("workflows", "covered"), [(("w",), True), (("v", "w"), True), (("*",), True), (("v",), False)]
)
def test_an_agreement_covers_what_it_names(workflows: tuple[str, ...], *, covered: bool) -> None:
    assert covers(attrs.evolve(AGREEMENT, workflows=workflows), "w") is covered


_MANY = [f"n{number}" for number in range(10_000)]


@pytest.mark.parametrize(
    "request_",
    [
        {"parameters": dict.fromkeys(_MANY, 1)},
        {"inputs": dict.fromkeys(_MANY, InlineInput(content=b""))},
        {"resources": dict.fromkeys(_MANY, 1)},
        {"inputs": {"env": InlineInput(content="".join(f"{one}=1\n" for one in _MANY).encode())}},
    ],
    ids=["parameters", "inputs", "resources", "variables"],
)
def test_of_very_many_mistakes_so_many_are_named_that_it_is_clear(
    request_: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes a search for what may have been meant, and others wait meanwhile."""
    searches: list[str] = []

    def search(word: str, _: object) -> str:
        searches.append(word)
        return ""

    for module in (policy, parameters, dotenv):
        monkeypatch.setattr(module, "did_you_mean", search)
    env = attrs.evolve(WORKFLOW.inputs["env"], max_size=MAX_SIZE)
    workflow = attrs.evolve(WORKFLOW, inputs={**WORKFLOW.inputs, "env": env})

    decision = decide(JobRequest(workflow="w", **request_), workflow, agreement=None, now=NOW)

    assert isinstance(decision, Deny)
    assert MOST_TOLD <= len(decision.problems) == len(searches) <= MOST_TOLD + 1


def test_without_an_agreement_everything_is_covered() -> None:
    assert covers(None, "w")
