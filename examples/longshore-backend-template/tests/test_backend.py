"""The backend keeps Longshore's contract: a fixture is all there is to write."""

from functools import partial
from pathlib import Path

import pytest
from longshore_backend_template.backend import open_backend
from longshore_backend_template.settings import TemplateSettings

from longshore.clock import SystemClock
from longshore.hookspecs import PluginContext
from longshore.models import RunRef
from longshore.testing import WorkflowBackendContract
from longshore.testing.lab import OpenBackend


class TestTemplateBackend(WorkflowBackendContract):
    @pytest.fixture
    def open_backend(self, tmp_path: Path) -> OpenBackend:
        self._state = tmp_path / "state"
        context = PluginContext(state=self._state, instance="test", clock=SystemClock())
        return partial(open_backend, TemplateSettings(), context)

    async def trace(self, ref: RunRef) -> bool:
        return (self._state / "attempts" / ref.name).exists()
