"""What a consumer may ask for: an allow-list, never a merge.

A request chooses declared parameters, declared inputs and resources within the workflow's bounds.
Nothing else of it reaches a job. Pure: no I/O, no clock.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from longshore.dotenv import parse_dotenv
from longshore.errors import Problem, RequestInvalid
from longshore.models import (
    AnnouncedInput,
    InlineInput,
    Input,
    InputKind,
    JobRequest,
    Resources,
    Workflow,
)
from longshore.parameters import (
    check_parameters,
    parameter_environment,
    pointer,
    with_defaults,
)
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
    """Why not. ``reason`` is ``request-invalid``, or ``too-large`` when size alone is wrong."""

    reason: str
    problems: tuple[Problem, ...]


Decision = Allow | Deny


def decide(request: JobRequest, workflow: Workflow) -> Decision:
    """Say whether ``request`` may become a job of ``workflow``, and as what.

    ``Allow`` guarantees that every parameter satisfies the schema and can be handed to a worker,
    that every input is declared and within its size, and that the resources are within bounds.
    ``Deny`` names every mistake with its JSON Pointer.
    """
    parameters = with_defaults(workflow.parameters, request.parameters)
    problems = list(check_parameters(workflow.parameters, parameters))
    if not problems:
        try:
            parameter_environment(parameters)
        except RequestInvalid as exc:
            problems += exc.problems
    resources, over = _resources(workflow, request.resources)
    problems += over
    too_large: list[Problem] = []
    for name, given in request.inputs.items():
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
    bound = workflow.max_resources or workflow.resources
    chosen: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in wanted.items():
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
