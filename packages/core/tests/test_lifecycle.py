"""The lifecycle is one table; what follows from it is asked of it, not written down again."""

from collections.abc import Iterable, Mapping

from hypothesis import given, strategies as st

from longshore.lifecycle import ACTIVE, FINAL, TRANSITIONS, JobState, is_legal, path

states = st.sampled_from(JobState)
S = JobState


def reachable(start: JobState, table: Mapping[JobState, Iterable[JobState]]) -> set[JobState]:
    seen: set[JobState] = set()
    todo = [start]
    while todo:
        for following in table[todo.pop()]:
            if following not in seen:
                seen.add(following)
                todo.append(following)
    return seen


def test_every_state_has_a_row_and_every_row_is_of_states() -> None:
    assert set(TRANSITIONS) == set(JobState)
    assert {state for row in TRANSITIONS.values() for state in row} <= set(JobState)


def test_every_state_is_reached_from_the_first() -> None:
    assert reachable(S.CREATED, TRANSITIONS) == set(JobState) - {S.CREATED}


def test_every_state_that_is_not_final_reaches_every_final_one() -> None:
    for state in set(JobState) - FINAL - {S.IN_REVIEW}:
        assert reachable(state, TRANSITIONS) >= FINAL, state
    assert reachable(S.IN_REVIEW, TRANSITIONS) == FINAL


def test_the_final_states_are_those_three_and_nothing_follows_them() -> None:
    assert {S.SUCCEEDED, S.FAILED, S.CANCELED} == FINAL
    for final in FINAL:
        assert not TRANSITIONS[final]


def test_only_a_lost_attempt_goes_backwards() -> None:
    order = [*JobState]
    backwards = {
        (state, following)
        for state, row in TRANSITIONS.items()
        for following in row
        if order.index(following) <= order.index(state)
    }
    assert backwards == {(state, S.QUEUED) for state in (S.QUEUED, S.STAGING_IN, S.RUNNING)}


def test_success_is_only_reached_after_stage_out() -> None:
    before = {state for state, row in TRANSITIONS.items() if S.SUCCEEDED in row}
    assert before == {S.STAGING_OUT, S.IN_REVIEW}
    way_around = {state: row - {S.STAGING_OUT, S.IN_REVIEW} for state, row in TRANSITIONS.items()}
    assert S.SUCCEEDED not in reachable(S.CREATED, way_around)


def test_a_worker_that_ran_is_staged_out_before_anything_else_is_said() -> None:
    assert TRANSITIONS[S.RUNNING] - {S.QUEUED} == {S.STAGING_OUT}


def test_active_states_are_those_of_an_attempt() -> None:
    assert set(JobState) - FINAL - {S.CREATED, S.IN_REVIEW} == ACTIVE


def test_a_state_is_found_by_its_name_in_any_table() -> None:
    assert all(hash(state) == hash(str(state)) for state in JobState)
    assert {str(state): state for state in JobState} == {state: state for state in JobState}


@given(start=states, target=states)
def test_a_path_is_made_of_legal_steps_and_ends_at_its_target(
    start: JobState, target: JobState
) -> None:
    way = path(start, target)
    assert way[-1:] in {(), (target,)}
    for before, after in zip((start, *way), way, strict=False):
        assert is_legal(before, after)


@given(start=states, target=states)
def test_a_path_never_comes_back(start: JobState, target: JobState) -> None:
    way = (start, *path(start, target))
    assert len(set(way)) == len(way)


@given(start=states, target=states)
def test_there_is_a_path_just_where_the_table_leads_forwards(
    start: JobState, target: JobState
) -> None:
    forwards = {
        state: {one for one in row if one is not S.QUEUED or state is S.CREATED}
        for state, row in TRANSITIONS.items()
    }
    assert bool(path(start, target)) == (target in reachable(start, forwards))


@given(start=states)
def test_no_path_leads_out_of_a_final_state_or_to_where_one_is(start: JobState) -> None:
    assert path(start, start) == ()
    if start in FINAL:
        assert not any(path(start, target) for target in JobState)


@given(start=states, target=states)
def test_a_legal_step_forwards_is_a_path_of_its_own_and_misses_nothing(
    start: JobState, target: JobState
) -> None:
    if is_legal(start, target) and target not in {start, S.QUEUED}:
        assert path(start, target) == (target,)


def test_what_a_poller_missed_is_filled_in_along_the_way_of_one_attempt() -> None:
    assert path(S.CREATED, S.STAGING_OUT) == (S.QUEUED, S.STAGING_IN, S.RUNNING, S.STAGING_OUT)
    assert path(S.QUEUED, S.SUCCEEDED) == (S.STAGING_IN, S.RUNNING, S.STAGING_OUT, S.SUCCEEDED)
    assert path(S.RUNNING, S.CANCELED) == (S.STAGING_OUT, S.CANCELED)


def test_a_job_that_fails_before_it_ran_is_not_said_to_have_run() -> None:
    for early in (S.CREATED, S.QUEUED, S.STAGING_IN):
        assert path(early, S.FAILED) == (S.FAILED,)
