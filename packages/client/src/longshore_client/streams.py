"""Follow a job: its events and its log, over as many connections as it takes.

A stream that ends is no news of the job: the service may have been stopped. Only a final event, or
the job itself, says that nothing more will come.
"""

import json
from collections.abc import AsyncGenerator

import httpx2

from longshore_client.errors import Broken, LongshoreError, ServerError
from longshore_client.session import FINAL_STATES, Json
from longshore_client.transport import SILENCE_LIMIT, Exchange, Transport, path

_PAGE = 1000


async def events(
    transport: Transport, job_id: str, after: int = 0, *, follow: bool
) -> AsyncGenerator[Json, None]:
    """Yield the events with a ``seq`` above ``after``, each once and in order.

    Following ends after the final event.

    Raises:
        LongshoreError: what the server says, or why it was not reached for too long.
    """
    trial = transport.trial()
    while follow:
        try:
            async with transport.open(_stream_of_events(transport, job_id, after)) as response:
                trial.connected()
                async for event in _events(response):
                    if event["seq"] > after:
                        after = event["seq"]
                        trial.progressed()
                        yield event
                    if event.get("state") in FINAL_STATES:
                        return
            if not await _is_final(transport, job_id):
                raise Broken("the stream of events ended before the job did")
            follow = False  # it was final before: what is left is read like a list
        except LongshoreError as error:
            await transport.pause(trial, error)
    async for event in _pages(transport, job_id, after):
        yield event


def _stream_of_events(transport: Transport, job_id: str, after: int) -> Exchange:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if after:
        headers["Last-Event-ID"] = str(after)
    route = path("jobs", job_id, "events")
    return transport.api("GET", route, headers=headers, limit=SILENCE_LIMIT)


async def _events(response: httpx2.Response) -> AsyncGenerator[Json, None]:
    async for sse in httpx2.EventSource(response):
        if not sse.data:  # only says when to come back, which we know ourselves
            continue
        try:
            event = json.loads(sse.data)
            event["seq"] = int(event["seq"])
        except (ValueError, TypeError, KeyError) as exc:
            raise ServerError("the stream of events holds what is no event") from exc
        yield event


async def _pages(transport: Transport, job_id: str, after: int) -> AsyncGenerator[Json, None]:
    while True:
        query = {"after": after, "limit": _PAGE}
        page = await transport.json("GET", path("jobs", job_id, "events"), query=query)
        for event in page["items"]:
            after = event["seq"]
            yield event
        if not page.get("next"):
            return


async def _is_final(transport: Transport, job_id: str) -> bool:
    job = await transport.json("GET", path("jobs", job_id))
    return job["state"] in FINAL_STATES


async def log(
    transport: Transport, job_id: str, start: int = 0, *, follow: bool
) -> AsyncGenerator[bytes, None]:
    """Yield the log from byte ``start``, each byte once.

    Following ends when the job is final and its log complete.

    Raises:
        LongshoreError: what the server says, or why it was not reached for too long.
    """
    trial = transport.trial()
    last = not follow
    while True:
        try:
            # asked before the log is read: what is written before the end is then not missed
            last = last or await _is_final(transport, job_id)
            trial.connected()
            async with transport.open(_log(transport, job_id, start, follow=not last)) as response:
                async for chunk in response.aiter_raw():
                    start += len(chunk)
                    trial.progressed()
                    yield chunk
            if last:
                return
            if not await _is_final(transport, job_id):
                raise Broken("the log ended before the job did")
        except LongshoreError as error:
            if not isinstance(error.__cause__, httpx2.ReadTimeout) or last:
                await transport.pause(trial, error)
            # else a worker may be silent for hours: a new connection shows that all is well


def _log(transport: Transport, job_id: str, start: int, *, follow: bool) -> Exchange:
    return transport.api(
        "GET",
        path("jobs", job_id, "logs"),
        headers={"Accept": "text/plain"},
        query={"start": start, **({"follow": "true"} if follow else {})},
        limit=SILENCE_LIMIT,
    )
