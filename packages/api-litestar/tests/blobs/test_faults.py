"""Clients that leave, wait or lie; servers that are killed; disks that are full."""

import hashlib
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest
from tests.blobserving import PART, Connection, Server
from tests.support import until

from longshore.blobs import Grant, sign
from longshore.errors import NotFound, StorageUnavailable
from longshore.transfer import UploadReceipt, UploadTicket

MIB = 1024**2
IDLE = 1000

pytestmark = pytest.mark.anyio


def some(size: int, seed: int = 1) -> bytes:
    return hashlib.shake_128(bytes([seed])).digest(size)


async def no_sender_is_left(server: Server, ticket: UploadTicket) -> None:
    """Wait until the server has noticed that whoever sent is gone."""
    with anyio.fail_after(30):
        while True:
            try:
                await server.storage.commit(ticket, UploadReceipt())
            except StorageUnavailable:
                await anyio.sleep(0.01)
            except NotFound:
                return


@pytest.mark.parametrize("half_closed", [True, False])
@pytest.mark.parametrize("sent", [10, PART // 2])
async def test_what_a_client_cut_off_does_not_count_and_can_be_sent_again(
    server: Server,
    key: str,
    half_closed: bool,  # noqa: FBT001 - a parameter of the test
    sent: int,
) -> None:
    ticket, targets = await server.upload(key, 2 * PART)
    assert server.put(targets[0], some(PART)).status == 200
    connection = server.connect()
    connection.ask("PUT", targets[1], some(PART)[:sent], content_length=str(PART))
    if half_closed:
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.is_closed()
    else:
        connection.close()
    assert server.put(targets[1], some(PART, 2)).status == 200
    assert [one.number for one in await server.storage.sent(ticket)] == [1, 2]
    await server.storage.commit(ticket, UploadReceipt())
    assert server.get(await server.target(key)).body == some(PART) + some(PART, 2)


async def test_nothing_of_what_was_cut_off_is_readable(server: Server, key: str) -> None:
    ticket, (target,) = await server.upload(key, PART)
    connection = server.connect()
    connection.ask("PUT", target, some(PART)[:-1], content_length=str(PART))
    connection.close()
    await no_sender_is_left(server, ticket)
    assert await server.storage.sent(ticket) == ()
    assert server.get(await server.target(key)).status == 404


async def test_who_sends_the_same_part_later_takes_the_place_of_who_hangs(
    server: Server, key: str
) -> None:
    ticket, (target,) = await server.upload(key, PART)
    hanging = server.connect()
    hanging.ask("PUT", target, some(PART, 1)[: PART // 2], content_length=str(PART))
    assert server.put(target, some(PART, 2)).status == 200
    hanging.send(some(PART, 1)[PART // 2 :])
    answer = hanging.answer()
    assert answer.status == 409
    await server.storage.commit(ticket, UploadReceipt())
    assert server.get(await server.target(key)).body == some(PART, 2)


async def test_of_many_senders_of_one_part_the_bytes_are_those_of_one(
    server: Server, key: str
) -> None:
    ticket, (target,) = await server.upload(key, PART)
    connections = [server.connect() for _ in range(8)]
    for seed, connection in enumerate(connections):
        connection.ask("PUT", target, some(PART, seed))
    statuses = [connection.answer().status for connection in connections]
    assert set(statuses) <= {200, 409}
    assert 200 in statuses
    await server.storage.commit(ticket, UploadReceipt())
    body = server.get(await server.target(key)).body
    assert body in [some(PART, seed) for seed in range(8)]


@pytest.mark.parametrize(
    "head",
    [
        "content-length: 7\r\ntransfer-encoding: chunked",
        "content-length: 7\r\ncontent-length: 8",
        "content-length: +7",
        "content-length: 7,7",
        "content-length: -1",
        "transfer-encoding: chunked, identity",
    ],
)
async def test_a_body_that_two_readers_would_end_elsewhere_is_refused(
    server: Server, key: str, head: str
) -> None:
    ticket, (target,) = await server.upload(key, PART)
    connection = server.connect()
    connection.send(f"PUT {target} HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n0\r\n\r\n".encode())
    assert connection.answer().status == 400
    assert connection.is_closed()
    assert await server.storage.sent(ticket) == ()


@pytest.mark.parametrize("size", [7, PART])
async def test_a_body_behind_a_request_to_speak_something_else_is_refused_or_taken_whole(
    server: Server, key: str, size: int
) -> None:
    ticket, (target,) = await server.upload(key, size)
    answer = server.put(target, some(size), connection="upgrade", upgrade="h2c")
    sent = [part.size for part in await server.storage.sent(ticket)]
    assert (answer.status, sent) in ((400, []), (200, [size]))


async def test_a_refused_body_is_no_next_request(server: Server, key: str) -> None:
    """What follows a refusal is the rest of the refused body, whatever it looks like."""
    _, (target,) = await server.upload(key, 7)
    inner = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
    connection = server.connect()
    connection.ask("PUT", target, inner)
    assert connection.answer().status == 413
    connection.socket.shutdown(socket.SHUT_WR)
    assert connection.is_closed()  # and no second answer came before


@pytest.fixture
def ready_for_many() -> Iterator[None]:
    """Room for two thousand sockets in this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 3 * IDLE:
        pytest.skip(f"{IDLE} clients need {3 * IDLE} open files (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_thousand_idle_clients_hold_no_thread_and_little_memory(
    server: Server, key: str, ready_for_many: None
) -> None:
    target = await server.keep(key, some(16 * MIB))
    _, (upload,) = await server.upload(f"{key}2", PART)
    assert server.put(upload, some(PART)).status == 200
    assert len(server.get(target).body) == 16 * MIB
    before = server.peak_memory()
    idle: list[Connection] = []
    for number in range(IDLE // 2):
        _, (target_up,) = await server.upload(f"{key}-{number}", PART)
        idle += [server.connect(), server.connect()]
        idle[-1].ask("PUT", target_up, some(1000), content_length=str(PART))
        idle[-2].ask("GET", target)
    times = []
    for _ in range(50):
        begun = time.perf_counter()
        assert server.get("/livez").status == 200
        times.append(time.perf_counter() - begun)
    assert server.get(target, range="bytes=1-2").body == some(16 * MIB)[1:3]
    assert sorted(times)[len(times) // 2] < 0.1
    assert server.peak_memory() - before < 300 * MIB
    for connection in idle:
        connection.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory in /proc")
async def test_memory_does_not_grow_with_the_bytes(server: Server, key: str) -> None:
    async def carry(size: int, name: str) -> None:
        ticket, _ = await server.upload(name, size)
        whole = Grant(method="PUT", key=name, expires=2**33, upload=ticket.upload_id, size=size)
        connection = server.connect()
        target = sign(server.secret, whole)
        connection.ask("PUT", target, content_length=str(size))
        piece = bytes(MIB)
        for _ in range(size // MIB):
            connection.send(piece)
        assert connection.answer().status == 200
        await server.storage.commit(ticket, UploadReceipt())
        connection.ask("GET", await server.target(name))
        connection.answer(has_body=False)
        connection.skip(size)

    await carry(8 * MIB, f"{key}1")
    before = server.peak_memory()
    await carry(300 * MIB, f"{key}2")
    assert server.peak_memory() - before < 32 * MIB


@pytest.mark.parametrize("mode", [(), ("plain",)])
async def test_a_sender_that_hangs_is_told_and_let_go(
    serve: Callable[..., Server], key: str, mode: tuple[str, ...]
) -> None:
    server = serve("stall=0.3", *mode)
    ticket, (target,) = await server.upload(key, PART)
    connection = server.connect()
    connection.ask("PUT", target, some(1000), content_length=str(PART))
    assert connection.answer().status == 409
    assert await server.storage.sent(ticket) == ()
    with pytest.raises(NotFound):
        await server.storage.commit(ticket, UploadReceipt())


async def test_a_reader_that_hangs_is_let_go(serve: Callable[..., Server], key: str) -> None:
    server = serve("stall=0.3")
    connection = server.connect()
    connection.ask("GET", await server.keep(key, bytes(64 * MIB)))
    until(lambda: server.has_open("data.bin"), "the object is open")
    until(lambda: not server.has_open("data.bin"), "it is closed")
    with pytest.raises(ConnectionError):
        connection.answer()


@pytest.mark.kill
async def test_after_a_kill_what_had_come_is_there_and_the_rest_is_sent(
    serve: Callable[..., Server], key: str, tmp_path: Path
) -> None:
    server = serve()
    ticket, targets = await server.upload(key, 3 * PART)
    assert server.put(targets[1], some(PART, 2)).status == 200
    cut = server.connect()
    cut.ask("PUT", targets[0], some(PART)[: PART // 2], content_length=str(PART))
    path = server.storage._upload(ticket)
    until(lambda: path.read_bytes()[:1000] == some(PART)[:1000], "it is on its way")
    server.kill()
    assert cut.is_closed()
    assert [one.number for one in await server.storage.sent(ticket)] == [2]
    with pytest.raises(NotFound):
        await server.storage.commit(ticket, UploadReceipt())
    assert await server.storage.stat(key) is None
    again = serve(root=server.root)
    for number in (0, 2):
        assert again.put(targets[number], some(PART, number + 1)).status == 200
    await again.storage.commit(ticket, UploadReceipt())
    body = again.get(await again.target(key)).body
    assert body == some(PART, 1) + some(PART, 2) + some(PART, 3)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a small disk needs Linux and root (mount -t tmpfs)")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("mode", [(), ("plain",)])
async def test_a_full_disk_is_said_and_forgotten_once_there_is_room(
    disk: Path, serve: Callable[..., Server], key: str, mode: tuple[str, ...]
) -> None:
    server = serve(*mode, root=disk)
    filler = disk / "filler"
    filler.write_bytes(bytes(700_000))
    ticket, (target,) = await server.upload(key, PART)
    for _ in range(3):
        answer = server.put(target, some(PART))
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert json.loads(answer.body)["code"] == "storage-unavailable"
    assert await server.storage.sent(ticket) == ()
    filler.unlink()
    assert server.put(target, some(PART)).status == 200
    await server.storage.commit(ticket, UploadReceipt())
    assert server.get(await server.target(key)).body == some(PART)
