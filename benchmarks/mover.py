"""How fast the mover moves one large file up to S3 and down from it, beside its peers.

A real server (``testbed/s3``), each turn in a process of its own that begins with its imports
done; all take turns, and the median of the ratios of the turns counts. Ours also computes the
sha256 of what moves, and the MD5 of every part that goes up, which the peers do not; obstore signs
each body with a sha256 instead. Uploads are measured to the end of their commit, whoever does it.

    python benchmarks/mover.py [--size "1 GiB"] [--rounds 3] [--peers NAME ...]
        [--directory DIR] [--json FILE]
"""

import argparse
import hashlib
import json
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from _table import show

from longshore.codec import to_json
from longshore.models import Input
from longshore.quantities import format_size, parse_size
from longshore.transfer import PlannedInput, SignedRequest, SignedUpload, TransferPlan
from longshore_mover.order import Order
from longshore_mover.transport import HttpTransport

TESTBED = Path(__file__).parent.parent / "testbed" / "s3"
OURS, PEERS = "mover", ("obstore", "boto3", "s3fs")
ACCESS = {"access_key_id": "testbed", "secret_access_key": "testbed-secret"}
BUCKET, KEY = "bench", "large"
MIB = 1024**2
PART = 16 * MIB
HOUR = timedelta(hours=1)
#: least share of obstore's and boto3's speed; most ms to the first byte, and MiB of memory
SHARES = {"obstore": 0.95, "boto3": 2.5}
FIRST_BYTE, MEMORY = 150, 150


def client(endpoint: str) -> Any:
    import boto3  # noqa: PLC0415 - in the processes that need it
    from botocore.config import Config  # noqa: PLC0415

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS["access_key_id"],
        aws_secret_access_key=ACCESS["secret_access_key"],
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


def signed(method: str, url: str) -> SignedRequest:
    return SignedRequest(method=method, url=url, expires_at=datetime.now(UTC) + HOUR)


def by_mover(endpoint: str, file: Path, sha256: str) -> tuple[Callable[[], None], ...]:
    s3, size = client(endpoint), file.stat().st_size
    transport = HttpTransport(outage=timedelta(seconds=10))
    place = {"Bucket": BUCKET, "Key": OURS}
    target = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": KEY})
    upload = s3.create_multipart_upload(**place)["UploadId"]
    part = max(PART, -(-size // (1000 * MIB)) * MIB)
    urls = [
        s3.generate_presigned_url(
            "upload_part", Params={**place, "UploadId": upload, "PartNumber": n + 1}
        )
        for n in range(-(-size // part))
    ]
    parts = tuple(signed("PUT", url) for url in urls)

    def up() -> None:
        with file.open("rb", buffering=0) as source:
            receipt = transport.send(
                SignedUpload(ticket_id="t", part_size=part, parts=parts),
                cast("Any", source),
                max_size=size,
            )
        if receipt.sha256 != sha256:
            sys.exit("other bytes were sent")
        listed = [{"PartNumber": n + 1, "ETag": tag} for n, tag in enumerate(receipt.parts)]
        s3.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": listed})

    def down() -> None:
        with file.with_suffix(".mover").open("w+b", buffering=0) as into:
            transport.fetch(signed("GET", target), cast("Any", into), size=size, sha256=sha256)

    return up, down


def by_obstore(endpoint: str, file: Path, _: str) -> tuple[Callable[[], None], ...]:
    import obstore  # noqa: PLC0415
    from obstore.store import S3Store  # noqa: PLC0415

    store = S3Store(
        BUCKET,
        endpoint=endpoint,
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True, "timeout": "600s"},
        access_key_id=ACCESS["access_key_id"],
        secret_access_key=ACCESS["secret_access_key"],
    )

    def down() -> None:
        with file.with_suffix(".obstore").open("wb", buffering=0) as into:
            for chunk in obstore.get(store, KEY).stream(min_chunk_size=4 * MIB):
                into.write(chunk)

    return (lambda: cast("None", obstore.put(store, "obstore", file)), down)


def by_boto3(endpoint: str, file: Path, _: str) -> tuple[Callable[[], None], ...]:
    s3 = client(endpoint)
    return (
        lambda: s3.upload_file(str(file), BUCKET, "boto3"),
        lambda: s3.download_file(BUCKET, KEY, str(file.with_suffix(".boto3"))),
    )


def by_s3fs(endpoint: str, file: Path, _: str) -> tuple[Callable[[], None], ...]:
    import s3fs  # noqa: PLC0415

    key, secret = ACCESS.values()
    fs = s3fs.S3FileSystem(endpoint_url=endpoint, key=key, secret=secret)
    return (
        lambda: cast("None", fs.put_file(str(file), f"{BUCKET}/s3fs")),
        lambda: cast("None", fs.get_file(f"{BUCKET}/{KEY}", str(file.with_suffix(".s3fs")))),
    )


def turn(endpoint: str, file: Path, sha256: str, who: str, way: str) -> dict[str, float]:
    """Do one transfer in this process; return MiB/s, seconds of processors and MiB of memory."""
    up, down = globals()[f"by_{who}"](endpoint, file, sha256)
    before = _cpu()
    begun = time.perf_counter()
    (up if way == "up" else down)()
    seconds = time.perf_counter() - begun
    status = Path("/proc/self/status").read_text("ascii")  # getrusage has the parent's as well
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return {"speed": file.stat().st_size / MIB / seconds, "cpu": _cpu() - before, "memory": peak}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def first_byte(directory: Path, rounds: int = 7) -> float:
    """Return the ms from the start of ``longshore-mover`` until its first request arrives."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        request = signed("GET", f"http://127.0.0.1:{listening.getsockname()[1]}/it?signed")
        upload = SignedUpload(ticket_id="t", part_size=MIB, parts=(request,))
        plan = TransferPlan(
            job_id="job",
            attempt=1,
            inputs=(PlannedInput(name="it", request=request, size=5),),
            log=upload,
            manifest=upload,
            valid_until=request.expires_at,
        )
        order = Order(
            name="ls-job-1",
            plan=plan,
            directory=directory,
            state=directory / "state",
            inputs=(Input(name="it"),),
            input_places={"it": directory / "it"},
        )
        path = directory / "plan.json"
        path.write_text(to_json(order))
        return statistics.median(_first(listening, path) for _ in range(rounds))


def _first(listening: socket.socket, plan: Path) -> float:
    argv = [sys.executable, "-m", "longshore_mover.command", "stage-in", str(plan)]
    begun = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as mover:
        listening.settimeout(30)
        connection, _ = listening.accept()
        with connection:
            connection.recv(1)
            found = 1000 * (time.perf_counter() - begun)
            mover.kill()
    return found


def measure(size: int, rounds: int, directory: Path, peers: Sequence[str]) -> dict[str, Any]:
    """Return what was found, by name."""
    up = [str(TESTBED / "up"), str(directory / "s3"), "127.0.0.1:7079"]
    with (directory / "up.log").open("w+") as log:
        subprocess.run(up, check=True, stdout=log, stderr=log)
    endpoint = "http://127.0.0.1:7079"
    turns: dict[str, list[dict[str, float]]] = {}
    try:
        file, sha256 = _make(directory, size)
        s3 = client(endpoint)
        s3.create_bucket(Bucket=BUCKET)
        _put(s3, file)
        for _ in range(rounds):
            for way in ("up", "down"):
                for who in (OURS, *peers):
                    found = _in_a_process(endpoint, file, sha256, who, way)
                    turns.setdefault(f"{who} {way}", []).append(found)
                    file.with_suffix(f".{who}").unlink(missing_ok=True)
                    if way == "up":
                        s3.delete_object(Bucket=BUCKET, Key=who)
    finally:
        subprocess.run([str(TESTBED / "down"), str(directory / "s3")], check=True)
    return {"turns": turns, "first_byte": first_byte(directory)}


def _put(s3: Any, file: Path) -> None:
    from boto3.s3.transfer import TransferConfig  # noqa: PLC0415 - as above

    # fewer than a thousand parts also of 10 GiB: with more, this server fails
    config = TransferConfig(multipart_chunksize=PART)
    s3.upload_file(str(file), BUCKET, KEY, Config=config)


def _make(directory: Path, size: int) -> tuple[Path, str]:
    file, digest = directory / "file", hashlib.sha256()
    piece = Path("/dev/urandom").open("rb").read(16 * MIB)  # noqa: SIM115 - closed by its end
    with file.open("wb") as made:
        for at in range(0, size, len(piece)):
            data = (at.to_bytes(8, "big") + piece[8:])[: size - at]
            digest.update(data)
            made.write(data)
    return file, digest.hexdigest()


def _in_a_process(*arguments: object) -> dict[str, float]:
    argv = [sys.executable, __file__, "--turn", *map(str, arguments)]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def report(found: dict[str, Any], size: int) -> list[str]:
    """Print the table; return what misses its target."""
    turns, missed = found["turns"], []

    def of(name: str, value: str) -> list[float]:
        return [one[value] for one in turns[name]]

    rows: list[tuple[object, ...]] = []
    for name in turns:
        who, way = name.split()
        ours = zip(of(f"{OURS} {way}", "speed"), of(name, "speed"), strict=True)
        ratio = statistics.median(one / other for one, other in ours)
        if ratio < SHARES.get(who, 0):
            missed.append(f"{name}: {ratio:.2f} of {SHARES[who]}")
        values = [statistics.median(of(name, value)) for value in ("speed", "cpu", "memory")]
        rows.append((name, *values, ratio))
    title = f"{format_size(size)}, a real S3 server on the same machine"
    show(title, ("", "MiB/s", "CPU s", "memory MiB", "mover / it"), rows)
    print(f"  first byte of the mover: {found['first_byte']:.0f} ms after its start")
    if found["first_byte"] > FIRST_BYTE:
        missed.append("first byte")
    if max(of(f"{OURS} up", "memory") + of(f"{OURS} down", "memory")) > MEMORY:
        missed.append("memory")
    return missed


def main() -> None:
    if sys.argv[1:2] == ["--turn"]:
        endpoint, file, sha256, who, way = sys.argv[2:]
        print(json.dumps(turn(endpoint, Path(file), sha256, who, way)))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=parse_size, default=1024 * MIB)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS)
    parser.add_argument("--directory", type=Path, help="on the disk to measure")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="longshore-mover-", dir=options.directory) as made:
        found = measure(options.size, options.rounds, Path(made), options.peers)
    missed = report(found, options.size)
    if options.json:
        options.json.write_text(json.dumps(found))
    if missed:
        print(f"  below the target: {', '.join(missed)}")


if __name__ == "__main__":
    main()
