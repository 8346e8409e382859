"""The local backend with real processes, once without and once with a sandbox."""

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from longshore.backends.abc import SupportsCapacity, SupportsProbe
from longshore.backends.local import Isolation, attempts, processes
from longshore.errors import AttemptGone, BackendUnavailable
from longshore.models import Input, JobSpec, OutcomeKind, Phase, Resources, RunRef

pytestmark = pytest.mark.anyio


async def test_a_worker_leaves_its_exit_code_its_log_and_a_manifest(both: Any) -> None:
    async with both.open() as backend:
        ref = await both.submit(backend, "echo hello; echo trouble >&2; exit 3")
        seen = await both.over(backend, ref)
    assert seen.phase is Phase.ENDED
    assert seen.outcome is not None
    assert (seen.outcome.kind, seen.outcome.exit_code) == (OutcomeKind.EXITED, 3)
    assert seen.started_at <= seen.ended_at
    assert await both.stored(ref, "log") == b"hello\ntrouble\n"
    manifest = await both.manifest(ref)
    assert manifest.outcome == seen.outcome
    assert manifest.problems == ()


async def test_inputs_reach_the_worker_and_outputs_the_storage(
    both: Any, outputs: Callable[..., Any]
) -> None:
    script = 'tr a-z A-Z < "$LS_INPUT_TEXT" > "$LS_OUTPUT_MY_RESULT"'
    async with both.open() as backend:
        ref = await both.submit(
            backend, script, content={"text": b"quiet"}, outputs=outputs("my-result")
        )
        await both.over(backend, ref)
    assert (await both.manifest(ref)).problems == ()
    assert await both.stored(ref, "my-result") == b"QUIET"


async def test_places_and_parameters_are_filled_into_the_command(
    both: Any, outputs: Callable[..., Any]
) -> None:
    command = (
        "{python}",
        "-c",
        "import sys; open(sys.argv[2], 'w').write(open(sys.argv[1]).read())",
    )
    async with both.open() as backend:
        ref = both.ref()
        spec = JobSpec(
            workflow="lab",
            command=(*command, "{parameters_file}", "{outputs.copy}"),
            outputs=outputs("copy"),
            parameters_json='{"top": 3}',
        )
        await backend.submit(ref, spec, await both.plan(ref, spec))
        await both.over(backend, ref)
    assert await both.stored(ref, "copy") == b'{"top": 3}'


async def test_the_workflow_directory_is_at_workflow(both: Any, tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "hello.sh").write_text("echo from the workflow\n")
    async with both.open() as backend:
        ref = both.ref()
        spec = JobSpec(
            workflow="lab", command=("sh", "/workflow/hello.sh"), directory=tmp_path / "w"
        )
        await backend.submit(ref, spec, await both.plan(ref, spec))
        await both.over(backend, ref)
        assert await both.log(backend, ref) == b"from the workflow\n"


async def test_nothing_of_the_services_environment_reaches_the_worker(
    both: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SERVICE", "canary")
    async with both.open() as backend:
        ref = await both.submit(backend, "env", environment={"GIVEN": "$(X) {inputs.a}\n;"})
        await both.over(backend, ref)
        log = await both.log(backend, ref)
    assert b"canary" not in log
    assert b"GIVEN=$(X) {inputs.a}\n;\n" in log
    names = {line.split(b"=")[0] for line in log.splitlines() if b"=" in line}
    shells_own = {b"PWD", b"_", b"SHLVL", b"OLDPWD"}
    ours = {b"PATH", b"LANG", b"HOME", b"TMPDIR", b"LS_ATTEMPT"}
    assert names <= ours | shells_own | {b"GIVEN"}


async def test_the_worker_inherits_no_descriptor_but_its_standard_ones(lab: Any) -> None:
    async with lab.open() as backend:
        ref = await lab.submit(backend, "exec ls /proc/self/fd")
        await lab.over(backend, ref)
        assert (await lab.log(backend, ref)).split() == [b"0", b"1", b"2", b"3"]  # 3 is ls reading


async def test_a_submission_that_is_repeated_starts_one_worker(both: Any) -> None:
    async with both.open() as backend:
        ref, spec = both.ref(), both.spec("echo once")
        plan = await both.plan(ref, spec)
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(backend.submit, ref, spec, plan)
        await both.over(backend, ref)
        await backend.submit(ref, spec, plan)
        await both.run(backend, "true")  # whatever the repetition did would be done before
        assert await both.log(backend, ref) == b"once\n"


@pytest.mark.parametrize("written", [None, b"", b'{"job_id": "job1", "att'])
async def test_a_submission_cut_short_is_completed_by_its_repetition(
    lab: Any, written: bytes | None
) -> None:
    async with lab.open() as backend:
        ref, spec = lab.ref(), lab.spec("echo done")
        lab.path(ref).mkdir(parents=True)
        if written is not None:
            (lab.path(ref) / attempts.FILE).write_bytes(written)
        assert await lab.see(backend, ref) is None  # never accepted
        await backend.submit(ref, spec, await lab.plan(ref, spec))
        seen = await lab.over(backend, ref)
    assert seen.outcome.exit_code == 0


async def test_an_attempt_waits_while_all_slots_are_taken(lab: Any) -> None:
    async with lab.open(slots=1) as backend:
        assert backend.slots == 1
        first = await lab.submit(backend, "echo ready; read x < fifo || sleep 100")
        await lab.started(backend, first)
        second = await lab.submit(backend, "true")
        assert (await lab.see(backend, second)).phase is Phase.WAITING
        await backend.stop(first, grace=timedelta(0))
        assert (await lab.over(backend, second)).outcome.exit_code == 0


async def test_observations_come_without_asking(lab: Any) -> None:
    async with lab.open() as backend:
        phases = []
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                ref = await lab.submit(backend, "true")

                async def look() -> None:
                    async for seen in backend.observe():
                        assert seen.job_id == ref.job_id
                        phases.append(seen.phase)
                        if seen.phase is Phase.ENDED:
                            return

                tasks.start_soon(look)
    assert phases[-1] is Phase.ENDED


async def test_progress_is_what_the_worker_said_last(lab: Any) -> None:
    script = r"printf '::progress 1/4 one\n\0::progress bad\n::progress 2/4 tw\377o\n'; sleep 100"
    async with lab.open() as backend:
        ref = await lab.submit(backend, script)

        async def is_told() -> bool:
            seen = await lab.see(backend, ref)
            return seen.progress is not None and seen.progress.done == 2

        await lab.eventually(is_told)
        assert (await lab.see(backend, ref)).progress.text.startswith("tw")
        await backend.remove(ref)


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        ("no-such-command", 127, "command-not-found"),
        ("/no/such/command", 127, "command-not-found"),
        ("/etc/passwd", 126, "command-not-executable"),
    ],
)
async def test_a_command_that_cannot_run_is_named_as_such(
    both: Any, command: str, code: int, reason: str
) -> None:
    async with both.open() as backend:
        ref = both.ref()
        spec = JobSpec(workflow="lab", command=(command,))
        await backend.submit(ref, spec, await both.plan(ref, spec))
        seen = await both.over(backend, ref)
        assert command.encode() in await both.log(backend, ref)
    assert (seen.outcome.exit_code, seen.outcome.reason) == (code, reason)


async def test_a_worker_that_somebody_kills_has_the_code_of_the_signal(both: Any) -> None:
    async with both.open() as backend:
        seen = await both.run(backend, "kill -9 $$")
        assert (seen.outcome.kind, seen.outcome.exit_code) == (OutcomeKind.EXITED, 137)
        ref = await both.submit(backend, "echo ready; sleep 100")
        both.kill(await both.started(backend, ref))  # from outside: of a sandbox the monitor
        assert (await both.over(backend, ref)).outcome.exit_code == 137


async def test_a_worker_is_stopped_at_its_walltime(both: Any) -> None:
    async with both.open() as backend:
        seen = await both.run(
            backend,
            "echo begun; sleep 100",
            resources=Resources(walltime=timedelta(seconds=0.3)),
        )
    outcome = seen.outcome
    assert (outcome.kind, outcome.by, outcome.reason) == (
        OutcomeKind.STOPPED,
        "walltime",
        "walltime",
    )
    assert outcome.exit_code == 143


@pytest.mark.parametrize(
    "how",
    [
        "(sleep 1000 &)",
        "setsid sleep 1000 &",
        "(setsid sh -c 'trap \"\" TERM HUP; sleep 1000 & wait' &)",
    ],
)
async def test_nothing_that_a_worker_left_behind_survives_it(both: Any, how: str) -> None:
    async with both.open() as backend:
        ref = await both.submit(backend, f"{how}; echo over")
        await both.over(backend, ref)
        assert not both.processes(ref)


async def test_an_input_that_is_not_there_is_a_reason_and_no_worker(lab: Any) -> None:
    async with lab.open() as backend:
        ref = lab.ref()
        spec = lab.spec("echo started")
        plan = await lab.plan(ref, spec, {"text": b"x"})
        await lab.storage.delete(f"{ref.name}/inputs/text")
        spec = attrs.evolve(spec, inputs=(Input(name="text"),))
        await backend.submit(ref, spec, plan)
        seen = await lab.over(backend, ref)
        assert (seen.phase, seen.outcome, seen.reason) == (Phase.ENDED, None, "input-unavailable")
        assert await lab.log(backend, ref) == b""


@pytest.mark.parametrize(
    "make", ["ln -s /etc/passwd $LS_OUTPUT_R", "mkfifo $LS_OUTPUT_R", "mkdir $LS_OUTPUT_R"]
)
async def test_what_is_no_regular_file_is_refused_as_an_output(
    both: Any, outputs: Callable[..., Any], make: str
) -> None:
    async with both.open() as backend:
        ref = await both.submit(backend, make, outputs=outputs("r"))
        await both.over(backend, ref)
    assert [problem.code for problem in (await both.manifest(ref)).problems] == ["output-refused"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
async def test_a_device_is_refused_as_an_output(lab: Any, outputs: Callable[..., Any]) -> None:
    async with lab.open() as backend:
        ref = await lab.submit(backend, "mknod $LS_OUTPUT_R c 1 5", outputs=outputs("r"))
        await lab.over(backend, ref)
    assert [problem.code for problem in (await lab.manifest(ref)).problems] == ["output-refused"]


async def test_a_newer_plan_is_the_one_that_is_used(lab: Any, tmp_path: Path) -> None:
    async with lab.open() as backend:
        go = tmp_path / "go"
        os.mkfifo(go)
        ref = await lab.submit(backend, f"echo ready; read x < {go}")
        await lab.started(backend, ref)
        old = lab.tickets[ref.name, "log"]
        await backend.renew(ref, await lab.plan(ref, lab.spec("")))
        await lab.storage.abort(old)
        await anyio.to_thread.run_sync(go.write_text, "x\n")
        await lab.over(backend, ref)
    assert await lab.stored(ref, "log") == b"ready\n"


async def test_a_plan_for_no_attempt_is_refused(lab: Any) -> None:
    async with lab.open() as backend:
        ref = lab.ref()
        with pytest.raises(AttemptGone):
            await backend.renew(ref, await lab.plan(ref, lab.spec("")))
        assert (await backend.snapshot()).observations == ()


async def test_removal_leaves_no_process_no_directory_and_no_observation(both: Any) -> None:
    async with both.open() as backend:
        ref = await both.submit(
            backend, "trap '' TERM; (setsid sleep 1000 &); echo ready; sleep 1000; sleep 1000"
        )
        await both.started(backend, ref)
        await backend.remove(ref)
        assert not both.path(ref).exists()
        assert not both.processes(ref)
        await backend.remove(ref)
        assert (await backend.snapshot()).observations == ()


async def test_removal_copes_with_whatever_a_worker_made(lab: Any, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("stays")
    script = f"""
        mkdir -p closed/inner; touch closed/inner/file; chmod 0 closed/inner closed
        ln -s {tmp_path} link; ln -s / root; mkfifo pipe
        name=$(printf %0100d 0)
        for i in $(seq 100); do mkdir $name; cd $name; done
    """
    async with lab.open() as backend:
        ref = await lab.submit(backend, script)
        await lab.over(backend, ref)
        await backend.remove(ref)
        assert not lab.path(ref).exists()
    assert (tmp_path / "precious").read_text() == "stays"


async def test_a_directory_that_is_used_again_holds_nothing_of_the_job_before(both: Any) -> None:
    mounted = mount_points_in_scratch()
    async with both.open() as backend:
        for number in range(3):
            ref = await both.submit(backend, f"echo secret {number}; ls -A $HOME; exit {number}")
            inode = both.path(ref).stat().st_ino
            assert (await both.over(backend, ref)).outcome.exit_code == number
            said = (await both.log(backend, ref)).decode().split()
            assert said[:2] == ["secret", str(number)]
            assert set(said[2:]) <= mounted
            await backend.remove(ref)
            assert (await backend.snapshot()).observations == ()
        spares = [
            spare for spare in (both.state / "removed").iterdir() if spare.stat().st_ino == inode
        ]
        # a directory in which something was mounted is deleted, not used again
        assert len(spares) == (not mounted or both.default is Isolation.NONE)
        files = [file for spare in spares for file in spare.iterdir() if file.is_file()]
        assert not any(file.read_bytes().strip(b"\0") for file in files)


def mount_points_in_scratch() -> set[str]:
    """Name what a sandbox mounts in a job's /tmp: an interpreter of a checkout that lies there."""
    prefixes = [Path(prefix) for prefix in (sys.prefix, sys.base_prefix)]
    return {path.parts[2] for path in prefixes if path.is_relative_to("/tmp")}


@pytest.mark.parametrize(
    "spoil",
    [
        "touch $HOME/x",
        "chmod 777 $HOME",
        "ln ../log ../../kept",
        "rm ../log; ln -s /etc/passwd ../log",
        "touch ../x",
    ],
)
async def test_a_directory_that_a_worker_has_a_hold_of_is_not_used_again(
    lab: Any, spoil: str
) -> None:
    async with lab.open() as backend:
        ref = await lab.submit(backend, spoil)
        await lab.over(backend, ref)
        await backend.remove(ref)
        assert not lab.path(ref).exists()
        assert list((lab.state / "removed").iterdir()) == []
    assert os.stat("/etc/passwd").st_size > 0  # noqa: PTH116 - in an asynchronous function


async def test_a_name_that_is_no_attempts_is_refused(lab: Any) -> None:
    async with lab.open() as backend:
        with pytest.raises(ValueError, match="no name of an attempt"):
            await backend.remove(RunRef("../../etc", 1))


async def test_probing_says_whether_jobs_could_run(lab: Any) -> None:
    async with lab.open() as backend:
        assert isinstance(backend, SupportsProbe)
        assert isinstance(backend, SupportsCapacity)
        await backend.probe()


async def test_a_state_directory_that_cannot_be_made_is_said(lab: Any) -> None:
    lab.state.write_text("a file")
    with pytest.raises(BackendUnavailable, match="state directory"):
        async with lab.open():
            pass


async def test_who_only_reads_a_log_starts_no_process(lab: Any) -> None:
    async with lab.open() as backend:
        ref = await lab.submit(backend, "echo seen")
        await lab.over(backend, ref)
        before = processes.family(os.getpid())
        async with lab.reader() as reader:
            seen = b"".join([chunk async for chunk in reader.logs(ref)])
            assert processes.family(os.getpid()) == before
    assert seen == b"seen\n"


async def test_leaving_the_backend_ends_an_idle_keeper_and_its_groups(lab: Any) -> None:
    async with lab.open() as backend:
        keeper = lab.parent(lab.runner(await _done(lab, backend)))
        assert lab.is_running(keeper)
    await lab.eventually(lambda: not lab.is_running(keeper))
    assert backend._group
    assert _groups(backend._group) == []


def _groups(name: str) -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob(f"**/{name}"))


async def _done(lab: Any, backend: Any) -> RunRef:
    ref: RunRef = await lab.submit(backend, "true")
    await lab.over(backend, ref)
    return ref
