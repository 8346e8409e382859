"""S6 on Kubernetes: a request changes nothing of an attempt's objects but its declared fields.

A consumer's texts are in the Secret alone, as whole strings; of the Job only the names of declared
variables change, and the numbers that follow from bounded resources.
"""

import re
from typing import Any

import attrs
import pytest
from hypothesis import given, settings, strategies as st
from tests import kubemaking as making

from longshore.models import JobSpec, Resources
from longshore_k8s import pod as pods

_POD = "/Job/spec/template/spec"
#: all that may differ between two requests for one workflow
CHOSEN = re.compile(
    rf"{_POD}/activeDeadlineSeconds"
    rf"|{_POD}/containers/0/env/\d+/(?:name|value|valueFrom/secretKeyRef/(?:name|key))"
    rf"|{_POD}/containers/0/resources/(?:limits|requests)/(?:cpu|memory|nvidia\.com~1gpu)"
    rf"|{_POD}/containers/0/command/(?:9|15)"  # of the launcher: --walltime and --disk
    rf"|{_POD}/volumes/0/emptyDir/sizeLimit"
    rf"|{_POD}/volumes/\d+/(?:name|secret/.*)|{_POD}/containers/0/volumeMounts/\d+/.*"
    r"|/Secret/stringData/(?:[A-Za-z_][A-Za-z0-9_]*|parameters\.json)"
)
MARK = "of-the-consumer"
DECLARED = ("MODE", "LEVEL", "LS_PARAM_TOP")
asked = st.dictionaries(st.sampled_from(DECLARED), making.texts.map(lambda text: MARK + text))


def requested(environment: dict[str, str], resources: Resources) -> JobSpec:
    """Return what one workflow becomes by a request."""
    return attrs.evolve(
        making.SPEC,
        environment=environment,
        parameters_json=f'{{"top": "{MARK}"}}',
        resources=resources,
    )


def check(environment: dict[str, str], resources: Resources) -> None:
    """The property."""
    plain = making.flat(making.objects(requested({}, Resources())))
    made = making.objects(requested(environment, resources))
    found = making.flat(made)
    changed = {
        where
        for where in plain.keys() | found.keys()
        if plain.get(where, ...) != found.get(where, ...)
    }
    assert [where for where in sorted(changed) if not CHOSEN.fullmatch(where)] == []
    texts = [text for text in making.flat(made["Job"]).values() if isinstance(text, str)]
    assert not any(MARK in text for text in texts)
    for name, text in environment.items():
        assert made["Secret"]["stringData"][name] == text
    assert {one["name"] for one in _variables(made) if "valueFrom" in one} == set(environment)


def _variables(made: dict[str, Any]) -> list[dict[str, Any]]:
    worker = made["Job"]["spec"]["template"]["spec"]["containers"][0]
    return worker["env"]  # type: ignore[no-any-return]  # JSON


@settings(max_examples=300, deadline=None)
@given(asked, making.resources)
def test_a_request_changes_declared_fields_alone(
    environment: dict[str, str], resources: Resources
) -> None:
    check(environment, resources)


@pytest.mark.thorough
@pytest.mark.timeout(900)
@settings(max_examples=10_000, deadline=None)
@given(asked, making.resources)
def test_ten_thousand_requests_change_declared_fields_alone(
    environment: dict[str, str], resources: Resources
) -> None:
    check(environment, resources)


def test_a_request_whose_values_were_written_into_the_job_would_be_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def plain(ref: object, spec: JobSpec, *_: object, **__: object) -> list[dict[str, Any]]:
        return [{"name": name, "value": text} for name, text in spec.environment.items()]

    check({"MODE": MARK}, Resources())
    monkeypatch.setattr(pods, "_environment", plain)

    with pytest.raises(AssertionError):
        check({"MODE": MARK}, Resources())


def expanded(text: str, known: dict[str, str]) -> str:
    """Return what a kubelet makes of a text of a manifest: ``$(X)``, and ``$$`` for ``$``."""
    pattern = re.compile(r"\$(?:(\$)|\(([^)]*)\))")
    return pattern.sub(lambda match: "$" if match[1] else known.get(match[2], match[0]), text)


def check_argv(words: tuple[str, ...]) -> None:
    """The property: the worker's argv is the workflow's, whatever a kubelet expands."""
    made = making.objects(attrs.evolve(making.SPEC, command=words))
    worker = made["Job"]["spec"]["template"]["spec"]["containers"][0]
    argv = worker["command"][worker["command"].index("--") + 1 :]
    assert tuple(expanded(one, {"SECRET": "leaked", "MODE": "leaked"}) for one in argv) == words


@given(st.lists(st.text("$(){}ASECRETMODE ", max_size=20), min_size=1, max_size=3).map(tuple))
def test_a_kubelet_expands_nothing_of_a_command(words: tuple[str, ...]) -> None:
    check_argv(words)


def test_a_command_that_is_not_escaped_would_be_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pods, "escape", lambda text: text)

    with pytest.raises(AssertionError):
        check_argv(("$(SECRET)",))
