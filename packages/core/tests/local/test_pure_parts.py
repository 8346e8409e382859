"""Placing, layout and progress: decisions without a process."""

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from longshore.backends.local.layout import lay_out
from longshore.backends.local.progress import latest
from longshore.models import Input, JobSpec, Output, Progress
from longshore.placing import place, variable

PLACES = {"inputs.text": "/in {outputs.x}", "outputs.x": "/out", "parameters_file": "/p"}


def test_places_are_filled_in_once_and_other_braces_stay() -> None:
    command = ("--in={inputs.text}", "{outputs.x}{parameters_file}", "{inputs.none}", "{}", "$(X)")
    assert place(command, PLACES) == (
        "--in=/in {outputs.x}",
        "/out/p",
        "{inputs.none}",
        "{}",
        "$(X)",
    )


@given(st.lists(st.text()))
def test_text_without_placeholders_is_never_changed(command: list[str]) -> None:
    assert place(command, {}) == tuple(command)


def test_a_declared_name_becomes_a_variable() -> None:
    assert variable("LS_INPUT", "my-text.v2") == "LS_INPUT_MY_TEXT_V2"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"::progress 30/100 text\n", Progress(done=30, total=100, text="text")),
        (b"::progress 1/2\n::progress 2/2\n", Progress(done=2, total=2)),
        (b"::progress 3/2\n", Progress(done=2, total=2)),
        (b"::progress 0.5/1 a\x1b[31mb\n", Progress(done=0.5, total=1, text="a[31mb")),
        (b"::progress 1/2 not whole", None),
        (b"::progress 1/0\n", None),
        (b"::progress one/two\nsay ::progress 1/2\n", None),
        (b"::progress " + b"9" * 400 + b"/1\n", None),
        (b"::progress 1/2 \xff\0" + b"x" * 100_000 + b"\n", None),
    ],
)
def test_progress_is_the_last_whole_line(text: bytes, said: Progress | None) -> None:
    found = latest(text)
    if said is None and text.startswith(b"::progress 1/2 \xff"):
        assert found is not None
        assert len(found.text) <= 200
    else:
        assert found == said


@given(st.binary())
def test_no_log_confuses_the_reader(text: bytes) -> None:
    latest(text + b"\n")


def test_an_input_and_an_output_may_have_one_name() -> None:
    spec = JobSpec(workflow="w", command=(), inputs=(Input(name="a"),), outputs=(Output(name="a"),))
    for inside in (False, True):
        layout = lay_out(spec, "/state/x", inside=inside, python="python3")
        assert layout.inputs["a"] != layout.outputs["a"]
        assert layout.seen["inputs.a"] != layout.seen["outputs.a"]


def test_in_a_sandbox_outputs_of_one_directory_share_it_and_inputs_cannot_be_written() -> None:
    spec = JobSpec(
        workflow="w",
        command=(),
        inputs=(Input(name="i", path="/in/i"),),
        outputs=(Output(name="a", path="/out/a"), Output(name="b", path="/out/b")),
        directory=Path("/srv/w"),
        parameters_json='{"a": 1}',
    )
    layout = lay_out(spec, "/state/x", inside=True, python="python3")
    targets = {bind.target: bind.writable for bind in layout.binds}
    assert targets == {
        "/in": False,
        "/out": True,
        "/tmp": True,
        "/workflow": False,
        "/job/parameters.json": False,
    }
    assert Path(layout.outputs["a"]).parent == Path(layout.outputs["b"]).parent
