"""Carrying a plan out beside the worker: stage-in, stage-out, manifest.

Blocking code: it runs in processes that have no event loop.
"""

from longshore.staging.carrier import StagingFailed, stage_in, stage_out
from longshore.staging.manifest import (
    MANIFEST_MAX_SIZE,
    Manifest,
    ManifestEntry,
    StagingProblem,
    decode_manifest,
    encode_manifest,
)
from longshore.staging.transport import FileTransport, Transport

__all__ = [
    "MANIFEST_MAX_SIZE",
    "FileTransport",
    "Manifest",
    "ManifestEntry",
    "StagingFailed",
    "StagingProblem",
    "Transport",
    "decode_manifest",
    "encode_manifest",
    "stage_in",
    "stage_out",
]
