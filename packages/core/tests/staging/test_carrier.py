import errno
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import attrs
import pytest

from longshore.errors import StorageUnavailable
from longshore.models import Input, InputKind, Outcome, OutcomeKind, Output, OutputKind
from longshore.reasons import REASONS
from longshore.staging import (
    FileTransport,
    Manifest,
    StagingFailed,
    StagingProblem,
    decode_manifest,
    stage_in,
    stage_out,
)
from longshore.transfer import (
    PlannedInput,
    PlannedOutput,
    SignedRequest,
    SignedUpload,
    TransferPlan,
    UploadReceipt,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
EXITED = Outcome(kind=OutcomeKind.EXITED, exit_code=0)


@attrs.frozen
class Attempt:
    """An attempt's directories, and a storage that is two folders."""

    root: Path

    @property
    def work(self) -> Path:
        return self.root / "attempt" / "out"

    @property
    def log(self) -> Path:
        return self.root / "attempt" / "log"

    def place(self, name: str) -> Path:
        return self.work / name

    def upload(self, name: str) -> SignedUpload:
        path = self.root / "storage" / name
        path.touch(0o600)
        request = SignedRequest(method="PUT", url=path.as_uri(), expires_at=NOW)
        return SignedUpload(ticket_id=name, part_size=10**9, parts=(request,))

    def stored(self, name: str) -> bytes | None:
        """Return what was sent, whole."""
        path = self.root / "storage" / name
        return path.read_bytes() if path.stat().st_mode & 0o777 == 0o400 else None

    def plan(
        self, inputs: dict[str, bytes] | None = None, outputs: tuple[str, ...] = (), **changes: Any
    ) -> TransferPlan:
        planned = []
        for name, content in (inputs or {}).items():
            path = self.root / "storage" / f"object-{name}"
            path.write_bytes(content)
            planned.append(
                PlannedInput(
                    name=name,
                    request=SignedRequest(method="GET", url=path.as_uri(), expires_at=NOW),
                    size=changes.get("size", len(content)),
                    sha256=changes.get("sha256", hashlib.sha256(content).hexdigest()),
                )
            )
        return TransferPlan(
            job_id="job",
            attempt=1,
            inputs=tuple(planned),
            outputs=tuple(PlannedOutput(name=name, upload=self.upload(name)) for name in outputs),
            log=self.upload("log"),
            manifest=self.upload("manifest"),
            valid_until=NOW,
        )

    def stage_in(self, plan: TransferPlan, *inputs: Input, transport: Any = None) -> None:
        places = {entry.name: self.place(entry.name) for entry in inputs}
        stage_in(plan, inputs, places, transport or FileTransport())

    def stage_out(self, *outputs: Output, transport: Any = None, **changes: Any) -> Manifest:
        plan = changes.pop("plan", None) or self.plan(outputs=tuple(o.name for o in outputs))
        return stage_out(
            plan,
            outputs,
            {output.name: self.place(output.name) for output in outputs},
            **{
                "log": self.log,
                "log_cap": 1000,
                "outcome": EXITED,
                "started_at": NOW,
                "ended_at": NOW,
                **changes,
            },
            transport=transport or FileTransport(),
        )


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[Attempt]:
    made = Attempt(tmp_path)
    made.work.mkdir(parents=True)
    (tmp_path / "storage").mkdir()
    made.log.write_bytes(b"the log\n")
    before = sum(1 for _ in Path("/dev/fd").iterdir())
    yield made
    assert (
        sum(1 for _ in Path("/dev/fd").iterdir()) == before
    )  # nothing is left open, whatever happened


def problems(manifest: Manifest) -> dict[str, str]:
    assert all(problem.code in REASONS and problem.message for problem in manifest.problems)
    return {problem.name: problem.code for problem in manifest.problems}


class Recording(FileTransport):
    """Remembers in which order uploads were sent."""

    def __init__(self) -> None:
        self.order: list[str] = []

    def send(self, upload: SignedUpload, source: BinaryIO, *, max_size: int) -> UploadReceipt:
        self.order.append(upload.ticket_id)
        return super().send(upload, source, max_size=max_size)


class Failing(FileTransport):
    """A storage that fails for one upload, or for every fetch."""

    def __init__(self, exc: Exception, name: str = "") -> None:
        self.exc = exc
        self.name = name

    def fetch(self, *_: Any, **__: Any) -> None:
        raise self.exc

    def send(self, upload: SignedUpload, source: BinaryIO, *, max_size: int) -> UploadReceipt:
        if upload.ticket_id == self.name:
            raise self.exc
        return super().send(upload, source, max_size=max_size)


class TestStageIn:
    def test_a_file_comes_to_its_place(self, attempt: Attempt) -> None:
        attempt.stage_in(attempt.plan({"text": b"content"}), Input(name="text"))
        assert attempt.place("text").read_bytes() == b"content"
        assert attempt.place("text").stat().st_mode & 0o777 == 0o644

    def test_a_worker_that_writes_to_its_input_changes_no_object(self, attempt: Attempt) -> None:
        attempt.stage_in(attempt.plan({"text": b"content"}), Input(name="text"))
        attempt.place("text").write_bytes(b"changed")
        assert (attempt.root / "storage" / "object-text").read_bytes() == b"content"

    def test_what_an_earlier_try_left_is_replaced(
        self, attempt: Attempt, tar: Callable[..., bytes]
    ) -> None:
        plan = attempt.plan({"text": b"content", "tree": tar([("file", "new", b"n")])})
        attempt.place("text").write_bytes(b"half of a longer")
        attempt.place("tree").mkdir()
        (attempt.place("tree") / "old").write_bytes(b"")
        tree = Input(name="tree", kind=InputKind.ARCHIVE)
        attempt.stage_in(plan, Input(name="text"), tree)
        assert attempt.place("text").read_bytes() == b"content"
        assert [path.name for path in attempt.place("tree").iterdir()] == ["new"]

    def test_an_archive_becomes_a_directory_and_leaves_no_packed_copy(
        self, attempt: Attempt, tar: Callable[..., bytes]
    ) -> None:
        archive = tar([("file", "a/b", b"1")], compression="gz")
        attempt.stage_in(
            attempt.plan({"tree": archive}), Input(name="tree", kind=InputKind.ARCHIVE)
        )
        assert (attempt.place("tree") / "a" / "b").read_bytes() == b"1"
        assert [path.name for path in attempt.work.iterdir()] == ["tree"]

    @pytest.mark.parametrize(
        ("changes", "entry", "code"),
        [
            ({"size": 6}, Input(name="it"), "input-checksum"),
            ({"size": 8}, Input(name="it"), "input-checksum"),
            ({"sha256": "0" * 64}, Input(name="it"), "input-checksum"),
            ({}, Input(name="it", max_size=6), "input-too-large"),
            ({}, Input(name="it", kind=InputKind.ARCHIVE), "archive-refused"),
        ],
    )
    def test_bytes_that_are_not_the_announced_ones_are_refused(
        self, attempt: Attempt, changes: dict[str, Any], entry: Input, code: str
    ) -> None:
        with pytest.raises(StagingFailed) as caught:
            attempt.stage_in(attempt.plan({"it": b"content"}, **changes), entry)
        assert (caught.value.code, caught.value.name) == (code, "it")
        assert not attempt.place("it").is_dir()

    def test_of_a_refused_archive_nothing_is_left(
        self, attempt: Attempt, tar: Callable[..., bytes]
    ) -> None:
        archive = tar([("file", "fine", b""), ("link", "odd", "/etc")])
        with pytest.raises(StagingFailed, match="'odd'"):
            attempt.stage_in(
                attempt.plan({"tree": archive}), Input(name="tree", kind=InputKind.ARCHIVE)
            )
        assert list(attempt.work.iterdir()) == []

    @pytest.mark.parametrize(
        ("exc", "code"),
        [
            (OSError(errno.ENOSPC, "full"), "disk"),
            (OSError(errno.EDQUOT, "full"), "disk"),
            (OSError(errno.EIO, "broken"), "input-unavailable"),
            (StorageUnavailable("away"), "input-unavailable"),
        ],
    )
    def test_a_failing_disk_or_storage_has_its_code(
        self, attempt: Attempt, exc: Exception, code: str
    ) -> None:
        with pytest.raises(StagingFailed) as caught:
            attempt.stage_in(attempt.plan({"it": b""}), Input(name="it"), transport=Failing(exc))
        assert caught.value.code == code
        assert code in REASONS

    def test_an_object_that_is_gone_is_named(self, attempt: Attempt) -> None:
        plan = attempt.plan({"it": b"content"})
        (attempt.root / "storage" / "object-it").unlink()
        with pytest.raises(StagingFailed, match="it: the object is not in the storage") as caught:
            attempt.stage_in(plan, Input(name="it"))
        assert caught.value.code == "input-unavailable"


class TestStageOut:
    def test_outputs_log_and_manifest_are_sent(self, attempt: Attempt) -> None:
        attempt.place("counts").write_bytes(b"{}")
        manifest = attempt.stage_out(Output(name="counts"))
        assert attempt.stored("counts") == b"{}"
        assert attempt.stored("log") == b"the log\n"
        assert decode_manifest(attempt.stored("manifest") or b"") == manifest
        assert manifest.outcome == EXITED
        assert manifest.problems == ()
        (entry,) = manifest.outputs
        assert (entry.name, entry.size) == ("counts", 2)
        assert entry.sha256 == hashlib.sha256(b"{}").hexdigest()

    def test_the_manifest_is_sent_after_all_else(self, attempt: Attempt) -> None:
        recording = Recording()
        for name in ("a", "b"):
            attempt.place(name).write_bytes(b"")
        attempt.stage_out(Output(name="a"), Output(name="b"), transport=recording)
        assert recording.order == ["a", "b", "log", "manifest"]

    def test_a_directory_is_packed(self, attempt: Attempt) -> None:
        attempt.place("tree").mkdir()
        (attempt.place("tree") / "file").write_bytes(b"content")
        attempt.stage_out(Output(name="tree", kind=OutputKind.ARCHIVE))
        attempt.stage_in(
            attempt.plan({"back": attempt.stored("tree") or b""}),
            Input(name="back", kind=InputKind.ARCHIVE),
        )
        assert (attempt.place("back") / "file").read_bytes() == b"content"

    def test_a_missing_output_is_a_problem_only_where_it_is_required(
        self, attempt: Attempt
    ) -> None:
        manifest = attempt.stage_out(Output(name="must"), Output(name="may", required=False))
        assert problems(manifest) == {"must": "output-missing"}

    def test_one_bad_output_keeps_no_other_from_being_sent(self, attempt: Attempt) -> None:
        for name in ("large", "good"):
            attempt.place(name).write_bytes(b"12345")
        attempt.place("directory").mkdir()
        attempt.place("link").symlink_to("good")
        os.mkfifo(attempt.place("pipe"))
        (attempt.root / "attempt" / "secret").write_bytes(b"")
        attempt.place("leaving").mkdir()
        (attempt.place("leaving") / "x").symlink_to("../../secret")
        manifest = attempt.stage_out(
            Output(name="large", max_size=4),
            *(Output(name=name) for name in ("directory", "link", "pipe")),
            Output(name="leaving", kind=OutputKind.ARCHIVE),
            Output(name="good", max_size=5),
            problems=[StagingProblem(name="before", code="internal", message="known")],
        )
        assert problems(manifest) == {
            "before": "internal",
            "large": "output-too-large",
            "directory": "output-refused",
            "link": "output-refused",
            "pipe": "output-refused",
            "leaving": "output-refused",
        }
        assert [entry.name for entry in manifest.outputs] == ["good"]
        for name in ("large", "link", "leaving"):
            assert attempt.stored(name) is None

    def test_an_archive_is_bounded_by_its_packed_size(self, attempt: Attempt) -> None:
        attempt.place("tree").mkdir()
        (attempt.place("tree") / "noise").write_bytes(os.urandom(100_000))
        output = Output(name="tree", kind=OutputKind.ARCHIVE, max_size=50_000)
        assert problems(attempt.stage_out(output)) == {"tree": "output-too-large"}
        assert attempt.stored("tree") is None

    def test_a_log_exchanged_for_a_link_is_refused_and_named(self, attempt: Attempt) -> None:
        secret = attempt.root / "secret"
        secret.write_bytes(b"secret")
        attempt.log.unlink()
        attempt.log.symlink_to(secret)
        manifest = attempt.stage_out()
        assert problems(manifest) == {"log": "output-refused"}
        assert manifest.log is None
        assert attempt.stored("log") is None

    def test_the_log_is_sent_first_where_the_time_may_not_be_enough(self, attempt: Attempt) -> None:
        recording = Recording()
        attempt.place("a").write_bytes(b"")
        attempt.stage_out(Output(name="a"), transport=recording, log_first=True)
        assert recording.order == ["log", "a", "manifest"]

    def test_a_directory_exchanged_for_a_link_on_the_way_to_an_output_is_not_followed(
        self, attempt: Attempt
    ) -> None:
        elsewhere = attempt.root / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "secret").write_bytes(b"secret")
        attempt.work.rmdir()
        attempt.work.symlink_to(elsewhere)
        assert problems(attempt.stage_out(Output(name="secret"))) == {"secret": "output-refused"}

    @pytest.mark.parametrize(
        "exc", [StorageUnavailable("away"), OSError(errno.ENOSPC, ""), OSError(errno.EIO, "")]
    )
    def test_a_storage_that_does_not_take_an_output_is_a_problem(
        self, attempt: Attempt, exc: Exception
    ) -> None:
        for name in ("a", "b"):
            attempt.place(name).write_bytes(b"1")
        manifest = attempt.stage_out(
            Output(name="a"), Output(name="b"), transport=Failing(exc, "a")
        )
        assert problems(manifest) == {"a": "output-unavailable"}
        assert attempt.stored("b") == b"1"

    def test_without_a_manifest_the_stage_out_failed(self, attempt: Attempt) -> None:
        with pytest.raises(StagingFailed) as caught:
            attempt.stage_out(transport=Failing(StorageUnavailable("away"), "manifest"))
        assert caught.value.code == "output-unavailable"

    def test_an_output_of_which_the_plan_knows_nothing_is_a_problem(self, attempt: Attempt) -> None:
        attempt.place("a").write_bytes(b"1")
        manifest = attempt.stage_out(Output(name="a"), plan=attempt.plan())
        assert problems(manifest) == {"a": "output-unavailable"}

    @pytest.mark.parametrize(
        ("size", "cut"), [(0, False), (999, False), (1000, True), (1500, True)]
    )
    def test_the_log_is_cut_at_its_cap(self, attempt: Attempt, size: int, cut: bool) -> None:  # noqa: FBT001 - a table's column
        attempt.log.write_bytes(b"x" * size)
        manifest = attempt.stage_out()
        assert attempt.stored("log") == b"x" * min(size, 1000)
        assert manifest.log is not None
        assert (manifest.log.size, manifest.log_cut) == (min(size, 1000), cut)

    def test_without_a_log_there_is_none_in_the_manifest(self, attempt: Attempt) -> None:
        attempt.log.unlink()
        manifest = attempt.stage_out(outcome=None, started_at=None)
        assert (manifest.log, manifest.outcome) == (None, None)
        assert manifest.problems == ()

    def test_a_repeated_stage_out_sends_the_same_again(self, attempt: Attempt) -> None:
        attempt.place("a").write_bytes(b"1")
        plan = attempt.plan(outputs=("a",))
        first = attempt.stage_out(Output(name="a"), plan=plan)
        assert attempt.stage_out(Output(name="a"), plan=plan) == first


class TestFileTransport:
    def test_an_upload_that_is_no_longer_open_takes_nothing(self, attempt: Attempt) -> None:
        upload = attempt.upload("gone")
        (attempt.root / "storage" / "gone").unlink()
        attempt.place("a").write_bytes(b"1")
        plan = attrs.evolve(attempt.plan(), outputs=(PlannedOutput(name="a", upload=upload),))
        assert problems(attempt.stage_out(Output(name="a"), plan=plan)) == {
            "a": "output-unavailable"
        }
        assert not (attempt.root / "storage" / "gone").exists()

    def test_two_senders_of_one_upload_do_not_mix(self, attempt: Attempt) -> None:
        upload = attempt.upload("a")

        class Slow(io.BytesIO):
            def readinto(self, buffer: Any) -> int:
                with pytest.raises(StorageUnavailable, match="another transfer"):
                    FileTransport().send(upload, io.BytesIO(b"second"), max_size=10)
                return super().readinto(buffer)

        FileTransport().send(upload, Slow(b"first"), max_size=10)
        assert attempt.stored("a") == b"first"

    @pytest.mark.parametrize("url", ["http://127.0.0.1/x", "/etc/passwd", "file://host/x"])
    def test_another_url_is_refused(self, url: str) -> None:
        request = SignedRequest(method="GET", url=url, expires_at=NOW)
        with pytest.raises(StagingFailed, match="file: URL"):
            stage_in(
                TransferPlan(
                    job_id="job",
                    attempt=1,
                    inputs=(PlannedInput(name="a", request=request, size=1),),
                    log=SignedUpload(ticket_id="l", part_size=1, parts=()),
                    manifest=SignedUpload(ticket_id="m", part_size=1, parts=()),
                    valid_until=NOW,
                ),
                [Input(name="a")],
                {"a": Path(os.devnull)},
                FileTransport(),
            )

    def test_bytes_are_checked_also_without_a_checksum(self) -> None:
        request = SignedRequest(method="GET", url="file:///dev/zero", expires_at=NOW)
        into = io.BytesIO()
        with pytest.raises(Exception, match="more than 5 bytes"):
            FileTransport().fetch(request, into, size=5, sha256=None)
        assert len(into.getvalue()) == 6
