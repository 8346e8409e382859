"""What an operator is told, on the wire."""

from typing import Annotated

from msgspec import Meta, Struct


class Alive(Struct, frozen=True):
    """The process answers."""

    status: Annotated[str, Meta(examples=["ok"])]


class Ready(Struct, frozen=True):
    """Every part answers: ``store``, ``storage``, and ``backend:NAME`` for each."""

    status: Annotated[str, Meta(examples=["ready"])]
    checks: Annotated[
        dict[str, str], Meta(examples=[{"store": "ok", "storage": "ok", "backend:local": "ok"}])
    ]
