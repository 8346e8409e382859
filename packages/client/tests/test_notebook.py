"""What notebooks show: everything that others wrote is text, never markup."""

import re
from typing import Any

import pytest

from longshore_client import Job, Jobs, Workflow, notebook

ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</td></table><iframe src=//evil>",
    "javascript:alert(1)",
    "<svg/onload=alert(1)>",
    "&lt;script&gt;",
]
#: what this package itself writes
STYLE = r"( style=('[^'<>]*'|\"[^\"<>]*\"|text-align:left))?"
OURS = re.compile(rf"</?(table|tr|th|td|b|code|p){STYLE}>")


def shown(attack: str) -> list[str]:
    reason = {"code": attack, "fault": attack, "message": attack, "hint": attack}
    raw: dict[str, Any] = {"id": attack, "workflow": attack, "state": attack, "reason": reason}
    job = Job.from_wire(raw)
    about = {"kind": attack, "description": attack, "required": True}
    schema = {"properties": {attack: {"type": attack, "description": attack}}, "required": [attack]}
    workflow = Workflow.from_wire(
        {
            "id": attack, "title": attack, "version": attack, "description": attack,
            "parameters": schema, "inputs": {attack: about}, "outputs": {attack: about},
        }
    )  # fmt: skip
    page = Jobs((job,), attack)
    return [one._repr_html_() for one in (job, page, workflow)]


def is_harmless(html: str) -> bool:
    return not re.search(r"[<>]", OURS.sub("", html)) and "'alert" not in html


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_text_of_others_becomes_markup(attack: str) -> None:
    assert [html for html in shown(attack) if not is_harmless(html)] == []


def test_control_without_escaping_markup_would_come_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notebook, "escape", str)
    assert not any(is_harmless(html) for html in shown(ATTACKS[0]))


def test_a_job_shows_its_state_and_why() -> None:
    why = {"code": "memory", "message": "too much", "hint": "ask for more"}
    html = Job.from_wire(
        {"id": "j", "workflow": "w", "state": "FAILED", "reason": why}
    )._repr_html_()
    assert all(text in html for text in ("FAILED", "too much", "ask for more"))


def test_endless_text_is_cut() -> None:
    job = Job.from_wire({"id": "j", "workflow": "x" * 100_000, "state": "FAILED"})
    assert len(job._repr_html_()) < 2000
