"""The numbers of the service as Prometheus reads them.

Labels are bounded: route templates, methods, classes of status, states, and what the settings name.
No tenant, job or token is one.
"""

import platform
import time
from collections.abc import Iterable, Mapping

import anyio
import anyio.to_thread
import attrs
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from longshore.lifecycle import JobState
from longshore_api.metrics import BUCKETS, Tally
from longshore_api.provider import Provider
from longshore_api.readiness import OK
from longshore_api.version import VERSION

MEDIA_TYPE = "text/plain; version=0.0.4"  # the framework adds the charset
#: jobs are not counted for longer than one part in this many: a store of millions takes a while
_SHARE = 50.0
_LEAST = 1.0


@attrs.frozen(kw_only=True)
class Numbers:
    """What a scrape says beside the tally."""

    jobs: Mapping[JobState, int]
    parts: Mapping[str, str]
    streams: int
    supervises: bool


class Exposition:
    """Makes the text of a scrape."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._counting = anyio.Lock()
        self._jobs: Mapping[JobState, int] = {}
        self._count_again = float("-inf")

    async def text(self) -> tuple[str, str]:
        """Return the numbers as they are now, and the media type of their text.

        Raises:
            StoreUnavailable: the store does not count.
        """
        numbers = Numbers(
            jobs=await self._count(),
            parts=(await self._provider.readiness.look()).parts,
            streams=self._provider.streams.open,
            supervises=self._provider.supervises(),
        )
        text = await anyio.to_thread.run_sync(render, self._provider.tally, numbers)
        return text, MEDIA_TYPE

    async def _count(self) -> Mapping[JobState, int]:
        async with self._counting:
            began = time.monotonic()
            if began >= self._count_again:
                self._jobs = await self._provider.host.store.counts()
                took = time.monotonic() - began
                self._count_again = began + max(_LEAST, took * _SHARE)
        return self._jobs


class _Collector(Collector):
    def __init__(self, tally: Tally, numbers: Numbers) -> None:
        self._tally = tally
        self._numbers = numbers

    def collect(self) -> Iterable[Metric]:
        """Yield every family."""
        python = platform.python_version()
        yield InfoMetricFamily(
            "longshore_build", "What runs here.", {"version": VERSION, "python": python}
        )
        yield from self._requests()
        yield _gauge(
            "longshore_http_streams", "Logs and events followed now.", self._numbers.streams
        )
        yield from self._jobs()
        up = GaugeMetricFamily(
            "longshore_up", "1 where this part of the service answers.", labels=["part"]
        )
        for part, found in self._numbers.parts.items():
            up.add_metric([part], found == OK)
        yield up
        yield _gauge(
            "longshore_supervisor", "1 where this process supervises.", self._numbers.supervises
        )

    def _requests(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "longshore_http_requests", "Requests answered.", labels=["route", "method", "status"]
        )
        for labels, number in sorted(self._tally.by_class().items()):
            requests.add_metric(labels, number)
        yield requests
        durations = HistogramMetricFamily(
            "longshore_http_request_duration_seconds",
            "From a request's head to the end of its answer; streams count as long as they last.",
            labels=["route"],
        )
        bounds = [*map(str, BUCKETS), "+Inf"]
        for route, counts in sorted(self._tally.durations.items()):
            up_to = [sum(counts[: place + 1]) for place in range(len(counts))]
            buckets = list(zip(bounds, up_to, strict=True))
            durations.add_metric([route], buckets, self._tally.seconds[route])
        yield durations

    def _jobs(self) -> Iterable[Metric]:
        counted = self._numbers.jobs
        jobs = GaugeMetricFamily("longshore_jobs", "Jobs by state.", labels=["state"])
        for state in JobState:
            jobs.add_metric([str(state)], counted.get(state, 0))
        yield jobs
        yield _gauge(
            "longshore_queue_length", "Jobs that wait for a slot.", counted.get(JobState.QUEUED, 0)
        )


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=float(value))


def render(tally: Tally, numbers: Numbers) -> str:
    """Return the text; ``numbers`` and ``tally`` are all that it depends on, but this process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(tally, numbers))
    ProcessCollector(registry=registry)
    return generate_latest(registry).decode()
