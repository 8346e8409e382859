"""Plug-ins are found, checked and reported; one that is broken does not take the host down."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from longshore import builtin_plugins
from longshore.errors import DuplicatePlugin, PluginError
from longshore.hookspecs import StorageBackendPlugin, WorkflowBackendPlugin, hookimpl
from longshore.registry import load_plugins


@attrs.frozen
class NoSettings:
    """Nothing can be set."""


def backend(name: Any = "mine", settings: Any = NoSettings) -> WorkflowBackendPlugin:
    return WorkflowBackendPlugin(name=name, settings=settings, open=never)


def never(*_: object) -> Any:
    raise AssertionError("hooks describe: nothing is opened")


def plugin(*records: object, name: str = "stranger") -> SimpleNamespace:
    """Return an object with a hook that returns ``records``."""

    @hookimpl
    def longshore_workflow_backends() -> Iterable[object]:
        return records

    return SimpleNamespace(__name__=name, longshore_workflow_backends=longshore_workflow_backends)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install a distribution of one module with an entry point of ours."""
    monkeypatch.syspath_prepend(tmp_path)
    installed: list[str] = []

    def distribution(name: str, source: str, version: str = "1.0") -> None:
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[longshore]\n{name} = {module}\n")
        installed.append(module)

    yield distribution
    for module in installed:
        sys.modules.pop(module, None)


GOOD = """
import attrs
from longshore.hookspecs import StorageBackendPlugin, WorkflowBackendPlugin, hookimpl

@attrs.frozen
class Settings:
    pass

@hookimpl
def longshore_workflow_backends():
    return [WorkflowBackendPlugin(name="{name}", settings=Settings, open=None)]

@hookimpl
def longshore_storage_backends():
    return [StorageBackendPlugin(name="{name}", settings=Settings, open=None)]
"""


def test_the_built_in_plug_ins_come_through_the_same_door() -> None:
    plugins = load_plugins(installed=False)
    assert plugins.workflow_backend("local").capabilities == {"closed", "datasets", "images"}
    assert isinstance(plugins.storage_backend("local"), StorageBackendPlugin)
    assert plugins.broken == ()
    as_a_stranger = load_plugins(installed=False, builtins=False, extra=[builtin_plugins])
    assert as_a_stranger == plugins


def test_without_built_ins_there_is_nothing() -> None:
    plugins = load_plugins(installed=False, builtins=False)
    assert not plugins.workflow_backends
    assert not plugins.storage_backends


def test_an_installed_plug_in_is_found_by_its_entry_point(install: Callable[..., None]) -> None:
    install("harbour-tools", GOOD.format(name="harbour"))
    plugins = load_plugins()
    assert {"local", "harbour"} <= set(plugins.workflow_backends)
    assert plugins.storage_backend("harbour").name == "harbour"
    assert "harbour" not in load_plugins(installed=False).workflow_backends


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import no_such_module_anywhere", "No module named 'no_such_module_anywhere'"),
        ("1 / 0", "division by zero"),
        ("def longshore(:", "invalid syntax"),
        (
            GOOD.format(name="x") + "\ndef longshore_storage_backends():\n    return 1 / 0\n"
            "longshore_storage_backends = hookimpl(longshore_storage_backends)\n",
            "division by zero",
        ),
    ],
    ids=["missing import", "raises", "syntax", "its hook raises"],
)
def test_a_broken_plug_in_is_reported_by_name_and_the_host_lives(
    install: Callable[..., None], caplog: pytest.LogCaptureFixture, source: str, error: str
) -> None:
    install("wreck", source, version="2.1")
    with caplog.at_level(logging.WARNING, "longshore.plugins"):
        plugins = load_plugins()
    (broken,) = plugins.broken
    assert broken.distribution == "wreck 2.1"
    assert error in str(broken.error)
    assert "plug-in wreck 2.1 cannot be loaded" in caplog.text
    assert "local" in plugins.workflow_backends


def test_a_broken_plug_in_that_is_asked_for_is_named(install: Callable[..., None]) -> None:
    install("wreck", "raise RuntimeError('no keel')")
    plugins = load_plugins()
    with pytest.raises(PluginError) as caught:
        plugins.workflow_backend("wreck")
    said = str(caught.value)
    assert "there is no workflow backend plug-in 'wreck': there are local" in said
    assert "wreck 1.0 is broken: no keel" in said
    assert "install the distribution" in said
    with pytest.raises(PluginError, match="storage backend plug-in 'gone'"):
        plugins.storage_backend("gone")


def test_two_distributions_with_one_name_are_both_named(install: Callable[..., None]) -> None:
    install("first-harbour", GOOD.format(name="harbour"))
    install("second-harbour", GOOD.format(name="harbour"), version="3.2")
    with pytest.raises(DuplicatePlugin) as caught:
        load_plugins()
    for owner in ("first-harbour 1.0", "second-harbour 3.2", "'harbour'", "uninstall one"):
        assert owner in str(caught.value)


def test_nobody_takes_a_name_of_the_core(install: Callable[..., None]) -> None:
    install("pirate", GOOD.format(name="local"))
    with pytest.raises(DuplicatePlugin, match=r"both longshore and pirate 1\.0"):
        load_plugins()


def test_a_hook_that_does_not_exist_is_a_mistake(install: Callable[..., None]) -> None:
    misspelt = GOOD.format(name="x").replace("longshore_storage_backends", "longshore_storages")
    install("typo", misspelt)
    with pytest.raises(PluginError, match=r"(?s)does not fit.*longshore_storages"):
        load_plugins()


def test_a_hook_with_other_arguments_is_a_mistake() -> None:
    @hookimpl
    def longshore_workflow_backends(config: object) -> list[object]:
        return [config]

    wrong = SimpleNamespace(
        __name__="wrong", longshore_workflow_backends=longshore_workflow_backends
    )
    with pytest.raises(PluginError, match=r"(?s)does not fit.*config"):
        load_plugins(installed=False, extra=[wrong])


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (None, "returns None, which is no WorkflowBackendPlugin"),
        ("local", "returns 'local', which is no WorkflowBackendPlugin"),
        (
            StorageBackendPlugin(name="x", settings=NoSettings, open=never),
            "which is no WorkflowBackendPlugin",
        ),
        (backend(name="Not A Name"), "names a plug-in 'Not A Name'"),
        (backend(name=""), "names a plug-in ''"),
        (backend(name=5), "names a plug-in 5"),
        (backend(settings=dict), "settings of 'mine' must be an attrs class"),
        (backend(settings=None), "settings of 'mine' must be an attrs class"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_record_that_is_none_says_whose_it_is(record: object, said: str) -> None:
    with pytest.raises(PluginError) as caught:
        load_plugins(installed=False, extra=[plugin(record)])
    assert "stranger" in str(caught.value)
    assert said in str(caught.value)


def test_a_hook_may_return_nothing_and_a_plug_in_may_have_no_hook() -> None:
    silent = SimpleNamespace(__name__="silent")
    plugins = load_plugins(installed=False, extra=[plugin(), silent])
    assert set(plugins.workflow_backends) == {"local"}


def test_a_hook_is_called_once_each_time_plug_ins_are_loaded() -> None:
    calls: list[int] = []

    @hookimpl
    def longshore_workflow_backends() -> Iterable[WorkflowBackendPlugin]:
        calls.append(1)
        yield backend()

    counted = SimpleNamespace(
        __name__="counted", longshore_workflow_backends=longshore_workflow_backends
    )
    plugins = load_plugins(installed=False, extra=[counted])
    assert plugins.workflow_backend("mine") is plugins.workflow_backends["mine"]
    assert calls == [1]
