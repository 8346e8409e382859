"""The local backend keeps the contract that everybody's backend keeps."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from longshore.backends.abc import WorkflowBackend
from longshore.backends.local import Isolation, LocalSettings, open_local
from longshore.backends.local.attempts import mark
from longshore.backends.local.isolation import works
from longshore.backends.local.processes import marked
from longshore.clock import SystemClock
from longshore.hookspecs import PluginContext
from longshore.models import RunRef
from longshore.testing import WorkflowBackendContract
from longshore.testing.lab import OpenBackend


class TestWithoutASandbox(WorkflowBackendContract):
    isolation = Isolation.NONE

    @pytest.fixture(autouse=True)
    def state(self, tmp_path: Path) -> Path:
        self._attempts = tmp_path / "state" / "attempts"
        return tmp_path / "state"

    @pytest.fixture
    def open_backend(self, state: Path) -> OpenBackend:
        settings = LocalSettings(isolation=self.isolation, slots=4)
        context = PluginContext(state=state, instance="contract", clock=SystemClock())

        def open_backend() -> AbstractAsyncContextManager[WorkflowBackend]:
            return open_local(settings, context)

        return open_backend

    async def trace(self, ref: RunRef) -> bool:
        path = self._attempts / ref.name
        return path.exists() or bool(marked(mark(str(path))))


@pytest.mark.skipif(
    not works(Isolation.BUBBLEWRAP, ()), reason="bubblewrap does not work on this machine"
)
class TestInASandbox(TestWithoutASandbox):
    isolation = Isolation.BUBBLEWRAP
