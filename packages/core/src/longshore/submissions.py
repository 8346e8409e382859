"""What becomes of a request for a job: the submission, or the error that says why there is none."""

import hashlib
import json

import attrs

from longshore.codec import converter
from longshore.errors import Denied, RequestError, RequestInvalid, TooLarge
from longshore.models import Job, JobRequest, Workflow
from longshore.policy import Deny
from longshore.transfer import SignedUpload, Transfer


@attrs.frozen
class Submission:
    """A job, the uploads that it waits for by input, and whether this call made it."""

    job: Job
    uploads: dict[str, SignedUpload]
    is_new: bool


def refusal(decision: Deny, workflow_id: str) -> RequestError:
    """Return what is raised for a decision of the policy."""
    said = "; ".join(str(problem) for problem in decision.problems)
    if decision.reason == "request-invalid":
        return RequestInvalid(f"the request for {workflow_id!r} has mistakes", decision.problems)
    if decision.reason == "too-large":
        return TooLarge(said)
    return Denied(said, reason=decision.reason, hint="ask the provider for an agreement that holds")


def fingerprint(request: JobRequest) -> str:
    """Return the same text for equal requests, in whatever order their members came."""
    text = json.dumps(converter.unstructure(request), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def is_awaited(transfer: Transfer, workflow: Workflow) -> bool:
    """Say whether a job cannot start before this upload came."""
    return transfer.announced or workflow.inputs[transfer.name].required
