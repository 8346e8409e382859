"""The lifecycle of a job: one table, from which guards, diagrams and tests are derived.

```
CREATED -> QUEUED -> STAGING_IN -> RUNNING -> STAGING_OUT -> [IN_REVIEW]
                                                 -> SUCCEEDED | FAILED | CANCELED
```

An attempt that the platform took away goes back to QUEUED with the next attempt number. Standard
library only.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class JobState(StrEnum):
    """Where a job is."""

    CREATED = "CREATED"
    QUEUED = "QUEUED"
    STAGING_IN = "STAGING_IN"
    RUNNING = "RUNNING"
    STAGING_OUT = "STAGING_OUT"
    IN_REVIEW = "IN_REVIEW"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"

    __hash__ = str.__hash__  # every table is looked up by it, and an Enum's own is slow


_S = JobState
_EARLY_END = frozenset({_S.FAILED, _S.CANCELED})
_ANY_END = _EARLY_END | {_S.SUCCEEDED}

#: every state and the states that may follow it
TRANSITIONS: Mapping[JobState, frozenset[JobState]] = MappingProxyType(
    {
        _S.CREATED: frozenset({_S.QUEUED}) | _EARLY_END,
        _S.QUEUED: frozenset({_S.STAGING_IN, _S.QUEUED}) | _EARLY_END,
        _S.STAGING_IN: frozenset({_S.RUNNING, _S.QUEUED}) | _EARLY_END,
        _S.RUNNING: frozenset({_S.STAGING_OUT, _S.QUEUED}),
        _S.STAGING_OUT: frozenset({_S.IN_REVIEW}) | _ANY_END,
        _S.IN_REVIEW: _ANY_END,
        _S.SUCCEEDED: frozenset(),
        _S.FAILED: frozenset(),
        _S.CANCELED: frozenset(),
    }
)

FINAL = frozenset(state for state, following in TRANSITIONS.items() if not following)
ACTIVE = frozenset({_S.QUEUED, _S.STAGING_IN, _S.RUNNING, _S.STAGING_OUT})
#: the one way an attempt goes, in order; used to fill in what a poller missed
_WAY = (_S.CREATED, _S.QUEUED, _S.STAGING_IN, _S.RUNNING, _S.STAGING_OUT)
_STEP = {state: number for number, state in enumerate(_WAY)}

MAX_ATTEMPTS = 3


def is_legal(current: JobState, target: JobState) -> bool:
    """Say whether the table has the step from ``current`` to ``target``."""
    return target in TRANSITIONS[current]


def path(current: JobState, target: JobState) -> tuple[JobState, ...]:
    """Return the states from ``current`` (excluded) to ``target`` (included), within one attempt.

    States that a poller missed are filled in along the one way of an attempt. The result is empty
    where there is no way: backwards, sideways, or out of a final state.
    """
    if target in _STEP:
        return _WAY[_STEP[current] + 1 : _STEP[target] + 1] if current in _STEP else ()
    missed: list[JobState] = []
    while not is_legal(current, target):
        if current not in _STEP or current is _WAY[-1]:
            return ()
        current = _WAY[_STEP[current] + 1]
        missed.append(current)
    return (*missed, target)
