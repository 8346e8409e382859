"""Where credentials come from, and how they are noticed when they rotate."""

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.to_thread

from longshore.clock import Clock
from longshore.errors import StorageUnavailable
from longshore_s3.settings import S3Settings
from longshore_s3.signing import Credentials

#: what has less than this left is asked for anew before it is used
_NEARLY_OVER = timedelta(minutes=15)


class CredentialSource(Protocol):
    """Gives the credentials that are good now."""

    async def get(self) -> Credentials:
        """Return them.

        Raises:
            StorageUnavailable: there are none; the message says where they were looked for.
        """
        ...


def source_of(settings: S3Settings, clock: Clock) -> CredentialSource:
    """Return the source that the settings name."""
    if settings.access_key is not None and settings.secret_key is not None:
        return _Given(
            Credentials(
                access_key=settings.access_key,
                secret_key=settings.secret_key,
                token=settings.session_token,
            )
        )
    if settings.access_key_file is not None and settings.secret_key_file is not None:
        return _Files([settings.access_key_file, settings.secret_key_file], _of_two)
    if settings.credentials_file is not None:
        return _Files([settings.credentials_file], _of_json)
    return _Chain(settings.profile, clock)


class _Given:
    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def get(self) -> Credentials:
        return self._credentials


class _Files:
    """Files that are read again when one of them has changed; a look costs microseconds."""

    def __init__(self, paths: Sequence[Path], read: Callable[[Sequence[str]], Credentials]) -> None:
        self._paths = paths
        self._read = read
        self._seen: Sequence[object] = ()
        self._found: Credentials | None = None

    async def get(self) -> Credentials:
        names = " and ".join(map(str, self._paths))
        try:
            seen = _stamps(self._paths)
            if self._found is None or seen != self._seen:
                texts = [path.read_text("utf-8").strip() for path in self._paths]
                self._found, self._seen = self._read(texts), seen
        except OSError as exc:
            why = exc.strerror or type(exc).__name__
            raise StorageUnavailable(f"credentials cannot be read from {names}: {why}") from exc
        except (ValueError, KeyError, TypeError, AttributeError):  # whose texts quote secrets
            raise StorageUnavailable(
                f"{names} does not hold credentials",
                hint="a key in each of two files, or JSON with AccessKeyId and SecretAccessKey",
            ) from None
        return self._found


def _stamps(paths: Sequence[Path]) -> Sequence[object]:
    found = [path.stat() for path in paths]
    return [(one.st_ino, one.st_mtime_ns, one.st_size) for one in found]


def _of_two(texts: Sequence[str]) -> Credentials:
    access_key, secret_key = texts
    if not access_key or not secret_key:
        raise ValueError("empty")
    return Credentials(access_key=access_key, secret_key=secret_key)


def _of_json(texts: Sequence[str]) -> Credentials:
    given: dict[str, Any] = json.loads(texts[0])
    ends = given.get("Expiration")
    expires_at = None if ends is None else datetime.fromisoformat(ends).astimezone(UTC)
    return Credentials(
        access_key=str(given["AccessKeyId"]),
        secret_key=str(given["SecretAccessKey"]),
        token=given.get("SessionToken"),
        expires_at=expires_at,
    )


class _Chain:
    """What AWS tools would find: environment, profile, web identity, the machine's role."""

    def __init__(self, profile: str | None, clock: Clock) -> None:
        self._profile = profile
        self._clock = clock
        self._asking = anyio.Lock()
        self._seen: Sequence[object] = ()
        self._found: Any = None
        self._frozen: Credentials | None = None

    async def get(self) -> Credentials:
        seen = _config_stamps()
        if self._frozen is None or seen != self._seen or self._is_nearly_over(self._frozen):
            async with self._asking:
                if seen != self._seen:
                    self._found, self._seen = None, seen
                # may ask the network
                self._frozen = await anyio.to_thread.run_sync(self._ask)
        return self._frozen

    def _is_nearly_over(self, credentials: Credentials) -> bool:
        ends = credentials.expires_at
        return ends is not None and ends - self._clock.now() < _NEARLY_OVER

    def _ask(self) -> Credentials:
        # takes half a second, and most installations need it not
        import botocore.session  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415

        try:
            if self._found is None:
                self._found = botocore.session.Session(profile=self._profile).get_credentials()
            if self._found is None:
                raise StorageUnavailable(
                    "there are no credentials for the S3 server",
                    hint="set access_key_file and secret_key_file in [storage]",
                )
            found = self._found.get_frozen_credentials()
        except BotoCoreError as exc:
            raise StorageUnavailable(f"no credentials for the S3 server: {exc}") from exc
        # botocore tells of the end of none that it renews but like this
        ends = getattr(self._found, "_expiry_time", None)
        return Credentials(
            access_key=found.access_key,
            secret_key=found.secret_key,
            token=found.token,
            expires_at=ends.astimezone(UTC) if ends is not None else None,
        )


def _config_stamps() -> Sequence[object]:
    found: list[object] = []
    for variable, default in (
        ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        ("AWS_CONFIG_FILE", "~/.aws/config"),
    ):
        path = os.path.expanduser(os.environ.get(variable, default))  # noqa: PTH111 - Path raises for ~nobody
        try:
            found += _stamps([Path(path)])
        except OSError:
            found.append(None)
    return found
