"""S6: the consumer chooses parameters, never the job.

Whatever a request says, the job's spec is the workflow's own but for declared variables, the
parameters and resources within bounds. Values reach the worker as whole strings: nothing expands
them, on the way or at its end.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from longshore import Longshore, policy, specs
from longshore.backends.local import Isolation
from longshore.backends.local.isolation import works
from longshore.dotenv import parse_dotenv
from longshore.errors import RequestInvalid
from longshore.models import (
    AnnouncedInput,
    InlineInput,
    Input,
    InputKind,
    JobRequest,
    JobSpec,
    JobState,
    Network,
    Output,
    Resources,
    Workflow,
)

#: all that a request may change in a spec
CHOSEN = {"environment", "parameters_json", "resources"}
SECONDS = 30

HOSTILE = [
    "$(SECRET)",
    "$$(SECRET)",
    "${HOME} $HOME $0 $((1+1))",
    "`id`",
    "$(id)",
    "; touch owned #",
    "&& reboot",
    "| cat /etc/passwd",
    "'",
    '"',
    "\\",
    "line\nFEED=1\nLD_PRELOAD=/tmp/x.so",
    "\r\n\t\x1b[2J",
    "{inputs.text}",
    "{outputs.seen}",
    "{python}",
    "{parameters_file}",
    "{0.__class__.__mro__} {} %s %(x)s",
    "--help",
    "-c",
    "",
    " ",
    "../../etc/passwd",
    "\u202e\U0001f40c\u00e4",
    "LD_PRELOAD=/tmp/x.so",
    "]]>&lt;",
]
WORKFLOW = Workflow(
    id="offered",
    command=("tool", "{inputs.text}", "$(KEPT)", "{parameters_file}", "{outputs.seen}"),
    image="registry.example/tool@sha256:" + "0" * 64,
    network=Network.CLOSED,
    parameters={
        "type": "object",
        "properties": {"name": {"type": "string"}, "list": {"type": "array"}, "any-thing": {}},
    },
    inputs={
        "text": Input(name="text", path="/in/text"),
        "env": Input(name="env", kind=InputKind.ENV, names=("TITLE", "COLOR")),
    },
    outputs={"seen": Output(name="seen", path="/out/seen")},
    resources=Resources(cpu=1.0, memory=1000, disk=1000, walltime=timedelta(minutes=1)),
    max_resources=Resources(cpu=4.0, memory=4000, gpu=1, disk=1000, walltime=timedelta(hours=1)),
)
VARIABLES = {
    "name": "LS_PARAM_NAME",
    "list": "LS_PARAM_LIST",
    "any-thing": "LS_PARAM_ANY_THING",
}
T0 = datetime(2026, 1, 1, tzinfo=UTC)
OFFERED = specs.make_spec(WORKFLOW, parameters={}, resources=WORKFLOW.resources)


def spec_of(request: JobRequest, workflow: Workflow = WORKFLOW) -> JobSpec | None:
    """Return what a backend would be given for ``request``; None where it is refused."""
    decision = policy.decide(request, workflow, agreement=None, now=T0)
    if isinstance(decision, policy.Deny):
        return None
    environment: dict[str, str] = {}
    for name, sent in request.inputs.items():
        declared = workflow.inputs[name]
        if declared.kind is InputKind.ENV and isinstance(sent, InlineInput):
            environment |= parse_dotenv(sent.content, declared.names)
    return specs.make_spec(
        workflow,
        parameters=decision.parameters,
        resources=decision.resources,
        environment=environment,
    )


def check_only_chosen(spec: JobSpec, request: JobRequest) -> None:
    """The property: the spec differs from the offered one only in what may be chosen."""
    for field in attrs.fields(JobSpec):
        if field.name not in CHOSEN:
            assert getattr(spec, field.name) == getattr(OFFERED, field.name), field.name
    assert set(spec.environment) <= {*VARIABLES.values(), *WORKFLOW.inputs["env"].names}
    for name, value in request.parameters.items():
        text = spec.environment[VARIABLES[name]]
        assert text == value if isinstance(value, str) else json.loads(text) == value
    assert json.loads(spec.parameters_json) == dict(request.parameters)
    assert WORKFLOW.max_resources is not None
    for field in attrs.fields(Resources):
        assert getattr(spec.resources, field.name) <= getattr(WORKFLOW.max_resources, field.name)


texts = st.sampled_from(HOSTILE) | st.text(max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
#: what somebody would like to change, and what an engine's object calls it
forbidden = st.sampled_from(
    [
        *(field.name for field in attrs.fields(JobSpec)),
        *("podSpecPatch", "hostNetwork", "securityContext", "volumes", "args", "env"),
        *("LD_PRELOAD", "PATH", "../x", "NAME", "any_thing", "", "text"),
    ]
)
right: dict[str, st.SearchStrategy[Any]] = {
    "parameters": st.fixed_dictionaries(
        {}, optional={"name": texts, "list": st.lists(values, max_size=3), "any-thing": values}
    ),
    "resources": st.fixed_dictionaries(
        {}, optional={"cpu": st.integers(1, 4), "memory": st.integers(1, 4000)}
    ),
    "inputs": st.fixed_dictionaries(
        {},
        optional={
            "text": st.just(AnnouncedInput()),
            "env": st.sampled_from([b"TITLE=x", b"COLOR='$(SECRET)'\nTITLE={python}"]).map(
                lambda content: InlineInput(content=content)
            ),
        },
    ),
}
wrong: dict[str, st.SearchStrategy[Any]] = {
    "parameters": st.dictionaries(st.sampled_from(["name", "list"]) | forbidden, values),
    "resources": st.dictionaries(
        st.sampled_from(["cpu", "memory", "gpu", "disk", "walltime"]) | forbidden,
        st.integers(-1, 5000) | st.sampled_from(["1 KiB", "1 PiB", "1h", "1000d", "unlimited"]),
    ),
    "inputs": st.dictionaries(
        st.just("env") | forbidden,
        st.sampled_from([b"PATH=/x", b"LD_PRELOAD=/x", b"LS_PARAM_NAME=y", b"KEPT=z"]).map(
            lambda content: InlineInput(content=content)
        ),
    ),
}
requests = st.builds(JobRequest, workflow=st.just("offered"), **right) | st.sampled_from(
    sorted(wrong)
).flatmap(
    lambda part: st.builds(JobRequest, workflow=st.just("offered"), **{**right, part: wrong[part]})
)


@settings(max_examples=400, deadline=None)
@given(request=requests)
def test_a_spec_differs_from_the_workflows_only_in_what_may_be_chosen(request: JobRequest) -> None:
    spec = spec_of(request)
    if spec is not None:
        check_only_chosen(spec, request)


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_is_taken_as_it_is(value: str) -> None:
    spec = spec_of(
        JobRequest(
            workflow="offered",
            parameters={"name": value, "list": [value], "any-thing": {value: value}},
        )
    )
    assert spec is not None
    assert spec.environment["LS_PARAM_NAME"] == value
    assert json.loads(spec.environment["LS_PARAM_LIST"]) == [value]
    assert json.loads(spec.parameters_json)["any-thing"] == {value: value}
    assert spec.command == WORKFLOW.command


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PATH", "PYTHONPATH", "BASH_ENV", "LS_PARAM_NAME"])
def test_a_name_that_steers_a_loader_is_refused_even_where_it_is_declared(
    name: str,
) -> None:
    careless = attrs.evolve(
        WORKFLOW, inputs={"env": Input(name="env", kind=InputKind.ENV, names=(name,))}
    )
    sent = InlineInput(content=f"{name}=/tmp/x".encode())
    assert spec_of(JobRequest(workflow="offered", inputs={"env": sent}), careless) is None
    with pytest.raises(RequestInvalid, match="steers"):
        parse_dotenv(sent.content, (name,))


# the negative controls: without what protects it, the property is seen to fail

UNDECLARED = JobRequest(workflow="offered", parameters={"podSpecPatch": "x"})
GREEDY = JobRequest(workflow="offered", resources={"memory": 5000})


def test_negative_control_without_the_schema_the_check_sees_an_undeclared_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert spec_of(UNDECLARED) is None
    monkeypatch.setattr(policy, "check_parameters", lambda *_: ())
    spec = spec_of(UNDECLARED)
    assert spec is not None
    with pytest.raises(AssertionError, match="LS_PARAM_PODSPECPATCH"):
        check_only_chosen(spec, UNDECLARED)


def test_negative_control_without_the_bounds_the_check_sees_a_greedy_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert spec_of(GREEDY) is None
    boundless = attrs.evolve(WORKFLOW.resources, memory=10**6)
    monkeypatch.setattr(policy, "_resources", lambda *_: (boundless, []))
    spec = spec_of(GREEDY)
    assert spec is not None
    with pytest.raises(AssertionError):
        check_only_chosen(spec, GREEDY)


def test_negative_control_a_template_that_takes_values_into_the_command_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_spec = specs.make_spec

    def careless(workflow: Workflow, **resolved: Any) -> JobSpec:
        spec = make_spec(workflow, **resolved)
        name = str(resolved["parameters"].get("name", ""))
        return attrs.evolve(
            spec, command=tuple(word.replace("KEPT", name) for word in spec.command)
        )

    monkeypatch.setattr(specs, "make_spec", careless)
    request = JobRequest(workflow="offered", parameters={"name": "; reboot"})
    spec = spec_of(request)
    assert spec is not None
    with pytest.raises(AssertionError, match="command"):
        check_only_chosen(spec, request)


# one real job: what its worker sees

PRINTER = """
import json, os, sys
seen = {"argv": sys.argv[1:], "environment": dict(os.environ)}
seen["parameters"] = json.load(open(sys.argv[1], encoding="utf-8"))
json.dump(seen, open(sys.argv[2], "w", encoding="utf-8"))
"""
KEPT = ("$(KEPT)", "{inputs.none}", "'", '"', "; exit 1", "$HOME", "*", "")
ISOLATIONS = [
    Isolation.NONE,
    pytest.param(
        Isolation.BUBBLEWRAP,
        marks=pytest.mark.skipif(
            not works(Isolation.BUBBLEWRAP, ()), reason="bubblewrap does not work here"
        ),
    ),
]


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_real_worker_sees_every_value_whole_and_its_command_unchanged(
    tmp_path: Path, isolation: Isolation
) -> None:
    python = "{python}" if isolation is Isolation.NONE else "/usr/bin/python3"
    printer = Workflow(
        id="printer",
        command=(python, "-c", PRINTER, "{parameters_file}", "{outputs.seen}", *KEPT),
        parameters={"properties": {f"p{n}": {} for n in range(len(HOSTILE))}},
        inputs={"env": Input(name="env", kind=InputKind.ENV, names=("TITLE",))},
        outputs={"seen": Output(name="seen")},
    )
    sent: dict[str, Any] = {f"p{n}": value for n, value in enumerate(HOSTILE)}
    sent["p0"] = {"$(SECRET)": [";", None, "\n"]}
    table = {
        "workflows": {"shipped": False},
        "backends": {"local": {"isolation": str(isolation)}},
    }
    with Longshore.open(tmp_path, settings=table, workflows=[printer]) as longshore:
        job = longshore.run(
            "printer", parameters=sent, inputs={"env": "TITLE='$(SECRET) {python}; \"'"}
        )
        assert job.wait(SECONDS).state is JobState.SUCCEEDED
        seen = json.loads(job.outputs["seen"].read_bytes())
    assert tuple(seen["argv"][2:]) == KEPT
    assert seen["parameters"] == sent
    assert seen["environment"]["TITLE"] == '$(SECRET) {python}; "'
    given_values = {
        name: value for name, value in seen["environment"].items() if name.startswith("LS_PARAM_")
    }
    assert json.loads(given_values.pop("LS_PARAM_P0")) == sent.pop("p0")
    assert given_values == {f"LS_PARAM_{name.upper()}": value for name, value in sent.items()}
    assert not {"LD_PRELOAD", "FEED", "SECRET"} & seen["environment"].keys()
