"""A mover that is started again sends only what the storage has not taken yet."""

import errno
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.mover.conftest import Begin
from tests.mover.objects import MIB, Objects
from tests.support import PATIENCE

from longshore.models import Output
from longshore.transfer import SignedUpload, UploadReceipt
from longshore_mover.acknowledged import FILE, Acknowledged
from longshore_mover.transport import HttpTransport

DATA = random.Random(12).randbytes(12 * MIB)
RESULT = Output(name="result", max_size=12 * MIB)


def sent_parts(objects: Objects, upload: str) -> list[int]:
    """Return the numbers of the parts that were sent, and forget them."""
    puts = [path.rpartition("/") for verb, path in objects.asked if verb == "PUT"]
    objects.asked.clear()
    return sorted(int(number) for head, _, number in puts if head.endswith(upload))


@pytest.fixture
def upload(objects: Objects) -> SignedUpload:
    return objects.sign_upload(objects.open("result", len(DATA)), len(DATA))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def send_again(state: Path, upload: SignedUpload, source: Path) -> UploadReceipt:
    """Send ``source`` as a mover does that has just been started."""
    transport = HttpTransport(scratch=state, sent=Acknowledged(state))
    try:
        with source.open("rb", buffering=0) as file:
            return transport.send(upload, file, max_size=len(DATA))
    finally:
        transport.close()


@pytest.fixture
def sent(
    state: Path, upload: SignedUpload, source: Path, objects: Objects
) -> Iterator[UploadReceipt]:
    """All of it has been sent once."""
    receipt = send_again(state, upload, source)
    assert sent_parts(objects, upload.ticket_id) == list(range(1, 13))
    yield receipt
    objects.commit(upload.ticket_id, receipt.parts)
    assert objects.objects["result"] == DATA


@pytest.mark.kill
def test_a_mover_killed_half_way_goes_on_with_what_is_missing(
    begin: Begin, objects: Objects
) -> None:
    attempt = begin(objects, RESULT, inputs={"text": DATA})
    launcher = attempt.worker("cat in/0/text > out/result; echo said")

    def kill(upload: str, number: int) -> None:
        if upload == attempt.uploads["result"] and number == 8:
            objects.at_upload = lambda *_: None
            attempt.movers[-1].kill()

    objects.at_upload = kill
    assert attempt.begin().wait(PATIENCE) < 0
    assert launcher.wait(PATIENCE) == 0
    known = Acknowledged(attempt.home / "state")
    taken = {number for ticket, number in known if ticket == attempt.uploads["result"]}
    assert taken
    assert 8 not in taken
    sent_parts(objects, attempt.uploads["result"])
    assert attempt.serve() == 0, attempt.errors()
    again = set(sent_parts(objects, attempt.uploads["result"]))
    assert again == set(range(1, 13)) - taken
    assert attempt.commit() == {"result": DATA, "log": b"said\n"}


def test_what_was_taken_is_not_sent_again(
    state: Path, upload: SignedUpload, source: Path, objects: Objects, sent: UploadReceipt
) -> None:
    assert send_again(state, upload, source) == sent
    assert sent_parts(objects, upload.ticket_id) == []


def test_without_what_was_written_down_everything_is_sent_again(
    state: Path, upload: SignedUpload, source: Path, objects: Objects, sent: UploadReceipt
) -> None:
    """The control."""
    (state / FILE).unlink()
    assert send_again(state, upload, source) == sent
    assert sent_parts(objects, upload.ticket_id) == list(range(1, 13))


@pytest.mark.usefixtures("sent")
def test_a_part_that_is_another_one_now_is_sent_whatever_the_times_of_its_file_are(
    state: Path, upload: SignedUpload, source: Path, objects: Objects
) -> None:
    before = source.stat()
    with source.open("r+b") as file:
        file.seek(5 * MIB)
        file.write(b"changed")
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    receipt = send_again(state, upload, source)
    assert sent_parts(objects, upload.ticket_id) == [6]
    assert receipt.parts == tuple(objects.sent_tags(upload.ticket_id))
    source.write_bytes(DATA)
    send_again(state, upload, source)
    assert sent_parts(objects, upload.ticket_id) == [6]


@pytest.mark.usefixtures("sent")
def test_of_another_upload_nothing_is_known(state: Path, source: Path, objects: Objects) -> None:
    other = objects.sign_upload(objects.open("other", len(DATA)), len(DATA))
    send_again(state, other, source)
    assert sent_parts(objects, other.ticket_id) == list(range(1, 13))


@pytest.mark.parametrize(
    "line",
    [
        b"[",
        b"\0" * 99,
        b"5",
        b"[]",
        b'["t", 1, "zz", 1, "a"]',
        b'["t", "1", "00", 1, "a"]',
        b"\xff",
    ],
)
def test_a_line_that_says_nothing_is_passed_over(
    state: Path, upload: SignedUpload, source: Path, sent: UploadReceipt, line: bytes
) -> None:
    lines = (state / FILE).read_bytes().splitlines()
    (state / FILE).write_bytes(b"\n".join([*lines[:4], line, *lines[4:]]))
    assert len(Acknowledged(state)) == 12
    assert send_again(state, upload, source) == sent


def test_a_line_that_was_cut_short_costs_one_part(
    state: Path, upload: SignedUpload, source: Path, objects: Objects, sent: UploadReceipt
) -> None:
    content = (state / FILE).read_bytes()
    (state / FILE).write_bytes(content[:-5])
    cut = json.loads(content.splitlines()[-1])[1]
    for expected in ([cut], []):
        assert send_again(state, upload, source) == sent
        assert sent_parts(objects, upload.ticket_id) == expected


def test_a_full_disk_does_not_keep_bytes_from_being_sent(
    state: Path,
    upload: SignedUpload,
    source: Path,
    objects: Objects,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    receipt = send_again(state, upload, source)
    objects.commit(upload.ticket_id, receipt.parts)
    assert objects.objects["result"] == DATA
    assert not Acknowledged(state)
