"""The garbage collector of a process that does nothing but serve."""

import gc

_YOUNG = 50_000
_OLDER = 20


def collect_rarely() -> None:
    """Let the collector leave alone what was made so far, and look at the rest less often.

    For the main function of a service, after it is set up; never for a library's caller. Jobs on
    their way are many small objects that no cycle holds: looking at them all, and at every module,
    again and again takes a fifth of the time of a busy service.
    """
    gc.freeze()
    gc.set_threshold(_YOUNG, _OLDER, _OLDER)
