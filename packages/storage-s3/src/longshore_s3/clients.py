"""The two libraries that speak to the server: aiobotocore for calls, obstore for streams."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import obstore.store
import s3fs
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import AioSession
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError

from longshore.clock import Clock
from longshore.errors import SettingsInvalid
from longshore_s3.credentials import CredentialSource
from longshore_s3.settings import S3Settings
from longshore_s3.signing import Place

_CONNECT = 5
_TRIES = 3
#: of a whole transfer; what bounds it is the time without a byte
_WHOLE = timedelta(days=7)


class _Renewed(AioCredentials):  # type: ignore[misc]  # the library has no types
    """Credentials as aiobotocore asks for them: before each request."""

    def __init__(self, source: CredentialSource) -> None:
        super().__init__("", "")
        self._source = source

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        found = await self._source.get()
        return ReadOnlyCredentials(found.access_key, found.secret_key, found.token)


@asynccontextmanager
async def calling(settings: S3Settings, source: CredentialSource) -> AsyncIterator[Any]:
    """Open the client for calls.

    Raises:
        SettingsInvalid: the files of AWS tools have mistakes, or ``ca_file`` does.
    """
    session = AioSession()
    # the one way that has no argument: else the session would look for credentials itself
    session._credentials = _Renewed(source)  # noqa: SLF001
    style = "virtual" if settings.is_virtual else "path"
    client_kwargs: dict[str, Any] = {"region_name": settings.region}
    if settings.ca_file is not None:
        client_kwargs["verify"] = str(settings.ca_file)
    files = s3fs.S3FileSystem(
        asynchronous=True,
        skip_instance_cache=True,
        session=session,
        endpoint_url=settings.service_endpoint,
        client_kwargs=client_kwargs,
        config_kwargs={
            "signature_version": "s3v4",
            "connect_timeout": _CONNECT,
            "read_timeout": settings.timeout.total_seconds(),
            "retries": {"mode": "standard", "total_max_attempts": _TRIES},
            "tcp_keepalive": True,
            "max_pool_connections": 50,
            "s3": {"addressing_style": style, "payload_signing_enabled": False},
            # what is not AWS does not know the newer ones; we send Content-MD5
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        },
    )
    try:
        client = await files.set_session()
    except BotoCoreError as exc:  # what the environment and files of AWS tools say is read, too
        raise SettingsInvalid(f"the S3 client cannot be made: {exc}") from None
    try:
        yield client
    finally:
        await client.__aexit__(None, None, None)


def reading(
    settings: S3Settings, place: Place, source: CredentialSource, clock: Clock
) -> obstore.store.S3Store:
    """Return the store that streams objects."""

    async def credentials() -> Any:
        found = await source.get()
        return {
            "access_key_id": found.access_key,
            "secret_access_key": found.secret_key,
            "token": found.token,
            # asked for anew by each request: the source knows when they rotate
            "expires_at": clock.now(),
        }

    options: dict[str, Any] = {
        "allow_http": place.origin.startswith("http:"),
        "connect_timeout": timedelta(seconds=_CONNECT),
        "read_timeout": settings.timeout,
        "timeout": _WHOLE,
    }
    if settings.ca_file is not None:
        options["root_certificate"] = settings.ca_file.read_bytes()
    return obstore.store.S3Store(
        settings.bucket,
        endpoint=place.origin,
        region=settings.region,
        virtual_hosted_style_request=settings.is_virtual,
        client_options=options,  # type: ignore[arg-type]  # built by cases
        retry_config={"max_retries": _TRIES, "retry_timeout": settings.timeout},
        credential_provider=credentials,
    )
