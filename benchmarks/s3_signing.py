"""How fast requests for a bucket are signed, and how soon an upload of 100 GB can begin.

Peers in the same run are botocore, boto3 and obstore, which sign one request at a time. An upload
is prepared on the real S3 server of testbed/s3 (Go builds it at first use): one request to the
server, and the URLs of all parts. ``--no-server`` leaves that out.

    python benchmarks/s3_signing.py [--rounds 5] [--no-server] [--json FILE]
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import boto3
import botocore.auth
import obstore
import obstore.store
from _table import median_of, show
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as TheirCredentials

from longshore.clock import SystemClock
from longshore.transfer import Audience
from longshore_s3.opening import open_storage
from longshore_s3.parts import part_size
from longshore_s3.settings import S3Settings
from longshore_s3.signing import Credentials, Signer, place_of

#: signatures a second; milliseconds, and those of the processor, until 100 GB may be sent
LEAST, LONGEST_MS, MOST_CPU_MS = 150_000, 60.0, 30.0
SIZE = 100 * 10**9
KEY = "0123456789/acme/01m7z66wve5nq3rnfknzxk3f5k/outputs/result"
UPLOAD = "b4a7c2fe-8d1c-4b39-9f2a-6e2f0e7a1c55"
ENDPOINT = "http://127.0.0.1:7071"
SECRETS = {"access": "testbed", "secret": "testbed-secret"}
OF_PARTS = "parts of an upload, ours"
OURS = Credentials(access_key=SECRETS["access"], secret_key=SECRETS["secret"])
S3 = Path(__file__).parent.parent / "testbed" / "s3"


def per_second(sign: Callable[[int], object], count: int, rounds: int) -> float:
    """Return how many requests are signed in a second; ``sign`` signs so many."""

    def measure() -> float:
        begin = time.perf_counter()
        sign(count)
        return count / (time.perf_counter() - begin)

    return median_of(rounds, measure)


Signing = dict[str, tuple[Callable[[int], object], int]]


def ours() -> Signing:
    """Return our ways of signing, and how many at a time."""
    signer = Signer(place_of(ENDPOINT, "bucket", virtual=False), "us-east-1")

    def parts(count: int) -> None:
        now = datetime.now(UTC)
        for _ in range(count // 1000):
            signer.sign_parts(OURS, KEY, UPLOAD, 1000, at=now, expires=900)

    def single(count: int) -> None:
        now = datetime.now(UTC)
        for number in range(count):
            signer.sign(OURS, "GET", f"{KEY}{number}", at=now, expires=900)

    return {OF_PARTS: (parts, 100_000), "single requests, ours": (single, 20_000)}


def theirs() -> Signing:
    """Return the peers', and how many at a time."""
    client = boto3.client(
        "s3",
        endpoint_url=ENDPOINT,
        region_name="us-east-1",
        aws_access_key_id=SECRETS["access"],
        aws_secret_access_key=SECRETS["secret"],
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    known = TheirCredentials(SECRETS["access"], SECRETS["secret"])
    store = obstore.store.S3Store(
        "bucket",
        endpoint=ENDPOINT,
        region="us-east-1",
        access_key_id=SECRETS["access"],
        secret_access_key=SECRETS["secret"],
        client_options={"allow_http": True},
    )

    def by_boto3(count: int) -> None:
        for number in range(count):
            asked = {
                "Bucket": "bucket",
                "Key": KEY,
                "UploadId": UPLOAD,
                "PartNumber": number + 1,
            }
            client.generate_presigned_url("upload_part", Params=asked, ExpiresIn=900)

    def by_botocore(count: int) -> None:
        for number in range(count):
            url = f"{ENDPOINT}/bucket/{KEY}?partNumber={number}&uploadId={UPLOAD}"
            request = AWSRequest("PUT", url)
            botocore.auth.S3SigV4QueryAuth(known, "s3", "us-east-1", 900).add_auth(request)

    def by_obstore(count: int) -> None:
        for number in range(count):
            obstore.sign(store, "GET", f"{KEY}{number}", timedelta(minutes=15))

    def by_obstore_at_once(count: int) -> None:
        names = [f"{KEY}{number}" for number in range(count)]
        obstore.sign(store, "GET", names, timedelta(minutes=15))

    return {
        "single requests, obstore": (by_obstore, 5000),
        "many at once, obstore": (by_obstore_at_once, 20_000),
        "single requests, botocore's signer": (by_botocore, 2000),
        "parts, boto3": (by_boto3, 1000),
    }


@contextmanager
def server() -> Iterator[str]:
    """Run the S3 server of the tests."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as directory:
        try:
            subprocess.run(
                [S3 / "up", directory, address], check=True, stdout=subprocess.DEVNULL, timeout=600
            )
            yield f"http://{address}"
        finally:
            subprocess.run([S3 / "down", directory], check=True)


async def prepare(endpoint: str, rounds: int) -> tuple[float, float, float]:
    """Return milliseconds, those of the processor, and boto3's, to prepare 100 GB."""
    settings = S3Settings(
        bucket="bench",
        endpoint=endpoint,
        access_key=SECRETS["access"],
        secret_key=SECRETS["secret"],
    )
    client: Any = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=SECRETS["access"],
        aws_secret_access_key=SECRETS["secret"],
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket="bench")
    took: list[tuple[float, float]] = []
    async with open_storage(settings, SystemClock()) as storage:
        for number in range(rounds + 1):
            begin, cpu = time.perf_counter(), time.process_time()
            ticket = await storage.prepare_upload(f"i/t/j/outputs/{number}", max_size=SIZE)
            signed = await storage.sign_upload(
                ticket, audience=Audience.JOB, expires=timedelta(hours=24)
            )
            took.append((time.perf_counter() - begin, time.process_time() - cpu))
            await storage.abort(ticket)
    count = len(signed.parts)

    def by_boto3() -> float:
        begin = time.perf_counter()
        asked = {"Bucket": "bench", "Key": "i/t/j/outputs/boto3"}
        asked["UploadId"] = client.create_multipart_upload(**asked)["UploadId"]
        for part in range(1, count + 1):
            client.generate_presigned_url("upload_part", Params={**asked, "PartNumber": part})
        return (time.perf_counter() - begin) * 1000

    wall, cpu = (statistics.median(column) * 1000 for column in zip(*took[1:], strict=True))
    return wall, cpu, median_of(min(rounds, 3), by_boto3)


def main() -> int:
    """Measure, print, and say by the exit code whether all is reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-server", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rates = {name: per_second(*one, given.rounds) for name, one in {**ours(), **theirs()}.items()}
    best = rates[OF_PARTS]
    show(
        "signatures a second",
        ("", "a second", "ours is x times"),
        [(name, rate, best / rate) for name, rate in rates.items()],
    )
    is_well = min(rates[name] for name in ours()) >= LEAST
    print(f"  wanted: {LEAST:,} of ours: {'reached' if is_well else 'MISSED'}")
    found: dict[str, Any] = {"rates": rates}
    if not given.no_server:
        with server() as endpoint:
            wall, cpu, boto = anyio.run(prepare, endpoint, given.rounds)
        parts = -(-SIZE // part_size(SIZE))
        print()
        show(
            f"an upload of 100 GB in {parts:,} parts is prepared",
            ("", "ms", "ms of CPU", "wanted"),
            [
                ("ours", wall, cpu, f"{LONGEST_MS:g} and {MOST_CPU_MS:g}"),
                ("boto3, as many parts", boto, "", ""),
            ],
        )
        is_well = is_well and wall <= LONGEST_MS and cpu <= MOST_CPU_MS
        found |= {"prepare_ms": wall, "prepare_cpu_ms": cpu, "boto3_ms": boto}
    if given.json:
        given.json.write_text(json.dumps(found, indent=2))
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
