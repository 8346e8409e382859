"""R10, the storage's half: an object is whole and checksummed, or it is not there."""

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from longshore.errors import ChecksumMismatch, NotFound, StorageUnavailable
from longshore.staging import FileTransport
from longshore.storages import local
from longshore.storages.local import LocalStorage
from longshore.transfer import Audience, UploadReceipt, UploadTicket

Upload = Callable[..., Awaitable[tuple[UploadTicket, UploadReceipt]]]
OLD, NEW = b"old\n" * 1000, b"the new result\n" * 100_000
PROGRAM = Path(__file__).with_name("killed_program.py")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.kill,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="killing at every step needs fork"),
]


def killed_at_every_step(what: str, root: Path, *options: str) -> list[UploadTicket]:
    result = subprocess.run(
        [sys.executable, str(PROGRAM), what, str(root), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    tickets = [UploadTicket(**json.loads(line)) for line in result.stdout.splitlines()]
    assert len(tickets) > 5  # it was killed, and more than once
    return tickets


async def check_whole_or_absent(storage: LocalStorage, key: str, allowed: set[bytes]) -> bytes:
    """The property: raw bytes, listing and checksum agree, and are all or nothing."""
    path = storage._files.root / key
    content = path.read_bytes() if path.exists() else b""
    assert content in allowed, "content in allowed"
    listed = [stored async for stored in storage.walk("instance/")]
    assert len(listed) == (1 if content else 0)
    for stored in listed:
        assert stored.size == len(content)
        assert stored.sha256 in {None, hashlib.sha256(content).hexdigest()}
    return content


async def check_commit(root: Path, tickets: list[UploadTicket], allowed: set[bytes]) -> None:
    """The property after kills in a commit: whole or absent, and a repeated commit ends it."""
    for steps, ticket in enumerate(tickets):
        storage = LocalStorage(root / str(steps))
        await check_whole_or_absent(storage, ticket.key, allowed)
        stored = await storage.commit(ticket, UploadReceipt(size=len(NEW)))
        assert stored.sha256 == hashlib.sha256(NEW).hexdigest()
        assert await storage.commit(ticket, UploadReceipt()) == stored
        assert await check_whole_or_absent(storage, ticket.key, {NEW}) == NEW
        assert list((root / str(steps) / "uploads").iterdir()) == []
        assert len(list((root / str(steps) / "objects" / ticket.key).parent.iterdir())) == 2


async def check_send(root: Path, tickets: list[UploadTicket]) -> None:
    """The property after kills in a transfer: nothing to commit until it is sent again, whole."""
    for steps, ticket in enumerate(tickets[:-1]):
        storage = LocalStorage(root / str(steps))
        with pytest.raises(NotFound):
            await storage.commit(ticket, UploadReceipt())
        assert await check_whole_or_absent(storage, ticket.key, {b""}) == b""
        signed = await storage.sign_upload(
            ticket, audience=Audience.JOB, expires=timedelta(hours=1)
        )
        receipt = FileTransport().send(signed, io.BytesIO(NEW), max_size=10**8)
        await storage.commit(ticket, receipt)
        assert await check_whole_or_absent(storage, ticket.key, {NEW}) == NEW


async def test_a_commit_that_is_killed_at_any_step_can_be_repeated(tmp_path: Path) -> None:
    await check_commit(tmp_path, killed_at_every_step("commit", tmp_path), {b"", NEW})


async def test_a_commit_of_parts_that_is_killed_at_any_step_can_be_repeated(
    tmp_path: Path,
) -> None:
    await check_commit(tmp_path, killed_at_every_step("commit-parts", tmp_path), {b"", NEW})


async def check_arrival(root: Path, tickets: list[UploadTicket]) -> None:
    """The property after kills while parts arrive: those that count are the bytes of the source."""
    for steps, ticket in enumerate(tickets[:-1]):
        storage = LocalStorage(root / str(steps))
        for part in await storage.sent(ticket):
            at = (part.number - 1) * ticket.part_size
            with storage._upload(ticket).open("rb") as file:
                file.seek(at)
                found = file.read(part.size)
            assert found == NEW[at : at + ticket.part_size], "found =="
            assert part.tag == hashlib.sha256(found).hexdigest()
        with pytest.raises((NotFound, ChecksumMismatch)):
            await storage.commit(ticket, UploadReceipt(size=len(NEW)))
        assert await check_whole_or_absent(storage, ticket.key, {b""}) == b""


async def test_parts_that_arrive_until_a_kill_are_whole_or_do_not_count(tmp_path: Path) -> None:
    tickets = killed_at_every_step("arrive", tmp_path)
    assert len(tickets) > 15
    await check_arrival(tmp_path, tickets)
    sent = [len(await LocalStorage(tmp_path / str(n)).sent(one)) for n, one in enumerate(tickets)]
    assert set(sent) == {0, 1, 2, 3, 4}  # and every one that was whole need not be sent again


async def test_control_counted_before_its_bytes_a_killed_part_is_wrong(tmp_path: Path) -> None:
    tickets = killed_at_every_step("arrive", tmp_path, "control")
    with pytest.raises(AssertionError, match="found =="):
        await check_arrival(tmp_path, tickets)


async def test_a_replacing_commit_that_is_killed_leaves_the_old_or_the_new(
    tmp_path: Path,
) -> None:
    await check_commit(tmp_path, killed_at_every_step("replace", tmp_path), {OLD, NEW})


async def test_control_without_the_rename_a_killed_commit_shows_half_an_object(
    tmp_path: Path,
) -> None:
    tickets = killed_at_every_step("commit", tmp_path, "control")
    with pytest.raises(AssertionError, match="content in allowed"):
        await check_commit(tmp_path, tickets, {b"", NEW})


async def test_a_write_that_is_killed_at_any_step_leaves_all_or_nothing(tmp_path: Path) -> None:
    for steps, ticket in enumerate(killed_at_every_step("write", tmp_path)):
        storage = LocalStorage(tmp_path / str(steps))
        await check_whole_or_absent(storage, ticket.key, {b"", NEW})


async def test_a_transfer_that_is_killed_at_any_step_leaves_nothing_to_commit(
    tmp_path: Path,
) -> None:
    tickets = killed_at_every_step("send", tmp_path)
    assert len(tickets) > 20  # each twentieth of the bytes was a step
    await check_send(tmp_path, tickets)


async def test_control_without_the_mark_of_the_whole_a_killed_transfer_can_be_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickets = killed_at_every_step("send", tmp_path)
    monkeypatch.setattr(local, "_check_sent", lambda *_: None)
    with pytest.raises(pytest.fail.Exception):
        await check_send(tmp_path, tickets)


async def check_wrong_bytes_are_refused(storage: LocalStorage, upload: Upload, key: str) -> None:
    """The property: bytes that changed since the receipt never become an object."""
    ticket, receipt = await upload(storage, b"as it was sent")
    storage._upload(ticket).chmod(0o600)
    storage._upload(ticket).write_bytes(b"as it is today")
    storage._upload(ticket).chmod(0o400)
    with pytest.raises(ChecksumMismatch):
        await storage.commit(ticket, receipt)
    assert await storage.stat(key) is None


async def test_bytes_that_changed_on_the_disk_are_refused(
    storage: LocalStorage, upload: Upload, key: str
) -> None:
    await check_wrong_bytes_are_refused(storage, upload, key)


async def test_control_without_the_check_changed_bytes_become_an_object(
    storage: LocalStorage, upload: Upload, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_check", lambda *_: None)
    with pytest.raises(pytest.fail.Exception):
        await check_wrong_bytes_are_refused(storage, upload, key)


async def test_an_object_is_on_the_disk_before_it_has_its_name(
    storage: LocalStorage, upload: Upload, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket, receipt = await upload(storage, b"content")
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def recording_fsync(fd: int) -> None:
        steps.append("directory" if os.path.isdir(f"/dev/fd/{fd}") else "file")  # noqa: PTH112 - a descriptor
        fsync(fd)

    def recording_rename(self: Path, target: Path) -> Path:
        steps.append("name")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(Path, "rename", recording_rename)
    await storage.commit(ticket, receipt)
    made = len(Path(key).parts) - 1  # each directory that was made has its name in another
    assert steps == ["file", "name", *["directory"] * (made + 1)]


async def test_after_the_disk_lost_pages_the_upload_is_never_committed(
    storage: LocalStorage, upload: Upload, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket, receipt = await upload(storage, b"content")

    def failing(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", failing)
        with pytest.raises(StorageUnavailable, match="Input/output error"):
            await storage.commit(ticket, receipt)
    with pytest.raises(NotFound):  # the kernel would not tell a second time
        await storage.commit(ticket, receipt)
    assert await storage.stat(key) is None
