"""The verbs that look and fetch: for people, for programs, and for pipes."""

import json
from typing import Any

import pytest

JOB = "01k9x3v0c8e6h4y2t7r5w1q9za"


def test_a_piped_table_is_aligned_text_without_color_bar_or_footer(longshore: Any) -> None:
    done = longshore("jobs", env={"TZ": "UTC"})
    assert done.stdout.splitlines() == [
        "ID                          WORKFLOW   STATE   CREATED              RAN",
        f"{JOB}  wordcount  FAILED  2026-01-02 03:04:05  2.5 s",
    ]
    assert done.stderr == ""


def test_jobs_are_selected_by_what_is_given(longshore: Any) -> None:
    longshore(
        "jobs", "--state", "running", "--state", "QUEUED", "--workflow", "w", "--limit", "7",
        "--cursor", "c",
    )  # fmt: skip
    asked = longshore.calls("jobs")[0]
    del asked["call"]
    expected = {"state": ["RUNNING", "QUEUED"], "workflow": "w", "limit": 7, "cursor": "c"}
    assert asked == expected


@pytest.mark.parametrize(
    ("arguments", "members"),
    [
        (["workflows"], {"items", "next"}),
        (["workflows", "tree"], {"id", "inputs"}),
        (["jobs"], {"items", "next"}),
        (["status", JOB], {"id", "workflow", "state", "createdAt"}),
        (["cancel", JOB], {"id", "workflow", "state", "createdAt"}),
        (["results", JOB], {"items", "next"}),
    ],
)
def test_json_is_one_document_of_the_wire(
    longshore: Any, arguments: list[str], members: set[str]
) -> None:
    done = longshore(*arguments, "-o", "json")
    assert done.returncode == 0
    assert set(json.loads(done.stdout)) == members


def test_a_workflow_is_shown_with_what_it_takes_and_gives(longshore: Any) -> None:
    shown = longshore("workflows", "wordcount").stdout
    rows = [line.split() for line in shown.splitlines()]
    assert ["-p", "top", "integer", "=", "20", "how", "many"] in rows
    assert ["-i", "text", "file,", "at", "most", "1.0", "GiB", "yes"] in rows
    assert ["output", "counts", "file", "yes"] in rows


def test_status_tells_the_reason_and_what_to_do(longshore: Any) -> None:
    job = {
        "state": "FAILED",
        "exitCode": 0,
        "reason": {"code": "x", "fault": "app", "message": "it broke", "hint": "mend it"},
        "progress": {"done": 30, "total": 100.0, "text": "half way"},
        "stopRequested": {"by": "acme", "why": "cancel", "at": "2026-01-02T03:04:05Z"},
    }
    lines = longshore("status", JOB, job=job).stdout.splitlines()
    told = dict(line.split(":", 1) for line in lines)
    values = {name: value.strip() for name, value in told.items()}
    assert values["reason"] == "it broke"
    assert values["hint"] == "mend it"
    assert values["exit code"] == "0"
    assert values["progress"] == "30 of 100 half way"
    assert values["stop"] == "cancel, by acme"
    assert "started" not in values


def test_logs_are_the_bytes_and_follow_when_asked(longshore: Any) -> None:
    assert longshore("logs", JOB, log=["\xff\x1b", "end"]).stdout == "\xff\x1bend"
    longshore("logs", "-f", JOB)
    assert [call["follow"] for call in longshore.calls("logs")] == [False, True]


def test_cancel_says_whether_the_end_is_still_to_come(longshore: Any) -> None:
    running = longshore("cancel", JOB, job={"state": "RUNNING"})
    assert running.stderr == f"job {JOB} is asked to stop; it is RUNNING\n"
    assert longshore("cancel", JOB, job={"state": "FAILED"}).stderr == f"job {JOB} is FAILED\n"


def test_results_are_fetched_and_their_paths_printed(longshore: Any) -> None:
    done = longshore("results", JOB, "-d", "out")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].split() == ["out/counts", "13", "B", "application/json"]
    assert (longshore.directory / "out" / "counts").exists()


def test_a_job_without_outputs_is_no_success_of_results(longshore: Any) -> None:
    done = longshore("results", JOB, empty=True, job={"state": "RUNNING"})
    assert done.returncode == 1
    assert done.stderr == f"job {JOB} has no outputs\nRUNNING\n"
    assert not (longshore.directory / JOB).exists()
