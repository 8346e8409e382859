"""Downloads: resumed after a break, checked before they appear, and never half under their name."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from longshore_client import Client, downloads, partfile
from longshore_client.blocking import Output
from longshore_client.errors import (
    Broken,
    ChecksumMismatch,
    Conflict,
    NotFound,
    RetryError,
    ServerError,
)
from longshore_client.partfile import open_part

JOB_ID = "01k9x3v0c8e6h4y2t7r5w1q9za"
SEGMENT = 256 * 1024


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partfile, "SEGMENT", SEGMENT)


@pytest.fixture
def output(provider: Any, client: Client) -> Output:
    provider.output = os.urandom(5 * SEGMENT + 77)
    return client.job(JOB_ID).outputs["data"]


def ranges(provider: Any) -> list[str]:
    return [it.headers["range"] for it in provider.requests("GET", "/blobs/out")]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_an_output_is_fetched_in_ranges_and_appears_whole(
    provider: Any, output: Output, tmp_path: Path
) -> None:
    told: list[int] = []
    saved = output.save(tmp_path / "new" / "out", told.append)
    assert saved.read_bytes() == provider.output
    assert names(saved.parent) == ["data"]
    assert sum(told) == len(provider.output)
    assert len(ranges(provider)) == 6
    assert not saved.stat().st_mode & 0o111


@pytest.mark.parametrize("fault", [{"cut": 100_000}, {"status": 403}, {"status": 503}])
def test_after_a_break_or_an_expired_url_the_rest_is_fetched(
    provider: Any, output: Output, tmp_path: Path, clock: Any, fault: dict[str, Any]
) -> None:
    provider.fail("GET", "/blobs/out", **fault)
    assert output.save(tmp_path).read_bytes() == provider.output
    assert len(ranges(provider)) == 7
    assert len(clock.pauses) == 1


def test_a_url_that_was_refused_is_not_used_again(
    provider: Any, output: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "PARALLEL", 1)
    provider.fail("GET", "/blobs/out", status=403, times=3)
    output.save(tmp_path)
    asked = provider.requests("GET", f"/v1/jobs/{JOB_ID}/outputs/data")
    assert len(asked) == 4
    assert len(ranges(provider)) == 6 + 3


def test_what_a_broken_process_fetched_is_not_fetched_again(
    provider: Any, output: Output, tmp_path: Path
) -> None:
    provider.fail("GET", "/blobs/out", cut=1000)  # one segment gets a little, then nothing more
    provider.fail("GET", "/blobs/out", status=404, times=1000)
    with pytest.raises(NotFound):
        output.save(tmp_path)
    assert names(tmp_path) == ["data.part"]
    provider.faults.clear()
    provider.fail("GET", "/blobs/out", status=404, times=0)
    with open_part(tmp_path / "data", len(provider.output), provider.outputs()[0]["sha256"]) as it:
        there = it.got
    told: list[int] = []
    assert output.save(tmp_path, told.append).read_bytes() == provider.output
    assert told[0] == there
    assert sum(told) == len(provider.output)  # every other byte came once
    assert names(tmp_path) == ["data"]


@pytest.fixture
def half(provider: Any, output: Output, tmp_path: Path) -> Path:
    """Return a download that has its first two segments, as a killed process leaves it."""
    with open_part(tmp_path / "data", len(provider.output), provider.outputs()[0]["sha256"]) as it:
        for segment in it.segments[:2]:
            it.write(segment, provider.output[segment.start : segment.end])
        it.note()
    return tmp_path / "data.part"


def test_a_killed_download_goes_on_with_the_missing_segments(
    provider: Any, output: Output, half: Path
) -> None:
    assert output.save(half.parent).read_bytes() == provider.output
    assert len(ranges(provider)) == 4


def test_a_part_that_does_not_hold_what_it_says_is_fetched_once_more_from_the_beginning(
    provider: Any, output: Output, half: Path
) -> None:
    with half.open("r+b") as file:
        file.write(b"rubbish")
    told: list[int] = []
    assert output.save(half.parent, told.append).read_bytes() == provider.output
    assert sum(told) == len(provider.output)
    assert names(half.parent) == ["data"]


@pytest.mark.parametrize("state", [b"", b"no json", b'{"got": 7}', b'{"got": [1], "size": 1}'])
def test_a_part_without_a_sensible_note_is_begun_anew(
    provider: Any, output: Output, half: Path, state: bytes
) -> None:
    with half.open("r+b") as file:
        file.truncate(len(provider.output))
        file.seek(len(provider.output))
        file.write(state)
    assert output.save(half.parent).read_bytes() == provider.output
    assert len(ranges(provider)) == 6


def test_a_part_of_another_output_is_begun_anew(provider: Any, output: Output, half: Path) -> None:
    provider.output = provider.output[::-1]
    assert output.save(half.parent).read_bytes() == provider.output


def test_bytes_that_are_not_what_the_job_made_never_get_the_name(
    provider: Any, output: Output, tmp_path: Path
) -> None:
    provider.claimed = "0" * 64
    with pytest.raises(ChecksumMismatch):
        output.save(tmp_path)
    assert names(tmp_path) == []
    with pytest.raises(ChecksumMismatch):
        output.read_bytes()


def test_control_without_the_check_wrong_bytes_would_get_the_name(
    provider: Any, output: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.claimed = "0" * 64
    monkeypatch.setattr(partfile.PartFile, "_digest", lambda _: "0" * 64)
    output.save(tmp_path)
    assert names(tmp_path) == ["data"]


def test_two_processes_do_not_write_one_file(provider: Any, output: Output, tmp_path: Path) -> None:
    with (
        open_part(tmp_path / "data", len(provider.output), "0" * 64),
        pytest.raises(Conflict, match="another process"),
    ):
        output.save(tmp_path)


def test_an_answer_with_other_bytes_than_asked_for_is_an_error(
    provider: Any, output: Output, tmp_path: Path
) -> None:
    provider.fail("GET", "/blobs/out", status=200, body={"no": "bytes"}, times=1000)
    with pytest.raises((ServerError, Broken)):
        output.save(tmp_path)
    assert "data" not in names(tmp_path)


@pytest.mark.parametrize("name", ["../up", "..", "", "a/b", "a\0b"])
def test_a_name_that_leads_elsewhere_is_refused(
    provider: Any, client: Client, tmp_path: Path, name: str
) -> None:
    provider.output = b"x"
    listed = [{**provider.outputs()[0], "name": name}]
    provider.outputs = lambda: listed
    (tmp_path / "in").mkdir()
    with pytest.raises(ServerError, match="no name of an output"):
        client.job(JOB_ID).outputs[name].save(tmp_path / "in")
    assert names(tmp_path) == ["in"]


def test_an_empty_output_is_a_file_without_any_request(
    provider: Any, client: Client, tmp_path: Path
) -> None:
    output = client.job(JOB_ID).outputs["data"]
    assert output.save(tmp_path).read_bytes() == b""
    assert output.read_bytes() == b""
    assert ranges(provider) == []


def test_reading_goes_on_after_a_break(provider: Any, output: Output) -> None:
    provider.fail("GET", "/blobs/out", cut=1000)
    assert b"".join(output.chunks()) == provider.output


def test_a_download_that_never_gets_better_says_how_often_it_was_tried(
    provider: Any, output: Output, tmp_path: Path
) -> None:
    provider.fail("GET", "/blobs/out", status=503, times=10_000)
    with pytest.raises(RetryError, match="tried"):
        output.save(tmp_path)
    state = (tmp_path / "data.part").read_bytes()[len(provider.output) :]
    assert sum(json.loads(state)["got"]) == 0


def test_the_token_stays_with_the_server(provider: Any, output: Output, tmp_path: Path) -> None:
    output.save(tmp_path)
    assert not [it for it in provider.requests("GET", "/blobs") if "authorization" in it.headers]
