"""Puts the parts together: store, storage, plug-ins, service, and the role of the supervisor.

A host may be opened by any number of processes on the same state; ``supervise`` is for the one
that has the role.
"""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import attrs
from anyio.abc import TaskGroup, TaskStatus

from longshore.access import Access
from longshore.backends.abc import SupportsProbe, WorkflowBackend
from longshore.background import background
from longshore.blobs import BlobUrls, load_secret
from longshore.clock import Clock, SystemClock
from longshore.definitions import load_directory
from longshore.errors import (
    Conflict,
    Problem,
    RetryError,
    SettingsInvalid,
    StorageUnavailable,
    WorkflowInvalid,
)
from longshore.eventlog import EventLog
from longshore.hookspecs import PluginContext, WorkflowBackendPlugin
from longshore.ledger import Ledger
from longshore.logs import Logs
from longshore.models import Job, Workflow
from longshore.registry import Plugins, load_plugins
from longshore.service import JobService
from longshore.settings import Settings, build
from longshore.storages.abc import StorageBackend
from longshore.stores.abc import Store
from longshore.suggestions import did_you_mean
from longshore.supervisor import AgreementKeeper, DeadlineKeeper, Supervisor, UploadSweeper
from longshore.supervisor.dispatch import Dispatcher
from longshore.supervisor.finalise import Finaliser
from longshore.supervisor.plans import Plans, too_large
from longshore.workers import shipped

_OPEN_AGAIN = timedelta(seconds=5)
_log = logging.getLogger("longshore.host")


class Host:
    """Everything of one installation in this process. Made by ``open_host``."""

    def __init__(
        self,
        settings: Settings,
        home: Path,
        store: Store,
        storage: StorageBackend,
        plugins: Plugins,
        clock: Clock,
        tasks: TaskGroup,
    ) -> None:
        self.settings = settings
        self.store = store
        self.storage = storage
        self.plugins = plugins
        self.clock = clock
        self._home = home
        self._tasks = tasks
        self._backends: dict[str, WorkflowBackend] = {}
        self._opening = anyio.Lock()
        self._supervisors: dict[str, Supervisor] = {}
        self.log = EventLog(store)
        self.ledger = Ledger(store, self.log, clock, settings.deadlines)
        default = next(iter(settings.backends))
        self.service = JobService(
            store, storage, self.ledger, self.log, clock, default_backend=default
        )
        self.access = Access(store, clock)
        self.logs = Logs(self.service, storage, self.backend, clock, store.instance)

    @property
    def tasks(self) -> TaskGroup:
        """Where work goes on that outlives its caller; cancelled when the host is closed."""
        return self._tasks

    async def backend(self, name: str) -> WorkflowBackend:
        """Return the open workflow backend that the settings call ``name``.

        Raises:
            BackendUnavailable: it cannot be opened now.
            PluginError: there is no such plug-in.
            SettingsInvalid: its settings have mistakes, or there is no such backend.
        """
        async with self._opening:
            if name not in self._backends:
                self._backends[name] = await self._tasks.start(self._keep_open, name)
        return self._backends[name]

    async def probe(self, name: str) -> None:
        """Return when the backend ``name`` works, as far as it can say before a job.

        Raises:
            BackendUnavailable: it does not; the message says what is wrong.
        """
        backend = await self.backend(name)
        if isinstance(backend, SupportsProbe):
            await backend.probe()

    async def _keep_open(self, name: str, *, task_status: TaskStatus[WorkflowBackend]) -> None:
        if name not in self.settings.backends:
            raise SettingsInvalid(
                f"there is no backend {name!r}",
                hint=f"the settings have {', '.join(self.settings.backends)}",
            )
        plugin, settings = _backend_settings(self.settings, self.plugins, name)
        async with plugin.open(settings, self._context("backends", name)) as backend:
            task_status.started(backend)
            await anyio.sleep_forever()

    def _context(self, kind: str, name: str) -> PluginContext:
        return _context(self._home / kind / name, self.store, self.clock, name)

    async def supervise(self) -> None:
        """Carry the jobs of all backends until cancelled. For the one process with the role."""
        async with anyio.create_task_group() as tasks:
            keeper = DeadlineKeeper(self.store, self.ledger, self.clock, self._look)
            tasks.start_soon(keeper.run)
            ends = AgreementKeeper(self.store, self.ledger, self.clock, self._purge)
            tasks.start_soon(ends.run)
            tasks.start_soon(UploadSweeper(self.store, self.storage, self.clock).run)
            for name in self.settings.backends:
                tasks.start_soon(self._supervise, name)

    async def _supervise(self, name: str) -> None:
        while True:
            try:
                supervisor = await self._supervisor(name)
            except RetryError as exc:
                _log.warning("backend %s cannot be opened yet: %s", name, exc)
                await self.clock.sleep(_OPEN_AGAIN)
            else:
                return await supervisor.run()

    async def _purge(self, job: Job) -> None:
        await self.service.purge(job.tenant, job.id, by="longshore")

    async def _look(self, jobs: Sequence[Job]) -> None:
        for name in {job.backend for job in jobs} & set(self.settings.backends):
            await (await self._supervisor(name)).look(jobs)

    async def _supervisor(self, name: str) -> Supervisor:
        backend = await self.backend(name)
        if name not in self._supervisors:
            self._supervisors[name] = self._make_supervisor(name, backend)
        return self._supervisors[name]

    def _make_supervisor(self, name: str, backend: WorkflowBackend) -> Supervisor:
        plans = Plans(self.store, self.storage, self.clock)
        dispatcher = Dispatcher(
            name,
            backend,
            self.store,
            self.ledger,
            self.service.inputs,
            plans,
            self.clock,
            grace=self.settings.deadlines.stop_grace,
        )
        finaliser = Finaliser(self.store, self.storage, self.ledger)
        return Supervisor(
            name,
            backend,
            self.store,
            self.storage,
            self.ledger,
            dispatcher,
            finaliser,
            self.clock,
            self.settings.deadlines,
        )

    async def offer(self, workflow: Workflow) -> bool:
        """Offer a workflow besides those of the files; say whether none of its id was offered.

        Raises:
            WorkflowInvalid: no backend of the settings would ever run it, or its outputs may
                be larger than the storage takes.
            Conflict: a file defines it, or a job used this version, which was another one.
        """
        _check_possible(self.settings, self.storage, [workflow])
        await self._check_not_of_files(workflow.id)
        before = await self.store.workflow(workflow.id)
        await self.store.put_workflow(workflow, origin="api")
        return before is None

    async def retire(self, workflow_id: str) -> None:
        """Offer a workflow no longer; jobs keep the version they were made with. Repeatable.

        Raises:
            Conflict: a file defines it, and would bring it back.
        """
        await self._check_not_of_files(workflow_id)
        await self.store.retire_workflow(workflow_id)

    async def _check_not_of_files(self, workflow_id: str) -> None:
        """Raise where a file defines the workflow: the next start would undo the change."""
        if workflow_id in {one.id for one in await self.store.workflows(origin="files")}:
            raise Conflict(
                f"workflow {workflow_id!r} is defined by a file of the provider",
                hint="change the file, or use another id",
            )

    def wake(self) -> None:
        """Look for what other processes wrote, now."""
        for supervisor in self._supervisors.values():
            supervisor.wake()


@asynccontextmanager
async def open_host(
    settings: Settings,
    home: Path,
    *,
    workflows: Sequence[Workflow] = (),
    clock: Clock | None = None,
    plugins: Plugins | None = None,
    public_url: str | None = None,
) -> AsyncIterator[Host]:
    """Open the installation whose state is in ``home``, and offer its workflows.

    ``workflows`` are offered besides those of the settings, and stay offered. ``public_url`` is
    how consumers reach the server that this process is, if it is one: a storage that cannot be
    reached otherwise lets it serve its bytes.

    Raises:
        StoreUnavailable, StorageUnavailable: the state cannot be opened.
        SettingsInvalid, WorkflowInvalid: mistakes, all of them.
        PluginError: a plug-in that the settings name cannot be used.
    """
    clock = clock or SystemClock()
    plugins = plugins or load_plugins()
    storage_plugin = plugins.storage_backend(settings.storage.plugin)
    storage_settings = build(storage_plugin.settings, settings.storage.table, "storage")
    for name in settings.backends:
        _backend_settings(settings, plugins, name)  # mistakes are said before anything is opened
    async with (
        _open_store(settings, home) as store,
        storage_plugin.open(
            storage_settings,
            attrs.evolve(
                _context(home / "storage", store, clock, "storage"),
                blobs=await _blob_urls(settings, home, public_url),
                origins=settings.service.origins,
            ),
        ) as storage,
        background() as tasks,
    ):
        await _offer(store, storage, settings, workflows)
        yield Host(settings, home, store, storage, plugins, clock, tasks)


def _backend_settings(
    settings: Settings, plugins: Plugins, name: str
) -> tuple[WorkflowBackendPlugin, Any]:
    given = settings.backends[name]
    plugin = plugins.workflow_backend(given.plugin)
    return plugin, build(plugin.settings, given.table, f"backends.{name}")


async def _blob_urls(settings: Settings, home: Path, public_url: str | None) -> BlobUrls | None:
    if public_url is None:
        return None
    path = home / "secret.key"
    try:
        secret = await anyio.to_thread.run_sync(load_secret, path)
    except OSError as exc:
        raise StorageUnavailable(f"{path} cannot be read or made: {exc.strerror}") from exc
    return BlobUrls(secret=secret, public=public_url, job=settings.service.job_url)


def _context(state: Path, store: Store, clock: Clock, name: str) -> PluginContext:
    return PluginContext(state=state, instance=store.instance, clock=clock, name=name)


@asynccontextmanager
async def _open_store(settings: Settings, home: Path) -> AsyncIterator[Store]:
    kind, _, place = settings.service.state.partition(":")
    if kind != "sqlite" or not place:
        raise SettingsInvalid(
            f"service.state {settings.service.state!r} is no state that this version knows",
            hint='say "sqlite:FILE"',
        )
    from longshore.stores.sqlite import open_sqlite  # noqa: PLC0415 - sqlite3 at first use

    async with open_sqlite(home / place) as store:
        yield store


async def _offer(
    store: Store, storage: StorageBackend, settings: Settings, workflows: Sequence[Workflow]
) -> None:
    """Bring the store's offer in line with the files, and add what the program gives."""
    files = list(shipped()) if settings.workflows.shipped else []
    if settings.workflows.directory is not None:
        files += load_directory(settings.workflows.directory)
    _check_possible(settings, storage, [*files, *workflows])
    offered = {workflow.id: workflow for workflow in await store.workflows()}
    for origin, given in (("files", files), ("code", workflows)):
        for workflow in given:
            if offered.get(workflow.id) != workflow:
                await store.put_workflow(workflow, origin=origin)
    for workflow in await store.workflows(origin="files"):
        if workflow.id not in {one.id for one in files}:
            await store.retire_workflow(workflow.id)


def _check_possible(
    settings: Settings, storage: StorageBackend, workflows: Sequence[Workflow]
) -> None:
    problems = [
        Problem(
            f"{workflow.id}: backend",
            f"the settings have no {workflow.backend!r}"
            f"{did_you_mean(workflow.backend, settings.backends)}",
        )
        for workflow in workflows
        if workflow.backend is not None and workflow.backend not in settings.backends
    ]
    problems += [problem for workflow in workflows for problem in too_large(workflow, storage)]
    if problems:
        raise WorkflowInvalid("there are workflows that nothing would ever run", problems)
