"""URLs of bytes that an installation serves itself: each allows one thing, until it expires.

``<base>/v1/blobs/<key>?upload=..&part=..&at=..&size=..&sha256=..&expires=..&signature=..``. The
signature covers the method and everything behind the base, and not the base: behind whatever host
and path the server is reached, the same URL is good. A GET is also good for HEAD.
"""

import base64
import hmac
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import attrs

from longshore.errors import Denied, SettingsInvalid

PATH = "/v1/blobs/"
_KEY_SIZE = 32
#: what else is ever signed with the same secret begins otherwise
_PURPOSE = "longshore blob 1"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}\Z")
_NUMBERS = frozenset({"part", "at", "size", "expires"})


@attrs.frozen
class Secret:
    """What signs, and says whether something was signed; never shown."""

    key: bytes = attrs.field(repr=False)

    def sign(self, text: str) -> str:
        """Return the signature of ``text``, as base64url."""
        digest = hmac.digest(self.key, text.encode("utf-8", "surrogateescape"), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


@attrs.frozen(kw_only=True)
class BlobUrls:
    """Who signs, and the addresses in front of ``/v1/blobs``: of consumers and, if any, of jobs."""

    secret: Secret
    public: str
    job: str | None = None


@attrs.frozen(kw_only=True)
class Grant:
    """What one URL allows until ``expires`` (seconds since 1970).

    ``GET``: to read ``key``. ``PUT``: to send at most ``size`` bytes of the upload ``upload``, to
    be written from byte ``at`` on; all of it where ``part`` is 0. The bytes have this ``sha256``
    where it is given.
    """

    method: str
    key: str
    expires: int
    upload: str = ""
    part: int = 0
    at: int = 0
    size: int = 0
    sha256: str = ""


_MEMBERS = tuple(field.name for field in attrs.fields(Grant) if field.name not in {"method", "key"})


def sign(secret: Secret, grant: Grant) -> str:
    """Return the path and query of the URL that allows ``grant``."""
    members = {name: str(value) for name in _MEMBERS if (value := getattr(grant, name))}
    query = "&".join(f"{name}={value}" for name, value in members.items())
    signature = secret.sign(_text(grant.method, grant.key, members))
    return f"{PATH}{grant.key}?{query}&signature={signature}"


def verify(secret: Secret, method: str, key: str, query: str, now: datetime) -> Grant:
    """Return what a URL allows.

    Raises:
        Denied: it was never signed like this, or it has expired (``reason`` ``expired``).
    """
    if "\n" in key:  # what follows would count as members
        raise Denied("this URL was not made here", reason="signature")
    members = dict(_members(query))
    signature = members.pop("signature", "")
    asked = "GET" if method == "HEAD" else method
    wanted = secret.sign(_text(asked, key, members))
    # as bytes: a text beyond ASCII cannot be compared in constant time
    if not hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "surrogateescape")):
        raise Denied("this URL does not allow that", reason="signature", hint="ask for a new one")
    values = {name: int(text) if name in _NUMBERS else text for name, text in members.items()}
    grant = Grant(method=asked, key=key, **values)  # type: ignore[arg-type]  # signed by us
    if now.timestamp() >= grant.expires:
        raise Denied("this URL has expired", reason="expired", hint="ask for a new one")
    return grant


def _text(method: str, key: str, members: dict[str, str]) -> str:
    # neither a key nor a member that is let through holds a line feed
    values = (f"{name}={members[name]}" for name in _MEMBERS if name in members)
    return "\n".join((_PURPOSE, method, key, *values))


def _members(query: str) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for one in query.split("&"):
        name, _, value = one.partition("=")
        known = name == "signature" or name in _MEMBERS
        if not known or name in seen or (name in _NUMBERS and not _NUMBER.match(value)):
            raise Denied("this URL was not made here", reason="signature")
        seen.add(name)
        yield name, value


def load_secret(path: Path) -> Secret:
    """Return the secret of an installation, which is made where there is none. Blocking.

    Any number of processes may be the first: all return the same one, and it is durable.

    Raises:
        SettingsInvalid: the file holds something else.
        OSError: it can be neither read nor made.
    """
    with suppress(FileExistsError):
        if not path.exists():
            _make(path)
    key = path.read_bytes()
    if len(key) != _KEY_SIZE:
        raise SettingsInvalid(
            f"{path} is not a key of {_KEY_SIZE} bytes",
            hint="restore it, or remove it: what was signed with it is then no longer valid",
        )
    return Secret(key)


def _make(path: Path) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(secrets.token_bytes(_KEY_SIZE))
            file.flush()
            os.fsync(fd)
        path.hardlink_to(draft)  # of two processes one is first, and nobody sees half a key
    finally:
        draft.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
