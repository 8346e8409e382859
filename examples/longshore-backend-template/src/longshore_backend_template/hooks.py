"""What this distribution offers. A hook describes; it opens nothing and does no I/O."""

from collections.abc import Iterable

from longshore.hookspecs import WorkflowBackendPlugin, hookimpl
from longshore_backend_template.backend import open_backend
from longshore_backend_template.settings import TemplateSettings


@hookimpl
def longshore_workflow_backends() -> Iterable[WorkflowBackendPlugin]:
    """Offer the backend ``template``."""
    return [WorkflowBackendPlugin(name="template", settings=TemplateSettings, open=open_backend)]
