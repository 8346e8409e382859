"""The page at /docs: Swagger UI from this distribution, which loads nothing from elsewhere."""

import gzip
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

import attrs

#: what the page may load and send: its own scripts and requests to its own server
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "vary": "accept-encoding",
}
_JAVASCRIPT = "text/javascript"
#: name as it is asked for: media type, and seconds for which it need not be asked for again
FILES: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "index.html": ("text/html", 0),
        "start.js": (_JAVASCRIPT, 0),
        "swagger-ui-bundle.js": (_JAVASCRIPT, 86_400),
        "swagger-ui.css": ("text/css", 86_400),
    }
)


@attrs.frozen
class Page:
    """A file of the page as it is sent: ``packed`` is its gzip form, where that is what we have."""

    media_type: str
    plain: bytes
    packed: bytes | None
    headers: Mapping[str, str]

    def send(self, accepted: str) -> tuple[bytes, dict[str, str]]:
        """Return the content and its headers for a client that takes these encodings."""
        if self.packed is None or "gzip" not in accepted:
            return self.plain, dict(self.headers)
        return self.packed, {**self.headers, "content-encoding": "gzip"}


@cache
def load(name: str) -> Page:
    """Return the file ``name``, one of ``FILES``."""
    media_type, fresh = FILES[name]
    folder = resources.files("longshore_api") / "static"
    packed = folder / f"{name}.gz"
    sent = packed.read_bytes() if packed.is_file() else None
    plain = (folder / name).read_bytes() if sent is None else gzip.decompress(sent)
    headers = {
        **_SAFE,
        "etag": f'W/"{hashlib.sha256(plain).hexdigest()[:32]}"',
        "cache-control": f"public, max-age={fresh}" if fresh else "no-cache",
    }
    return Page(media_type, plain, sent, headers)
