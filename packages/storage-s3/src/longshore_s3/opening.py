"""Puts the parts together: credentials, signers, clients, storage."""

import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from longshore.clock import Clock
from longshore.errors import SettingsInvalid
from longshore.hookspecs import PluginContext
from longshore.transfer import Audience
from longshore_s3.clients import calling, reading
from longshore_s3.credentials import source_of
from longshore_s3.failing import Unreachable
from longshore_s3.probing import Probe
from longshore_s3.settings import S3Settings
from longshore_s3.signing import Signer, place_of
from longshore_s3.storage import Bucket, S3Storage

_log = logging.getLogger("longshore.storage")


@asynccontextmanager
async def open_storage(settings: S3Settings, clock: Clock) -> AsyncIterator[S3Storage]:
    """Open the bucket, without a look at it.

    Raises:
        SettingsInvalid: ``ca_file`` cannot be used.
    """
    if settings.ca_file is not None:
        try:
            ssl.create_default_context().load_verify_locations(settings.ca_file)
        except OSError as exc:
            why = exc.strerror or str(exc)
            raise SettingsInvalid(f"storage.ca_file cannot be used: {why}") from exc
    source = source_of(settings, clock)
    bucket = bucket_of(settings)
    reader = reading(settings, bucket.signers[Audience.SERVICE].place, source, clock)
    async with calling(settings, source) as client:
        yield S3Storage(bucket, client, reader, source, clock)


def bucket_of(settings: S3Settings) -> Bucket:
    """Return the bucket with a signer for each audience."""
    service = settings.service_endpoint
    endpoints = {
        Audience.SERVICE: service,
        Audience.CONSUMER: settings.public_endpoint or service,
        Audience.JOB: settings.job_endpoint or service,
    }
    signers = {
        audience: Signer(
            place_of(endpoint, settings.bucket, virtual=settings.is_virtual), settings.region
        )
        for audience, endpoint in endpoints.items()
    }
    return Bucket(name=settings.bucket, prefix=settings.prefix, signers=signers)


@asynccontextmanager
async def open_bucket(settings: S3Settings, context: PluginContext) -> AsyncIterator[S3Storage]:
    """Open the bucket for a host; a server tries it first.

    A server that starts while the bucket does not answer goes on: it will be asked again.

    Raises:
        StorageUnavailable: the bucket answers, and something is wrong; the message says what.
        SettingsInvalid: ``ca_file`` cannot be used.
    """
    async with open_storage(settings, context.clock) as storage:
        if settings.probe and context.blobs is not None:
            try:
                notes = await Probe(storage, settings, context.clock, context.origins).run()
            except Unreachable as exc:
                notes = [str(exc)]
            for note in notes:
                _log.warning("storage: %s", note)
        yield storage
