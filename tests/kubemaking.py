"""What the tests of the Kubernetes backend share: attempts of every kind, and their objects."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from longshore.dotenv import is_steering
from longshore.models import (
    Dataset,
    Input,
    InputKind,
    JobSpec,
    Network,
    Output,
    OutputKind,
    Resources,
    RunRef,
)
from longshore.transfer import SignedRequest, SignedUpload, TransferPlan
from longshore_k8s import manifests
from longshore_k8s.attempt import AttemptFacts, SecretFacts
from longshore_k8s.settings import (
    Effect,
    GpuKind,
    KubernetesSettings,
    Operator,
    PullPolicy,
    Toleration,
    Workspace,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REF = RunRef("01jgkz0000000000000000000a", 1, "acme")
FACTS = AttemptFacts(instance="01jgkz0000000000000000000z", namespace="longshore")
GIVEN = SecretFacts(owner="5e7a", key="of-the-launcher", closed=("192.0.2.1:443", "192.0.2.2:53"))
IMAGE = "registry.example/tool@sha256:" + "0" * 64
SPEC = JobSpec(
    workflow="wordcount",
    command=("tool", "{inputs.text}", "$(KEPT)", "{parameters_file}", "{outputs.counts}"),
    image=IMAGE,
    environment={"MODE": "$(HOME)", "LS_PARAM_TOP": "10"},
    parameters_json='{"top": 10}',
    inputs=(Input(name="text", path="/in/text"), Input(name="more", kind=InputKind.ARCHIVE)),
    outputs=(Output(name="counts", path="/out/counts.json"),),
)


def upload(name: str) -> SignedUpload:
    url = f"https://s3.example/longshore/{name}?partNumber=1"
    part = SignedRequest(method="PUT", url=url, expires_at=NOW)
    return SignedUpload(ticket_id=name, part_size=2**20, parts=(part,))


PLAN = TransferPlan(
    job_id=REF.job_id,
    attempt=REF.attempt,
    log=upload("log"),
    manifest=upload("manifest"),
    valid_until=NOW + timedelta(hours=24),
)


def objects(
    spec: JobSpec,
    settings: KubernetesSettings | None = None,
    facts: AttemptFacts = FACTS,
    ref: RunRef = REF,
) -> dict[str, Any]:
    """Return all objects of an attempt, by their kind."""
    settings = settings or KubernetesSettings()
    made = {
        "Job": manifests.job(ref, spec, settings, facts),
        "Secret": manifests.secret(ref, spec, PLAN, settings, facts, GIVEN),
    }
    volume = manifests.claim(ref, spec, settings, facts, GIVEN.owner)
    return made if volume is None else {**made, "PersistentVolumeClaim": volume}


def flat(value: Any, where: str = "") -> dict[str, Any]:
    """Return every leaf of an object, by its JSON Pointer; empty containers are leaves."""
    if isinstance(value, Mapping) and value:
        pairs = [(str(key).replace("/", "~1"), one) for key, one in value.items()]
    elif isinstance(value, list) and value:
        pairs = [(str(number), one) for number, one in enumerate(value)]
    else:
        return {where: value}
    return {k: v for key, one in pairs for k, v in flat(one, f"{where}/{key}").items()}


hostile = st.sampled_from(
    [
        *("$(SECRET)", "$$(SECRET)", "${HOME}", "`id`", "; reboot", "'", '"', "\\", "", " ", "$"),
        *("line\nhostNetwork: true", "{inputs.text}", "--privileged", "../../etc", "\u202e\u00e4"),
        *('{"podSpecPatch": "hostNetwork"}', "securityContext", "]]>", "- name: x"),
    ]
)
texts = hostile | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
names = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
variables = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: not is_steering(name)
)
sizes = st.integers(1, 2**40)
resources = st.builds(
    Resources,
    cpu=st.floats(0.001, 512),
    memory=sizes,
    gpu=st.integers(0, 16),
    disk=sizes,
    walltime=st.integers(1, 10**7).map(lambda seconds: timedelta(seconds=seconds)),
)


@st.composite
def specs(draw: st.DrawFn) -> JobSpec:
    """Return a spec as a workflow and a request could make it."""
    called = draw(st.lists(names, unique=True, max_size=6))
    third = len(called) // 3
    inputs, outputs, data = called[:third], called[third : 2 * third], called[2 * third :]
    return JobSpec(
        workflow=draw(names),
        command=tuple(draw(st.lists(texts, min_size=1, max_size=4))),
        image=IMAGE,
        environment=draw(st.dictionaries(variables, texts, max_size=4)),
        parameters_json=draw(st.sampled_from(["{}", '{"a": "$(B)"}'])),
        inputs=tuple(
            Input(
                name=name,
                path=draw(st.sampled_from([None, f"/in-{name}/x"])),
                kind=draw(st.sampled_from([InputKind.FILE, InputKind.ARCHIVE])),
                max_size=draw(sizes),
            )
            for name in inputs
        ),
        outputs=tuple(
            Output(
                name=name,
                path=draw(st.sampled_from([None, f"/out-{name}/x"])),
                kind=draw(st.sampled_from(OutputKind)),
                max_size=draw(sizes),
            )
            for name in outputs
        ),
        datasets=tuple(
            Dataset(name=name, source=draw(st.sampled_from(["claim", "claim/a/b"])))
            for name in data
        ),
        resources=draw(resources),
        network=draw(st.sampled_from(Network)),
        grace=timedelta(seconds=draw(st.integers(0, 600))),
    )


_keys = names.filter(lambda one: not one.endswith("-"))
_labels = st.dictionaries(_keys, _keys, max_size=2)
_tolerations = st.lists(
    st.builds(
        Toleration, key=_keys, operator=st.just(Operator.EXISTS), effect=st.sampled_from(Effect)
    ),
    max_size=2,
)


@st.composite
def provider_settings(draw: st.DrawFn) -> KubernetesSettings:
    """Return settings that a provider could write."""
    workspace = draw(st.sampled_from(Workspace))
    claim = workspace is Workspace.CLAIM
    name = st.none() | _keys
    kinds = {"a100": GpuKind(node_selector=draw(_labels), tolerations=tuple(draw(_tolerations)))}
    return KubernetesSettings(
        service_account=draw(name),
        pull_secrets=tuple(draw(st.lists(_keys, max_size=2))),
        mover_cpu=draw(st.floats(0.01, 8)),
        run_as_user=draw(st.integers(10_000, 2**31 - 1)),
        writable_root=draw(st.booleans()),
        pull_policy=draw(st.sampled_from(PullPolicy)),
        node_selector=draw(_labels),
        tolerations=tuple(draw(_tolerations)),
        gpu_kinds=kinds,
        gpu_kind=draw(st.sampled_from([None, "a100"])),
        runtime_class=draw(name),
        priority_class=draw(name),
        queue=draw(name),
        workspace=workspace,
        storage_class=draw(name) if claim else None,
    )


facts = st.builds(
    AttemptFacts,
    instance=st.just(FACTS.instance),
    namespace=_keys,
    user=st.none() | st.integers(0, 2**31 - 1),
    gpu_kind=st.sampled_from([None, "a100"]),
)
