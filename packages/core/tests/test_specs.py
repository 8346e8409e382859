"""What a backend is given: the workflow's own, and what the request chose."""

from datetime import timedelta

import attrs

from longshore.models import Dataset, Input, InputKind, Network, Output, Resources, Workflow
from longshore.specs import make_spec

WORKFLOW = Workflow(
    id="w",
    command=("tool", "{inputs.text}"),
    inputs={
        "text": Input(name="text"),
        "env": Input(name="env", kind=InputKind.ENV, names=("A",)),
    },
    outputs={"made": Output(name="made")},
)
SMALL = Resources(memory=1000)


def test_env_inputs_are_variables_and_no_files() -> None:
    spec = make_spec(WORKFLOW, parameters={"top": 3}, resources=SMALL, environment={"A": "1"})
    assert [one.name for one in spec.inputs] == ["text"]
    assert [one.name for one in spec.outputs] == ["made"]
    assert spec.environment == {"A": "1", "LS_PARAM_TOP": "3"}
    assert spec.parameters_json == '{"top": 3}'
    assert spec.resources == SMALL


def test_no_env_input_takes_the_place_of_a_parameter() -> None:
    taken = {"LS_PARAM_TOP": "99"}
    spec = make_spec(WORKFLOW, parameters={"top": 3}, resources=SMALL, environment=taken)
    assert spec.environment["LS_PARAM_TOP"] == "3"


def test_a_job_that_sees_a_dataset_has_no_network() -> None:
    dataset = Dataset(name="map", source="claim:maps")
    closed = attrs.evolve(WORKFLOW, datasets={"map": dataset})
    for workflow, network in (
        (WORKFLOW, Network.STORAGE),
        (closed, Network.CLOSED),
        (attrs.evolve(WORKFLOW, network=Network.CLOSED), Network.CLOSED),
    ):
        assert make_spec(workflow, parameters={}, resources=SMALL).network is network
    assert make_spec(closed, parameters={}, resources=SMALL).datasets == (dataset,)


def test_the_grace_of_the_settings_reaches_the_launcher() -> None:
    spec = make_spec(WORKFLOW, parameters={}, resources=SMALL, grace=timedelta(seconds=3))
    assert spec.grace == timedelta(seconds=3)
