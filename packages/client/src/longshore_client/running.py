"""`longshore run`: from files and values to a job, its log, its outputs and an exit code."""

import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from longshore_client import arguments, output
from longshore_client.following import Attendance, Interrupted, Left, signals
from longshore_client.output import LogWriter, bar, footer, say
from longshore_client.session import Json, Session
from longshore_client.views import tell_end

CANCELED_CODE = 128 + signal.SIGINT


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a person asks `run` for."""

    workflow: str
    inputs: Sequence[str]
    parameters: Sequence[str]
    directory: Path | None = None
    key: str | None = None
    detach: bool = False
    form: str = output.TABLE


def run(session: Session, order: Order) -> int:
    """Carry out ``order``; return the exit code of the command."""
    with signals(), tempfile.TemporaryDirectory(prefix="longshore-") as scratch:
        try:
            job = _submit(session, order, Path(scratch))
        except Interrupted as exc:
            return 128 + exc.signum
        if order.detach:
            _announce(job, order)
            return 0
        # as JSON, standard output is one document, so the log goes beside it
        log = LogWriter(sys.stderr if order.form == output.JSON else sys.stdout)
        try:
            Attendance(session, job["id"], log).attend()
        except Left as exc:
            say(f"detached: the job goes on; see longshore status {job['id']}")
            return exc.exit_code
        except BrokenPipeError:
            say(f"detached: nobody reads the log; see longshore status {job['id']}")
            raise
        job = session.job(job["id"])
        paths = fetch(session, job["id"], order.directory)
        _report(job, paths, order)
        return exit_code(job)


def exit_code(job: Json) -> int:
    """Return the command's exit code for a final job: the worker's own where it failed."""
    if job["state"] == "SUCCEEDED":
        return 0
    if job["state"] == "CANCELED":
        return CANCELED_CODE
    return job.get("exitCode") or 1


def fetch(session: Session, job_id: str, directory: Path | None) -> list[Json]:
    """Download every output of a job; return them, each with the ``path`` of its file."""
    found = session.outputs(job_id)
    into = directory or Path(job_id)
    if found:
        into.mkdir(parents=True, exist_ok=True)
    fetched = []
    for item in found:
        with bar(f"download {item['name']}", item.get("size")) as advance:
            path = session.download(job_id, item["name"], into, advance)
        fetched.append({**item, "path": str(path)})
    return fetched


def _submit(session: Session, order: Order, scratch: Path) -> Json:
    workflow = session.workflow(order.workflow)
    given = arguments.pairs("-p", order.parameters)
    files = arguments.input_files(arguments.pairs("-i", order.inputs), workflow, scratch)
    request = {
        "workflow": order.workflow,
        "parameters": arguments.parameters(given, workflow.get("parameters") or {}),
        "inputs": {name: file.announcement for name, file in files.items()},
        "start": True,
    }
    job = session.submit(request, key=order.key)
    try:
        say(f"job {job['id']}")
        # after a repeated key only what is still missing is asked for
        for name in files.keys() & (job.get("uploads") or {}).keys():
            with bar(f"upload {name}", files[name].size) as advance:
                session.put_input(job["id"], name, files[name].path, advance)
        return session.start(job["id"]) if job["state"] == "CREATED" else job
    except BaseException:
        if order.key is None:  # with a key, the same command goes on where this one ended
            with suppress(Exception):
                session.cancel(job["id"])
                say(f"job {job['id']} is canceled: its inputs did not arrive")
        raise


def _announce(job: Json, order: Order) -> None:
    if order.form == output.JSON:
        output.emit_json(job)
    else:
        print(job["id"])  # noqa: T201 - the one line that a script waits for
    footer(f"longshore logs -f {job['id']}", f"longshore results {job['id']}")


def _report(job: Json, paths: list[Json], order: Order) -> None:
    tell_end(job)
    for item in paths:
        say(f"{item['path']}  {output.size(item.get('size'))}")
    if order.form == output.JSON:
        output.emit_json({**job, "outputs": paths})
    footer(f"longshore status {job['id']}", f"longshore logs {job['id']}", "longshore jobs")
