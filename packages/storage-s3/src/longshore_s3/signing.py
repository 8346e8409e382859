"""SigV4 for the requests that others will send: the query of a URL, and nothing else signed.

Only ``host`` and headers ``x-amz-*`` are signed, and never a body: whoever sends the request may
add headers of its own, as ``Content-MD5``. Quick, as a job's upload may have a thousand parts.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

import attrs

#: SigV4 knows no request that is valid for longer, in seconds
LONGEST = 7 * 24 * 3600
_ALGORITHM = "AWS4-HMAC-SHA256"
_BLOCK = 64
_INNER, _OUTER = (bytes(one ^ mask for one in range(256)) for mask in (0x36, 0x5C))
#: what is quoted as it is
_PLAIN, _PLAIN_PATH = re.compile(r"[A-Za-z0-9._~-]*\Z"), re.compile(r"[A-Za-z0-9._~/-]*\Z")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@attrs.frozen(kw_only=True)
class Credentials:
    """What signs. ``token`` is of a session that ends at ``expires_at``, where that is known."""

    access_key: str
    secret_key: str = attrs.field(repr=False)
    token: str | None = attrs.field(default=None, repr=False)
    expires_at: datetime | None = None


@attrs.frozen
class Place:
    """Where a bucket is: ``origin`` + ``path`` + ``/`` + key; ``host`` is what is signed."""

    origin: str
    host: str
    path: str

    def path_of(self, key: str) -> str:
        """Return the path of an object's URL."""
        name = key if _PLAIN_PATH.match(key) else quote(key, safe="/-_.~")
        return f"{self.path}/{name}"


def place_of(endpoint: str, bucket: str, *, virtual: bool) -> Place:
    """Return where ``bucket`` is at ``endpoint``: as a host (``virtual``), or as a path."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    if parts.port not in {None, _DEFAULT_PORTS[parts.scheme]}:
        host = f"{host}:{parts.port}"
    if virtual:
        host = f"{bucket}.{host}"
    return Place(f"{parts.scheme}://{host}", host, "" if virtual else f"/{bucket}")


@attrs.frozen(eq=False)
class _Moment:
    """What all requests have in common that the same credentials sign in one second.

    ``inner`` and ``outer`` are the two hashes of an HMAC that has begun.
    """

    credentials: Credentials
    at: datetime
    expires: int
    members: str
    inner: Any
    outer: Any

    def sign(self, digest: str) -> str:
        """Return the signature of a request whose canonical form has this sha256."""
        inner, outer = self.inner.copy(), self.outer.copy()
        inner.update(digest.encode())
        outer.update(inner.digest())
        signature: str = outer.hexdigest()
        return signature


class Signer:
    """Signs for one bucket at one endpoint in one region."""

    def __init__(self, place: Place, region: str) -> None:
        self.place = place
        self._region = region
        self._day: tuple[str, str, bytes] = "", "", b""
        self._last: _Moment | None = None

    def sign(
        self,
        credentials: Credentials,
        method: str,
        key: str,
        *,
        at: datetime,
        expires: int,
        query: Iterable[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Return the URL of one request that is valid from ``at`` for ``expires`` seconds.

        ``headers`` (``x-amz-*`` only) must be sent exactly as they are given; ``query``, whose
        names begin with a small letter, is signed with the rest.
        """
        moment = self._moment(credentials, at, expires)
        names, lines = "host", f"host:{self.place.host}\n"
        if headers:
            signed = {name.lower(): " ".join(text.split()) for name, text in headers.items()}
            signed["host"] = self.place.host
            names = ";".join(sorted(signed))
            lines = "".join([f"{name}:{signed[name]}\n" for name in sorted(signed)])
        members = moment.members + _quoted(names)
        if query:
            more = sorted((_quoted(name), _quoted(text)) for name, text in query)
            members += "".join([f"&{name}={text}" for name, text in more])
        path = self.place.path_of(key)
        request = f"{method}\n{path}\n{members}\n{lines}\n{names}\nUNSIGNED-PAYLOAD"
        signature = moment.sign(hashlib.sha256(request.encode()).hexdigest())
        return f"{self.place.origin}{path}?{members}&X-Amz-Signature={signature}"

    def sign_parts(
        self,
        credentials: Credentials,
        key: str,
        upload_id: str,
        count: int,
        *,
        at: datetime,
        expires: int,
    ) -> Sequence[str]:
        """Return the URLs that send the parts 1 to ``count`` of an upload.

        They differ in one number: the hash of all that stands before it is computed once.
        """
        moment = self._moment(credentials, at, expires)
        path = self.place.path_of(key)
        members = f"{moment.members}host&partNumber="
        request = hashlib.sha256(f"PUT\n{path}\n{members}".encode())
        tail = f"&uploadId={_quoted(upload_id)}"
        after = f"{tail}\nhost:{self.place.host}\n\nhost\nUNSIGNED-PAYLOAD"
        before, tail = f"{self.place.origin}{path}?{members}", f"{tail}&X-Amz-Signature="
        urls: list[str] = []
        for number in range(1, count + 1):
            asked = request.copy()
            asked.update(f"{number}{after}".encode())
            urls.append(f"{before}{number}{tail}{moment.sign(asked.hexdigest())}")
        return urls

    def _moment(self, credentials: Credentials, at: datetime, expires: int) -> _Moment:
        last = self._last
        if (
            last is None
            or last.credentials is not credentials
            or last.at != at
            or last.expires != expires
        ):
            self._last = last = self._begin(credentials, at, expires)
        return last

    def _begin(self, credentials: Credentials, at: datetime, expires: int) -> _Moment:
        day, second = f"{at:%Y%m%d}", f"{at:%Y%m%dT%H%M%SZ}"
        scope = f"{day}/{self._region}/s3/aws4_request"
        members = {
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{credentials.access_key}/{scope}",
            "X-Amz-Date": second,
            "X-Amz-Expires": str(expires),
        }
        if credentials.token is not None:
            members["X-Amz-Security-Token"] = credentials.token
        key = self._key(credentials, day).ljust(_BLOCK, b"\0")
        before = f"{_ALGORITHM}\n{second}\n{scope}\n".encode()
        return _Moment(
            credentials,
            at,
            expires,
            "".join([f"{name}={_quoted(text)}&" for name, text in members.items()])
            + "X-Amz-SignedHeaders=",
            hashlib.sha256(key.translate(_INNER) + before),
            hashlib.sha256(key.translate(_OUTER)),
        )

    def _key(self, credentials: Credentials, day: str) -> bytes:
        """Return the key of the day, which is derived once."""
        if self._day[:2] != (day, credentials.secret_key):
            key = f"AWS4{credentials.secret_key}".encode()
            for text in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, text.encode(), "sha256")
            self._day = day, credentials.secret_key, key
        return self._day[2]


def _quoted(text: str) -> str:
    return text if _PLAIN.match(text) else quote(text, safe="-_.~")
