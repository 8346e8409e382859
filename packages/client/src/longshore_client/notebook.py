"""Jobs and workflows as notebooks show them. Every text of others is escaped: none is obeyed."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from longshore_client.models import Job, Jobs, Workflow

_COLORS: Mapping[str, str] = {"SUCCEEDED": "#1a7f37", "FAILED": "#cf222e", "CANCELED": "#9a6700"}
_LONGEST = 500


def job_html(job: Job) -> str:
    """Return a table of what a job is and why."""
    why = job.reason
    return _details(
        [
            ("job", _code(job.id)),
            ("workflow", _text(job.workflow)),
            ("state", _state(job.state)),
            ("reason", _text(why.message) if why else ""),
            ("hint", _text(why.hint) if why else ""),
            ("exit code", _text(job.exit_code)),
            ("created", _text(job.created_at)),
            ("started", _text(job.started_at)),
            ("finished", _text(job.finished_at)),
        ]
    )


def jobs_html(jobs: Jobs) -> str:
    """Return a table of jobs."""
    rows = [
        [_code(it.id), _text(it.workflow), _state(it.state), _text(it.created_at)] for it in jobs
    ]
    more = "<p>there are more</p>" if jobs.next else ""
    return _table(("id", "workflow", "state", "created"), rows) + more


def workflow_html(workflow: Workflow) -> str:
    """Return what a workflow is, takes and gives."""
    head = _details(
        [
            ("workflow", _code(workflow.id)),
            ("title", _text(workflow.title)),
            ("version", _text(workflow.version)),
            ("description", _text(workflow.description)),
        ]
    )
    needed = workflow.parameters.get("required") or ()
    properties = workflow.parameters.get("properties") or {}
    rows = [
        *_rows("parameter", properties, lambda name, _: name in needed, "type"),
        *_rows("input", workflow.inputs, lambda _, about: about.get("required", True), "kind"),
        *_rows("output", workflow.outputs, lambda _, about: about.get("required", True), "kind"),
    ]
    return head + _table(("", "name", "type", "required", "description"), rows)


def _rows(kind: str, group: Mapping[str, Any], is_needed: Any, type_key: str) -> list[list[str]]:
    return [
        [
            kind,
            _code(name),
            _text(about.get(type_key)),
            "yes" if is_needed(name, about) else "",
            _text(about.get("description")),
        ]
        for name, about in group.items()
        if isinstance(about, Mapping)
    ]


def _text(value: object) -> str:
    if value is None:
        return ""
    text = str(value)
    return escape(text if len(text) <= _LONGEST else text[:_LONGEST] + "…")


def _code(value: object) -> str:
    return f"<code>{_text(value)}</code>"


def _state(state: str) -> str:
    color = _COLORS.get(state)
    shown = _text(state)
    return f'<b style="color:{color}">{shown}</b>' if color else f"<b>{shown}</b>"


def _details(pairs: Iterable[tuple[str, str]]) -> str:
    rows = "".join(
        f"<tr><th style='text-align:left'>{name}</th><td style='text-align:left'>{value}</td></tr>"
        for name, value in pairs
        if value
    )
    return f"<table>{rows}</table>"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th style='text-align:left'>{name}</th>" for name in columns)
    body = "".join(
        f"<tr>{''.join(f'<td style=text-align:left>{cell}</td>' for cell in row)}</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
