"""``[storage]`` with ``plugin = "s3"`` or ``plugin = "fsspec"``."""

import enum
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_REGION = re.compile(r"[a-z0-9-]{1,63}\Z")
_SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}"
_ADDRESS = re.compile(r"[0-9.]+\Z|.*:")
_PREFIX = re.compile(rf"({_SEGMENT}(/{_SEGMENT})*)?\Z")


class Addressing(enum.StrEnum):
    """How a URL names the bucket; ``auto`` is ``virtual`` at AWS, and ``path`` elsewhere."""

    AUTO = "auto"
    PATH = "path"
    VIRTUAL = "virtual"


def _is_endpoint(_: object, field: "attrs.Attribute[str | None]", value: str | None) -> None:
    if value is None:
        return
    wrong = ValueError(f"'{field.name}' must be http://HOST[:PORT] or https://HOST[:PORT]")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise wrong from None
    more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in {"http", "https"} or not parts.hostname or more or port == 0:
        raise wrong


def _matches(
    pattern: re.Pattern[str], form: str
) -> Callable[[object, "attrs.Attribute[str]", str], None]:
    def check(_: object, field: "attrs.Attribute[str]", value: str) -> None:
        if not pattern.match(value):
            raise ValueError(f"'{field.name}' {value!r} must be {form}")

    return check


def _without_slashes(text: str) -> str:
    return text.strip("/")


@attrs.frozen(kw_only=True)
class S3Settings:
    """Where the bucket is, and who may use it.

    ``endpoint`` is how the service reaches the server (absent: AWS in ``region``),
    ``public_endpoint`` how consumers do and ``job_endpoint`` how jobs do (both by default
    ``endpoint``). All keys begin with ``prefix``.

    Credentials are the first of these that is there: ``access_key`` and ``secret_key`` (with
    ``session_token``; meant for the environment), ``access_key_file`` and ``secret_key_file``,
    ``credentials_file`` (JSON as an AWS ``credential_process`` writes it, which may say when they
    expire), else what AWS tools find: environment, ``profile``, the machine's role. Files are read
    again when they change.

    ``ca_file`` are certificates (PEM) that are trusted besides the system's. ``timeout`` is how
    long the server may be silent. ``probe`` says whether a server tries the bucket when it
    starts, and ``upload_life`` how long the bucket's rules must leave an unfinished upload and an
    object alone: the limit of the queue, the longest walltime and 7 days.
    """

    bucket: str = attrs.field(validator=_matches(_BUCKET, "a bucket's name"))
    endpoint: str | None = attrs.field(default=None, validator=_is_endpoint)
    public_endpoint: str | None = attrs.field(default=None, validator=_is_endpoint)
    job_endpoint: str | None = attrs.field(default=None, validator=_is_endpoint)
    region: str = attrs.field(default="us-east-1", validator=_matches(_REGION, "a region"))
    prefix: str = attrs.field(
        default="",
        converter=_without_slashes,
        validator=_matches(_PREFIX, "letters, digits, '.', '_', '-' and '/'"),
    )
    addressing: Addressing = Addressing.AUTO
    access_key: str | None = attrs.field(default=None, repr=False)
    secret_key: str | None = attrs.field(default=None, repr=False)
    session_token: str | None = attrs.field(default=None, repr=False)
    access_key_file: Path | None = None
    secret_key_file: Path | None = None
    credentials_file: Path | None = None
    profile: str | None = None
    ca_file: Path | None = None
    timeout: timedelta = timedelta(seconds=60)
    probe: bool = True
    upload_life: timedelta = timedelta(days=15)

    def __attrs_post_init__(self) -> None:
        """Check what belongs together.

        Raises:
            ValueError: half a pair of credentials, more than one way to them, or a bucket's name in
                front of a bare address.
        """
        if self.is_virtual:
            for name in ("endpoint", "public_endpoint", "job_endpoint"):
                host = urlsplit(getattr(self, name) or "").hostname
                if host is not None and _ADDRESS.match(host):
                    raise ValueError(f"'{name}' is an address: 'addressing' must be 'path' there")
        for one, other in (("access_key", "secret_key"), ("access_key_file", "secret_key_file")):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise ValueError(f"'{one}' and '{other}' belong together")
        if self.session_token is not None and self.access_key is None:
            raise ValueError("'session_token' belongs to 'access_key' and 'secret_key'")
        ways = ("access_key", "access_key_file", "credentials_file", "profile")
        given = [way for way in ways if getattr(self, way) is not None]
        if len(given) > 1:
            raise ValueError(
                f"{' and '.join(map(repr, given))} are two ways to credentials: use one"
            )

    @property
    def service_endpoint(self) -> str:
        """Where the service finds the server."""
        return (self.endpoint or f"https://s3.{self.region}.amazonaws.com").rstrip("/")

    @property
    def is_virtual(self) -> bool:
        """Whether URLs name the bucket in their host."""
        if self.addressing is not Addressing.AUTO:
            return self.addressing is Addressing.VIRTUAL
        # a certificate for *.s3... does not cover a bucket's name with a dot
        return self.endpoint is None and "." not in self.bucket


@attrs.frozen(kw_only=True)
class FsspecSettings:
    """``url`` is of any fsspec file system; ``options`` go to it as they are."""

    url: str = attrs.field(repr=False)
    options: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False)
