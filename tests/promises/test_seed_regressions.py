"""Defects of the systems that Longshore replaces, each by its name: none of them comes back."""

import io
import os
import signal
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conftest import Open
from tests.support import attempts_in, holders_of, settings, shell, until

from longshore.backends.local.backend import LocalBackend
from longshore.errors import BackendUnavailable, NotFound, RequestInvalid, StorageUnavailable
from longshore.models import Input, InputKind, JobState, Observation, Output, OutputKind
from longshore.storages.local import LocalStorage

pytestmark = pytest.mark.timeout(300)

RESULT = Output(name="result")
OTHER = Output(name="other")
_N = {"type": "object", "properties": {"n": {"type": "integer"}}}


def test_the_exit_code_was_ignored_and_every_job_finished(opened: Open) -> None:
    with opened(shell("echo x > $LS_OUTPUT_RESULT; exit 1", outputs=[RESULT])) as longshore:
        assert longshore.run("script").wait(30).state is JobState.FAILED


def test_the_state_was_a_dictionary_that_ended_with_the_process(opened: Open) -> None:
    with opened(shell("echo said")) as longshore:
        job = longshore.run("script", key="k").wait(30)
    with opened() as longshore:
        assert longshore.job(job.id).job == job
        assert b"".join(longshore.job(job.id).logs()) == b"said\n"
        assert [event.seq for event in longshore.job(job.id).events()] == list(
            range(1, job.seq + 1)
        )


def test_a_result_path_without_the_job_let_runs_overwrite_each_other(opened: Open) -> None:
    script = "sleep 0.$LS_PARAM_N; echo $LS_PARAM_N > $LS_OUTPUT_RESULT"
    workflow = shell(script, outputs=[RESULT], parameters=_N)
    with opened(workflow, table=settings(slots=4)) as longshore:
        handles = [longshore.run("script", parameters={"n": n}) for n in range(4)]
        for n, handle in enumerate(handles):
            handle.wait(30)
            assert handle.output("result").read_bytes() == b"%d\n" % n


def test_inputs_were_shared_between_runs(opened: Open) -> None:
    script = "cat $LS_INPUT_TEXT; echo new > $LS_INPUT_TEXT; cp $LS_INPUT_TEXT $LS_OUTPUT_RESULT"
    with opened(shell(script, inputs=[Input(name="text")], outputs=[RESULT])) as longshore:
        handles = [longshore.run("script", inputs={"text": f"{n}"}) for n in range(3)]
        for n, handle in enumerate(handles):
            assert handle.wait(30).state is JobState.SUCCEEDED
            assert b"".join(handle.logs()) == b"%d" % n


def test_a_missing_result_was_stored_as_the_file_before_it(opened: Open) -> None:
    with opened(shell("echo mine > $LS_OUTPUT_OTHER", outputs=[OTHER, RESULT])) as longshore:
        handle = longshore.run("script")
        job = handle.wait(30)
        assert job.reason is not None
        assert job.reason.code == "output-missing"
        assert "result" in job.reason.message
        assert handle.outputs.keys() == {"other"}
        with pytest.raises(NotFound):
            handle.output("result")


def test_an_archive_of_results_held_the_inputs_as_well(opened: Open, tmp_path: Path) -> None:
    folder = Output(name="folder", kind=OutputKind.ARCHIVE)
    script = "mkdir $LS_OUTPUT_FOLDER; cp $LS_INPUT_TEXT $LS_OUTPUT_FOLDER/copy"
    with opened(shell(script, inputs=[Input(name="text")], outputs=[folder])) as longshore:
        handle = longshore.run("script", inputs={"text": "x"})
        assert handle.wait(30).state is JobState.SUCCEEDED
        packed = io.BytesIO(handle.output("folder").read_bytes())
    with tarfile.open(fileobj=packed) as archive:
        assert [one.name for one in archive if one.isfile()] == ["copy"]


def test_the_monitor_died_at_its_first_error(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    observe = LocalBackend.observe
    failures: list[Observation] = []

    async def failing(self: LocalBackend) -> AsyncIterator[Observation]:
        async for seen in observe(self):
            if len(failures) < 3:
                failures.append(seen)
                raise BackendUnavailable("the watch broke")
            yield seen

    monkeypatch.setattr(LocalBackend, "observe", failing)
    with opened(shell("true")) as longshore:
        for _ in range(3):
            assert longshore.run("script").wait(30).state is JobState.SUCCEEDED
    assert len(failures) == 3


def test_stop_waited_for_what_only_its_own_end_could_set(opened: Open, home: Path) -> None:
    with opened(shell("trap '' TERM; echo begun; while :; do sleep 0.05; done")) as longshore:
        handle = longshore.run("script")
        until(lambda: b"begun" in b"".join(handle.logs()), "the worker")
        assert {handle.cancel().stop is not None for _ in range(3)} == {True}
        assert handle.wait(15).state is JobState.CANCELED
        until(lambda: not attempts_in(home), "the clean-up")
        assert handle.cancel().state is JobState.CANCELED  # and the clean-up may be repeated


def test_a_failed_upload_was_taken_for_a_stored_result_and_the_only_copy_was_deleted(
    opened: Open, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = LocalStorage.commit
    refused: list[object] = []

    async def failing(self: LocalStorage, ticket: object, receipt: object) -> object:
        if len(refused) < 2:
            refused.append(ticket)
            assert len(attempts_in(home)) == 1  # the workspace is there until everything is stored
            raise StorageUnavailable("the storage is away")
        return await commit(self, ticket, receipt)  # type: ignore[arg-type]  # as it was given

    monkeypatch.setattr(LocalStorage, "commit", failing)
    with opened(shell("echo kept > $LS_OUTPUT_RESULT", outputs=[RESULT])) as longshore:
        handle = longshore.run("script")
        assert handle.wait(30).state is JobState.SUCCEEDED
        assert handle.output("result").read_bytes() == b"kept\n"
    assert len(refused) == 2


def test_a_job_hung_in_preparing_for_ever(opened: Open) -> None:
    table = settings(slots=1)
    table["deadlines"] |= {"queue": "0.5s"}
    with opened(shell("sleep 1000"), table=table) as longshore:
        first = longshore.run("script")
        until(lambda: first.state is JobState.RUNNING, "the slot to be taken")
        job = longshore.run("script").wait(30)
        assert job.reason is not None
        assert job.reason.code == "start-timeout"
        assert job.reason.hint
        first.cancel()
        first.wait(30)


def test_logs_were_gone_with_the_pod_and_asking_for_them_was_an_error(
    opened: Open, home: Path
) -> None:
    with opened(shell("echo said")) as longshore:
        handle = longshore.run("script")
        handle.wait(30)
        until(lambda: not attempts_in(home), "the engine to forget it")
        assert b"".join(handle.logs()) == b"said\n"


def test_cancel_and_finish_were_last_writer_wins(opened: Open) -> None:
    with opened(shell("true")) as longshore:
        handle = longshore.run("script")
        done = handle.wait(30)
        handle.cancel()
        assert handle.job == done
        assert [event.type for event in handle.events()].count("JobSucceeded") == 1


def test_the_side_car_kept_the_job_alive_and_a_restart_forgot_what_it_had_to_clean_up(
    opened: Open, home: Path, tmp_path: Path
) -> None:
    with opened(shell(f"until [ -e {tmp_path}/go ]; do sleep 0.02; done")) as longshore:
        handle = longshore.run("script")
        until(lambda: handle.state is JobState.RUNNING, "the worker")
    (detached,) = until(lambda: holders_of(home), "the supervisor that goes on")
    os.kill(detached, signal.SIGKILL)
    (tmp_path / "go").touch()
    with opened() as longshore:
        assert longshore.job(handle.id).wait(30).state is JobState.SUCCEEDED
        until(lambda: not attempts_in(home), "the clean-up of what another process began")


def test_secrets_of_the_service_were_given_to_workers(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_SECRET", "rootpass123")
    with opened(shell("env; cat /proc/$PPID/environ 2>/dev/null | tr '\\0' '\\n'")) as longshore:
        handle = longshore.run("script")
        handle.wait(30)
        assert b"rootpass123" not in b"".join(handle.logs())


@pytest.mark.parametrize("line", ["LD_PRELOAD=/x", "PATH=/x", "PYTHONPATH=/x", "OTHER=1", "$(X)=1"])
def test_env_inputs_could_set_any_variable(opened: Open, line: str) -> None:
    env = Input(name="env", kind=InputKind.ENV, names=("SOURCE",))
    with opened(shell("env", inputs=[env])) as longshore:
        with pytest.raises(RequestInvalid):
            longshore.run("script", inputs={"env": f"{line}\n"})
        assert longshore.jobs() == ()


@pytest.mark.parametrize("name", ["../../etc/passwd", "result/../../x", "/etc/passwd", ".hidden"])
def test_the_name_of_a_result_was_a_path(opened: Open, name: str) -> None:
    with opened(shell("echo x > $LS_OUTPUT_RESULT", outputs=[RESULT])) as longshore:
        handle = longshore.run("script")
        handle.wait(30)
        with pytest.raises(NotFound):
            handle.output(name)
