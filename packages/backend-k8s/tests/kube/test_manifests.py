"""The objects of an attempt, as files that people read; and what is refused."""

import difflib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests import kubemaking as making

from longshore.codec import from_json
from longshore.errors import IsolationUnavailable, LongshoreError, WorkflowRefused
from longshore.models import Dataset, Input, JobSpec, Network, Output, Resources
from longshore_k8s import manifests
from longshore_k8s.attempt import AttemptFacts
from longshore_k8s.settings import (
    GpuKind,
    KubernetesSettings,
    Operator,
    Toleration,
    Workspace,
)
from longshore_mover.order import Order

GOLDEN = Path(__file__).parent / "golden"
GPU = KubernetesSettings(
    gpu_kinds={
        "slice": GpuKind(
            resource="nvidia.com/mig-1g.5gb",
            node_selector={"gpu": "a100"},
            tolerations=(Toleration(key="gpu", operator=Operator.EXISTS),),
        )
    },
    gpu_kind="slice",
    node_selector={"pool": "jobs"},
    pull_secrets=("registry",),
    service_account="jobs",
    runtime_class="gvisor",
    priority_class="low",
    queue="team-a",
)
CASES: dict[str, dict[str, Any]] = {
    "plain": making.objects(making.SPEC),
    "gpu": making.objects(attrs.evolve(making.SPEC, resources=Resources(gpu=2)), GPU),
    "closed": making.objects(
        attrs.evolve(
            making.SPEC,
            network=Network.CLOSED,
            datasets=(Dataset(name="cohort", source="hospital/2026/a", path="/data/cohort"),),
        )
    ),
    "claim": making.objects(
        making.SPEC,
        KubernetesSettings(workspace=Workspace.CLAIM, storage_class="fast", writable_root=True),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_objects_are_those_of_the_file(name: str) -> None:
    path = GOLDEN / f"{name}.json"
    made = json.dumps(CASES[name], indent=2, ensure_ascii=False) + "\n"

    before = path.read_text("utf-8")
    difference = difflib.unified_diff(
        before.splitlines(), made.splitlines(), str(path), "made now", lineterm=""
    )

    assert before == made, "\n" + "\n".join(difference)


def test_the_plan_is_what_the_mover_reads() -> None:
    order = from_json(Order, CASES["closed"]["Secret"]["stringData"]["plan.json"])

    assert order.plan == making.PLAN
    assert order.closed == making.GIVEN.closed
    assert order.grace == timedelta(seconds=60)
    assert str(order.input_places["text"]) == "/longshore/job/in/0/text"
    assert str(order.directory) == "/longshore/job"


def test_a_renewal_replaces_the_plan_and_nothing_else() -> None:
    later = attrs.evolve(making.PLAN, generation=2)

    patch = manifests.renewal(making.REF, making.SPEC, later, KubernetesSettings(), making.GIVEN)

    assert set(patch) == {"stringData"}
    assert set(patch["stringData"]) == {"plan.json"}
    assert from_json(Order, patch["stringData"]["plan.json"]).plan == later


def test_the_last_net_is_longer_than_everything_that_it_holds() -> None:
    def net(spec: JobSpec) -> int:
        pod = making.objects(spec)["Job"]["spec"]["template"]["spec"]
        return int(pod["activeDeadlineSeconds"])

    hour = 3600
    # start, stage-in, closing, walltime, grace, stage-out, twice the outage
    assert net(making.SPEC) == 900 + hour + 120 + hour + 60 + hour + 2 * hour
    closed = attrs.evolve(making.SPEC, network=Network.CLOSED)
    assert net(closed) - net(making.SPEC) == 24 * hour


def test_a_workflow_without_a_command_runs_what_its_image_says() -> None:
    known = attrs.evolve(making.FACTS, entrypoint=("/entrypoint.sh", "$1"))
    made = making.objects(attrs.evolve(making.SPEC, command=()), facts=known)

    worker = made["Job"]["spec"]["template"]["spec"]["containers"][0]
    assert worker["command"][-2:] == ["/entrypoint.sh", "$$1"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image": None}, "without an image"),
        ({"command": ()}, "what to run"),
        ({"inputs": (Input(name="a", path="/a"),)}, "cannot both be places"),
        ({"inputs": (Input(name="a", path="/tmp/a"),)}, "cannot both be places"),
        ({"outputs": (Output(name="a", path="/longshore/x/a"),)}, "cannot both be places"),
        (
            {"inputs": (Input(name="a", path="/d/a"), Input(name="b", path="/d/e/b"))},
            "cannot both be places",
        ),
        ({"environment": {"A": "x" * 1024**2}}, "a Secret holds 1048576"),
    ],
)
def test_what_no_pod_can_have_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(WorkflowRefused, match=says):
        making.objects(attrs.evolve(making.SPEC, **changes))


def test_a_kind_of_gpu_that_is_not_there_is_refused() -> None:
    known = AttemptFacts(instance="i", namespace="n", gpu_kind="h200")

    with pytest.raises(WorkflowRefused, match="no GPU of the kind 'h200'"):
        making.objects(attrs.evolve(making.SPEC, resources=Resources(gpu=1)), GPU, known)


def test_a_closed_job_that_nothing_could_prove_closed_is_refused() -> None:
    spec = attrs.evolve(making.SPEC, network=Network.CLOSED)
    alone = attrs.evolve(making.GIVEN, closed=("192.0.2.1:443",))

    with pytest.raises(IsolationUnavailable) as caught:
        manifests.secret(making.REF, spec, making.PLAN, KubernetesSettings(), making.FACTS, alone)
    assert isinstance(caught.value, LongshoreError)
