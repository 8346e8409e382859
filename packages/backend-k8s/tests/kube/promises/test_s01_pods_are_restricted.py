"""S1: every pod that is made satisfies Pod Security *restricted*, whatever the job and settings.

The rules are written down here once more, from https://kubernetes.io/docs/concepts/security/
pod-security-standards/, so that no mistake of the code is one of its check.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from tests import kubemaking as making

from longshore.models import JobSpec
from longshore_k8s import pod as pods
from longshore_k8s.attempt import AttemptFacts
from longshore_k8s.settings import KubernetesSettings

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"}
VOLUMES |= {"projected", "secret"}
SECCOMP = {"RuntimeDefault", "Localhost"}
SELINUX = {None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
SYSCTLS = {
    *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range"),
    *("net.ipv4.ip_unprivileged_port_start", "net.ipv4.tcp_syncookies"),
    *("net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports"),
    *("net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout"),
    *("net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes"),
    *("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"),
}
KINDS = ("initContainers", "containers", "ephemeralContainers")


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for kind in KINDS for one in spec.get(kind) or []]


def forbidden(template: dict[str, Any]) -> Iterator[str]:
    """Yield what the standard forbids of a pod."""
    spec = template["spec"]
    whole = spec.get("securityContext") or {}
    yield from (f"{name}" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name))
    for volume in spec.get("volumes") or []:
        if not set(volume) - {"name"} <= VOLUMES or set(volume) == {"name"}:
            yield f"volume {volume}"
    if not {one["name"] for one in whole.get("sysctls") or []} <= SYSCTLS:
        yield "sysctls"
    for key, value in (template["metadata"].get("annotations") or {}).items():
        if "apparmor" in key and value != "runtime/default" and not value.startswith("localhost/"):
            yield "apparmor"
    for one in containers(spec):
        yield from (f"{one['name']}: {rule}" for rule in _of_container(one, whole))


def _of_container(one: dict[str, Any], whole: dict[str, Any]) -> Iterator[str]:
    own = one.get("securityContext") or {}
    capabilities = own.get("capabilities") or {}
    rules = {
        "privileged": own.get("privileged"),
        "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is not False,
        "capabilities not dropped": "ALL" not in (capabilities.get("drop") or []),
        "capabilities added": set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"},
        "procMount": own.get("procMount", "Default") != "Default",
        "hostPort": any(port.get("hostPort") for port in one.get("ports") or []),
        "runAsNonRoot": own.get("runAsNonRoot", whole.get("runAsNonRoot")) is not True,
    }
    yield from (rule for rule, is_broken in rules.items() if is_broken)
    for context in (own, whole):
        yield from _of_context(context)
    seccomp = own.get("seccompProfile", whole.get("seccompProfile")) or {}
    if seccomp.get("type") not in SECCOMP:
        yield "seccompProfile"
    yield from _hosts(one)


def _of_context(context: dict[str, Any]) -> Iterator[str]:
    if context.get("runAsUser") == 0:
        yield "runAsUser"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield "hostProcess"
    labels = context.get("seLinuxOptions") or {}
    if labels.get("type") not in SELINUX or labels.get("user") or labels.get("role"):
        yield "seLinuxOptions"


def _hosts(one: dict[str, Any]) -> Iterator[str]:
    hooks = one.get("lifecycle") or {}
    probes = [one.get(f"{kind}Probe") or {} for kind in ("startup", "liveness", "readiness")]
    for asked in (*probes, *hooks.values()):
        if any((asked.get(how) or {}).get("host") for how in ("httpGet", "tcpSocket")):
            yield "host of a probe"


def promised(template: dict[str, Any], config: KubernetesSettings) -> Iterator[str]:
    """Yield what is not as it is promised beyond the standard."""
    spec = template["spec"]
    if spec.get("automountServiceAccountToken") is not False:
        yield "service account token"
    if spec.get("enableServiceLinks") is not False:
        yield "service links"
    whole = spec["securityContext"]
    if not whole["runAsUser"] == whole["runAsGroup"] == whole["fsGroup"]:
        yield "identities"
    for one in containers(spec):
        writable = config.writable_root and one["name"] == "worker"
        yield from (f"{one['name']}: {said}" for said in _promised_of(one, writable=writable))
    worker = next(one for one in spec["containers"] if one["name"] == "worker")
    scratch = next(mount for mount in worker["volumeMounts"] if mount["mountPath"] == "/tmp")
    volume = next(one for one in spec["volumes"] if one["name"] == scratch["name"])
    if "emptyDir" in volume and not volume["emptyDir"].get("sizeLimit"):
        yield "scratch without a size"
    hidden = {"plan", "state"} & {mount["name"] for mount in worker["volumeMounts"]}
    if hidden:
        yield f"the worker sees {hidden}"


def _promised_of(one: dict[str, Any], *, writable: bool) -> Iterator[str]:
    own, limits = one["securityContext"], one["resources"]["limits"]
    if limits != one["resources"]["requests"]:
        yield "limits are not requests"
    if own["readOnlyRootFilesystem"] is writable:
        yield "root file system"
    if writable and "ephemeral-storage" not in limits:
        yield "unbounded root file system"
    if {"runAsUser", "runAsGroup"} & own.keys():
        yield "an identity of its own"


def violations(spec: JobSpec, config: KubernetesSettings, known: AttemptFacts) -> list[str]:
    """The property: there are none."""
    template = making.objects(spec, config, known)["Job"]["spec"]["template"]
    return [*forbidden(template), *promised(template, config)]


def check(spec: JobSpec, config: KubernetesSettings, known: AttemptFacts) -> None:
    assert violations(spec, config, known) == []


_generated = given(making.specs(), making.provider_settings(), making.facts)
test_every_pod_is_restricted = settings(max_examples=300, deadline=None)(_generated(check))


@pytest.mark.thorough
@pytest.mark.timeout(900)
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(making.specs(), making.provider_settings(), making.facts)
def test_ten_thousand_pods_are_restricted(
    spec: JobSpec, config: KubernetesSettings, known: AttemptFacts
) -> None:
    check(spec, config, known)


def template() -> dict[str, Any]:
    made = making.objects(making.SPEC)["Job"]["spec"]["template"]
    return copy.deepcopy(made)


Break = Callable[[dict[str, Any], dict[str, Any]], object]
#: each rule, and what breaks it in a pod's spec or in its first container
BREAKS: dict[str, Break] = {
    "hostNetwork": lambda spec, _: spec.update(hostNetwork=True),
    "hostPID": lambda spec, _: spec.update(hostPID=True),
    "hostIPC": lambda spec, _: spec.update(hostIPC=True),
    "volume": lambda spec, _: spec["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
    "sysctls": lambda spec, _: spec["securityContext"].update(sysctls=[{"name": "kernel.sem"}]),
    "privileged": lambda _, one: one["securityContext"].update(privileged=True),
    "allowPrivilegeEscalation": lambda _, one: one["securityContext"].pop(
        "allowPrivilegeEscalation"
    ),
    "not dropped": lambda _, one: one["securityContext"].update(capabilities={"drop": ["CHOWN"]}),
    "added": lambda _, one: one["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]),
    "procMount": lambda _, one: one["securityContext"].update(procMount="Unmasked"),
    "hostPort": lambda _, one: one.update(ports=[{"hostPort": 80}]),
    "runAsNonRoot": lambda spec, _: spec["securityContext"].pop("runAsNonRoot"),
    "runAsUser": lambda spec, _: spec["securityContext"].update(runAsUser=0),
    "hostProcess": lambda _, one: one["securityContext"].update(
        windowsOptions={"hostProcess": True}
    ),
    "seLinuxOptions": lambda _, one: one["securityContext"].update(
        seLinuxOptions={"type": "spc_t"}
    ),
    "seccompProfile": lambda spec, _: spec["securityContext"].pop("seccompProfile"),
    "host of a probe": lambda _, one: one.update(startupProbe={"tcpSocket": {"host": "x"}}),
}


@pytest.mark.parametrize("rule", BREAKS)
def test_the_check_finds_what_breaks_each_rule(rule: str) -> None:
    made = template()
    assert list(forbidden(made)) == []

    BREAKS[rule](made["spec"], made["spec"]["initContainers"][0])

    assert any(rule in said for said in forbidden(made))


def test_without_the_line_that_drops_rights_the_property_does_not_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = pods._container

    def lax(*given: Any, **more: Any) -> dict[str, Any]:
        return {**made(*given, **more), "securityContext": {"readOnlyRootFilesystem": True}}

    monkeypatch.setattr(pods, "_container", lax)

    found = violations(making.SPEC, KubernetesSettings(), making.FACTS)
    assert "worker: capabilities not dropped" in found
    assert "mover: allowPrivilegeEscalation" in found


def test_an_image_of_root_gets_the_settings_user_instead() -> None:
    for user, expected in ((0, 10_001), (None, 10_001), (1000, 1000)):
        known = AttemptFacts(instance="i", namespace="n", user=user)
        made = making.objects(making.SPEC, facts=known)["Job"]["spec"]["template"]["spec"]
        assert made["securityContext"]["runAsUser"] == expected
