"""The service in this process, behind a real socket: a test can reach into it, and move its clock.

``tests.serving`` is the same as a process of its own.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import attrs
import httpx2
from anyio.from_thread import BlockingPortal, start_blocking_portal
from tests.blobserving import Answer, Connection
from tests.support import settings as usual_settings, until

from longshore.background import background
from longshore.clock import SystemClock
from longshore.embedded import open_embedded
from longshore.models import SCOPES, AtEnd, Role, Workflow
from longshore.settings import parse_settings
from longshore_api.doorway import Doorway
from longshore_api.layers import make_provider, make_service
from longshore_api.provider import Provider
from longshore_api.server import Server, listen, make_server
from longshore_api.urls import PublicUrl

T = TypeVar("T")
_PATIENCE = 30.0
FINAL = frozenset({"SUCCEEDED", "FAILED", "CANCELED"})


class MovedClock(SystemClock):
    """The time of the machine, and ``ahead`` of it; waiting takes as long as it takes."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


@attrs.frozen(kw_only=True, eq=False)
class Inside:
    """A service that runs in a thread of this process."""

    provider: Provider
    server: Server
    clock: MovedClock
    portal: BlockingPortal
    stack: ExitStack

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server.address.rpartition(":")[2])

    @property
    def url(self) -> str:
        """Where it listens, whatever it is known as."""
        return f"http://{self.server.address}"

    def call(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Run something in the service's thread, and return what it returns."""
        return self.portal.call(function, *arguments)

    def client(self, token: str | None = None) -> httpx2.Client:
        """Return a client with a token, or with none; closed with the service."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        client = httpx2.Client(base_url=self.url, headers=headers, timeout=_PATIENCE)
        return self.stack.enter_context(client)

    def connect(self) -> Connection:
        """Return a connection on which requests are written by hand; closed with the service."""
        connection = Connection(self.port)
        self.stack.callback(connection.close)
        return connection

    def ask(
        self, method: str, target: str, token: str, body: bytes = b"", **headers: str
    ) -> Answer:
        """Send one request by hand, on a connection of its own."""
        connection = self.connect()
        connection.ask(method, target, body, authorization=f"Bearer {token}", **headers)
        return connection.answer(has_body=method != "HEAD")

    def agreement(
        self, tenant: str, workflows: Sequence[str] = ("*",), until: datetime | None = None
    ) -> str:
        """Return the id of a new agreement."""

        async def make() -> str:
            made = await self.provider.access.create_agreement(
                tenant=tenant,
                workflows=workflows,
                by="test",
                valid_until=until,
                at_end=AtEnd.DRAIN,
            )
            return made.id

        return self.call(make)

    def token(
        self,
        agreement: str | None,
        *,
        scopes: Sequence[str] = SCOPES,
        expires_at: datetime | None = None,
        role: Role = Role.CONSUMER,
    ) -> str:
        """Return a new token of an agreement; without one it is an administrator's."""

        async def issue() -> str:
            issued = await self.provider.access.issue_token(
                agreement,
                by="test",
                role=role if agreement else Role.ADMIN,
                scopes=scopes,
                expires_at=expires_at,
            )
            return issued.text

        return self.call(issue)

    def consumer(self, tenant: str = "acme") -> httpx2.Client:
        """Return a client of a tenant that may run everything."""
        return self.client(self.token(self.agreement(tenant)))

    def admin(self) -> httpx2.Client:
        """Return a client of an administrator."""
        return self.client(self.token(None))


def finished(client: httpx2.Client, job_id: str) -> dict[str, Any]:
    """Return a job when it has ended."""

    def look() -> dict[str, Any] | None:
        headers = {"prefer": "wait=5"}
        job: dict[str, Any] = client.get(f"/v1/jobs/{job_id}", headers=headers).json()
        return job if job["state"] in FINAL else None

    found = until(look, f"job {job_id} to end", _PATIENCE)
    assert found is not None
    return found


@asynccontextmanager
async def _open(
    home: Path,
    table: Mapping[str, Any],
    workflows: Sequence[Workflow],
    public_url: str | None,
    clock: MovedClock,
) -> AsyncIterator[tuple[Provider, Server]]:
    settings = parse_settings(table)
    listening = listen(settings.service)
    address = public_url or f"http://127.0.0.1:{listening.getsockname()[1]}"
    url = PublicUrl.parse(address, "public_url")
    async with (
        open_embedded(
            home,
            table=table,
            workflows=workflows,
            clock=clock,
            detach=False,
            public_url=url.base,
        ) as embedded,
        background() as tasks,
    ):
        embedded.engage()
        provider = make_provider(embedded.host, url, lambda: embedded.is_holder)
        await provider.access.bootstrap()
        doorway = Doorway(url)
        doorway.open(make_service(provider))
        with listening:
            server = make_server(settings.service, doorway, listening)
            server.provider = provider
            tasks.start_soon(server.run_to_end)
            try:
                yield provider, server
            finally:
                server.should_exit = True
                await server.ended.wait()


@contextmanager
def running(
    home: Path,
    *workflows: Workflow,
    table: Mapping[str, Any] | None = None,
    public_url: str | None = None,
) -> Iterator[Inside]:
    """Run a service on ``home``; without rate limits where ``table`` does not say otherwise."""
    given = {**usual_settings(), "limits": {"requests_per_second": 0}, **(table or {})}
    given["service"] = {**given.get("service", {}), "port": 0, "stop_timeout": "2s"}
    clock = MovedClock()
    options = {"use_uvloop": True}
    with (
        start_blocking_portal("asyncio", options) as portal,
        ExitStack() as stack,
        portal.wrap_async_context_manager(_open(home, given, workflows, public_url, clock)) as made,
    ):
        provider, server = made
        with stack:
            yield Inside(provider=provider, server=server, clock=clock, portal=portal, stack=stack)
