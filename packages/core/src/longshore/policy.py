"""What a consumer may ask for: an allow-list, never a merge.

A request chooses declared parameters, declared inputs and resources within the workflow's bounds.
Nothing else of it reaches a job. An agreement says which workflows there are for its tenant, and
when. Pure: no I/O, no clock.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

import attrs

from longshore.codec import format_time
from longshore.dotenv import parse_dotenv
from longshore.errors import MOST_TOLD, Problem, RequestInvalid
from longshore.models import (
    EVERY_WORKFLOW,
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
from longshore.parameters import check_parameters, pointer, with_defaults
from longshore.quantities import RESOURCES, format_size
from longshore.suggestions import did_you_mean

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@attrs.frozen(kw_only=True)
class Allow:
    """The request, resolved: parameters with their defaults, resources as they will be."""

    parameters: Mapping[str, Any]
    resources: Resources


@attrs.frozen(kw_only=True)
class Deny:
    """Why not: ``request-invalid``, ``too-large`` when size alone is wrong, ``agreement-...``."""

    reason: str
    problems: tuple[Problem, ...]


Decision = Allow | Deny


def covers(agreement: Agreement | None, workflow_id: str) -> bool:
    """Say whether there is such a workflow for whoever acts under ``agreement``."""
    return agreement is None or not {workflow_id, EVERY_WORKFLOW}.isdisjoint(agreement.workflows)


def standing(agreement: Agreement | None, now: datetime) -> Deny | None:
    """Return why nothing new may be started under ``agreement`` at ``now``; None where it may.

    The dates count, whether or not anybody has seen to the end yet. The reasons are
    ``agreement-not-started``, ``agreement-ended`` and ``agreement-revoked``.
    """
    if agreement is None:
        return None
    start, end = agreement.valid_from, agreement.valid_until
    if agreement.state is AgreementState.REVOKED:
        return _over("revoked", "was revoked")
    if agreement.state is AgreementState.ENDED or (end is not None and now >= end):
        return _over("ended", f"ended at {format_time(end)}" if end else "has ended")
    if start is not None and now < start:
        return _over("not-started", f"begins at {format_time(start)}")
    return None


def _over(what: str, sentence: str) -> Deny:
    problem = Problem("", f"the agreement of this token {sentence}")
    return Deny(reason=f"agreement-{what}", problems=(problem,))


def decide(
    request: JobRequest, workflow: Workflow, *, agreement: Agreement | None, now: datetime
) -> Decision:
    """Say whether ``request`` may become a job of ``workflow`` at ``now``, and as what.

    Without an ``agreement`` (embedded, or the provider) every workflow may be used at any time.
    ``Allow`` guarantees that every parameter satisfies the schema and can be handed to a worker,
    that every input is declared and within its size, and that the resources are within bounds.
    ``Deny`` names the mistakes, each with its JSON Pointer: all of them, or very many.
    """
    if (closed := standing(agreement, now)) is not None:
        return closed
    parameters = with_defaults(workflow.parameters, request.parameters)
    problems = list(check_parameters(workflow.parameters, parameters))
    resources, over = _resources(workflow, request.resources)
    problems += over
    too_large: list[Problem] = []
    for name, given in request.inputs.items():
        if len(problems) > MOST_TOLD:
            break
        declared = workflow.inputs.get(name)
        if declared is None:
            hint = did_you_mean(name, workflow.inputs)
            problems.append(Problem(_place(name), f"is no input of the workflow{hint}"))
            continue
        too_large += _size_problems(declared, given)
        problems += _content_problems(declared, given)
    if problems:
        return Deny(reason="request-invalid", problems=(*problems, *too_large))
    if too_large:
        return Deny(reason="too-large", problems=tuple(too_large))
    return Allow(parameters=parameters, resources=resources)


def _place(name: str) -> str:
    return pointer("inputs", name)


def _size_problems(declared: Input, given: InlineInput | AnnouncedInput) -> Iterator[Problem]:
    size = len(given.content) if isinstance(given, InlineInput) else given.size
    if size is not None and size > declared.max_size:
        limit = format_size(declared.max_size)
        yield Problem(
            _place(declared.name), f"has {format_size(size)} ({size} bytes); it may have {limit}"
        )


def _content_problems(declared: Input, given: InlineInput | AnnouncedInput) -> Iterator[Problem]:
    place = _place(declared.name)
    if isinstance(given, AnnouncedInput):
        if given.size is not None and given.size < 0:
            yield Problem(place, f"cannot have {given.size} bytes")
        if given.sha256 is not None and not _SHA256.match(given.sha256):
            yield Problem(place, "the sha256 is not 64 lower-case hexadecimal digits")
    elif declared.kind is InputKind.ENV and len(given.content) <= declared.max_size:
        try:
            parse_dotenv(given.content, declared.names)
        except RequestInvalid as exc:
            for problem in exc.problems or (Problem("", exc.message),):
                yield Problem(place, str(problem))


def _resources(workflow: Workflow, wanted: Mapping[str, Any]) -> tuple[Resources, list[Problem]]:
    if not wanted:
        return workflow.resources, []
    bound = workflow.max_resources or workflow.resources
    chosen: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in islice(wanted.items(), MOST_TOLD + 1):  # fewer are known
        place = pointer("resources", name)
        if name not in RESOURCES:
            hint = did_you_mean(name, RESOURCES)
            problems.append(Problem(place, f"is no resource{hint}"))
            continue
        try:
            chosen[name] = RESOURCES[name](value)
        except ValueError as exc:
            problems.append(Problem(place, str(exc)))
            continue
        most = getattr(bound, name)
        if chosen[name] > most:
            problems.append(Problem(place, f"{value} is more than the workflow's bound, {most}"))
    return attrs.evolve(workflow.resources, **({} if problems else chosen)), problems
