"""The document holds: schemathesis sends what it allows, and what it does not, to a server.

``SCHEMA_EXAMPLES`` in the environment is how many cases the fuzzing phases make per operation.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving import Service, end_everything, serving

_HERE = Path(__file__).parent
_EXAMPLES = os.environ.get("SCHEMA_EXAMPLES", "5")
_LIMIT = 50.0 * int(_EXAMPLES)
#: nobody may be told to come again: the run is as fast as it can be
_SETTINGS = '[backends.local]\nisolation = "none"\n[limits]\nrequests_per_second = 0\n'
_PHASES = {"examples", "coverage", "fuzzing", "stateful"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    place = tmp_path_factory.mktemp("schema")
    try:
        with serving(place, settings=_SETTINGS) as running:
            yield running
    finally:
        end_everything(place)


def _run(service: Service, token: str, place: Path) -> dict[str, Any]:
    """Return the report of a run of all phases and checks with ``token``."""
    argv: list[str | Path] = [sys.executable, "-m", "schemathesis.cli", "--config-file"]
    argv += [_HERE / "schemathesis.toml"]
    argv += ["run", f"{service.url}/openapi.json", "--header", f"Authorization: Bearer {token}"]
    argv += ["--max-examples", _EXAMPLES, "--report", "json,ndjson", "--no-color"]
    argv += ["--report-json-path", "report.json", "--report-ndjson-path", "events.ndjson"]
    done = subprocess.run(
        argv,
        cwd=place,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(_HERE)},
        capture_output=True,
        text=True,
        timeout=_LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    report: dict[str, Any] = json.loads((place / "report.json").read_text())
    return report


def _by_phase(events: Path) -> str:
    found = Counter[str]()
    for line in events.read_text("utf-8").splitlines():
        scenario = json.loads(line).get("ScenarioFinished")
        if scenario is not None:
            found[scenario["phase"]] += len(scenario["recorder"].get("cases", ()))
    return ", ".join(f"{phase} {number}" for phase, number in sorted(found.items()))


@pytest.mark.timeout(2 * _LIMIT)
@pytest.mark.parametrize("who", ["consumer", pytest.param("admin", marks=pytest.mark.thorough)])
def test_every_answer_is_one_that_the_document_names(
    service: Service, who: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    token = service.admin if who == "admin" else service.consumer()

    report = _run(service, token, tmp_path)

    assert {name for name, found in report["phases"].items() if found["status"] == "success"} == (
        _PHASES
    )
    assert report["operations"]["tested"] == report["operations"]["total"] > 20
    assert not report["failures"]
    assert not report["errors"]
    assert [event for event in service.log() if event["level"] == "error"] == []
    record_property("counts", f"cases sent: {_by_phase(tmp_path / 'events.ndjson')}")
