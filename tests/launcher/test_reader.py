"""Whatever stands in an attempt's file, its reader says what can be believed, or nothing."""

import hmac
import json
from binascii import crc32
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from longshore.models import OutcomeKind
from longshore.staging import files
from longshore_mover.worker_end import Watch, WorkerEnd, give_go, new_key

NAME, KEY = "ls-job-1", "secret"
ENDED = [{"phase": "staging-out", "outcome": {"kind": "exited", "exit_code": 3}}, {}]
RUNNING: list[Any] = [{"phase": "running"}, {}]
WAITING: list[Any] = [{"phase": "waiting"}, {}]
#: one directory is enough: every example writes its file anew
same_directory = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

Look = Callable[..., WorkerEnd | None]


def sealed(body: object, key: str = "", name: str = NAME) -> bytes:
    content = json.dumps(body).encode()
    proof = b"%d" % crc32(name.encode() + content)
    if key:
        digest = hmac.digest(key.encode(), name.encode() + content, "sha256")
        proof = b'"%b"' % digest.hex().encode()
    return b'["%b",%b,%b]\n' % (name.encode(), proof, content)


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """Look at a file with this content; nobody has it locked."""

    def at(content: bytes, key: str = "") -> WorkerEnd | None:
        (tmp_path / files.ATTEMPT).write_bytes(content.ljust(files.ATTEMPT_SIZE, b"\0"))
        with Watch(tmp_path, NAME, key) as watch:
            return watch.look()

    return at


def code(end: WorkerEnd | None) -> int | None:
    assert end is not None
    return end.outcome.exit_code if end.outcome else None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["phase", "outcome", "kind", "exit_code", "stop", "by", "log_cut", "ended_at"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@same_directory
@given(st.lists(JSON, max_size=4))
def test_lines_of_any_shape_are_an_end_or_none_and_no_error(look: Look, bodies: list[Any]) -> None:
    look(b"".join(sealed(body) for body in bodies))
    look(b"".join(sealed([body, body], KEY) for body in bodies), KEY)


@same_directory
@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_nothing(look: Look, content: bytes) -> None:
    assert look(content) is None


def test_the_rest_of_a_line_that_was_broken_in_two_is_not_believed(look: Look) -> None:
    broken = sealed(ENDED, KEY).replace(b",", b"\n", 1)
    end = look(sealed(WAITING) + sealed(RUNNING, KEY) + broken, KEY)
    assert end is not None
    assert end.outcome is not None
    assert end.outcome.kind is OutcomeKind.LOST


@same_directory
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_an_end_of_which_one_byte_was_changed_is_not_believed(
    look: Look, at: int, change: int
) -> None:
    line = bytearray(sealed(ENDED, KEY))
    line[at % (len(line) - 1)] ^= change
    end = look(sealed(WAITING) + sealed(RUNNING, KEY) + bytes(line), KEY)
    assert end is not None
    assert end.outcome is not None
    assert end.outcome.kind is OutcomeKind.LOST


def test_the_last_record_that_can_be_believed_holds(look: Look) -> None:
    ran = sealed(WAITING) + sealed(RUNNING, KEY)
    forged = sealed([{"phase": "ended", "reason": "canceled"}, {}])
    assert code(look(ran + sealed(ENDED, KEY) + forged, KEY)) == 3
    assert code(look(b"x" * 50 + sealed(ENDED, KEY) + b"no line feed", KEY)) == 3
    for content in (ran + forged, forged, ran + sealed(ENDED, "another"), ran + sealed(ENDED)):
        end = look(content, KEY)
        assert end is not None
        assert end.outcome is not None
        assert end.outcome.kind is OutcomeKind.LOST


def test_as_long_as_the_word_was_not_taken_no_worker_ran(look: Look, tmp_path: Path) -> None:
    key = new_key()
    give_go(tmp_path, key)
    end = look(sealed(WAITING), key)
    assert end is not None
    assert (end.outcome, end.reason) == (None, "internal")
    (tmp_path / files.GO).unlink()
    end = look(sealed(WAITING), key)
    assert end is not None
    assert end.outcome is not None


def test_negative_control_a_reader_that_checks_no_proof_believes_anything(
    look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = sealed(RUNNING, KEY) + sealed(ENDED, "another")
    assert code(look(content, KEY)) is None
    monkeypatch.setattr(hmac, "compare_digest", lambda *_: True)
    assert code(look(content, KEY)) == 3
