"""``[backends.NAME]`` of a cluster as a provider writes it."""

from datetime import timedelta
from typing import Any

import pytest

from longshore.errors import SettingsInvalid
from longshore.settings import build
from longshore_k8s.settings import KubernetesSettings, Operator, Workspace


def built(**table: Any) -> KubernetesSettings:
    return build(KubernetesSettings, table, "backends.cluster")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"namespace": "Not_A_Name"}, "'namespace' 'Not_A_Name' must be a name"),
        ({"service_account": "a b"}, "'service_account'"),
        ({"mover_image": "no image"}, "'mover_image' 'no image' is no image"),
        ({"mover_cpu": 0}, "'mover_cpu' must be > 0"),
        ({"mover_memory": "much"}, "is not a size"),
        ({"run_as_user": 0}, "'run_as_user' must be >= 10000"),
        ({"pull_policy": "Sometimes"}, "none of IfNotPresent, Always, Never"),
        ({"node_selector": {"-": "x", "a": "b/c"}}, "- = 'x', a = 'b/c'"),
        ({"node_selector": "gpu"}, "must be a table"),
        ({"tolerations": [{"operator": "Is"}, {"value": "%"}]}, "0.operator: 'Is' is none of"),
        ({"tolerations": [{"operator": "Is"}, {"value": "%"}]}, "1.value: 'value' '%'"),
        ({"tolerations": [{}]}, "is missing"),
        ({"tolerations": [{"operator": "Exists", "value": "x"}]}, "has no meaning"),
        ({"tolerations": ["gpu"]}, "0: must be a table"),
        ({"gpu_resource": "gpu"}, "no resource such as 'nvidia.com/gpu'"),
        ({"gpu_kinds": {"a": {"resourc": "x/y"}}}, "a.resourc: is no setting; did you mean"),
        ({"gpu_kind": "h200"}, "'gpu_kind' 'h200' is none of"),
        ({"storage_class": "fast"}, 'belongs to workspace = "claim"'),
        ({"storage_egress": [{"cidrs": ["10.0.0.1/8"], "ports": [443]}]}, "is no range"),
        ({"storage_egress": [{"ports": [443]}]}, "name either 'cidrs' or labels"),
        ({"storage_egress": [{"cidrs": ["10.0.0.0/8"]}]}, "'ports' must name one or more"),
        ({"closing_targets": ["example"]}, "must be HOST:PORT"),
        ({"closing": "1.5s"}, "one or more whole seconds"),
        ({"namespaces": "x"}, "is no setting; did you mean 'namespace'"),
    ],
)
def test_a_mistake_is_named(table: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        built(**table)
    assert says in str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(SettingsInvalid) as caught:
        built(namespace="A", run_as_user=1, queue="B C", tolerations=[{}])
    assert len(caught.value.problems) == 4


def test_nothing_needs_to_be_said() -> None:
    settings = built()

    assert settings.namespace == "longshore"
    assert settings.gpu.resource is None
    assert settings.outage == timedelta(hours=1)
    assert {one.protocol for one in settings.dns_egress} == {"TCP", "UDP"}


def test_everything_can_be_said() -> None:
    settings = built(
        namespace="jobs",
        namespace_per_tenant="true",
        pull_secrets=["registry"],
        mover_memory="256 MiB",
        node_selector={"example.org/pool": "jobs"},
        tolerations=[{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        gpu_kinds={"slice": {"resource": "nvidia.com/mig-1g.5gb", "node_selector": {"a": "b"}}},
        gpu_kind="slice",
        workspace="claim",
        storage_class="fast",
        storage_egress=[{"cidrs": ["198.51.100.0/24"], "ports": [443]}],
        closing_targets=["192.0.2.1:53", "[2001:db8::1]:443"],
        outage="10m",
    )

    assert settings.namespace_per_tenant
    assert settings.tolerations[0].operator is Operator.EXISTS
    assert settings.gpu.resource == "nvidia.com/mig-1g.5gb"
    assert settings.workspace is Workspace.CLAIM
    assert settings.storage_egress[0].ports == (443,)
    assert settings.mover_memory == 256 * 1024**2
