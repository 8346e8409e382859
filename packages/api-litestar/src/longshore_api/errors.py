"""What can be wrong with a request before the core sees it."""

from collections.abc import Iterable, Mapping

from longshore.errors import Problem, RequestError, RetryError


class Malformed(RequestError):
    """Not the JSON that this route takes: its syntax, its members or their types."""

    code = "malformed"

    def __init__(
        self,
        message: str,
        *,
        pointer: str | None = None,
        problems: Iterable[Problem] = (),
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems) if pointer is None else (Problem(pointer, message),)


class UnsupportedMediaType(RequestError):
    """A body that is not sent as JSON."""

    code = "unsupported-media-type"


class UnknownRoute(RequestError):
    """There is nothing at this address."""

    code = "unknown-route"


class MethodNotAllowed(RequestError):
    """The address does not take this method; ``allow`` are those that it takes."""

    code = "method-not-allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message, hint=f"allowed: {allow}")
        self.allow = allow


class RangeNotSatisfiable(RequestError):
    """A ``Range`` behind the end; ``size`` is the number of bytes that there are."""

    code = "range-not-satisfiable"

    def __init__(self, message: str, *, size: int) -> None:
        super().__init__(message)
        self.size = size


class RateLimited(RetryError):
    """This token asks for more than its limit; ``retry_after`` is seconds."""

    code = "rate-limited"

    def __init__(self, message: str, *, retry_after: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class Overloaded(RetryError):
    """All together ask for more than the service can do now."""

    code = "overloaded"


class NotReady(RetryError):
    """A part of the service does not answer; ``checks`` says which."""

    code = "not-ready"

    def __init__(self, checks: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{part}: {found}" for part, found in checks.items()))
        self.checks = dict(checks)
