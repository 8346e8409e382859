"""How many short jobs the local backend carries out, beside a bare subprocess and PSI/J.

Every row is ``true`` from its submission to the end that is seen, and for ours on to its removal:
a directory, a log, a manifest, a durable exit status. All rows run in turns, in one process after
the other, so that a busy machine is busy for all of them; the medians are compared.

    python benchmarks/local_backend.py [--jobs 400] [--rounds 5] [--json FILE]
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
from psij import Job, JobExecutor, JobSpec as PsijSpec

from longshore.backends.local import Isolation, LocalSettings, open_local
from longshore.backends.local.isolation import make_order, works
from longshore.clock import SystemClock
from longshore.collector import collect_rarely
from longshore.hookspecs import PluginContext
from longshore.models import JobSpec, Phase, RunRef
from longshore.storages.local import LocalStorage
from longshore.transfer import Audience, SignedUpload, TransferPlan

AT_ONCE = 8
#: of the backend: two per processor, so that one job runs while another waits for the disk; and
#: with a sandbox as many as the peer has, as its start mostly waits for the kernel
SLOTS = {Isolation.NONE: 2 * (os.cpu_count() or 1), Isolation.BUBBLEWRAP: AT_ONCE}
HOUR = timedelta(hours=1)
#: (ours, peer, the ratio to reach)
TARGETS = (
    ("ours, isolation none", "asyncio subprocess", 0.7),
    ("ours, isolation none", "PSI/J local", 4.0),
    ("ours, bubblewrap", "asyncio bwrap", 0.7),
)


async def bare(jobs: int, directory: Path, argv: tuple[str, ...]) -> float:
    """Return jobs per second of asyncio's own subprocesses, with their output in a file each."""
    numbers = iter(range(jobs))

    async def one_after_the_other() -> None:
        for number in numbers:
            with (directory / str(number)).open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    *argv, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
                )
            if await process.wait() != 0:
                sys.exit(f"{argv} failed")

    begun = time.perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
    return jobs / (time.perf_counter() - begun)


def psij(jobs: int, directory: Path) -> float:
    """Return jobs per second of PSI/J's local executor."""
    executor = JobExecutor.get_instance("local")

    def one(number: int) -> None:
        spec = PsijSpec(executable="true", stdout_path=directory / str(number))
        job = Job(spec)
        executor.submit(job)
        status = job.wait()
        if status is None or status.exit_code != 0:
            sys.exit(f"PSI/J failed: {status}")

    begun = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(one, range(jobs)))
    return jobs / (time.perf_counter() - begun)


class Ours:
    """An open backend, and a storage that takes what the jobs leave."""

    def __init__(self, backend: Any, storage: LocalStorage) -> None:
        self._backend = backend
        self._storage = storage
        self._spec = JobSpec(workflow="true", command=("true",))
        self._ended: dict[tuple[str, int], anyio.Event] = {}
        self._number = 0

    async def measure(self, jobs: int) -> float:
        """Return jobs per second."""
        prepared = [await self._prepare() for _ in range(jobs)]
        async with anyio.create_task_group() as watching:
            watching.start_soon(self._watch)
            left = iter(prepared)
            begun = time.perf_counter()
            async with anyio.create_task_group() as tasks:
                for _ in range(AT_ONCE):
                    tasks.start_soon(self._carry_out, left)
            rate = jobs / (time.perf_counter() - begun)
            watching.cancel_scope.cancel()
        return rate

    async def argv(self, directory: Path) -> tuple[str, ...]:
        """Return the argv of a job of ours in a sandbox, for a peer to start it in the same one."""
        ref, plan = await self._prepare()
        order = make_order(
            ref,
            self._spec,
            plan,
            root=str(directory),
            engine=Isolation.BUBBLEWRAP,
            settings=LocalSettings(),
        )
        for place in order.directories:
            os.mkdir(place)  # noqa: PTH102 - in an asynchronous function
        report = order.argv.index("--json-status-fd")  # a peer has no use for it
        return order.argv[:report] + order.argv[report + 2 :]

    async def _prepare(self) -> tuple[RunRef, TransferPlan]:
        # what the service does before; the peers have nothing of the kind
        self._number += 1
        ref = RunRef(f"job{self._number}", 1)
        plan = TransferPlan(
            job_id=ref.job_id,
            attempt=1,
            log=await self._upload(f"{ref.name}/log"),
            manifest=await self._upload(f"{ref.name}/manifest"),
            valid_until=datetime.now(UTC) + HOUR,
        )
        return ref, plan

    async def _upload(self, key: str) -> SignedUpload:
        ticket = await self._storage.prepare_upload(key, max_size=1024**2)
        return await self._storage.sign_upload(ticket, audience=Audience.JOB, expires=HOUR)

    async def _carry_out(self, left: Iterator[tuple[RunRef, TransferPlan]]) -> None:
        for ref, plan in left:
            ended = self._ended[ref.job_id, ref.attempt] = anyio.Event()
            await self._backend.submit(ref, self._spec, plan)
            await ended.wait()
            await self._backend.remove(ref)

    async def _watch(self) -> None:
        async for seen in self._backend.observe():
            if seen.phase is Phase.ENDED:
                if seen.outcome is None or seen.outcome.exit_code != 0:
                    sys.exit(f"a job failed: {seen}")
                if ended := self._ended.pop((seen.job_id, seen.attempt), None):
                    ended.set()


@asynccontextmanager
async def ours(isolation: Isolation, directory: Path) -> Any:
    """Open a backend that has done a few jobs already."""
    context = PluginContext(state=directory / "state", instance="bench", clock=SystemClock())
    settings = LocalSettings(isolation=isolation, slots=SLOTS[isolation])
    async with open_local(settings, context) as backend:
        measured = Ours(backend, LocalStorage(directory / "storage"))
        await measured.measure(2 * AT_ONCE)
        yield measured


async def measure(jobs: int, rounds: int, directory: Path) -> dict[str, list[float]]:
    """Return the rates of each row, round by round."""
    names = ("bare", "bwrap", "psij", "none", "sandbox")
    places = {name: directory / name for name in names}
    for place in places.values():
        place.mkdir()
    rows: dict[str, Callable[[], Awaitable[float]]] = {
        "asyncio subprocess": lambda: bare(jobs, places["bare"], ("true",)),
        "PSI/J local": lambda: anyio.to_thread.run_sync(psij, jobs // 4, places["psij"]),
    }
    rates: dict[str, list[float]] = {}
    async with (
        ours(Isolation.NONE, places["none"]) as unprotected,
        ours(Isolation.BUBBLEWRAP, places["sandbox"]) as sandboxed,
    ):
        rows["ours, isolation none"] = lambda: unprotected.measure(jobs)
        if works(Isolation.BUBBLEWRAP, ()):
            argv = await sandboxed.argv(places["bwrap"])
            rows["asyncio bwrap"] = lambda: bare(jobs // 2, places["bwrap"], argv)
            rows["ours, bubblewrap"] = lambda: sandboxed.measure(jobs // 2)
        for _ in range(rounds):
            for name, row in rows.items():
                rates.setdefault(name, []).append(await row())
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    collect_rarely()  # as a process of the service does
    directory = Path(tempfile.mkdtemp(prefix="longshore-bench-"))
    try:
        rates = anyio.run(measure, given.jobs, given.rounds, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{AT_ONCE} jobs at once on {os.cpu_count()} CPUs, median of {given.rounds} rounds")
    for name, rate in medians.items():
        print(f"  {name:24}{rate:8.0f} jobs/s")
    ratios = {}
    for name, peer, wanted in TARGETS:
        if name in medians and peer in medians:
            ratio = medians[name] / medians[peer]
            ratios[f"{name} / {peer}"] = ratio
            print(f"  {name} / {peer}: {ratio:.2f} (wanted: {wanted})")
    if given.json:
        given.json.write_text(json.dumps({"rates": rates, "ratios": ratios}, indent=1) + "\n")


if __name__ == "__main__":
    main()
