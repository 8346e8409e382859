"""``longshore demo``: the main job on this machine, with everything that happens on the screen."""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from longshore.embedded import Embedded, default_home
from longshore.errors import BackendUnavailable, LongshoreError
from longshore.facade import Longshore
from longshore.handles import JobHandle
from longshore.models import Job, JobEvent, JobState
from longshore.quantities import format_size
from longshore.settings import load_table

_WORKFLOW = "wordcount"
_OUTPUT = "counts"
_WORDS = 5
_FAILED = 1
#: the log is shown as far as it is when one of these comes
_LOGGED = frozenset({"ProgressReported", "WorkerEnded"})
#: what each event means to somebody who sees it for the first time
_MEANINGS: Mapping[str, str] = {
    "JobCreated": "the job is stored; nothing is lost from here on",
    "InputReceived": "its input is stored, with its checksum",
    "JobQueued": "it waits for a free slot",
    "JobDispatched": "this machine has accepted it",
    "StagingInStarted": "the input is copied to the worker",
    "WorkerStarted": "the worker runs",
    "WorkerEnded": "the worker ended; its results are collected",
    "JobSucceeded": "every output is there, whole and checksummed",
    "JobFailed": "it failed",
    "JobCanceled": "it was canceled",
}


def demo(argv: Sequence[str]) -> int:
    """Run a job on this machine, start to finish, and show what happens."""
    parser = argparse.ArgumentParser(
        prog="longshore demo",
        description="Count the words of a file: input in, worker in a sandbox, checked output out.",
    )
    parser.add_argument("file", nargs="?", type=Path, help="a text (default: README.md here)")
    parser.add_argument("--state", help="the state directory (default: $XDG_STATE_HOME/longshore)")
    arguments = parser.parse_args(argv)
    text = arguments.file or _default_text()
    try:
        size = text.stat().st_size
        with _open(arguments.state) as longshore:
            return _show(longshore, text, size)
    except (LongshoreError, OSError) as exc:
        _say(f"longshore demo: {exc}", file=sys.stderr)
        return _FAILED


def _default_text() -> Path:
    readme = Path("README.md")
    return readme if readme.is_file() else Path(__file__)


@contextmanager
def _open(state: str | None) -> Iterator[Longshore]:
    """Open the embedded service, without a sandbox where none works; then it says so."""
    table = load_table(None, os.environ)
    with Longshore.open(state, settings=table) as longshore:
        try:
            longshore.bridge.call(_probe)
        except BackendUnavailable as exc:
            missing = exc
        else:
            yield longshore
            return
    _say(f"sandbox   none ({missing.message}): the worker runs as an ordinary process")
    local: dict[str, Any] = table.setdefault("backends", {}).setdefault("local", {})
    local["isolation"] = "none"
    with Longshore.open(state, settings=table) as longshore:
        yield longshore


async def _probe(embedded: Embedded) -> None:
    await embedded.host.probe(next(iter(embedded.host.settings.backends)))


def _show(longshore: Longshore, text: Path, size: int) -> int:
    _say(f"input     {text} ({format_size(size)})")
    _say(f"state     {longshore.home}")
    handle = longshore.run(_WORKFLOW, inputs={"text": text}, parameters={"top": _WORDS})
    _say(f"job       {handle.id}\n")
    shown = 0
    for event in handle.events(follow=True):
        if event.type in _LOGGED:
            shown = _show_log(handle, shown)
        _show_event(event)
    _show_log(handle, shown)
    return _conclude(longshore, handle, handle.job)


def _show_event(event: JobEvent) -> None:
    what = _MEANINGS.get(event.type)
    if what is not None:
        _say(f"{event.at.astimezone():%H:%M:%S.%f}"[:12] + f"  {event.type:<18}{what}")
    if event.data.get("enforced"):
        limits = ", ".join(f"{name} {how}" for name, how in event.data["enforced"].items())
        _say(f"              ({limits})")


def _show_log(handle: JobHandle, start: int) -> int:
    chunk = b"".join(handle.logs(start))
    for line in chunk.decode(errors="replace").splitlines():
        _say(f"              | {line}")
    return start + len(chunk)


def _conclude(longshore: Longshore, handle: JobHandle, job: Job) -> int:
    took = (job.finished_at or job.created_at) - job.created_at
    _say(f"\n{job.state} after {took.total_seconds():.2f} s, exit code {job.exit_code}")
    if job.reason is not None:
        _say(f"reason    {job.reason.code} ({job.reason.fault}): {job.reason.message}")
        _say(f"hint      {job.reason.hint}")
    if job.state is JobState.SUCCEEDED:
        counts = json.loads(handle.outputs[_OUTPUT].read_bytes())
        common = ", ".join(f"{one['word']} {one['count']}" for one in counts["mostCommon"])
        _say(f"counted   {counts['words']} words in {counts['lines']} lines; {common}")
    for what, place in longshore.places(handle.id).items():
        _say(f"{what:<9} {place}")
    option = "" if longshore.home == default_home() else f"--state {longshore.home} "
    command = f"{_command()} {option}"
    _say(f"\nnext: {command}results {handle.id}   {command}jobs   {command}workflows")
    return 0 if job.state is JobState.SUCCEEDED else _FAILED


def _command() -> str:
    """Return what a person types to run ``longshore``: in a checkout it may not be on PATH."""
    return "longshore" if shutil.which("longshore") else os.path.relpath(sys.argv[0])


def _say(line: str, file: Any = None) -> None:
    (file or sys.stdout).write(f"{line}\n")
    (file or sys.stdout).flush()
