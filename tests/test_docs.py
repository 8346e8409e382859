"""The documentation says what the code does."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from longshore import errors as core_errors, hookspecs
from longshore.backends.local import LocalSettings
from longshore.deadlines import Limits
from longshore.errors import LongshoreError
from longshore.lifecycle import TRANSITIONS
from longshore.reasons import REASONS
from longshore.settings import LimitsSettings, ServiceSettings
from longshore_api import errors as api_errors
from longshore_api.problems import status_of

#: classes that no request is answered with, but with those below them
_GROUPS = {"error", "request", "retry", "report", "invalid", "settings-invalid"}
ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def test_the_lifecycle_diagram_shows_exactly_the_table() -> None:
    drawn = set(re.findall(r"^    ([A-Z_]+) --> ([A-Z_]+)$", _page("lifecycle.md"), re.MULTILINE))

    assert drawn == {
        (here, there) for here, following in TRANSITIONS.items() for there in following
    }


def test_every_reason_stands_in_its_table_word_for_word() -> None:
    rows = [line for line in _page("reasons.md").splitlines() if line.startswith("| `")]

    assert rows == [
        f"| `{it.code}` | {it.fault} | {it.message} | {it.hint} "
        f"| {'yes' if it.retryable else 'no'} |"
        for it in REASONS.values()
    ]


def test_every_hook_is_documented_with_its_signature() -> None:
    for name, hook in inspect.getmembers(hookspecs, inspect.isfunction):
        if name.startswith("longshore_"):
            parameters = ", ".join(inspect.signature(hook).parameters)
            assert f"`{name}({parameters})`" in _page("plugins.md")


def test_every_problem_stands_in_its_table() -> None:
    rows = [line for line in _page("problems.md").splitlines() if line.startswith("| `")]

    assert rows == [
        f"| `{kind.code}` | {status_of(kind)} | {(kind.__doc__ or '').partition(chr(10))[0]} |"
        for kind in sorted(problems(), key=lambda kind: (status_of(kind), kind.code))
    ]


def problems() -> list[type[LongshoreError]]:
    """Return the errors that a request over HTTP may be answered with."""
    known = [*vars(core_errors).values(), *vars(api_errors).values()]
    kinds = [it for it in known if isinstance(it, type) and issubclass(it, LongshoreError)]
    return [
        kind for kind in dict.fromkeys(kinds) if kind.code not in _GROUPS and status_of(kind) != 500
    ]


@pytest.mark.parametrize("kind", [Limits, LocalSettings, ServiceSettings, LimitsSettings])
def test_every_setting_is_documented(kind: type) -> None:
    documented = set(re.findall(r"^(\w+) = ", _page("settings.md"), re.MULTILINE))

    assert {field.name for field in attrs.fields(kind)} <= documented


def test_the_example_of_a_workflow_runs(tmp_path: Path) -> None:
    page = _page("workflows.md")
    (definition,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (command,) = re.findall(r"^longshore (.*)$", page, re.MULTILINE)
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "upper.toml").write_text(definition)
    (tmp_path / "workflows" / "upper.py").write_text(program)
    (tmp_path / "longshore.toml").write_text('[workflows]\ndirectory = "workflows"\n')
    (tmp_path / "README.md").write_text("many words\n")

    done = _run(tmp_path, str(Path(sys.executable).with_name("longshore")), *command.split())

    assert done.stdout == "the language is en\n"
    (result,) = tmp_path.glob("*/result")
    assert result.read_text() == "MANY WORDS\n"


def test_the_python_example_runs(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", _page("python.md"), re.DOTALL)

    done = _run(tmp_path, sys.executable, "-c", program)

    assert '"word": "three"' in done.stdout
    assert (tmp_path / "results" / "counts").is_file()


def _run(place: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Return what a command in ``place``, with a state of its own, said when it had gone well."""
    done = subprocess.run(
        command,
        cwd=place,
        env={**os.environ, "LONGSHORE_STATE": str(place / "state")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done


def _page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")
