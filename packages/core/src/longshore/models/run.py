"""What a workflow backend is given, and what it reports."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import attrs

from longshore.models.job import Job, Outcome, Progress
from longshore.models.workflow import Dataset, Input, Network, Output, Resources

#: bytes of a worker's log that are kept
LOG_CAP = 100 * 1024**2


@attrs.frozen(order=True)
class RunRef:
    """One attempt at one job, for one tenant."""

    job_id: str
    attempt: int
    tenant: str = attrs.field(eq=False, default="")

    @property
    def name(self) -> str:
        """The deterministic name of the engine's object."""
        return f"ls-{self.job_id}-{self.attempt}"


def run_ref(job: Job) -> RunRef:
    """Return the reference of the job's present attempt."""
    return RunRef(job.id, job.attempt, job.tenant)


@attrs.frozen(kw_only=True)
class JobSpec:
    """A request resolved by us; all a backend sees.

    Values in ``command`` may still hold the placeholders of places, which only a backend knows:
    ``{inputs.NAME}``, ``{outputs.NAME}``, ``{datasets.NAME}``, ``{parameters_file}`` and
    ``{python}``; ``longshore.placing.place`` fills them in. ``environment`` has the declared
    variables; ``parameters_json`` is the text of the parameters file. ``log_cap`` is bytes.
    """

    workflow: str
    command: tuple[str, ...]
    image: str | None = None
    environment: Mapping[str, str] = attrs.field(factory=dict[str, str])
    parameters_json: str = "{}"
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    datasets: tuple[Dataset, ...] = ()
    resources: Resources = Resources()
    network: Network = Network.STORAGE
    directory: Path | None = None
    log_cap: int = LOG_CAP
    grace: timedelta = timedelta(seconds=30)


class Phase(StrEnum):
    """Where an attempt is in the engine; ``ENDED`` means staged out, or given up, for good."""

    WAITING = "waiting"
    STAGING_IN = "staging-in"
    RUNNING = "running"
    STAGING_OUT = "staging-out"
    ENDED = "ended"
    TAKEN = "taken"


@attrs.frozen(kw_only=True)
class Observation:
    """What an engine says about an attempt now. A report, not a fact of ours.

    ``outcome`` is set as soon as the worker's end is known. ``ENDED`` without an outcome means that
    the worker never ran; then ``reason`` says why as a reason code, and ``message`` in words.
    ``TAKEN`` is the engine's evidence that the platform took the attempt away before the worker
    started. ``enforced`` says per limit how it is held (``cgroup``, ``prlimit``,
    ``not enforced``).
    """

    job_id: str
    attempt: int
    phase: Phase
    outcome: Outcome | None = None
    reason: str | None = None
    message: str = ""
    progress: Progress | None = None
    enforced: Mapping[str, str] = attrs.field(factory=dict[str, str])
    started_at: datetime | None = None
    ended_at: datetime | None = None


@attrs.frozen
class Snapshot:
    """Every attempt of this instance that the engine has, read after ``as_of``."""

    as_of: datetime
    observations: tuple[Observation, ...]
