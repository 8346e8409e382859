"""Every reason why a job can fail: code, whose doing, a sentence, what to do, worth a retry.

The codes are a contract: consumers, metering and support branch on them. Adapters of an engine map
their own words to these codes and to no others.
"""

from collections.abc import Mapping
from types import MappingProxyType

import attrs

from longshore.models.job import Fault, Reason

#: by whose doing it is: each code with its sentence and what to do
_SENTENCES: Mapping[Fault, Mapping[str, tuple[str, str]]] = {
    Fault.APP: {
        "nonzero-exit": ("the worker ended with a non-zero exit code", "read the log"),
        "signal": ("the worker was ended by a signal", "read the log"),
        "crash": ("the worker crashed", "read the log; 139 is a bad memory access"),
        "oom": (
            "the worker used more memory than it may",
            "ask for more memory, or process less at once",
        ),
        "walltime": (
            "the worker ran longer than it may",
            "ask for more walltime, or process less at once",
        ),
        "disk": (
            "there was no space left for the worker's files",
            "write less, or ask for more disk",
        ),
        "command-not-found": (
            "the workflow's command does not exist",
            "the provider must correct the workflow's command or image",
        ),
        "command-not-executable": (
            "the workflow's command cannot be executed",
            "the provider must make it executable, for this machine's architecture",
        ),
        "output-missing": ("the worker did not write a required output", "read the log"),
        "output-too-large": (
            "an output is larger than the workflow declares",
            "write less, or have the provider raise max_size",
        ),
        "output-refused": (
            "an output is a link out of its directory, a device or another special file",
            "write regular files and directories only",
        ),
    },
    Fault.INPUT: {
        "input-checksum": (
            "an input does not have the announced size or checksum",
            "upload it again",
        ),
        "input-too-large": ("an input is larger than the workflow allows", "send less"),
        "archive-refused": (
            "an input archive has a member that is never unpacked",
            "pack regular files and directories with relative names only",
        ),
        "env-invalid": (
            "an env input has a line or a name that is not allowed",
            "send NAME=value lines with the names that the workflow declares",
        ),
    },
    Fault.PLATFORM: {
        "lost": (
            "the worker may have run, but the engine lost it and nobody saw its end",
            "submit the job again if running it twice does no harm",
        ),
        "attempts-exhausted": (
            "the platform took the job away before it started, too often",
            "submit it again later",
        ),
        "input-unavailable": ("an input could not be fetched", "submit it again"),
        "output-unavailable": (
            "an output could not be stored",
            "submit the job again; tell the provider",
        ),
        "manifest-missing": (
            "the worker ended, but its results were not stored in time",
            "submit the job again; tell the provider",
        ),
        "backend-refused": ("the engine refused the job", "tell the provider"),
        "isolation-unavailable": (
            "the sandbox that this workflow needs does not work on the provider's machine",
            "the provider must install bubblewrap, podman or docker, or allow isolation = none",
        ),
        "image-unavailable": ("the workflow's image could not be had", "tell the provider"),
        "image-not-found": ("there is no such image", "the provider must correct the workflow"),
        "image-forbidden": (
            "the registry does not give out the workflow's image",
            "the provider must correct the credentials for the registry",
        ),
        "disrupted": ("the platform ended the job while it ran", "submit it again"),
        "start-timeout": ("the job did not start in time", "submit it again later"),
        "stage-in-timeout": ("the inputs did not arrive in time", "submit it again later"),
        "internal": ("an error of Longshore itself", "tell the provider"),
    },
    Fault.POLICY: {
        "workflow-gone": (
            "the workflow was retired or changed before the job started",
            "list the workflows and submit again",
        ),
        "not-allowed": (
            "the provider's machine does not run this kind of workflow",
            "tell the provider",
        ),
        "agreement": (
            "the agreement under which the job was made ended or was revoked",
            "ask the provider for a new agreement",
        ),
    },
    Fault.CONSUMER: {
        "expired": ("the job's inputs did not arrive in time", "submit it again with its inputs"),
        "canceled": ("the job was canceled", ""),
    },
}
#: what the platform failed at may go well another time, but for these
_STAYS = frozenset(
    {"backend-refused", "image-forbidden", "image-not-found", "isolation-unavailable"}
)
REASONS: Mapping[str, Reason] = MappingProxyType(
    {
        code: Reason(
            code=code,
            fault=fault,
            message=message,
            hint=hint,
            retryable=fault is Fault.PLATFORM and code not in _STAYS,
        )
        for fault, sentences in _SENTENCES.items()
        for code, (message, hint) in sentences.items()
    }
)
#: exit codes that shells and kernels give a meaning; all others are ``nonzero-exit``
_EXIT_CODES: Mapping[int, str] = MappingProxyType(
    {
        126: "command-not-executable",
        127: "command-not-found",
        **dict.fromkeys((132, 134, 135, 136, 139), "crash"),
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
    return attrs.evolve(known, message=f"{known.message}: {detail}")


def exit_reason(exit_code: int, better: str | None = None) -> Reason:
    """Return why a worker that ended with ``exit_code`` failed; ``better`` is an engine's word."""
    if better is not None:
        return reason(better, f"exit code {exit_code}")
    if exit_code in _EXIT_CODES:
        return reason(_EXIT_CODES[exit_code], f"exit code {exit_code}")
    if _SIGNAL_BASE < exit_code <= _LAST_SIGNAL:
        return reason("signal", f"signal {exit_code - _SIGNAL_BASE}")
    return reason("nonzero-exit", f"exit code {exit_code}")
