"""The ways to a bucket: as a host, behind TLS with a CA of one's own, with and without a prefix."""

import random
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.s3 import Open, S3Server, StartS3
from tests.s3sending import send

from longshore.clock import SystemClock
from longshore.errors import SettingsInvalid, StorageUnavailable
from longshore.transfer import Audience, UploadReceipt
from longshore_s3.opening import open_storage
from longshore_s3.parts import LARGEST, MOST_PARTS, PART_SIZE, part_size
from longshore_s3.settings import Addressing, S3Settings
from longshore_s3.storage import S3Storage

pytestmark = pytest.mark.anyio

KEY = "i/acme/job/outputs/result"
DATA = b"the result"
HOUR = timedelta(hours=1)


async def one(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def check_round_trip(
    storage: S3Storage, *, connect: str | None = None, tls: ssl.SSLContext | None = None
) -> None:
    ticket = await storage.prepare_upload(KEY, max_size=len(DATA))
    signed = await storage.sign_upload(ticket, audience=Audience.JOB, expires=HOUR)
    assert send("PUT", signed.parts[0].url, DATA, connect=connect, tls=tls).status == 200
    await storage.commit(ticket, UploadReceipt(size=len(DATA)))
    request = await storage.sign_read(KEY, audience=Audience.CONSUMER, expires=HOUR)
    assert send("GET", request.url, connect=connect, tls=tls).body == DATA
    assert [one.key async for one in storage.walk("i/acme/")] == [KEY]
    assert await storage.delete("i/acme/") == 1


async def test_the_bucket_may_be_a_host(
    opened: Open, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = urlsplit(s3_server.endpoint).port
    lookup = socket.getaddrinfo

    def everything_here(host: Any, *rest: Any, **more: Any) -> Any:
        is_ours = str(host).endswith(".localhost")
        return lookup("127.0.0.1" if is_ours else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", everything_here)
    endpoint = f"http://localhost:{port}"
    async with opened(endpoint=endpoint, addressing=Addressing.VIRTUAL) as storage:
        request = await storage.sign_read(KEY, audience=Audience.JOB, expires=HOUR)
        assert request.url.startswith(f"http://{bucket}.localhost:{port}/test-")
        await check_round_trip(storage, connect="127.0.0.1")


async def test_each_audience_has_its_own_endpoint(opened: Open, s3_server: S3Server) -> None:
    port = urlsplit(s3_server.endpoint).port
    others = {"public_endpoint": f"http://localhost:{port}", "job_endpoint": f"http://[::1]:{port}"}
    async with opened(**others) as storage:
        urls = {
            audience: (await storage.sign_read(KEY, audience=audience, expires=HOUR)).url
            for audience in Audience
        }
        assert urls[Audience.SERVICE].startswith(s3_server.endpoint)
        assert urls[Audience.CONSUMER].startswith(f"http://localhost:{port}/")
        assert urls[Audience.JOB].startswith(f"http://[::1]:{port}/")


async def test_a_bucket_may_be_used_without_a_prefix(
    opened: Open, s3_client: Any, bucket: str
) -> None:
    async with opened(prefix="") as storage:
        await storage.write(KEY, one(DATA))
        assert s3_client.get_object(Bucket=bucket, Key=KEY)["Body"].read() == DATA
        await storage.delete(KEY)
        await check_round_trip(storage)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A certificate of 127.0.0.1, its key, and the CA that nobody else trusts."""
    folder = tmp_path_factory.mktemp("tls")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    for command in (
        (
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca"
            " -keyout ca.key -out ca.pem"
        ),
        (
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=s3"
            " -keyout s3.key -out s3.csr"
        ),
        (
            "x509 -req -in s3.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names"
            " -out s3.pem"
        ),
    ):
        subprocess.run(["openssl", *command.split()], check=True, capture_output=True, cwd=folder)
    return folder / "s3.pem", folder / "s3.key", folder / "ca.pem"


async def test_a_ca_of_ones_own_is_trusted_when_it_is_named(
    opened: Open, start_s3: StartS3, certificate: tuple[Path, Path, Path]
) -> None:
    own, key, ca = certificate
    server = start_s3("-cert", str(own), "-key", str(key))
    assert server.endpoint.startswith("https:")
    async with opened(endpoint=server.endpoint) as storage:
        with pytest.raises(StorageUnavailable, match="SSL"):
            await storage.stat(KEY)
    trusted = ssl.create_default_context(cafile=ca)
    async with opened(endpoint=server.endpoint, ca_file=ca) as storage:
        await storage._client.create_bucket(Bucket=storage._bucket.name)
        await check_round_trip(storage, tls=trusted)
        data = random.Random(3).randbytes(9 * 1024**2)
        await storage.write(KEY, one(data))
        assert b"".join([chunk async for chunk in storage.read(KEY)]) == data


async def test_a_ca_file_that_is_missing_is_named(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="ca_file cannot be used: No such file"):
        async with opened(ca_file=tmp_path / "nothing.pem"):
            pass


async def test_a_mistake_in_the_environment_of_aws_tools_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    settings = S3Settings(bucket="longshore", access_key="a", secret_key="hidden")
    with pytest.raises(SettingsInvalid, match="nobody"):
        async with open_storage(settings, SystemClock()):
            pass


async def test_a_ca_file_that_holds_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing of the kind")
    settings = S3Settings(
        bucket="longshore", access_key="a", secret_key="hidden", ca_file=tmp_path / "ca.pem"
    )
    with pytest.raises(SettingsInvalid, match="ca_file"):
        async with open_storage(settings, SystemClock()):
            pass


@pytest.mark.parametrize(
    ("size", "parts", "each"),
    [
        (0, 1, 1),
        (7, 1, 7),
        (PART_SIZE, 1, PART_SIZE),
        (PART_SIZE + 1, 2, PART_SIZE),
        (100 * 10**9, 994, 96 * 1024**2),
        (LARGEST, 1024, 5 * 1024**3),
    ],
)
def test_parts_grow_so_that_they_are_never_too_many(size: int, parts: int, each: int) -> None:
    assert part_size(size) == each
    assert max(1, -(-size // each)) == parts
    assert parts <= MOST_PARTS or size == LARGEST
