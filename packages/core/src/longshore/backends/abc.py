"""The contract of a workflow backend: what runs jobs on one engine."""

import abc
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Protocol, runtime_checkable

from longshore.models import JobSpec, Observation, RunRef, Snapshot, Workflow
from longshore.transfer import TransferPlan


class WorkflowBackend(abc.ABC):
    """Runs attempts on one engine. It reports and never decides: it knows no job of ours.

    Every method may raise ``BackendUnavailable``; then nothing is known to have happened, and the
    same call is sent again. ``examples/longshore-backend-template`` in the repository is a whole
    plug-in; ``longshore.testing.WorkflowBackendContract`` is the test of this contract.
    """

    @abc.abstractmethod
    async def submit(self, ref: RunRef, spec: JobSpec, plan: TransferPlan) -> None:
        """Create the attempt ``ref.name``.

        When it returns, the engine has durably accepted the attempt and carries it out without
        further calls. Repeatable: an attempt that is there already is success and is not started
        twice. Only creates: it never replaces a spec or a plan.
        """

    @abc.abstractmethod
    async def renew(self, ref: RunRef, plan: TransferPlan) -> None:
        """Replace the plan of an existing attempt.

        When it returns, transfers that begin from now on use ``plan``. Never creates an attempt.

        Raises:
            AttemptGone: the engine has no such attempt.
        """

    @abc.abstractmethod
    async def stop(self, ref: RunRef, *, grace: timedelta) -> None:
        """Ask the worker to end: SIGTERM, then SIGKILL after ``grace``.

        When it returns, the request is durable in the engine; the end is observed, not returned.
        Repeatable; an attempt that ended or never was is no error. An attempt that has not
        started its worker will not start it.
        """

    @abc.abstractmethod
    def observe(self) -> AsyncIterator[Observation]:
        """Yield observations as they are made. Hints: it may end or miss some, but never lies."""

    @abc.abstractmethod
    async def snapshot(self) -> Snapshot:
        """Return the truth: every attempt of this instance, read after ``as_of``.

        ``as_of`` is not later than the beginning of this call.
        """

    @abc.abstractmethod
    def logs(self, ref: RunRef, *, start: int = 0) -> AsyncIterator[bytes]:
        """Yield what there is of the live log from byte ``start`` on, then end.

        The bytes at an offset never change. An attempt without a log yields nothing.
        """

    @abc.abstractmethod
    async def remove(self, ref: RunRef) -> None:
        """Remove all traces of the attempt in the engine, running or not. Repeatable."""


@runtime_checkable
class SupportsCapacity(Protocol):
    """A backend that runs a fixed number of attempts at once and keeps no queue of its own.

    The supervisor then submits at most ``slots`` attempts, and the rest stays QUEUED.
    """

    @property
    def slots(self) -> int:
        """How many attempts run at once."""
        ...


@runtime_checkable
class SupportsProbe(Protocol):
    """A backend that can say, before anything is asked of it, whether it works."""

    async def probe(self) -> None:
        """Return when the engine answers.

        Raises:
            BackendUnavailable: it does not; the message says what is wrong.
        """
        ...


@runtime_checkable
class SupportsCheck(Protocol):
    """A backend that can say of a workflow, before any job, that it could never run it."""

    async def check(self, workflow: Workflow) -> None:
        """Return where it may be able to.

        Raises:
            WorkflowRefused: it is not; the message says what is missing.
        """
        ...
