"""What stands between a service, its jobs, its consumers and the bucket."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import attrs
from tests.faultproxy import Asked, FaultProxy
from tests.serving import Service

#: starts the service with its storage on S3
Serve = Callable[..., AbstractContextManager[Service]]


@attrs.frozen
class Ways:
    """The ways to the bucket: of the service, of its jobs, and of consumers."""

    of_service: FaultProxy
    of_jobs: FaultProxy
    of_consumers: FaultProxy


def is_put(asked: Asked) -> bool:
    """Say whether a part of an input is sent."""
    return asked.method == "PUT" and "/inputs/" in asked.target


def is_get(asked: Asked) -> bool:
    """Say whether an output is read."""
    return asked.method == "GET" and "/outputs/" in asked.target


def puts(proxy: FaultProxy) -> list[Asked]:
    """Return the parts of inputs that went this way."""
    return [asked for asked in proxy.seen if is_put(asked)]
