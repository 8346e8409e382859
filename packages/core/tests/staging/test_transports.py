"""What moves the bytes of a plan is found by the schemes of its URLs."""

import importlib.metadata
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from longshore.errors import PluginError
from longshore.staging import FileTransport, transports
from longshore.staging.transports import transport_for
from longshore.transfer import (
    PlannedInput,
    PlannedOutput,
    SignedRequest,
    SignedUpload,
    TransferPlan,
)

HOUR = timedelta(hours=1)


def request(url: str) -> SignedRequest:
    return SignedRequest(method="GET", url=url, expires_at=datetime.now(UTC) + HOUR)


def plan(*, inputs: str = "file:///a", outputs: str = "file:///b") -> TransferPlan:
    upload = SignedUpload(ticket_id="t", part_size=10, parts=(request(outputs),))
    return TransferPlan(
        job_id="job",
        attempt=1,
        inputs=(PlannedInput(name="in", request=request(inputs), size=1),),
        outputs=(PlannedOutput(name="out", upload=upload),),
        log=upload,
        manifest=upload,
        valid_until=datetime.now(UTC) + HOUR,
    )


class Made:
    """A transport of another package."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self.given, self.named = given, named
        self.moved: list[str] = []

    def fetch(self, one: SignedRequest, *_: object, **__: object) -> None:
        self.moved.append(one.url)

    def send(self, upload: SignedUpload, *_: object, **__: object) -> None:
        self.moved.append(upload.parts[0].url)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = EntryPoints(
        [
            EntryPoint("mine", f"{__name__}:Made", transports.GROUP),
            EntryPoint("gone", f"{__name__}:Missing", transports.GROUP),
        ]
    )
    monkeypatch.setattr(importlib.metadata, "entry_points", found.select)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])


def test_files_are_moved_by_the_core_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(importlib.metadata, "entry_points")  # nobody asks for them
    assert isinstance(transport_for(plan(), outage=HOUR), FileTransport)


@pytest.mark.usefixtures("installed")
class TestOthers:
    def test_another_scheme_is_moved_by_what_is_installed_for_it(self) -> None:
        given = plan(inputs="mine:1", outputs="mine:2")
        found: Any = transport_for(given, outage=HOUR)
        assert isinstance(found, Made)
        assert found.given == (given,)
        assert found.named == {"outage": HOUR, "newer": None}

    def test_each_of_several_schemes_is_moved_by_its_own(self) -> None:
        given = plan(inputs="mine:1")
        found: Any = transport_for(given, outage=HOUR)
        found.fetch(given.inputs[0].request, None, size=1, sha256=None)
        assert found._transports["mine"].moved == ["mine:1"]
        assert isinstance(found._transports["file"], FileTransport)

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("https://storage/x", "pip install longshore-mover"),
            ("ftp://storage/x", "no package of longshore.transports has it"),
            ("gone:1", "Missing cannot be used"),
        ],
    )
    def test_what_is_missing_is_named(self, url: str, words: str) -> None:
        with pytest.raises(PluginError, match=words) as caught:
            transport_for(plan(outputs=url), outage=HOUR)
        assert "storage" not in str(caught.value)  # who reads a signed URL may use it


def test_the_mover_is_not_imported_for_files() -> None:
    script = "import sys, longshore.staging.transports; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", script], stdout=-1, check=True, text=True).stdout
    assert not {"longshore_mover", "importlib.metadata", "http.client"} & {*said.split()}
