"""R3 after a loss of power: a file of several attempts' lines is read as one attempt's, or none's.

The file of an attempt is written over in place, by one attempt after the other. What reaches the
disk without being asked for does so in any order, so any mixture of their sectors may be found.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from longshore.backends.local import attempts, lines, processes, removal
from longshore.backends.local.hints import Hints
from longshore.backends.local.lines import SIZE, seal
from longshore.backends.local.tending import Tended
from longshore.models import Outcome, OutcomeKind, Phase, RunRef

pytestmark = pytest.mark.anyio

SECTOR = 512
OLD, NEW = "ls-old-1", "ls-new-1"


def bodies(name: str) -> list[str]:
    """Return an order and records of realistic sizes; the others' lines begin where these do."""
    order = {"job_id": name, "argv": ["true"] * 150}
    phases = ("waiting", "running", "staging-out", "ended")
    records = [[{"job_id": name, "phase": phase, "pad": "x" * 350}, {}] for phase in phases]
    return [json.dumps(body) for body in (order, *records)]


def file_of(name: str) -> bytes:
    content = b"".join(seal(name, body) for body in bodies(name))
    return content.ljust(SIZE, b"\0")


def mixture(sectors: list[str]) -> bytes:
    sources = {"old": file_of(OLD), "new": file_of(NEW), "zero": bytes(SIZE)}
    parts = [sources[kind][i * SECTOR : (i + 1) * SECTOR] for i, kind in enumerate(sectors)]
    return b"".join(parts)


def believed(name: str, content: bytes) -> list[str]:
    """Return the order and the last record that are believed."""
    whole = lines.whole_lines(name, content)
    found = (lines.first_body(name, whole), lines.last_body(name, whole)) if whole else ()
    return [body.decode() for body in found if body is not None]


MIXTURES = st.lists(
    st.sampled_from(["old", "new", "zero"]), min_size=SIZE // SECTOR, max_size=SIZE // SECTOR
)


@given(MIXTURES)
def test_of_any_mixture_of_sectors_only_true_lines_of_the_attempt_are_believed(
    sectors: list[str],
) -> None:
    found = believed(NEW, mixture(sectors))
    order, *records = bodies(NEW)
    assert found[:1] in ([], [order])
    assert found[1:] == [] or found[1] in records


@contextmanager
def naive(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Believe every line that is JSON, as if a file were one attempt's alone."""

    def believe(_: str, line: bytes) -> bytes | None:
        try:
            return json.dumps(json.loads(line)[2]).encode()
        except (ValueError, LookupError, TypeError):
            return None

    with monkeypatch.context() as patched:
        patched.setattr(lines, "unseal", believe)
        yield


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        pytest.param("old", "old", id="wholly another's"),
        pytest.param("new", "old", id="a new order before old records"),
        pytest.param("old", "new", id="an old order before new records"),
    ],
)
def test_control_without_the_proof_another_attempts_lines_are_believed(
    first: str, rest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"old": file_of(OLD), "new": file_of(NEW)}
    order, _, _ = files[first].partition(b"\n")
    _, _, records = files[rest].partition(b"\n")
    content = order + b"\n" + records
    expected = [bodies(NEW)[0]] if first == "new" else []
    assert believed(NEW, content) == expected
    with naive(monkeypatch):
        assert believed(NEW, content) != expected


@example(-1, 1)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_line_of_which_one_byte_was_changed_is_not_believed(place: int, change: int) -> None:
    line = bytearray(seal(NEW, bodies(NEW)[1])[:-1])
    line[place % len(line)] ^= change
    assert lines.unseal(NEW, bytes(line)) is None


def test_a_line_is_json_and_says_whose_it_is() -> None:
    line = seal(NEW, '{"a":1}')
    assert json.loads(line)[::2] == [NEW, {"a": 1}]
    assert lines.owner(line) == NEW
    assert lines.owner(line[:-3] + b"\n") is None
    assert lines.owner(b"") is None


async def test_the_file_of_another_attempt_is_no_order_of_this_one(lab: Any) -> None:
    async with lab.open() as backend:
        ref = await lab.submit(backend, "exit 3")
        await lab.over(backend, ref)
        other = lab.path(lab.ref())
        other.mkdir()
        (other / attempts.FILE).write_bytes((lab.path(ref) / attempts.FILE).read_bytes())
        assert attempts.read_order(str(other)) is None
        assert attempts.read_record(str(other)) is None
        assert attempts.claim(str(other)) is None
        assert not attempts.is_over(str(other))
        assert [seen.job_id for seen in (await backend.snapshot()).observations] == [ref.job_id]


async def test_a_job_writes_its_file_over_and_leaves_its_size(lab: Any) -> None:
    async with lab.open() as backend:
        inodes = set()
        for _ in range(3):
            ref = await lab.submit(backend, "true")
            await lab.over(backend, ref)
            status = (lab.path(ref) / attempts.FILE).stat()
            assert status.st_size == SIZE
            inodes.add(status.st_ino)
            await backend.remove(ref)
        assert len(inodes) == 1


async def test_an_attempt_that_outgrew_its_file_works_and_leaves_no_spare(lab: Any) -> None:
    async with lab.open() as backend:
        ref = await lab.submit(backend, 'exit "${#LARGE}"', environment={"LARGE": "x" * SIZE})
        assert (await lab.over(backend, ref)).outcome.exit_code == SIZE % 256
        assert (lab.path(ref) / attempts.FILE).stat().st_size > SIZE
        await backend.remove(ref)
        assert _names(lab.state / "removed") == []
        await backend.remove(await _over(lab, backend, "true"))
        assert len(_names(lab.state / "removed")) == 1


def _names(directory: Path) -> list[str]:
    return [entry.name for entry in directory.iterdir()]


async def _over(lab: Any, backend: Any, script: str) -> RunRef:
    ref: RunRef = await lab.submit(backend, script)
    await lab.over(backend, ref)
    return ref


async def unclaimed(lab: Any) -> str:
    """Return the path of an attempt that no runner has seen."""
    ref, spec = lab.ref(), lab.spec("true")
    order = lab.order(ref, spec, await lab.plan(ref, spec))
    path: Path = lab.path(ref)
    path.parent.mkdir(parents=True)
    attempts.create(str(path), order, lambda _: False)
    return str(path)


def tend(path: str, hints: Hints) -> tuple[int, Tended]:
    claimed = attempts.claim(path)
    assert claimed is not None
    lock, whole = claimed
    return lock, Tended(path, lock, whole, hints, processes.this_process(os.getpid()))


async def test_a_record_cut_short_is_ignored_and_then_written_over(lab: Any) -> None:
    path = await unclaimed(lab)
    hints = Hints(str(lab.state))
    lock, tended = tend(path, hints)
    tended.note(Phase.STAGING_IN)
    before = len(attempts.read(f"{path}/{attempts.FILE}").rstrip(b"\0"))
    tended.note_outcome(Outcome(kind=OutcomeKind.EXITED, exit_code=3))
    os.close(lock)
    whole = attempts.read(f"{path}/{attempts.FILE}").rstrip(b"\0")
    for end in {before + 1, (before + len(whole)) // 2, len(whole) - 1}:
        _cut_short(path, whole, end)
        assert _phase(path) is Phase.STAGING_IN
        lock, tended = tend(path, hints)
        assert tended.care.claims == 2
        tended.note(Phase.RUNNING)  # shorter than what was cut short, or longer
        assert _phase(path) is Phase.RUNNING
        tended.note(Phase.ENDED)
        os.close(lock)
        assert _phase(path) is Phase.ENDED


def _cut_short(path: str, content: bytes, end: int) -> None:
    Path(path, attempts.FILE).write_bytes(content[:end].ljust(SIZE, b"\0"))


def _phase(path: str) -> Phase:
    record = attempts.read_record(path)
    assert record is not None
    return record.observation.phase


@pytest.mark.parametrize("end", [Phase.ENDED, Phase.TAKEN])
async def test_an_attempt_is_let_go_before_anybody_hears_that_it_is_over(
    lab: Any, end: Phase
) -> None:
    path = await unclaimed(lab)
    heard = []

    class Listening(Hints):
        def send(self, line: str) -> None:
            other = attempts.claim(path)
            heard.append((json.loads(line.partition("\t")[2])["phase"], other is not None))
            if other is not None:
                os.close(other[0])

    lock, tended = tend(path, Listening(str(lab.state)))
    tended.note(Phase.STAGING_IN)
    tended.note(end)
    os.close(lock)
    assert heard == [("staging-in", False), (end.value, True)]


def _lose_names(lab: Any, ref: RunRef, earlier: RunRef, directory: str) -> None:
    """Take back what a loss of power takes back: the names, not what the file holds."""
    name = earlier.name if directory == "attempts" else f"{earlier.name}.17"
    place = lab.state / directory / name
    lab.path(ref).rename(place)
    (place / "log").write_text("the earlier attempt's secret")


@pytest.mark.parametrize("directory", ["attempts", "removed"])
async def test_an_end_that_was_made_durable_is_known_though_the_attempts_name_was_lost(
    lab: Any, directory: str
) -> None:
    earlier = lab.ref()
    async with lab.open() as backend:
        ref = await _over(lab, backend, "exit 3")
    _lose_names(lab, ref, earlier, directory)
    async with lab.open() as backend:
        seen = await lab.see(backend, ref)
        assert (seen.phase, seen.outcome.exit_code) == (Phase.ENDED, 3)
        assert await lab.log(backend, ref) == b""  # what is there was another's
        assert _names(lab.state / "attempts") == [ref.name]
        assert _names(lab.state / "removed") == []


async def test_control_without_giving_files_back_the_end_is_lost(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "_give_back", lambda *_: None)
    async with lab.open() as backend:
        ref = await _over(lab, backend, "exit 3")
    _lose_names(lab, ref, lab.ref(), "attempts")
    async with lab.open() as backend:
        assert await lab.see(backend, ref) is None


async def test_a_file_is_given_back_to_no_attempt_that_has_one_and_to_no_other_place(
    lab: Any,
) -> None:
    async with lab.open() as backend:
        ref = await _over(lab, backend, "exit 3")
        seen = await lab.see(backend, ref)
    owned = {"one": seal(ref.name, "{}"), "two": seal("../../outside", "{}"), "three": b"junk"}
    for name, content in owned.items():
        (lab.state / "removed" / name).mkdir()
        (lab.state / "removed" / name / attempts.FILE).write_bytes(content)
    async with lab.open() as backend:
        assert await lab.see(backend, ref) == seen
        assert _names(lab.state / "attempts") == [ref.name]
    assert not (lab.directory / "outside").exists()
    assert _names(lab.state / "removed") == []


async def test_a_removal_cut_short_is_completed_by_the_next_service(lab: Any) -> None:
    async with lab.open() as backend:
        ref = await _over(lab, backend, "exit 3")
    assert removal.set_aside(str(lab.path(ref))) is not None
    async with lab.open() as backend:
        assert (await backend.snapshot()).observations == ()
        assert _names(lab.state / "removed") == []
