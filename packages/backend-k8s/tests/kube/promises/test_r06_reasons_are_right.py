"""R6: the reason is right, says by whose doing, and what to do; the unknown is never a success."""

import json
import re
from datetime import timedelta

import attrs
import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from tests import kubecorpus as corpus
from tests.kubecorpus import ROWS, Row
from tests.kubemaking import NOW

from longshore.deadlines import verdict
from longshore.lifecycle import JobState
from longshore.models import Job, Observation, OutcomeKind, Phase, Reason
from longshore.reasons import REASONS, reason
from longshore_k8s import cases
from longshore_k8s.cases import Case
from longshore_k8s.facts import Sight
from longshore_k8s.observing import observe


def seen(row: Row) -> Observation:
    found = observe(row.sight, NOW)
    assert found is not None
    return found


def final(found: Observation) -> Reason | None:
    """Return the reason of the job whose observation this is, as all of Longshore says it."""
    if found.outcome is not None and found.outcome.kind is not OutcomeKind.LOST:
        job = Job(
            id="j",
            tenant="t",
            workflow="w",
            version="1",
            backend="b",
            created_at=NOW,
            state=JobState.STAGING_OUT,
            outcome=found.outcome,
        )
        if (why := verdict(job)[1]) is not None:
            return why
    if found.reason is None:
        return None
    return cases.WAITING.get(found.reason) or reason(found.reason, found.message)


def check(row: Row) -> None:
    """The property: one row is reported as what it is."""
    found = seen(row)
    outcome = found.outcome
    assert found.phase == row.phase
    assert (outcome and outcome.kind) == row.outcome
    assert (outcome and outcome.exit_code) == row.exit
    why = final(found)
    assert (why and why.code) == row.code
    assert (why and why.fault) == row.fault
    assert (why and why.retryable) == row.retryable
    assert row.says in found.message
    if why is not None:
        assert why.message
        assert why.hint
    if found.phase is Phase.ENDED:
        assert found.outcome is not None or found.reason in REASONS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_case_has_its_reason(row: Row) -> None:
    check(row)


def test_every_case_has_a_name_of_its_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


#: words of a cluster that consumers have no business with
_INSIDE = re.compile(r"node-1|0/3|https?:|sha256|192\.|ls-x|dial tcp|r/x|\bq,")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_no_name_of_the_cluster_reaches_a_consumer(row: Row) -> None:
    assert not _INSIDE.search(seen(row).message)


def every_case() -> list[Case]:
    rows = [cases.EVICTIONS, cases.SCHEDULING, cases.CREATION]
    for table in (cases.CONTAINERS, cases.POD_EVENTS, cases.NOT_STARTED):
        rows += table.values()
    found = [case for some in rows for _, case in some]
    for meanings in (cases.POD, cases.DISRUPTIONS, cases.ENDS, cases.JOB):
        found += meanings.values()
    return found + [one for one in vars(cases).values() if isinstance(one, Case)]


@pytest.mark.parametrize("case", every_case(), ids=lambda case: f"{case.code}-{case.detail}")
def test_every_meaning_is_whole_and_known_to_all_of_longshore(case: Case) -> None:
    why = case.reason
    assert why.code == case.code
    assert why.message
    assert why.hint
    assert case.code in REASONS or case.code in cases.WAITING
    assert not case.early or case.early in REASONS
    # only what all know can end a job
    assert case.patience is None or case.code in REASONS
    assert case.verdict is cases.Verdict.WAITS or case.code in REASONS


@pytest.mark.parametrize(
    "row", [one for one in ROWS if "pod" in one.sent], ids=lambda one: one.name
)
@pytest.mark.parametrize("word", ["Unheard", "", "OOMKilled2", "\u202e"])
def test_words_that_nobody_knows_are_never_a_success(row: Row, word: str) -> None:
    text = json.dumps(row.sent)
    for known in (
        "Error",
        "OOMKilled",
        "Evicted",
        "NodeLost",
        "StartError",
        "BackoffLimitExceeded",
    ):
        text = text.replace(f'"reason": "{known}"', f'"reason": {json.dumps(word)}')
    found = observe(msgspec.json.decode(text, type=Sight), NOW)

    assert found is not None
    succeeded = found.outcome is not None and found.outcome.kind is OutcomeKind.EXITED
    if succeeded and found.outcome.exit_code == 0:  # type: ignore[union-attr]  # said above
        assert row.exit == 0
        assert row.outcome == "exited"


def check_stopped(code: int, until: int, began: int) -> None:
    """The property: what the platform had begun to end before is never the worker's own end."""
    sent = corpus.worker_end(code, until=until, deleted=began)
    found = observe(msgspec.convert({"pod": sent}, Sight), NOW)
    assert found is not None
    assert found.outcome is not None
    own = until < began
    assert (found.outcome.kind is OutcomeKind.EXITED) is own


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 255), st.integers(-50, 0), st.integers(-50, 0))
def test_a_worker_that_was_asked_to_end_did_not_succeed(code: int, until: int, began: int) -> None:
    check_stopped(code, until, began)


def test_objects_that_are_not_ours_mean_nothing() -> None:
    stranger = corpus.worker_end(0)
    stranger["metadata"]["labels"] = {"app": "other"}

    assert observe(msgspec.convert({"pod": stranger}, Sight), NOW) is None


def test_a_pull_may_fail_for_as_long_as_it_is_patient() -> None:
    row = next(one for one in ROWS if one.name == "ErrImagePull x509")
    early, late = NOW - timedelta(seconds=1), NOW + cases.PATIENCE

    assert getattr(observe(row.sight, early), "phase", None) is Phase.WAITING
    assert getattr(observe(row.sight, late), "phase", None) is Phase.ENDED


def test_without_the_table_of_evictions_their_rows_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    row = next(one for one in ROWS if one.name == "Evicted (disk: EmptyDir)")
    check(row)
    monkeypatch.setattr(cases, "EVICTIONS", cases.EVICTIONS[-1:])

    with pytest.raises(AssertionError):
        check(row)


def test_without_the_look_at_who_ends_a_pod_a_trapped_signal_is_a_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("longshore_k8s.observing.find_stopping", lambda _: None)

    with pytest.raises(AssertionError):
        check_stopped(0, -10, -20)


def test_an_attempt_is_taken_only_where_the_worker_never_started() -> None:
    for row in ROWS:
        if row.phase != Phase.TAKEN or "while staging in" in row.name:
            continue
        sent = json.loads(json.dumps(row.sent))
        sent["pod"]["spec"]["nodeName"] = "node-1"
        sent["pod"]["status"]["phase"] = "Failed"
        sent["pod"]["status"]["containerStatuses"] = [corpus.running("worker")]
        found = observe(msgspec.convert(sent, Sight), NOW)
        assert found is not None
        assert found.phase is not Phase.TAKEN, row.name
        assert attrs.asdict(found)["outcome"] is not None
