"""What our objects are called and how they are marked. Pure.

Consumers' words never become labels: a tenant or workflow is an annotation, which takes any text.
"""

import re
from collections.abc import Mapping

from longshore.models.run import RunRef

MANAGED_BY = "app.kubernetes.io/managed-by"
OURS = "longshore"
INSTANCE = "longshore/instance"
JOB = "longshore/job"
ATTEMPT = "longshore/attempt"
TENANT = "longshore/tenant"
WORKFLOW = "longshore/workflow"
#: a pod with this label reaches storage and DNS; closed jobs lose it while their worker runs
NETWORK = "longshore/network"
OPEN = "storage"

#: containers of a pod
INSTALL, WORKER, MOVER = "install", "worker", "mover"

_ATTEMPT = re.compile(r"[1-9][0-9]{0,8}\Z")


def labels(ref: RunRef, instance: str) -> dict[str, str]:
    """Return the labels of every object of an attempt."""
    return {MANAGED_BY: OURS, INSTANCE: instance, JOB: ref.job_id, ATTEMPT: str(ref.attempt)}


def selector(instance: str) -> str:
    """Return the label selector of everything that an installation has made."""
    return f"{MANAGED_BY}={OURS},{INSTANCE}={instance}"


def run_ref(marks: Mapping[str, str]) -> RunRef | None:
    """Return whose object it is, by its labels; None where they do not say."""
    job_id, attempt = marks.get(JOB), marks.get(ATTEMPT, "")
    if not job_id or not _ATTEMPT.match(attempt):
        return None
    return RunRef(job_id, int(attempt))
