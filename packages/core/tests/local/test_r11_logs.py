"""R11: a log is complete up to its cap, whoever died meanwhile, and never changes."""

import hashlib
from typing import Any

import anyio
import pytest

from longshore.backends.local import backend as backend_module

pytestmark = pytest.mark.anyio
LINES = 800_000  # of 64 bytes: about 50 MB
MIB = 1024**2


def writer(lines: int) -> str:
    return f"""exec python3 -c '
import sys
filler = "." * 52
for number in range({lines}):
    sys.stdout.write("%010d %s\\n" % (number, filler))
'"""


def expected(lines: int) -> bytes:
    return b"".join(b"%010d %s\n" % (number, b"." * 52) for number in range(lines))


async def test_fifty_megabytes_arrive_once_and_in_order_in_pieces_and_as_a_whole(both: Any) -> None:
    async with both.open() as backend:
        ref = await both.submit(backend, writer(LINES))
        followed = bytearray()

        async def has_all() -> bool:
            # a reader that is cut off all the time and comes back with its offset
            chunks = backend.logs(ref, start=len(followed))
            async for chunk in chunks:
                followed.extend(chunk)
                if len(followed) % 3 == 0:
                    break
            await chunks.aclose()
            return len(followed) == LINES * 64

        await both.eventually(has_all, seconds=100)
        await both.over(backend, ref)
    wanted = hashlib.sha256(expected(LINES)).digest()
    assert hashlib.sha256(followed).digest() == wanted
    assert hashlib.sha256(await both.stored(ref, "log")).digest() == wanted


async def test_a_log_stops_at_its_cap_and_says_so(both: Any) -> None:
    async with both.open() as backend:
        ref = await both.submit(backend, writer(50_000), log_cap=MIB)
        await both.over(backend, ref)
        whole = await both.log(backend, ref)
        assert whole == expected(MIB // 64)
        assert await both.log(backend, ref, start=MIB - 100) == whole[-100:]
        assert await both.log(backend, ref, start=MIB) == b""
    assert (await both.manifest(ref)).log_cut
    assert await both.stored(ref, "log") == whole


async def test_a_worker_that_never_stops_writing_does_not_fill_the_disk(lab: Any) -> None:
    async with lab.open() as backend:
        ref = await lab.submit(backend, "exec yes", log_cap=MIB)
        log = lab.path(ref) / "log"
        seen: list[int] = []

        async def was_cut_twice() -> bool:
            size = log.stat().st_size if log.exists() else 0
            if seen and size < seen[-1]:
                cuts.append(size)
            seen.append(size)
            return len(cuts) >= 2

        cuts: list[int] = []
        await lab.eventually(was_cut_twice)
        assert await lab.log(backend, ref) == b"y\n" * (MIB // 2)
        await backend.remove(ref)


@pytest.mark.thorough
async def test_nothing_is_lost_when_runner_and_keeper_die_in_the_middle(lab: Any) -> None:
    script = (
        "echo ready; i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done; sleep 0.2; echo end"
    )
    async with lab.open() as backend:
        ref = await lab.submit(backend, script)
        await lab.started(backend, ref)
        runner = lab.runner(ref)
        lab.kill(lab.parent(runner), runner)
        await lab.over(backend, ref)
    lines = "".join(f"{number}\n" for number in range(2000))
    assert await lab.stored(ref, "log") == f"ready\n{lines}end\n".encode()


async def test_a_log_can_be_followed_while_it_grows(lab: Any) -> None:
    async with lab.open() as backend:
        ref = await lab.submit(backend, "echo ready; sleep 1000")
        await lab.started(backend, ref)
        assert await lab.log(backend, ref, start=3) == b"dy\n"
        await backend.remove(ref)
        assert await lab.log(backend, ref) == b""


async def test_control_a_reader_without_the_cap_sees_what_is_cut_later(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "_cap", lambda _: 1 << 40)
    async with lab.open() as backend:
        ref = await lab.submit(backend, "exec yes", log_cap=MIB)

        async def sees_too_much() -> bool:
            return len(await lab.log(backend, ref)) > MIB

        with anyio.fail_after(20):
            await lab.eventually(sees_too_much)
        await backend.remove(ref)
