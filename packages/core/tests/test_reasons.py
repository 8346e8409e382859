"""Every way to fail has a stable code, says whose doing it is, and what to do."""

import re
import signal
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

import longshore
from longshore.models import Fault
from longshore.reasons import REASONS, exit_reason, reason

#: what the consumer wanted needs no advice
_NO_ADVICE = {"canceled"}


@pytest.mark.parametrize("code", sorted(REASONS))
def test_every_reason_says_whose_doing_it_is_and_what_to_do(code: str) -> None:
    it = REASONS[code]
    assert it.code == code
    assert isinstance(it.fault, Fault)
    assert len(it.message.split()) > 2
    assert bool(it.hint) != (code in _NO_ADVICE)


def test_every_kind_of_fault_has_a_reason() -> None:
    assert {it.fault for it in REASONS.values()} == set(Fault)


def test_only_what_the_platform_did_is_worth_trying_again() -> None:
    assert {it.fault for it in REASONS.values() if it.retryable} == {Fault.PLATFORM}


def test_no_two_reasons_say_the_same() -> None:
    assert len({it.message for it in REASONS.values()}) == len(REASONS)


@pytest.mark.parametrize(
    ("exit_code", "code", "said"),
    [
        (1, "nonzero-exit", "exit code 1"),
        (2, "nonzero-exit", "exit code 2"),
        (125, "nonzero-exit", "exit code 125"),
        (126, "command-not-executable", "exit code 126"),
        (127, "command-not-found", "exit code 127"),
        (128, "nonzero-exit", "exit code 128"),
        (128 + signal.SIGHUP, "signal", "signal 1"),
        (128 + signal.SIGINT, "signal", "signal 2"),
        (128 + signal.SIGILL, "crash", "exit code 132"),
        (128 + signal.SIGABRT, "crash", "exit code 134"),
        (128 + signal.SIGBUS, "crash", "exit code 135"),
        (128 + signal.SIGFPE, "crash", "exit code 136"),
        (128 + signal.SIGKILL, "signal", "signal 9"),
        (128 + signal.SIGSEGV, "crash", "exit code 139"),
        (128 + signal.SIGTERM, "signal", "signal 15"),
        (128 + 64, "signal", "signal 64"),
        (193, "nonzero-exit", "exit code 193"),
        (255, "nonzero-exit", "exit code 255"),
        (-9, "nonzero-exit", "exit code -9"),
        (3221225477, "nonzero-exit", "exit code 3221225477"),
    ],
)
def test_an_exit_code_becomes_a_reason_of_the_worker(exit_code: int, code: str, said: str) -> None:
    it = exit_reason(exit_code)
    assert (it.code, it.fault) == (code, Fault.APP)
    assert it.message.endswith(f": {said}")


@given(st.integers())
def test_every_exit_code_has_a_reason_of_the_table(exit_code: int) -> None:
    assert exit_reason(exit_code).code in REASONS


@pytest.mark.parametrize(("exit_code", "better"), [(137, "oom"), (1, "disk"), (143, "walltime")])
def test_what_an_engine_knows_better_is_believed(exit_code: int, better: str) -> None:
    it = exit_reason(exit_code, better)
    assert (it.code, it.hint) == (better, REASONS[better].hint)
    assert it.message.endswith(f"exit code {exit_code}")


@given(code=st.text(), detail=st.text(max_size=30))
def test_an_unknown_code_is_an_error_of_ours_and_is_named(code: str, detail: str) -> None:
    if code in REASONS:
        return
    for it in (reason(code, detail), exit_reason(1, code)):
        assert (it.code, it.fault, it.retryable) == ("internal", Fault.PLATFORM, True)
        assert repr(code) in it.message
    assert detail.strip() in reason(code, detail).message


def test_details_follow_the_sentence_and_change_nothing_else() -> None:
    it = reason("disk", "/scratch")
    assert it.message == f"{REASONS['disk'].message}: /scratch"
    assert (it.code, it.fault, it.hint) == ("disk", Fault.APP, REASONS["disk"].hint)
    assert reason("disk") is REASONS["disk"]


def test_no_code_is_used_that_the_table_lacks() -> None:
    """Codes are texts in many modules; a misspelt one would be told as an error of ours."""
    called = re.compile(r"""\breason\(\s*"([a-z-]+)\"""")
    sources = Path(str(longshore.__file__)).parent.rglob("*.py")
    used = {code for source in sources for code in called.findall(source.read_text("utf-8"))}
    assert used
    assert used <= set(REASONS)
