"""On a terminal: what a person sees and is asked."""

from typing import Any

import pytest

JOB = "01k9x3v0c8e6h4y2t7r5w1q9za"
ASKED = "[d]etach, [c]ancel the job, or [g]o on?"


def test_control_characters_of_a_log_are_shown_and_not_obeyed(longshore: Any) -> None:
    terminal = longshore.terminal(
        "run", "nothing", log=["\x1b]0;owned\x07", "a\tb\r", "\nover\rwritten\n", "\xc3", "\xa9\n"]
    )
    assert terminal.end() == 0
    assert "\\x1b]0;owned\\x07a\tb\nover\\x0dwritten\né\n" in terminal.seen


def test_what_a_provider_says_is_shown_and_not_obeyed(longshore: Any) -> None:
    for form in ("table", "json"):
        terminal = longshore.terminal("workflows", "-o", form)
        assert terminal.end() == 0
        assert "\x1b[2J" not in terminal.seen
        assert "\u202e" not in terminal.seen
        assert "\\u202e" in terminal.seen


def test_uploads_and_downloads_have_bars_and_a_footer_says_what_is_next(
    longshore: Any, text: Any
) -> None:
    terminal = longshore.terminal("run", "wordcount", "-i", f"text={text}")
    assert terminal.end() == 0
    assert "upload text" in terminal.seen
    assert "download counts" in terminal.seen
    assert f"next: longshore status {JOB}" in terminal.seen
    assert "\x1b[32mSUCCEEDED" in terminal.seen


@pytest.mark.parametrize("verb", [("jobs",), ("status", JOB), ("workflows",)])
def test_no_color_is_kept(longshore: Any, verb: tuple[str, ...]) -> None:
    colored = {"state": "FAILED"}
    plain = longshore.terminal(*verb, env={"NO_COLOR": "1"}, job=colored)
    assert plain.end() == 0
    assert "\x1b[3" not in plain.seen


def test_a_failed_state_is_red(longshore: Any) -> None:
    shown = longshore.terminal("status", JOB, job={"state": "FAILED"})
    assert shown.end() == 0
    assert "\x1b[31mFAILED" in shown.seen


def test_ctrl_c_asks_and_detaching_leaves_the_job(longshore: Any) -> None:
    terminal = longshore.terminal("run", "nothing", hang=True)
    terminal.wait_for("RUNNING")
    terminal.interrupt()
    terminal.wait_for(ASKED)
    terminal.type("d\n")
    assert terminal.end() == 130
    assert "detached: the job goes on" in terminal.seen
    assert longshore.calls("cancel") == []


def test_ctrl_c_asks_and_canceling_waits_for_the_end(longshore: Any) -> None:
    terminal = longshore.terminal("run", "nothing", hang=True)
    terminal.wait_for("RUNNING")
    terminal.interrupt()
    terminal.wait_for(ASKED)
    terminal.type("what?\n")
    terminal.type("c\n")
    assert terminal.end() == 130
    assert len(longshore.calls("cancel")) == 1
    assert "CANCELED" in terminal.seen
    assert (longshore.directory / JOB / "counts").exists()


def test_a_second_ctrl_c_cancels_at_once_and_a_third_leaves(longshore: Any) -> None:
    terminal = longshore.terminal("run", "nothing", hang=True, stubborn=True)
    terminal.wait_for("RUNNING")
    terminal.interrupt()
    terminal.wait_for(ASKED)
    terminal.interrupt()
    terminal.wait_for("canceling")
    assert len(longshore.calls("cancel")) == 1
    terminal.interrupt()
    assert terminal.end() == 130
    assert "detached" in terminal.seen


def test_ctrl_c_was_a_mistake_and_the_job_is_followed_on(longshore: Any) -> None:
    terminal = longshore.terminal("run", "nothing", hang=True)
    terminal.wait_for("RUNNING")
    terminal.interrupt()
    terminal.wait_for(ASKED)
    terminal.type("g\n")
    terminal.wait_for("going on")
    assert terminal.process.poll() is None
    assert longshore.calls("cancel") == []
