"""What a workflow, a job, a list of them look like to a person."""

from collections.abc import Sequence

import click

from longshore_client import output
from longshore_client.session import FINAL_STATES, Json


def show_workflows(items: Sequence[Json]) -> None:
    """Write one line per workflow."""
    rows = [[item["id"], item.get("version"), item.get("title")] for item in items]
    output.emit_table(["ID", "VERSION", "TITLE"], rows)
    output.footer("longshore workflows ID", "longshore run ID")


def show_workflow(workflow: Json) -> None:
    """Write what a workflow is, what it takes and what it gives."""
    output.emit_details(
        [
            ("id", workflow["id"]),
            ("title", workflow.get("title")),
            ("version", workflow.get("version")),
            ("description", workflow.get("description")),
            ("resources", _resources(workflow.get("resources") or {})),
        ]
    )
    rows = [*_parameters(workflow), *_files(workflow, "inputs"), *_files(workflow, "outputs")]
    if rows:
        click.echo()
        output.emit_table(["", "NAME", "TYPE", "REQUIRED", "DESCRIPTION"], rows)
    needed = [f" {row[0]} {row[1]}=..." for row in rows if row[3] and row[0] != "output"]
    output.footer(f"longshore run {workflow['id']}{''.join(sorted(needed))}")


def _resources(resources: Json) -> str:
    shown = {"memory": output.size, "disk": output.size, "walltime": output.span}
    return ", ".join(
        f"{name} {shown.get(name, str)(value)}" for name, value in resources.items() if value
    )


def _parameters(workflow: Json) -> list[list[str]]:
    schema = workflow.get("parameters") or {}
    needed = schema.get("required", ())
    return [
        ["-p", name, _type(about), _yes(name in needed), about.get("description", "")]
        for name, about in schema.get("properties", {}).items()
    ]


def _files(workflow: Json, group: str) -> list[list[str]]:
    rows = []
    for name, about in (workflow.get(group) or {}).items():
        limit = output.size(about.get("maxSize"))
        kind = f"{about.get('kind', 'file')}{f', at most {limit}' if limit else ''}"
        text = about.get("description") or ", ".join(about.get("names") or ())
        option = "-i" if group == "inputs" else "output"
        rows.append([option, name, kind, _yes(about.get("required", True)), text])
    return rows


def _yes(value: object) -> str:
    return "yes" if value else ""


def _type(about: Json) -> str:
    kind = about.get("type", "")
    text = kind if isinstance(kind, str) else " | ".join(kind)
    return f"{text} = {about['default']}" if "default" in about else text


def show_jobs(page: Json) -> None:
    """Write one line per job."""
    rows = [
        [
            job["id"],
            job["workflow"],
            job["state"],
            output.moment(job.get("createdAt")),
            output.duration(job),
        ]
        for job in page["items"]
    ]
    output.emit_table(["ID", "WORKFLOW", "STATE", "CREATED", "RAN"], rows)
    more = [f"longshore jobs --cursor {page['next']}"] if page.get("next") else []
    output.footer("longshore status ID", *more)


def show_job(job: Json) -> None:
    """Write where a job is, and why."""
    reason = job.get("reason") or {}
    upcoming = job.get("next") or {}
    stop = job.get("stopRequested") or {}
    enforced = job.get("enforced") or {}
    output.emit_details(
        [
            ("id", job["id"]),
            ("workflow", job["workflow"]),
            ("state", job["state"]),
            ("reason", reason.get("message")),
            ("fault", reason.get("fault")),
            ("hint", reason.get("hint")),
            ("exit code", job.get("exitCode")),
            ("attempt", job.get("attempt")),
            ("waiting", _place(job.get("position"))),
            ("progress", _progress(job.get("progress") or {})),
            ("stop", f"{stop.get('why')}, by {stop.get('by')}" if stop else None),
            ("created", output.moment(job.get("createdAt"))),
            ("started", output.moment(job.get("startedAt"))),
            ("finished", output.moment(job.get("finishedAt"))),
            ("ran", output.duration(job)),
            ("next", upcoming.get("what")),
            ("by", output.moment(upcoming.get("by"))),
            ("limits", "\n".join(f"{name} {how}" for name, how in enforced.items())),
        ]
    )
    final = job["state"] in FINAL_STATES
    output.footer(
        f"longshore logs {'' if final else '-f '}{job['id']}",
        f"longshore {'results' if final else 'cancel'} {job['id']}",
    )


def show_agreements(page: Json) -> None:
    """Write one line per agreement."""
    rows = [
        [
            one["id"],
            one["tenant"],
            one["state"],
            output.moment(one.get("validUntil")),
            ", ".join(one["workflows"]),
        ]
        for one in page["items"]
    ]
    output.emit_table(["ID", "TENANT", "STATE", "UNTIL", "WORKFLOWS"], rows)
    more = [f"longshore agreements list --cursor {page['next']}"] if page.get("next") else []
    output.footer("longshore tokens create ID", *more)


def show_agreement(one: Json) -> None:
    """Write what a tenant may do."""
    output.emit_details(
        [
            ("id", one["id"]),
            ("tenant", one["tenant"]),
            ("workflows", ", ".join(one["workflows"])),
            ("state", one.get("state")),
            ("from", output.moment(one.get("validFrom"))),
            ("until", output.moment(one.get("validUntil"))),
            ("at end", one.get("atEnd")),
        ]
    )
    output.footer(f"longshore tokens create {one['id']}")


def show_tokens(page: Json, agreement_id: str) -> None:
    """Write one line per token."""
    rows = [
        [
            one["id"],
            output.moment(one.get("createdAt")),
            output.moment(one.get("expiresAt")),
            output.moment(one.get("revokedAt")),
            ", ".join(one["scopes"]),
        ]
        for one in page["items"]
    ]
    output.emit_table(["ID", "CREATED", "UNTIL", "REVOKED", "SCOPES"], rows)
    following = page.get("next")
    more = [f"longshore tokens list {agreement_id} --cursor {following}"] if following else []
    output.footer(f"longshore tokens revoke {agreement_id} ID", *more)


def show_secret(issued: Json, agreement_id: str) -> None:
    """Write a token, alone on standard output, and about it on standard error."""
    until = output.moment(issued.get("expiresAt"))
    output.say(f"token {issued['id']}, good until {until}; it is shown this once:")
    output.emit_text(issued["token"])
    output.footer(f"longshore tokens list {agreement_id}")


def _place(position: int | None) -> str:
    return "" if position is None else f"behind {position} other{'' if position == 1 else 's'}"


def _progress(progress: Json) -> str:
    if not progress:
        return ""
    return f"{progress['done']:g} of {progress['total']:g} {progress.get('text') or ''}".rstrip()


def tell_end(job: Json) -> None:
    """Say on standard error how a job ended; why it failed, and what to do."""
    ran = output.duration(job)
    output.say(f"{job['state']}{f' after {ran}' if ran else ''}", output.state_color(job["state"]))
    reason = job.get("reason") or {}
    if job["state"] == "FAILED" and reason:
        output.say(f"{reason['message']} [{reason['code']}, {reason['fault']}]")
        if reason.get("hint"):
            output.say(f"hint: {reason['hint']}")
