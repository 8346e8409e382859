"""Where a job's bytes lie: keys built from ids and declared names, never from a sent file name."""

from longshore.models import Job


def job_prefix(instance: str, job: Job) -> str:
    """Return the prefix of everything that belongs to ``job``."""
    return f"{instance}/{job.tenant}/{job.id}/"


def input_key(instance: str, job: Job, name: str) -> str:
    """Return the key of an input."""
    return f"{job_prefix(instance, job)}inputs/{name}"


def output_key(instance: str, job: Job, name: str) -> str:
    """Return the key of an output."""
    return f"{job_prefix(instance, job)}outputs/{name}"


def attempt_key(instance: str, job: Job, name: str) -> str:
    """Return the key of what belongs to the job's present attempt: ``log``, ``manifest.json``."""
    return f"{job_prefix(instance, job)}{job.attempt}/{name}"
