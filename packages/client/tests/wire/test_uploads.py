"""Uploads: only what is missing is sent, whatever breaks, and the token stays with the server."""

import base64
import hashlib
import itertools
from pathlib import Path
from typing import Any

import pytest

from longshore_client import Client, uploads
from longshore_client.errors import (
    ChecksumMismatch,
    DataRefused,
    Expired,
    RetryError,
    TooLarge,
)
from longshore_client.uploads import layout

PART = 1024 * 1024
KMS = {"x-amz-server-side-encryption": "aws:kms"}


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def storage_error(code: str, message: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


def sent(provider: Any) -> bytes:
    return b"".join(it for _, it in sorted(provider.parts.items()))


@pytest.fixture
def upload(provider: Any, client: Client, data: Path) -> Any:
    """Return a function that runs a job with ``data`` as its input, and the progress it told."""
    provider.size = data.stat().st_size

    def run(**more: Any) -> int:
        told: list[int] = []
        client.run("copy", inputs={"data": data}, progress=told.append, **more)
        return sum(told)

    return run


def test_all_parts_arrive_and_the_job_is_started(provider: Any, upload: Any, data: Path) -> None:
    assert upload() == data.stat().st_size
    assert sent(provider) == data.read_bytes()
    assert (provider.input_state, provider.state) == ("received", "QUEUED")
    assert {it.headers["x-signed"] for it in provider.requests("PUT", "/blobs")} == {"yes"}


def test_an_upload_of_one_request_is_sent_and_completed(
    provider: Any, upload: Any, data: Path
) -> None:
    provider.single = True
    upload()
    assert sent(provider) == data.read_bytes()


@pytest.mark.parametrize("fault", [{"cut": 300_000}, {"status": 403}, {"status": 404}])
def test_after_a_break_or_an_expired_url_only_missing_parts_are_sent_again(
    provider: Any, upload: Any, data: Path, clock: Any, fault: dict[str, Any]
) -> None:
    provider.fail("PUT", "/blobs/in/3", **fault)
    assert upload() == data.stat().st_size
    assert sent(provider) == data.read_bytes()
    again = provider.requests("PUT", "/blobs/in/3")
    assert len(again) == 2
    whole = [it for it in provider.requests("PUT", "/blobs") if len(it.body) > 0]
    assert len({it.path for it in whole}) == 4
    assert len(clock.pauses) == 1
    assert provider.requests("GET", "/v1/jobs/")[0].path.endswith("/inputs/data")


def test_a_server_that_is_busy_is_asked_again_when_it_says(
    provider: Any, upload: Any, clock: Any
) -> None:
    provider.fail("PUT", "/blobs/in/1", status=503, headers={"Retry-After": "7"})
    upload()
    assert clock.pauses[0] >= 7


def test_what_never_gets_better_ends_with_how_often_it_was_tried_and_cancels_the_job(
    provider: Any, upload: Any
) -> None:
    provider.fail("PUT", "/blobs/in/2", status=503, times=1000)
    with pytest.raises(RetryError, match=r"tried \d+ times in \d+ s") as caught:
        upload()
    assert caught.value.tries > 3
    assert provider.state == "CANCELED"


def test_with_a_key_the_same_call_goes_on_where_the_last_one_ended(
    provider: Any, upload: Any, data: Path
) -> None:
    provider.fail("PUT", "/blobs/in/2", status=503, times=1000)
    with pytest.raises(RetryError):
        upload(key="monday")
    assert provider.state == "CREATED"
    provider.faults.clear()
    there = set(provider.parts)
    before = len(provider.requests("PUT", "/blobs"))
    upload(key="monday")
    assert sent(provider) == data.read_bytes()
    assert len(provider.requests("PUT", "/blobs")) - before == 4 - len(there)


def test_refused_bytes_are_not_sent_again(provider: Any, upload: Any) -> None:
    problem = {"code": "checksum-mismatch", "detail": "not those bytes"}
    provider.fail("PUT", "/blobs/in/1", status=422, body=problem)
    with pytest.raises(ChecksumMismatch, match="not those bytes"):
        upload()
    assert len(provider.requests("PUT", "/blobs/in/1")) == 1


def test_parts_of_another_file_are_never_mixed_with_this_one(
    provider: Any, client: Client, data: Path
) -> None:
    provider.size = data.stat().st_size
    provider.parts[2] = b"?" * PART
    with pytest.raises(ChecksumMismatch, match="part 2"):
        client.job("01k9x3v0c8e6h4y2t7r5w1q9za").put_input("data", data)
    assert provider.input_state == "missing"


def test_bytes_that_change_on_their_way_are_sent_again(
    provider: Any, upload: Any, data: Path
) -> None:
    provider.fail("PUT", "/blobs/in/1", status=200, headers={"ETag": f'"{"0" * 64}"'})
    upload()
    assert sent(provider) == data.read_bytes()
    assert len(provider.requests("PUT", "/blobs/in/1")) == 2


def test_a_storage_is_told_the_md5_of_each_part_and_our_server_is_not(
    provider: Any, upload: Any, data: Path
) -> None:
    provider.tag = md5
    upload()
    for it in provider.requests("PUT", "/blobs"):
        assert base64.b64decode(it.headers["content-md5"]).hex() == md5(it.body)
    provider.blob_path = "/v1/blobs/in"
    provider.parts.clear()
    provider.input_state = "missing"
    upload(key="again")
    assert sent(provider) == data.read_bytes()
    assert not [it for it in provider.requests("PUT", "/v1/blobs") if "content-md5" in it.headers]


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 400, "text": storage_error("BadDigest", "not these")},
        {"status": 500, "text": storage_error("InternalError", "please try again")},
        {"status": 200, "headers": {"ETag": f'"{"0" * 32}"'}},
    ],
)
def test_what_a_storage_did_not_take_as_it_was_is_sent_again(
    provider: Any, upload: Any, data: Path, fault: dict[str, Any]
) -> None:
    provider.tag = md5
    provider.fail("PUT", "/blobs/in/2", **fault)
    upload()
    assert sent(provider) == data.read_bytes()
    assert len(provider.requests("PUT", "/blobs/in/2")) == 2


def test_control_without_a_look_at_the_tags_a_changed_part_would_be_taken(
    provider: Any, upload: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "checksum_in", lambda _: None)
    provider.fail("PUT", "/blobs/in/2", status=200, headers={"ETag": f'"{"0" * 32}"'})
    upload()
    assert sent(provider) != data.read_bytes()


def test_what_a_storage_says_of_its_refusal_is_said(provider: Any, upload: Any) -> None:
    text = storage_error("InvalidAccessKeyId", "The key does not exist.")
    provider.fail("PUT", "/blobs/in/", status=403, text=text, times=1000)
    with pytest.raises(Expired, match=r"answers 403, InvalidAccessKeyId: The key does not exist."):
        upload()


def test_tags_of_an_encrypting_storage_are_not_taken_for_checksums(
    provider: Any, upload: Any, data: Path
) -> None:
    """Each is another one, also of the same bytes, and looks like an MD5."""
    count = itertools.count()
    provider.tag = lambda _: f"{next(count):032x}"
    provider.blob_headers = KMS
    provider.parts[2] = data.read_bytes()[PART : 2 * PART]  # of an earlier process
    provider.keys["monday"] = "any"
    upload(key="monday")
    assert sent(provider) == data.read_bytes()
    assert not provider.requests("PUT", "/blobs/in/2")


def test_an_upload_whose_completion_was_cut_off_is_completed_and_not_sent_again(
    provider: Any, client: Client, data: Path
) -> None:
    provider.input_state = "uploaded"
    told: list[int] = []
    client.job("01k9x3v0c8e6h4y2t7r5w1q9za").put_input("data", data, progress=told.append)
    assert provider.input_state == "received"
    assert not provider.requests("PUT", "/blobs")
    assert sum(told) == data.stat().st_size


def test_one_part_that_fails_does_not_break_those_beside_it(
    provider: Any, upload: Any, data: Path
) -> None:
    provider.fail("PUT", "/blobs/in/1", status=503)
    upload()
    assert sent(provider) == data.read_bytes()
    assert len(provider.requests("PUT", "/blobs")) == 5


def test_the_token_goes_to_the_server_and_nowhere_else(provider: Any, upload: Any) -> None:
    upload()
    assert all("authorization" in it.headers for it in provider.requests("POST", "/v1/"))
    assert not [it for it in provider.requests("PUT", "/blobs") if "authorization" in it.headers]


def test_control_with_the_token_on_every_request_the_storage_would_see_it(
    provider: Any, upload: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from longshore_client.transport import Transport  # noqa: PLC0415 - what is broken here

    plain = Transport.signed
    monkeypatch.setattr(
        Transport,
        "signed",
        lambda self, request, headers, **more: plain(
            self, request, headers={**headers, "Authorization": "Bearer x"}, **more
        ),
    )
    upload()
    assert [it for it in provider.requests("PUT", "/blobs") if "authorization" in it.headers]


def parts(*numbers: int, size: int = 10) -> dict[str, Any]:
    return {"parts": [{"number": n, "size": size, "url": f"/{n}"} for n in numbers]}


def test_a_part_begins_where_all_before_it_end() -> None:
    there = [{"number": 1, "size": 10, "etag": "a"}, {"number": 3, "size": 10, "etag": "c"}]
    found = layout(parts(2, 4), 35, there)
    assert [(it.number, it.start, it.size, it.etag) for it in found] == [
        (1, 0, 10, "a"), (2, 10, 10, ""), (3, 20, 10, "c"), (4, 30, 5, ""),
    ]  # fmt: skip


def test_parts_behind_the_end_are_not_needed_and_an_empty_file_has_one() -> None:
    assert [it.size for it in layout(parts(1, 2, 3), 12)] == [10, 2]
    assert [it.size for it in layout(parts(1, 2), 0)] == [0]


def test_more_bytes_than_all_parts_take_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(TooLarge, match="21 bytes are more than the 20"):
        layout(parts(1, 2), 21)


def test_a_directory_is_packed_and_a_device_is_refused(
    provider: Any, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    (tmp_path / "tree" / "inner" / "a").write_text("A")
    client.run("tree", inputs={"data": tmp_path / "tree"})
    first = dict(provider.parts)
    provider.parts.clear()
    provider.input_state = "missing"
    client.run("tree", inputs={"data": tmp_path / "tree"})
    assert provider.parts == first  # the same files make the same bytes, whenever
    with pytest.raises(DataRefused, match="/dev/null is neither"):
        client.run("tree", inputs={"data": Path("/dev/null")})
