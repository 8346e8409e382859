"""From a workflow and what a request chose to a ``JobSpec``: all that a backend sees. Pure."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from longshore.models import InputKind, JobSpec, Network, Resources, Workflow
from longshore.parameters import parameter_environment


def make_spec(
    workflow: Workflow,
    *,
    parameters: Mapping[str, Any],
    resources: Resources,
    environment: Mapping[str, str] | None = None,
    grace: timedelta = timedelta(seconds=30),
) -> JobSpec:
    """Return the spec of a job.

    The command is the workflow's own, element by element: no value of a request enters it, so
    nothing that a consumer writes is ever taken for a placeholder, an option or a shell's text.
    Values go to the environment and to the parameters file, as whole strings.

    Args:
        workflow: what the provider offers.
        parameters: values that ``policy.decide`` allowed, defaults included.
        resources: what ``policy.decide`` allowed.
        environment: the variables of the env inputs, parsed.
        grace: what a worker gets between SIGTERM and SIGKILL when its walltime is over.

    Raises:
        RequestInvalid: a parameter cannot be given to a worker.
    """
    return JobSpec(
        workflow=workflow.id,
        command=workflow.command,
        image=workflow.image,
        environment={**(environment or {}), **parameter_environment(parameters)},
        parameters_json=json.dumps(parameters, ensure_ascii=False),
        inputs=tuple(one for one in workflow.inputs.values() if one.kind is not InputKind.ENV),
        outputs=tuple(workflow.outputs.values()),
        datasets=tuple(workflow.datasets.values()),
        resources=resources,
        network=Network.CLOSED if workflow.is_closed else workflow.network,
        directory=workflow.directory,
        grace=grace,
    )
