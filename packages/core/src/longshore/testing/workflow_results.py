"""The contract of a workflow backend, first part: what a worker sees and what it leaves."""

import io
import tarfile

import attrs
import pytest

from longshore.models import (
    Input,
    InputKind,
    Outcome,
    OutcomeKind,
    Output,
    OutputKind,
    Phase,
    Resources,
)
from longshore.reasons import exit_reason
from longshore.testing.lab import HOUR, MOMENT, OBEDIENT, UPPER, Lab, UnderTest


class WorkflowResults(UnderTest):
    """What every worker gets and gives; ``WorkflowBackendContract`` inherits it."""

    # a worker and its results

    @pytest.mark.parametrize("code", [0, 3])
    async def test_a_worker_that_ended_is_reported_with_its_exit_code(
        self, lab: Lab, code: int
    ) -> None:
        seen, planned = await lab.run(self.make_spec(f"exit {code}"))
        assert seen.phase is Phase.ENDED
        assert seen.outcome == Outcome(kind=OutcomeKind.EXITED, exit_code=code)
        assert seen.reason is None
        assert seen.started_at is not None
        assert seen.ended_at is not None
        assert seen.started_at <= seen.ended_at
        manifest = await planned.manifest()
        assert manifest is not None
        assert (manifest.job_id, manifest.attempt) == (seen.job_id, seen.attempt)
        assert manifest.outcome == seen.outcome
        assert manifest.problems == ()

    @pytest.mark.parametrize("number", [9, 15])
    async def test_a_worker_that_a_signal_ended_has_the_code_of_the_signal(
        self, lab: Lab, number: int
    ) -> None:
        seen, _ = await lab.run(self.make_spec(f"kill -{number} $$"))
        assert seen.outcome is not None
        assert (seen.outcome.kind, seen.outcome.exit_code) == (OutcomeKind.EXITED, 128 + number)

    async def test_a_command_that_does_not_exist_is_named_as_such(self, lab: Lab) -> None:
        spec = attrs.evolve(self.make_spec(""), command=("no-such-command-anywhere",))
        seen, _ = await lab.run(spec)
        assert seen.outcome is not None
        assert seen.outcome.exit_code == 127
        assert exit_reason(127, seen.outcome.reason).code == "command-not-found"

    async def test_inputs_reach_the_worker_and_outputs_the_storage(self, lab: Lab) -> None:
        spec = self.make_spec(
            UPPER, inputs=(Input(name="text"),), outputs=(Output(name="my-result"),)
        )
        _, planned = await lab.run(spec, {"text": b"quiet\n"})
        assert await planned.results() == {"my-result": b"QUIET\n", "log": b""}

    async def test_archives_are_directories_to_the_worker(self, lab: Lab) -> None:
        script = 'mkdir -p "$LS_OUTPUT_COPY"; cp -R "$LS_INPUT_TREE/." "$LS_OUTPUT_COPY"'
        spec = self.make_spec(
            script,
            inputs=(Input(name="tree", kind=InputKind.ARCHIVE),),
            outputs=(Output(name="copy", kind=OutputKind.ARCHIVE),),
        )
        _, planned = await lab.run(spec, {"tree": _archive({"deep/down": b"there"})})
        copy = (await planned.results())["copy"]
        with tarfile.open(fileobj=io.BytesIO(copy)) as archive:
            (file,) = [member for member in archive if member.isfile()]
            content = archive.extractfile(file)
            assert content is not None
            assert (file.name.removeprefix("./"), content.read()) == ("deep/down", b"there")

    async def test_places_are_filled_into_the_command(self, lab: Lab) -> None:
        copy = ("sh", "-c", 'cat "$0" "$1" > "$2"; echo "$3"')
        places = ("{parameters_file}", "{inputs.text}", "{outputs.both}", "{not.a.place}")
        spec = attrs.evolve(
            self.make_spec("", inputs=(Input(name="text"),), outputs=(Output(name="both"),)),
            command=(*copy, *places),
            parameters_json='{"top": 3}',
        )
        _, planned = await lab.run(spec, {"text": b" and a text"})
        assert await planned.results() == {
            "both": b'{"top": 3} and a text',
            "log": b"{not.a.place}\n",
        }

    async def test_values_reach_the_worker_as_whole_strings(self, lab: Lab) -> None:
        value = "$(X) $HOME `id` {inputs.text} '\"; \\\nsecond line\t%s ü"
        spec = self.make_spec('printf %s "$GIVEN"', environment={"GIVEN": value})
        _, planned = await lab.run(spec)
        assert (await planned.results())["log"] == value.encode()

    async def test_the_environment_of_the_backend_does_not_reach_the_worker(
        self, lab: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SECRET_OF_THE_SERVICE", "canary")
        await lab.reopen()
        _, planned = await lab.run(self.make_spec("env"))
        log = (await planned.results())["log"]
        assert b"PATH=" in log
        assert b"canary" not in log

    async def test_an_output_that_is_missing_keeps_no_other_from_being_sent(self, lab: Lab) -> None:
        spec = self.make_spec(
            'echo there > "$LS_OUTPUT_B"',
            outputs=(Output(name="a"), Output(name="b"), Output(name="c", required=False)),
        )
        seen, planned = await lab.run(spec)
        assert seen.outcome == Outcome(kind=OutcomeKind.EXITED, exit_code=0)
        assert (await planned.results())["b"] == b"there\n"
        manifest = await planned.manifest()
        assert manifest is not None
        assert [(one.name, one.code) for one in manifest.problems] == [("a", "output-missing")]

    @pytest.mark.parametrize(
        ("wrong", "code"), [("gone", "input-unavailable"), ("changed", "input-checksum")]
    )
    async def test_without_its_input_a_worker_never_runs(
        self, lab: Lab, wrong: str, code: str
    ) -> None:
        spec = self.make_spec("echo started", inputs=(Input(name="text"),))
        ref = lab.ref()
        planned = await lab.plan(ref, spec, {"text": b"what was announced"})
        if wrong == "gone":
            await lab.storage.delete(f"lab/{ref.job_id}/")
        else:
            await lab.plan(ref, spec, {"text": b"other than announc"})
        await lab.submit(ref, spec, planned.plan)
        seen = await lab.over(ref)
        assert (seen.phase, seen.outcome, seen.reason) == (Phase.ENDED, None, code)
        assert await lab.log(ref) == b""

    async def test_a_worker_is_stopped_at_its_walltime(self, lab: Lab) -> None:
        spec = self.make_spec(OBEDIENT, resources=Resources(walltime=MOMENT))
        seen, planned = await lab.run(spec)
        assert seen.outcome is not None
        assert (seen.outcome.kind, seen.outcome.reason) == (OutcomeKind.STOPPED, "walltime")
        assert (await planned.results())["log"] in {b"ready\n", b""}

    # logs

    async def test_a_log_begins_where_it_is_asked_to(self, lab: Lab) -> None:
        seen, planned = await lab.run(self.make_spec("seq 30000; echo trouble >&2"))
        whole = b"".join(b"%d\n" % number for number in range(1, 30001)) + b"trouble\n"
        assert (await planned.results())["log"] == whole
        ref = lab.ref_of(seen)
        for start in (0, 1, 65535, 65536, len(whole) - 1, len(whole), len(whole) + 10):
            assert await lab.log(ref, start) == whole[start:]

    async def test_the_bytes_of_a_live_log_never_change(self, lab: Lab) -> None:
        script = "for i in $(seq 300); do echo line $i; done"
        ref, planned = await lab.begin(self.make_spec(f"{script}; {OBEDIENT}"))
        reads = [await lab.log(ref)]
        while b"ready" not in reads[-1]:
            reads.append(await lab.log(ref))
        await lab.backend.stop(ref, grace=HOUR)
        await lab.over(ref)
        whole = (await planned.results())["log"]
        assert await lab.log(ref) == whole
        assert all(whole.startswith(read) for read in reads)

    async def test_a_log_ends_at_its_cap(self, lab: Lab) -> None:
        seen, planned = await lab.run(self.make_spec("seq 30000", log_cap=1000))
        log = (await planned.results())["log"]
        assert len(log) == 1000
        assert await lab.log(lab.ref_of(seen)) == log
        manifest = await planned.manifest()
        assert manifest is not None
        assert manifest.log_cut

    async def test_an_attempt_that_never_was_has_no_log(self, lab: Lab) -> None:
        assert await lab.log(lab.ref()) == b""


def _archive(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()
