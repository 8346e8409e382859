"""What a storage's tag (ETag) of a part says of its bytes: a checksum of them, or nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

MD5, SHA256 = "md5", "sha256"
_CHECKSUM = re.compile(r'(?:W/)?"?([0-9a-f]{32}|[0-9a-f]{64})"?', re.IGNORECASE)
_METHODS = {32: MD5, 64: SHA256}
#: an object that the server encrypts by a key management service has tags that only look like MD5
_ENCRYPTION = "x-amz-server-side-encryption"
_OURS = "/v1/blobs/"


@dataclass(frozen=True)
class Checksum:
    """``value`` in hex, by the ``method`` that ``hashlib`` calls so."""

    method: str
    value: str


def checksum_in(etag: str) -> Checksum | None:
    """Return the checksum that a tag is; None where it is something else."""
    found = _CHECKSUM.fullmatch(etag)
    return Checksum(_METHODS[len(found[1])], found[1].lower()) if found else None


def is_meaningless(headers: Mapping[str, str]) -> bool:
    """Say whether an answer's tag is none of the bytes that were sent, whatever it looks like."""
    return headers.get(_ENCRYPTION, "AES256") != "AES256"


def method_for(url: str) -> str:
    """Return the checksum that belongs to a signed URL: our server's, or that of S3 and others."""
    return SHA256 if _OURS in url.partition("?")[0] else MD5
