"""Defects that were found in what consumers do: submit, feed, follow, list."""

import sqlite3
from pathlib import Path

import anyio
import attrs
import pytest

from longshore import Longshore
from longshore.deadlines import end_without_results
from longshore.errors import Conflict, IdempotencyConflict, RequestInvalid, WorkflowInvalid
from longshore.eventlog import EventLog
from longshore.jobs import Step
from longshore.ledger import Ledger
from longshore.models import (
    InlineInput,
    Input,
    JobRequest,
    JobState,
    Outcome,
    OutcomeKind,
    StopRequest,
    Workflow,
)
from longshore.session import EmbeddedSession
from longshore.testing.store import make_job

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

S = JobState
TABLE = {"workflows": {"shipped": False}, "backends": {"local": {"isolation": "none"}}}
NUMBERS = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
SCRIPT = Workflow(id="script", command=("true",), parameters=NUMBERS)


async def seqs(log: EventLog, job_id: str, after: int = 0) -> list[int]:
    with anyio.fail_after(10):
        return [event.seq async for event in log.follow(job_id, after=after)]


async def test_a_follower_that_says_it_saw_more_than_there_is_ends_with_the_job(
    ledger: Ledger, log: EventLog
) -> None:
    job = await ledger.open(make_job(), queue=True)
    seen: list[int] = []
    async with anyio.create_task_group() as tasks:

        async def follow() -> None:
            seen.extend(await seqs(log, job.id, after=1000))

        tasks.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        await ledger.change(job.id, lambda _: Step(S.CANCELED))
    assert seen == [3]


async def test_a_follower_from_the_beginning_sees_what_came_after_the_final_event(
    ledger: Ledger, log: EventLog
) -> None:
    job = await ledger.open(make_job(), queue=True)
    await ledger.change(job.id, lambda _: Step(S.CANCELED))
    await ledger.change(job.id, lambda _: Step(None, {"purged": True}, "BytesPurged"))
    assert await seqs(log, job.id) == [1, 2, 3, 4]


def request(**parameters: int) -> JobRequest:
    return JobRequest(workflow="script", parameters=parameters)


def test_a_key_finds_its_job_also_when_the_workflow_is_another_one_now(tmp_path: Path) -> None:
    with Longshore.open(tmp_path, settings=TABLE, workflows=[SCRIPT]) as longshore:
        first = longshore.run("script", parameters={"a": 1}, key="k").id
    changed = attrs.evolve(SCRIPT, version="2", parameters={"type": "object"})
    with Longshore.open(tmp_path, settings=TABLE, workflows=[changed]) as longshore:
        assert longshore.run("script", parameters={"a": 1}, key="k").id == first
        with pytest.raises(IdempotencyConflict):
            longshore.run("script", parameters={"a": 2}, key="k")


def test_an_empty_key_is_a_key_like_any_other(tmp_path: Path) -> None:
    with Longshore.open(tmp_path, settings=TABLE, workflows=[SCRIPT]) as longshore:
        first = longshore.submit(attrs.evolve(request(a=1), start=False), key="")
        again = longshore.submit(attrs.evolve(request(a=1), start=False), key="")
        assert first.id == again.id
        with pytest.raises(IdempotencyConflict):
            longshore.submit(attrs.evolve(request(a=2), start=False), key="")


def test_the_order_of_members_does_not_make_another_request(tmp_path: Path) -> None:
    with Longshore.open(tmp_path, settings=TABLE, workflows=[SCRIPT]) as longshore:
        first = longshore.submit(attrs.evolve(request(a=1, b=2), start=False), key="k")
        again = longshore.submit(attrs.evolve(request(b=2, a=1), start=False), key="k")
        assert first.id == again.id


def test_a_submission_that_was_cut_off_goes_on_with_its_own_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = attrs.evolve(SCRIPT, inputs={"text": Input(name="text"), "more": Input(name="more")})
    new = attrs.evolve(SCRIPT, version="2", inputs={"text": Input(name="text")})
    wanted = attrs.evolve(request(a=1), inputs={"text": InlineInput(content=b"x")}, start=False)
    with Longshore.open(tmp_path, settings=TABLE, workflows=[old]) as longshore:
        first = longshore.submit(wanted, key="k")
    with Longshore.open(tmp_path, settings=TABLE, workflows=[new]) as longshore:
        again = longshore.submit(wanted, key="k")
        assert (again.id, again.job.version) == (first.id, "1")


def test_a_job_that_started_without_an_input_does_not_take_it_any_more(tmp_path: Path) -> None:
    extra = Input(name="extra", required=False)
    workflow = attrs.evolve(SCRIPT, inputs={"extra": extra}, command=("sleep", "60"))
    file = tmp_path / "file"
    file.write_text("late")
    with Longshore.open(tmp_path / "home", settings=TABLE, workflows=[workflow]) as longshore:
        job = longshore.run("script")
        with pytest.raises(Conflict, match="takes no inputs"):
            job.put_input("extra", file)
        job.cancel()
        assert job.wait(30).inputs == ()


def test_all_events_are_given_also_when_they_are_many(tmp_path: Path) -> None:
    with Longshore.open(tmp_path, settings=TABLE, workflows=[SCRIPT]) as longshore:
        job = longshore.run("script")
        job.wait(30)
    with sqlite3.connect(tmp_path / "state.db") as database:
        (last,) = database.execute("SELECT max(seq) FROM events").fetchone()
        database.executemany(
            "INSERT INTO events (job_id, seq, type, at, data) VALUES (?, ?, 'Noted', 0, '{}')",
            [(job.id, seq) for seq in range(last + 1, 2501)],
        )
    database.close()
    with Longshore.open(tmp_path, settings=TABLE) as longshore:
        assert [event.seq for event in longshore.job(job.id).events()] == list(range(1, 2501))


def test_a_final_job_needs_no_waiting(tmp_path: Path) -> None:
    with Longshore.open(tmp_path, settings=TABLE, workflows=[SCRIPT]) as longshore:
        job = longshore.run("script")
        job.wait(30)
        assert job.wait(0).state is S.SUCCEEDED


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_of_nothing_is_refused(tmp_path: Path, limit: int) -> None:
    with Longshore.open(tmp_path, settings=TABLE) as longshore, pytest.raises(RequestInvalid):
        EmbeddedSession(longshore).jobs(limit=limit)


def test_a_workflow_for_a_backend_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    lost = attrs.evolve(SCRIPT, backend="locl")
    with (
        pytest.raises(WorkflowInvalid, match="local"),
        Longshore.open(tmp_path, settings=TABLE, workflows=[lost]),
    ):
        pass


def test_the_places_of_bytes_are_paths_whatever_the_directory_is_called(tmp_path: Path) -> None:
    home = tmp_path / "a b%20c?d#e"
    with Longshore.open(home, settings=TABLE, workflows=[SCRIPT]) as longshore:
        job = longshore.run("script")
        job.wait(30)
        places = longshore.places(job.id)
    assert sorted(places) == ["log", "manifest"]
    assert all(Path(place).is_file() for place in places.values())


def test_results_that_a_cancel_cut_short_are_no_failure_of_the_platform() -> None:
    job = make_job(
        state=S.STAGING_OUT,
        outcome=Outcome(kind=OutcomeKind.EXITED, exit_code=0),
        stop=StopRequest(by="acme", why="cancel", at=make_job().created_at),
    )
    step = end_without_results(job)
    assert (step.target, step.changes["reason"].code) == (S.CANCELED, "canceled")
