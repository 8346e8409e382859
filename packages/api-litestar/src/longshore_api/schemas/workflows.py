"""Workflows on the wire."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType


class WorkflowInput(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A declared input; ``maxSize`` and ``maxUnpacked`` are bytes."""

    kind: str
    required: bool
    max_size: int
    description: str
    media_type: str | None
    names: list[str] | UnsetType = UNSET
    max_unpacked: int | UnsetType = UNSET


class WorkflowOutput(Struct, frozen=True, rename="camel"):
    """A declared output; ``maxSize`` is bytes."""

    kind: str
    required: bool
    max_size: int
    description: str
    media_type: str | None


class Resources(Struct, frozen=True, rename="camel"):
    """CPUs, bytes of memory and scratch, GPUs, and seconds."""

    cpu: float
    memory: int
    gpu: int
    disk: int
    walltime: float


class Workflow(Struct, frozen=True, rename="camel"):
    """A workflow: its parameters as JSON Schema, what goes in and what comes out."""

    id: str
    title: str
    version: str
    description: str
    network: str
    parameters: dict[str, Any]
    inputs: dict[str, WorkflowInput]
    outputs: dict[str, WorkflowOutput]
    resources: Resources
    max_resources: Resources


class WorkflowList(Struct, frozen=True, rename="camel"):
    """The workflows that this token may run."""

    items: list[Workflow]
    next: str | None
