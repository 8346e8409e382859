"""Every reason why a job can fail: code, whose doing, a sentence, what to do, worth a retry.

The codes are a contract: consumers, metering and support branch on them. Adapters of an engine map
their own words to these codes and to no others.
"""

from collections.abc import Mapping
from types import MappingProxyType

from longshore.models.job import Fault, Reason

_APP, _INPUT, _PLATFORM = Fault.APP, Fault.INPUT, Fault.PLATFORM
_POLICY, _CONSUMER = Fault.POLICY, Fault.CONSUMER

_ROWS: tuple[tuple[str, Fault, str, str, bool], ...] = (
    # the worker
    ("nonzero-exit", _APP, "the worker ended with a non-zero exit code", "read the log", False),
    ("signal", _APP, "the worker was ended by a signal", "read the log", False),
    ("crash", _APP, "the worker crashed", "read the log; 139 is a bad memory access", False),
    (
        "oom",
        _APP,
        "the worker used more memory than it may",
        "ask for more memory, or process less at once",
        False,
    ),
    (
        "walltime",
        _APP,
        "the worker ran longer than it may",
        "ask for more walltime, or process less at once",
        False,
    ),
    (
        "disk",
        _APP,
        "there was no space left for the worker's files",
        "write less, or ask for more disk",
        False,
    ),
    (
        "command-not-found",
        _APP,
        "the workflow's command does not exist",
        "the provider must correct the workflow's command or image",
        False,
    ),
    (
        "command-not-executable",
        _APP,
        "the workflow's command cannot be executed",
        "the provider must make it executable, for this machine's architecture",
        False,
    ),
    (
        "output-missing",
        _APP,
        "the worker did not write a required output",
        "read the log",
        False,
    ),
    (
        "output-too-large",
        _APP,
        "an output is larger than the workflow declares",
        "write less, or have the provider raise max_size",
        False,
    ),
    (
        "output-refused",
        _APP,
        "an output is a link out of its directory, a device or another special file",
        "write regular files and directories only",
        False,
    ),
    # its inputs
    (
        "input-checksum",
        _INPUT,
        "an input does not have the announced size or checksum",
        "upload it again",
        False,
    ),
    ("input-too-large", _INPUT, "an input is larger than the workflow allows", "send less", False),
    (
        "archive-refused",
        _INPUT,
        "an input archive has a member that is never unpacked",
        "pack regular files and directories with relative names only",
        False,
    ),
    (
        "env-invalid",
        _INPUT,
        "an env input has a line or a name that is not allowed",
        "send NAME=value lines with the names that the workflow declares",
        False,
    ),
    # the platform
    (
        "lost",
        _PLATFORM,
        "the worker may have run, but the engine lost it and nobody saw its end",
        "submit the job again if running it twice does no harm",
        True,
    ),
    (
        "attempts-exhausted",
        _PLATFORM,
        "the platform took the job away before it started, too often",
        "submit it again later",
        True,
    ),
    ("input-unavailable", _PLATFORM, "an input could not be fetched", "submit it again", True),
    (
        "output-unavailable",
        _PLATFORM,
        "an output could not be stored",
        "submit the job again; tell the provider",
        True,
    ),
    (
        "manifest-missing",
        _PLATFORM,
        "the worker ended, but its results were not stored in time",
        "submit the job again; tell the provider",
        True,
    ),
    (
        "backend-refused",
        _PLATFORM,
        "the engine refused the job",
        "tell the provider",
        False,
    ),
    (
        "isolation-unavailable",
        _PLATFORM,
        "the sandbox that this workflow needs does not work on the provider's machine",
        "the provider must install bubblewrap, podman or docker, or allow isolation = none",
        False,
    ),
    (
        "image-unavailable",
        _PLATFORM,
        "the workflow's image could not be had",
        "tell the provider",
        True,
    ),
    ("start-timeout", _PLATFORM, "the job did not start in time", "submit it again later", True),
    (
        "stage-in-timeout",
        _PLATFORM,
        "the inputs did not arrive in time",
        "submit it again later",
        True,
    ),
    ("internal", _PLATFORM, "an error of Longshore itself", "tell the provider", True),
    # policy and consumer
    (
        "workflow-gone",
        _POLICY,
        "the workflow was retired or changed before the job started",
        "list the workflows and submit again",
        False,
    ),
    (
        "not-allowed",
        _POLICY,
        "the provider's machine does not run this kind of workflow",
        "tell the provider",
        False,
    ),
    (
        "agreement",
        _POLICY,
        "the agreement under which the job was made ended or was revoked",
        "ask the provider for a new agreement",
        False,
    ),
    (
        "expired",
        _CONSUMER,
        "the job's inputs did not arrive in time",
        "submit it again with its inputs",
        False,
    ),
    ("canceled", _CONSUMER, "the job was canceled", "", False),
)

REASONS: Mapping[str, Reason] = MappingProxyType(
    {
        code: Reason(code=code, fault=fault, message=message, hint=hint, retryable=retryable)
        for code, fault, message, hint, retryable in _ROWS
    }
)

#: exit codes that shells and kernels give a meaning; all others are ``nonzero-exit``
_EXIT_CODES: Mapping[int, str] = MappingProxyType(
    {
        126: "command-not-executable",
        127: "command-not-found",
        132: "crash",
        134: "crash",
        135: "crash",
        136: "crash",
        139: "crash",
    }
)
_SIGNAL_BASE = 128
_LAST_SIGNAL = 128 + 64


def reason(code: str, detail: str = "") -> Reason:
    """Return the reason ``code``; ``detail`` follows its sentence.

    A code that the table lacks (a third party's backend made it up) becomes ``internal`` and is
    named in the message: never a success, never a silent guess.
    """
    known = REASONS.get(code)
    if known is None:
        known, detail = REASONS["internal"], f"unknown reason {code!r} {detail}".strip()
    if not detail:
        return known
    return Reason(
        code=known.code,
        fault=known.fault,
        message=f"{known.message}: {detail}",
        hint=known.hint,
        retryable=known.retryable,
    )


def exit_reason(exit_code: int, better: str | None = None) -> Reason:
    """Return why a worker that ended with ``exit_code`` failed; ``better`` is an engine's word."""
    if better is not None:
        return reason(better, f"exit code {exit_code}")
    if exit_code in _EXIT_CODES:
        return reason(_EXIT_CODES[exit_code], f"exit code {exit_code}")
    if _SIGNAL_BASE < exit_code <= _LAST_SIGNAL:
        return reason("signal", f"signal {exit_code - _SIGNAL_BASE}")
    return reason("nonzero-exit", f"exit code {exit_code}")
