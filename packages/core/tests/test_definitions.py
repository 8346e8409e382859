"""A definition is a workflow, or every mistake in it is named with its file and its key."""

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from longshore import Workflow, load_workflow, parse_workflow
from longshore.definitions import MAX_FILE, load_directory
from longshore.errors import WorkflowInvalid
from longshore.models import InputKind, LogRule, Network, OutputKind
from longshore.workers import shipped

DIGEST = "registry.example/tool@sha256:" + "0" * 64
WHOLE = f"""
id = "everything"
title = "All keys"
version = "2.0.1-rc+1"
description = "Two\\nlines"
image = "{DIGEST}"
command = ["tool", "{{inputs.text}}", "{{outputs.made}}", "{{datasets.map}}", "{{parameters_file}}"]
network = "closed"
restartable = true
backend = "cluster"

[parameters]
type = "object"
[parameters.properties.top]
type = "integer"
default = 3

[inputs.text]
kind = "file"
path = "/in/text"
max_size = "1 MiB"
required = false
description = "a text"
media_type = "text/plain"
[inputs.folder]
kind = "archive"
max_size = 10
max_unpacked = "1 GiB"
[inputs.env]
kind = "env"
names = ["SOURCE", "TARGET"]

[outputs.made]
kind = "archive"
path = "/out/made"
max_size = "2 MiB"
required = false
media_type = "application/zip"

[datasets.map]
source = "claim:maps"
path = "/data/map"

[resources]
cpu = 0.5
memory = "64 MiB"
gpu = 1
disk = 0
walltime = "90s"

[max_resources]
memory = "1 GiB"

[release]
outputs = "auto"
logs = "after-release"
"""


def minimal(**more: Any) -> dict[str, Any]:
    return {"id": "small", "command": ["true"], **more}


def mistakes(data: Any, directory: Path | None = None) -> dict[str, str]:
    """Return what is wrong with a definition, by key."""
    with pytest.raises(WorkflowInvalid) as caught:
        parse_workflow(data, source="here.toml", directory=directory)
    found = {}
    for problem in caught.value.problems:
        source, colon, key = problem.where.partition(": ")
        assert source == "here.toml"
        found[key if colon else ""] = problem.message
    return found


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write files below a directory; return the directory."""

    def write(**contents: str | bytes) -> Path:
        for name, content in contents.items():
            file = tmp_path / name.replace("__", "/").replace("_", ".")
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path

    return write


def file_mistakes(load: Callable[[Path], object], path: Path) -> list[str]:
    with pytest.raises(WorkflowInvalid) as caught:
        load(path)
    return [str(problem) for problem in caught.value.problems]


# what is right


def test_every_key_of_a_definition_is_read(written: Callable[..., Path]) -> None:
    it = load_workflow(written(all_toml=WHOLE) / "all.toml")
    assert (it.id, it.title, it.version) == ("everything", "All keys", "2.0.1-rc+1")
    assert (it.image, it.network, it.restartable) == (DIGEST, Network.CLOSED, True)
    assert (it.backend, it.description) == ("cluster", "Two\nlines")
    assert it.command[1:3] == ("{inputs.text}", "{outputs.made}")
    assert it.parameters["properties"] == {"top": {"type": "integer", "default": 3}}
    assert it.inputs["text"].path == "/in/text"
    assert it.inputs["text"].max_size == 2**20
    assert not it.inputs["text"].required
    assert it.inputs["folder"].kind is InputKind.ARCHIVE
    assert it.inputs["folder"].max_unpacked == 2**30
    assert it.inputs["env"].names == ("SOURCE", "TARGET")
    assert it.outputs["made"].kind is OutputKind.ARCHIVE
    assert it.datasets["map"].source == "claim:maps"
    assert it.resources.walltime == timedelta(seconds=90)
    assert it.max_resources is not None
    assert (it.max_resources.memory, it.max_resources.cpu) == (2**30, 0.5)
    assert it.release.logs is LogRule.AFTER_RELEASE
    assert it.is_closed


def test_json_of_the_same_shape_is_the_same_workflow(written: Callable[..., Path]) -> None:
    from_toml = load_workflow(written(all_toml=WHOLE) / "all.toml")
    data = {
        "id": "small",
        "command": ["true"],
        "inputs": {"text": {"max_size": "1 MiB"}},
        "resources": {"walltime": "1h30m"},
    }
    toml = 'id="small"\ncommand=["true"]\n[inputs.text]\nmax_size="1 MiB"\n'
    place = written(a_toml=toml + '[resources]\nwalltime="1h30m"', a_json=json.dumps(data))
    assert load_workflow(place / "a.json") == load_workflow(place / "a.toml") != from_toml


def test_a_byte_order_mark_is_no_mistake(written: Callable[..., Path]) -> None:
    text = b'\xef\xbb\xbfid = "small"\ncommand = ["true"]'
    assert load_workflow(written(a_toml=text) / "a.toml").id == "small"


def test_a_dataset_closes_the_network() -> None:
    it = parse_workflow(minimal(datasets={"map": {"source": "x"}}), source="s")
    assert (it.network, it.is_closed) == (Network.STORAGE, True)


def test_the_folder_beside_a_definition_is_kept_where_the_command_speaks_of_it(
    written: Callable[..., Path],
) -> None:
    place = written(
        a_toml='id = "a"\ncommand = ["{python}", "/workflow/a.py"]',
        b_toml='id = "b"\ncommand = ["true", "workflow"]',
        a_py="",
    )
    assert load_workflow(place / "a.toml").directory == place
    assert load_workflow(place / "b.toml").directory is None


def test_a_directory_gives_its_files_and_those_of_folders_of_their_own(
    written: Callable[..., Path],
) -> None:
    place = written(
        b_toml='id = "second"\ncommand = ["true"]',
        a__a_json=json.dumps({"id": "first", "command": ["true"]}),
        a__other_toml="not read: it is not named as its folder",
        c_py="not read",
        _hidden_toml="not read",
    )
    assert [it.id for it in load_directory(place)] == ["first", "second"]


def test_the_shipped_workflows_load() -> None:
    assert [it.id for it in shipped()] == ["csv-summary", "dummy", "wordcount"]
    for it in shipped():
        assert it.title
        assert it.description
        assert it.image is None
        assert it.directory is not None


def test_an_unknown_parameter_is_refused_unless_the_schema_speaks_of_it() -> None:
    plain = parse_workflow(minimal(parameters={"properties": {"a": {}}}), source="s")
    assert plain.parameters["additionalProperties"] is False
    composed: dict[str, Any] = {"allOf": [{"properties": {"a": {}}}]}
    composed_workflow = parse_workflow(minimal(parameters=composed), source="s")
    assert composed_workflow.parameters["unevaluatedProperties"] is False
    open_schema = {"additionalProperties": {"type": "string"}}
    opened = parse_workflow(minimal(parameters=open_schema), source="s")
    assert opened.parameters["additionalProperties"] == {"type": "string"}


# what is wrong


def test_every_mistake_is_named_at_once() -> None:
    data = {
        "idd": "x",
        "command": "true",
        "restartable": 1,
        "network": "open",
        "inputs": {"text": {"max_size": "1 Gig"}, "a b": {}, "env": {"kind": "env"}},
        "outputs": [],
        "resources": {"cpu": 0, "ram": 1},
        "release": {"outputs": "review"},
        "parameters": {"properties": {"n": {"type": "int"}, "m": {"minimum": "0"}}},
    }
    found = mistakes(data)
    assert set(found) == {
        "idd",
        "id",
        "command",
        "restartable",
        "network",
        "inputs.text.max_size",
        "inputs.a b",
        "inputs.env.names",
        "outputs",
        "resources.cpu",
        "resources.ram",
        "release.outputs",
        "parameters.properties.n.type",
        "parameters.properties.m.minimum",
    }
    assert "did you mean 'id'?" in found["idd"]
    assert "known are cpu, disk, gpu, memory, walltime" in found["resources.ram"]
    assert found["release.outputs"] == 'only "auto" is supported'


def test_the_message_of_the_error_holds_every_mistake() -> None:
    with pytest.raises(WorkflowInvalid) as caught:
        parse_workflow({"id": "A", "command": []}, source="here.toml")
    said = str(caught.value).splitlines()
    assert said[0] == "here.toml is not a workflow definition"
    assert [line.partition("is")[0].partition("must")[0] for line in said[1:]] == [
        "  here.toml: id: 'A' ",
        "  here.toml: command: ",
    ]


BAD: list[tuple[Mapping[str, Any], str, str]] = [
    ({"id": ""}, "id", "is not an id"),
    ({"id": "-a"}, "id", "is not an id"),
    ({"id": "a" * 64}, "id", "is not an id"),
    ({"id": "a\n"}, "id", "is not an id"),
    ({"id": 5}, "id", "is not an id"),
    ({"version": 1}, "version", "as a text"),
    ({"title": " "}, "title", "not empty"),
    ({"title": "a\nb"}, "title", "one line"),
    ({"title": "\x1b[31m"}, "title", "without control characters"),
    ({"description": "\ud800"}, "description", "must be a text"),
    ({"description": None}, "description", "not null"),
    ({"restartable": "yes"}, "restartable", "true or false"),
    ({"command": []}, "command", "must be a list"),
    ({"command": [""]}, "command", "must name a program"),
    ({"command": ["a", 5]}, "command", "must be a text"),
    ({"command": ["a\0"]}, "command", "without control characters"),
    ({"command": ["a"] * 1001}, "command", "1 to 1000"),
    ({"command": ["x", "{inputs.text}"]}, "command[1]", "inputs.text"),
    ({"command": ["x", "{output.made}"]}, "command[1]", "write {outputs.made}"),
    ({"command": ["{python}"], "image": DIGEST}, "command[0]", "the image's own interpreter"),
    ({"command": ["/workflow/x"]}, "command[0]", "this one has no file"),
    ({"image": "python:3.12"}, "image", "by digest"),
    ({"image": f"Python@sha256:{'0' * 64}"}, "image", "by digest"),
    ({"image": "python@sha256:00"}, "image", "by digest"),
    ({"network": "none"}, "network", "storage, closed"),
    ({"backend": "a b"}, "backend", "is not a name"),
    ({"inputs": {"x": 5}}, "inputs.x", "must be a table"),
    ({"inputs": {"1x": {}}}, "inputs.1x", "is not a name"),
    ({"inputs": {"../x": {}}}, "inputs.../x", "is not a name"),
    ({"inputs": {"x" * 64: {}}}, f"inputs.{'x' * 64}", "is not a name"),
    ({"inputs": {"a-b": {}, "a.b": {}}}, "inputs.a.b", "is 'a-b' as a variable"),
    ({"inputs": {"a": {}, "A": {}}}, "inputs.A", "rename one"),
    ({"inputs": {"x": {"max_size": 0}}}, "inputs.x.max_size", "more than 0"),
    ({"inputs": {"x": {"max_size": True}}}, "inputs.x.max_size", "is not a size"),
    ({"inputs": {"x": {"max_size": "1 EiB"}}}, "inputs.x.max_size", "is not a size"),
    ({"inputs": {"x": {"names": ["A"]}}}, "inputs.x.names", "means nothing for kind 'file'"),
    ({"inputs": {"x": {"max_unpacked": 1}}}, "inputs.x.max_unpacked", "means nothing"),
    ({"inputs": {"x": {"kind": "dir"}}}, "inputs.x.kind", "file, archive, env"),
    ({"inputs": {"x": {"media_type": "text"}}}, "inputs.x.media_type", "media type"),
    (
        {"inputs": {"x": {"kind": "env", "names": ["A"], "path": "/in/a"}}},
        "inputs.x.path",
        "means nothing for kind 'env'",
    ),
    ({"inputs": {"x": {"kind": "env", "names": []}}}, "inputs.x.names", "must be a list"),
    ({"inputs": {"x": {"kind": "env", "names": ["A", "A"]}}}, "inputs.x.names", "twice"),
    ({"inputs": {"x": {"kind": "env", "names": ["A=B"]}}}, "inputs.x.names", "no name"),
    ({"inputs": {"x": {"kind": "env", "names": ["PATH"]}}}, "inputs.x.names", "steers"),
    ({"inputs": {"x": {"kind": "env", "names": ["ld_preload"]}}}, "inputs.x.names", "steers"),
    (
        {"inputs": {"x": {"kind": "env", "names": ["A"], "max_size": "1 MiB"}}},
        "inputs.x.max_size",
        "is more than",
    ),
    (
        {"inputs": {n: {"kind": "env", "names": ["A"]} for n in "xy"}},
        "inputs.y.names",
        "also set by inputs.x",
    ),
    ({"inputs": {"x": {"path": "in"}}}, "inputs.x.path", "absolute path"),
    ({"inputs": {"x": {"path": "/in/../etc"}}}, "inputs.x.path", "absolute path"),
    ({"inputs": {"x": {"path": "/in/x/"}}}, "inputs.x.path", "absolute path"),
    ({"inputs": {"x": {"path": "/in//x"}}}, "inputs.x.path", "absolute path"),
    ({"inputs": {"x": {"path": "/in/x y"}}}, "inputs.x.path", "absolute path"),
    ({"inputs": {"x": {"path": "/etc/passwd"}}}, "inputs.x.path", "directory of the system"),
    ({"inputs": {"x": {"path": "/lib64/x"}}}, "inputs.x.path", "directory of the system"),
    ({"inputs": {"x": {"path": "/workflow/x"}}}, "inputs.x.path", "directory of the system"),
    ({"inputs": {"x": {"path": "/x"}}}, "inputs.x.path", "lies in the root directory"),
    (
        {"inputs": {"x": {"path": "/d/x"}}, "outputs": {"y": {"path": "/d/y"}}},
        "outputs.y.path",
        "shares a folder with inputs",
    ),
    (
        {"inputs": {"x": {"path": "/d/x"}, "y": {"path": "/d/x"}}},
        "inputs.y.path",
        "is the path of inputs.x too",
    ),
    ({"outputs": {"x": {"kind": "env"}}}, "outputs.x.kind", "file, archive"),
    ({"outputs": {"x": {"max_unpacked": 1}}}, "outputs.x.max_unpacked", "no such key"),
    ({"datasets": {"x": {}}}, "datasets.x.source", "is required"),
    ({"datasets": {"x": {"source": ""}}}, "datasets.x.source", "not empty"),
    ({"resources": {"memory": "0"}}, "resources.memory", "more than nothing"),
    ({"resources": {"walltime": "1 day"}}, "resources.walltime", "not a duration"),
    ({"resources": {"gpu": -1}}, "resources.gpu", "whole number"),
    ({"max_resources": {"cpu": 0.5}}, "max_resources.cpu", "is less than resources.cpu"),
    ({"max_resources": 3}, "max_resources", "must be a table"),
    ({"release": {"outputs": "checks"}}, "release.outputs", 'only "auto"'),
    ({"release": {"outputs": "never"}}, "release.outputs", "auto, checks, review"),
    ({"release": {"logs": "later"}}, "release.logs", "live, after-release, none"),
    ({"parameters": []}, "parameters", "must be a table"),
    ({"parameters": {"type": "string"}}, "parameters.type", "must be 'object'"),
    (
        {"parameters": {"$schema": "http://json-schema.org/draft-07/schema#"}},
        "parameters.$schema",
        "2020-12",
    ),
    (
        {"parameters": {"properties": {"a b": {}}}},
        "parameters.properties.a b",
        "is not a name",
    ),
    (
        {"parameters": {"properties": {"a.b": {}, "A_B": {}}}},
        "parameters.properties.A_B",
        "is 'a.b' as a variable",
    ),
    (
        {"parameters": {"properties": {"n": {"type": "integer", "default": "x"}}}},
        "parameters.properties.n.default",
        'is not of type "integer"',
    ),
    (
        {"parameters": {"properties": {"n": {"default": {"a": 1e400}}}}},
        "parameters",
        "is not a JSON Schema",
    ),
]


@pytest.mark.parametrize(
    ("more", "key", "said"), BAD, ids=[f"{key}: {said}"[:60] for _, key, said in BAD]
)
def test_a_mistake_is_named_with_its_key_and_alone(
    more: Mapping[str, Any], key: str, said: str
) -> None:
    found = mistakes({**minimal(), **more})
    assert list(found) == [key]
    assert said in found[key]


def test_what_is_no_table_is_no_definition() -> None:
    nothing: tuple[object, ...] = (None, [], "id", 5)
    for data in nothing:
        found = mistakes(data)
        assert found[""] == "must be a table"
        assert found["id"] == "is required"


def test_a_default_is_not_blamed_for_what_else_is_missing() -> None:
    schema = {"properties": {"a": {"default": 1}, "ab": {}, "b": {}}, "required": ["ab", "b"]}
    assert parse_workflow(minimal(parameters=schema), source="s").parameters["required"]


def test_a_script_that_is_not_beside_the_definition_is_missed(tmp_path: Path) -> None:
    (tmp_path / "there.py").touch()
    for word, said in {
        "/workflow/gone.py": "there is no",
        "/workflow/../there.py": "there is no",
        "/workflow//etc/passwd": "there is no",
        f"/workflow/{'x' * 300}": "cannot be looked for: File name too long",
    }.items():
        found = mistakes(minimal(command=["sh", word]), tmp_path)
        assert said in found["command[1]"], word
    it = parse_workflow(
        minimal(command=["sh", "/workflow/there.py"]), source="s", directory=tmp_path
    )
    assert it.directory == tmp_path


# what is no file of ours


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.toml", 'id = "a"\ncommand = [}\n', "line 2"),
        ("a.toml", 'id = "a"\nid = "b"\n', "line 2"),
        ("a.json", '{"id": "a",\n}', "line 2"),
        ("a.json", '{"id": "a", "id": "b"}', "twice"),
        ("a.json", '{"inputs": {"a": {}, "a": {}}}', "twice"),
        ("a.json", "[" * 100_000, "recursion"),
        ("a.toml", "a = " + "[" * 100_000, "recursion"),
        ("a.json", '{"id": ' + "9" * 5000 + "}", "4300 digits"),
        ("a.toml", b'id = "a"\n# \xe9\n', "is not UTF-8 (at line 2)"),
        ("a.toml", b"\xff\xfei\0d\0", "is not UTF-8 (at line 1)"),
        ("a.toml", b"#" * (MAX_FILE + 1), f"more than {MAX_FILE} bytes"),
        ("a.json", "5", "must be a table"),
        ("a.toml", "", "is required"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(
    tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    found = file_mistakes(load_workflow, tmp_path / name)
    assert all(one.startswith(name) for one in found)
    assert re.search(re.escape(said), found[0])


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.toml")  # opening it would wait for a writer
    (tmp_path / "folder.toml").mkdir()
    for name in ("fifo.toml", "folder.toml"):
        assert file_mistakes(load_workflow, tmp_path / name) == [f"{name}: is not a regular file"]
    assert file_mistakes(load_workflow, tmp_path / "gone.toml") == [
        "gone.toml: No such file or directory"
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has /proc/self/mem")
def test_a_file_that_may_not_be_read_says_so() -> None:
    file = Path("/proc/self/mem")  # not even root reads its beginning
    assert file_mistakes(load_workflow, file) == ["mem: Input/output error"]


def test_the_mistakes_of_all_files_of_a_directory_are_named_at_once(
    written: Callable[..., Path],
) -> None:
    place = written(
        a_toml='id = "same"\ncommand = ["true"]',
        b_toml='id = "same"\ncommand = ["true"]',
        c_toml="id = ",
        d__d_toml='id = "d"',
        e_toml='id = "e"\ncommand = ["true"]',
    )
    (place / "f.toml").symlink_to("nowhere")
    found = file_mistakes(load_directory, place)
    assert [one.split(": ")[0] for one in found] == ["b.toml", "c.toml", "d/d.toml", "f.toml"]
    assert found[0] == "b.toml: id: 'same' is also the id of a.toml"


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    (problem,) = file_mistakes(load_directory, tmp_path / "gone")
    assert problem == f"{tmp_path / 'gone'}: cannot be read: No such file or directory"


# whatever somebody sends

words = st.sampled_from(
    ["id", "command", "a", "text", "file", "env", "/d/x", "1 GiB", "1h", "{inputs.a}", "object"]
)
texts = words | st.text(max_size=5)
keys = st.sampled_from(
    [
        *("id", "title", "version", "image", "command", "network", "backend", "parameters"),
        *("inputs", "outputs", "datasets", "resources", "max_resources", "release"),
        *("kind", "path", "max_size", "max_unpacked", "names", "source", "media_type", "default"),
        *("cpu", "memory", "walltime", "properties", "type", "$ref", "allOf", "a", "b"),
    ]
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.just(DIGEST)
    | st.just(["true", "{inputs.a}"])
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=25,
)
sections = st.dictionaries(texts, st.dictionaries(keys, trees, max_size=4), max_size=3)
definitions = trees | st.fixed_dictionaries(
    {"id": st.just("a") | trees, "command": st.just(["x"]) | trees},
    optional={
        "inputs": sections,
        "outputs": sections,
        "datasets": sections,
        "parameters": st.dictionaries(keys, sections | trees, max_size=4),
        "resources": st.dictionaries(keys, trees, max_size=3),
        "max_resources": st.dictionaries(keys, trees, max_size=3),
    },
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(data={1: 2, None: 3, "id": {}, "inputs": {5: {}}, "parameters": {1: {}}})
@example(data={"id": "a", "command": ["x"], "parameters": {"properties": {"a": {"default": {1}}}}})
@given(data=definitions)
def test_whatever_is_sent_is_a_workflow_or_says_what_is_wrong_with_it(data: Any) -> None:
    try:
        it = parse_workflow(data, source="s")
    except WorkflowInvalid as exc:
        problems = exc.problems
        assert problems
        assert all(one.where.startswith("s") and one.message for one in problems)
    else:
        assert isinstance(it, Workflow)
        assert it.id == data["id"]
