"""What a mover did: the last thing that it sends, the first that is read of an attempt."""

from datetime import datetime

import attrs

from longshore.codec import from_json, to_json
from longshore.errors import DataRefused, TooLarge
from longshore.models.job import Outcome

#: bytes; a plan of 8,000 parts needs a tenth of it
MANIFEST_MAX_SIZE = 4 * 1024**2


@attrs.frozen(kw_only=True)
class ManifestEntry:
    """Something that was sent: ``size`` in bytes, ``sha256`` in hex, the tag of each part."""

    name: str
    size: int
    sha256: str
    parts: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class StagingProblem:
    """What could not be staged: a declared name, a code of ``longshore.reasons``, and words."""

    name: str
    code: str
    message: str = ""


@attrs.frozen(kw_only=True)
class Manifest:
    """The result of one attempt.

    ``outputs`` are those that were sent, whole; ``problems`` names the others. ``log_cut`` says
    that the log reached its cap, so that what the worker wrote after it was not kept.
    ``outcome`` is None when the worker never ran.
    """

    job_id: str
    attempt: int
    outcome: Outcome | None = None
    outputs: tuple[ManifestEntry, ...] = ()
    log: ManifestEntry | None = None
    log_cut: bool = False
    problems: tuple[StagingProblem, ...] = ()
    started_at: datetime | None = None
    ended_at: datetime | None = None


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest as JSON."""
    return to_json(manifest).encode()


def decode_manifest(data: bytes) -> Manifest:
    """Return the manifest that ``data`` holds.

    Raises:
        TooLarge: more than ``MANIFEST_MAX_SIZE`` bytes.
        DataRefused: not a manifest.
    """
    if len(data) > MANIFEST_MAX_SIZE:
        raise TooLarge(f"a manifest of {len(data)} bytes; {MANIFEST_MAX_SIZE} are allowed")
    try:
        return from_json(Manifest, data)
    except (ValueError, RecursionError) as exc:
        raise DataRefused(f"the manifest cannot be read: {exc}") from exc
