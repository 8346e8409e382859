"""What a caller has seen of a job, as the condition of what it asks for."""

from longshore.errors import PreconditionFailed
from longshore.models import Job


def unchanged(job: Job, expected: int | None) -> Job:
    """Return ``job``, whose last event is the number ``expected``; None expects nothing.

    Asked inside of a decision it is one step with the change: of two callers who have seen the
    same, one is refused.

    Raises:
        PreconditionFailed: it has another number.
    """
    if expected is not None and job.seq != expected:
        raise PreconditionFailed(
            f'the job is at "{job.seq}", not at "{expected}"', hint="look at it again"
        )
    return job
