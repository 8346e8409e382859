"""Settings come from a file and the environment; every mistake is named with its key."""

import enum
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
from hypothesis import given, strategies as st

from longshore.backends.local import Isolation, LocalSettings
from longshore.deadlines import Limits
from longshore.errors import SettingsInvalid
from longshore.settings import (
    PluginSettings,
    Settings,
    build,
    load_table,
    parse_settings,
)


class Color(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen(kw_only=True)
class Mine:
    """The settings of a plug-in that uses every kind of value."""

    url: str
    color: Color = Color.RED
    wait: timedelta = timedelta(seconds=1)
    place: Path | None = None
    names: tuple[str, ...] = ()
    sizes: tuple[int, ...] | None = None
    count: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    share: float = 0.5
    flag: bool = False
    labels: Mapping[str, str] = attrs.field(factory=dict[str, str])
    anything: Any = None
    mode: Literal["fast", "safe"] = "safe"


def mistakes(call: Callable[[], object]) -> dict[str, str]:
    with pytest.raises(SettingsInvalid) as caught:
        call()
    return {problem.where: problem.message for problem in caught.value.problems}


def mine(**table: Any) -> Mine:
    return build(Mine, {"url": "x", **table}, "backends.mine")


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write(text: str | bytes) -> Path:
        file = tmp_path / "longshore.toml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


# file and environment


def test_without_anything_every_section_has_its_default() -> None:
    it = parse_settings(load_table(None, {}))
    assert it == Settings()
    assert list(it.backends) == ["local"]
    assert it.storage.plugin == "local"
    assert it.service.state == "sqlite:state.db"


def test_a_whole_file_is_read(config: Callable[[str], Path]) -> None:
    file = config("""
        [service]
        state = "sqlite:/srv/state.db"
        [workflows]
        directory = "offers"
        shipped = false
        [deadlines]
        stage_in = "90s"
        stop_grace = 2.5
        [backends.quick]
        plugin = "local"
        isolation = "none"
        slots = 3
        [backends.cluster]
        kubeconfig = "/etc/kube"
        [storage]
        plugin = "s3"
        bucket = "b"
    """)
    it = parse_settings(load_table(file, {}))
    assert it.service.state == "sqlite:/srv/state.db"
    assert it.workflows.directory == file.parent / "offers"
    assert not it.workflows.shipped
    assert it.deadlines.stage_in == timedelta(seconds=90)
    assert it.deadlines.stop_grace == timedelta(seconds=2.5)
    assert it.deadlines.queue == Limits().queue
    assert it.backends == {
        "quick": PluginSettings(plugin="local", table={"isolation": "none", "slots": 3}),
        "cluster": PluginSettings(plugin="cluster", table={"kubeconfig": "/etc/kube"}),
    }
    assert list(it.backends) == ["quick", "cluster"], "the first one is the default of workflows"
    assert it.storage == PluginSettings(plugin="s3", table={"bucket": "b"})


def test_the_environment_goes_before_the_file(config: Callable[[str], Path]) -> None:
    file = config("[backends.local]\nisolation = 'auto'\nslots = 3\n[workflows]\nshipped = true")
    environment = {
        "LONGSHORE_BACKENDS__LOCAL__ISOLATION": "none",
        "LONGSHORE_WORKFLOWS__SHIPPED": "no",
        "LONGSHORE_DEADLINES__STOP_GRACE": "5",
        "LONGSHORE_STORAGE__PLUGIN": "s3",
        "OTHER_WORKFLOWS__SHIPPED": "nonsense",
    }
    it = parse_settings(load_table(file, environment))
    assert it.backends["local"].table == {"isolation": "none", "slots": 3}
    assert not it.workflows.shipped
    assert it.deadlines.stop_grace == timedelta(seconds=5)
    assert it.storage.plugin == "s3"


def test_one_variable_alone_is_enough() -> None:
    it = parse_settings(load_table(None, {"LONGSHORE_BACKENDS__LOCAL__ISOLATION": "none"}))
    assert it.backends == {"local": PluginSettings(plugin="local", table={"isolation": "none"})}


def test_the_file_may_be_named_by_the_environment(config: Callable[[str], Path]) -> None:
    file = config("[workflows]\nshipped = false")
    it = parse_settings(load_table(None, {"LONGSHORE_CONFIG": str(file)}))
    assert not it.workflows.shipped
    other = file.with_name("other.toml")
    other.write_text("")
    assert parse_settings(load_table(other, {"LONGSHORE_CONFIG": str(file)})).workflows.shipped


def test_variables_that_are_no_settings_are_left_alone() -> None:
    environment = {"LONGSHORE_STATE": "/srv", "LONGSHORE_DEBUG": "1", "LONGSHORE_CONFIG": ""}
    assert load_table(None, environment) == {}


def test_a_home_directory_may_be_written_short(
    config: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = config("[workflows]\ndirectory = '~/offers'")
    monkeypatch.setenv("HOME", str(file.parent))
    for environment in ({}, {"LONGSHORE_CONFIG": "~/longshore.toml"}):
        it = parse_settings(load_table(None if environment else file, environment))
        assert it.workflows.directory == file.parent / "offers"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[service\n", "line 1"),
        ("a = 1\na = 2\n", "line 2"),
        (b"a = '\xff'", "utf-8"),
        ("a = " + "[" * 100_000, "recursion"),
    ],
)
def test_a_file_that_cannot_be_read_says_which_and_why(
    config: Callable[[str | bytes], Path], content: str | bytes, said: str
) -> None:
    file = config(content)
    with pytest.raises(SettingsInvalid) as caught:
        load_table(file, {})
    assert str(file) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["gone.toml", "~nobody-of-this-name/x.toml", "."])
def test_a_file_that_is_not_there_is_an_error(name: str, tmp_path: Path) -> None:
    named = name if name.startswith("~") else str(tmp_path / name)
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        load_table(None, {"LONGSHORE_CONFIG": named})


# mistakes


def test_every_mistake_is_named_at_once() -> None:
    table = {
        "servce": {},
        "service": {"state": 5, "stat": "x"},
        "workflows": {"shipped": "maybe", "directory": "~nobody-of-this-name/x"},
        "deadlines": {"queue": "a week", "start": -1},
        "storage": "s3",
        "backends": {"local": "none"},
    }
    found = mistakes(lambda: parse_settings(table, source="longshore.toml"))
    assert found == {
        "servce": "is no section; did you mean 'service'?",
        "service.state": "5 is no text",
        "service.stat": "is no setting; did you mean 'state'?",
        "workflows.shipped": "'maybe' is neither true nor false",
        "workflows.directory": "~nobody-of-this-name/x is below the home of nobody known here",
        "deadlines.queue": "'a week' is not a duration such as '1h30m' or a number of seconds",
        "deadlines.start": "-1 is not a duration such as '1h30m' or a number of seconds",
        "storage": "must be a table",
        "backends.local": "must be a table",
    }


def test_a_section_that_a_variable_overwrites_is_a_mistake() -> None:
    for environment in (
        {"LONGSHORE_SERVICE": "x", "LONGSHORE_SERVICE__STATE": "y"},
        {"LONGSHORE_SERVICE__STATE": "y", "LONGSHORE_SERVICE": "x"},
    ):
        with pytest.raises(SettingsInvalid, match="service: must be a table"):
            parse_settings(load_table(None, environment))


def test_a_misspelt_variable_is_a_mistake() -> None:
    table = load_table(None, {"LONGSHORE_SERVICES__STATE": "x"})
    assert mistakes(lambda: parse_settings(table)) == {
        "services": "is no section; did you mean 'service'?"
    }


@given(
    table=st.dictionaries(
        st.sampled_from([field.name for field in attrs.fields(Settings)]) | st.text(max_size=3),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(
                    st.sampled_from(["state", "directory", "shipped", "queue", "local", "plugin"]),
                    inner,
                    max_size=3,
                )
            ),
        ),
        max_size=3,
    )
)
def test_any_table_is_settings_or_its_mistakes_are_named(table: dict[str, Any]) -> None:
    try:
        it = parse_settings(table)
    except SettingsInvalid as exc:
        assert exc.problems  # noqa: PT017 - one of the two outcomes that are right
    else:
        assert isinstance(it, Settings)


# values of every kind, as a plug-in declares them


@pytest.mark.parametrize(
    ("key", "value", "built"),
    [
        ("color", "blue", Color.BLUE),
        ("color", Color.BLUE, Color.BLUE),
        ("wait", "1h30m", timedelta(minutes=90)),
        ("wait", 90, timedelta(seconds=90)),
        ("wait", "90", timedelta(seconds=90)),
        ("wait", timedelta(days=1), timedelta(days=1)),
        ("place", "/srv/x", Path("/srv/x")),
        ("place", Path("/srv/x"), Path("/srv/x")),
        ("place", None, None),
        ("names", ["a", "b"], ("a", "b")),
        ("names", "a, b,", ("a", "b")),
        ("names", "", ()),
        ("sizes", [1, 2], (1, 2)),
        ("sizes", "1,2", (1, 2)),
        ("sizes", None, None),
        ("count", 3, 3),
        ("count", "3", 3),
        ("count", 3.0, 3),
        ("share", 1, 1.0),
        ("share", "0.25", 0.25),
        ("flag", True, True),
        ("flag", "TRUE", True),
        ("flag", "yes", True),
        ("flag", "1", True),
        ("flag", "0", False),
        ("flag", "No", False),
        ("labels", {"a": "b"}, {"a": "b"}),
        ("anything", {"a": [1]}, {"a": [1]}),
        ("anything", "text", "text"),
        ("mode", "fast", "fast"),
    ],
)
def test_a_value_becomes_what_its_plug_in_declares(key: str, value: object, built: object) -> None:
    assert getattr(mine(**{key: value}), key) == built
    assert isinstance(getattr(mine(**{key: value}), key), type(built))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("url", 5, "5 is no text"),
        ("url", ["x"], "['x'] is no text"),
        ("url", {}, "{} is no text"),
        ("url", None, "None is no text"),
        ("color", "green", "'green' is none of red, blue"),
        ("color", ["red"], "is none of red, blue"),
        ("wait", "soon", "is not a duration"),
        ("wait", ["1h"], "is not a duration"),
        ("place", 5, "5 is no text"),
        ("names", 5, "5 is no list"),
        ("names", [5], "5 is no text"),
        ("names", {"a": 1}, "is no list"),
        ("sizes", ["x"], "'x' is no whole number"),
        ("count", 1.5, "1.5 is no whole number"),
        ("count", "1.5", "'1.5' is no whole number"),
        ("count", float("inf"), "inf is no whole number"),
        ("count", float("nan"), "nan is no whole number"),
        ("count", True, "True is no number"),
        ("count", [1], "[1] is no number"),
        ("share", "half", "'half' is no number"),
        ("share", "inf", "'inf' is no number"),
        ("share", 10**400, "is no number"),
        ("flag", 1, "1 is neither true nor false"),
        ("flag", "on", "'on' is neither true nor false"),
        ("flag", None, "None is neither true nor false"),
        ("colour", "red", "is no setting; did you mean 'color'?"),
    ],
)
def test_a_value_that_does_not_fit_is_named(key: str, value: object, said: str) -> None:
    found = mistakes(lambda: mine(**{key: value}))
    assert list(found) == [f"backends.mine.{key}"]
    assert said in found[f"backends.mine.{key}"]


def test_what_is_missing_and_what_is_wrong_is_named_together() -> None:
    found = mistakes(lambda: build(Mine, {"flag": 3, "x": 1}, "storage"))
    assert set(found) == {"storage.url", "storage.flag", "storage.x"}
    assert found["storage.url"] == "is missing"


def test_what_a_plug_in_checks_itself_is_named_too() -> None:
    found = mistakes(lambda: mine(count=0))
    assert found == {"backends.mine": "'count' must be >= 1: 0"}


def test_the_settings_of_the_local_backend_are_built_from_variables() -> None:
    table = {"isolation": "bubblewrap", "slots": "4", "visible": "/opt,/srv/tools", "outage": "5m"}
    it = build(LocalSettings, table, "backends.local")
    assert it.isolation is Isolation.BUBBLEWRAP
    assert it.slots == 4
    assert it.visible == (Path("/opt"), Path("/srv/tools"))
    assert it.outage == timedelta(minutes=5)
