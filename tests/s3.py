"""A real S3 server for tests (testbed/s3): ``pytest --s3``, or ``./dev test --s3``."""

import hashlib
import json
import os
import re
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from tests.ports import free_port
from tests.s3sending import send

if TYPE_CHECKING:
    from longshore_s3.storage import S3Storage

S3 = Path(__file__).parent.parent / "testbed" / "s3"
ACCESS_KEY, SECRET_KEY = "testbed", "testbed-secret"
REGION = "us-east-1"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--s3``."""
    parser.addoption("--s3", action="store_true", help="also what needs a real S3 server (Go)")


@attrs.frozen
class S3Server:
    """A server that runs; ``endpoint`` is its address."""

    endpoint: str
    directory: Path

    def client(self, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY) -> Any:
        """Return a client that knows nothing of Longshore."""
        import boto3  # noqa: PLC0415 - half a second
        from botocore.config import Config  # noqa: PLC0415

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )

    def kill(self) -> None:
        """Kill the server, as a machine that loses its power would."""
        os.kill(int((self.directory / "pid").read_text()), signal.SIGKILL)

    def start(self, *flags: str) -> str:
        """Start it at its address; return what it says."""
        address = self.endpoint.partition("//")[2]
        argv = [str(S3 / "up"), str(self.directory), address, *flags]
        # to a file: the server keeps a pipe open
        with (self.directory / "up.log").open("w+b") as log:
            done = subprocess.run(argv, check=False, stdout=log, stderr=log, timeout=600)
            log.seek(0)
            said = log.read().decode()
        assert done.returncode == 0, said
        return said

    def add_user(self, bucket: str, access_key: str, secret_key: str) -> None:
        """Make an account that may do all in ``bucket``, and be the only one besides the root."""
        account = f"<Access>{access_key}</Access><Secret>{secret_key}</Secret><Role>user</Role>"
        self._admin("/create-user", f"<Account>{account}</Account>".encode())
        self.allow(bucket, access_key, ["s3:*"])

    def replace_user(self, bucket: str, old: str, access_key: str, secret_key: str) -> None:
        """Make another account in the place of ``old``, which is no more."""
        self._admin(f"/delete-user?access={old}")
        self.add_user(bucket, access_key, secret_key)

    def allow(self, bucket: str, access_key: str, actions: Sequence[str]) -> None:
        """Let an account do these things in ``bucket``, and nothing else."""
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": [access_key]},
            "Action": list(actions),
            "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        }
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        self.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))

    def _admin(self, target: str, body: bytes = b"") -> None:
        from botocore.auth import S3SigV4Auth  # noqa: PLC0415 - half a second
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.credentials import Credentials  # noqa: PLC0415

        request = AWSRequest("PATCH", self.endpoint + target, data=body)
        request.headers["X-Amz-Content-Sha256"] = hashlib.sha256(body).hexdigest()
        S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", REGION).add_auth(request)
        answer = send("PATCH", self.endpoint + target, body, dict(request.headers.items()))
        assert answer.status in {200, 201}, answer.body


#: opens the module's bucket, below a prefix of the test's own
Open = Callable[..., AbstractAsyncContextManager["S3Storage"]]
StartS3 = Callable[..., S3Server]


@pytest.fixture(scope="session")
def start_s3(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartS3]:
    """Start servers, each with flags of its own; they end with the session."""
    if not request.config.getoption("--s3"):
        pytest.skip("needs a real S3 server: --s3, and Go to build it")
    running: list[Path] = []

    def start(*flags: str) -> S3Server:
        server = S3Server(f"http://127.0.0.1:{free_port()}", tmp_path_factory.mktemp("s3"))
        running.append(server.directory)
        return attrs.evolve(server, endpoint=server.start(*flags).split()[-1])

    yield start
    for directory in running:
        subprocess.run([str(S3 / "down"), str(directory)], check=True)


@pytest.fixture(scope="session")
def s3_server(start_s3: StartS3) -> S3Server:
    """The server that most tests share.

    ``LONGSHORE_TEST_S3`` is the endpoint of another one, to see how it does; with the same keys.
    """
    if other := os.environ.get("LONGSHORE_TEST_S3"):
        return S3Server(other, Path())
    return start_s3("-domain", "localhost")


@pytest.fixture(scope="session")
def s3_client(s3_server: S3Server) -> Any:
    """A client that knows nothing of Longshore."""
    return s3_server.client()


@pytest.fixture(scope="module")
def bucket(s3_client: Any, request: pytest.FixtureRequest) -> str:
    """A bucket for the tests of one module."""
    words = re.sub(r"[^a-z0-9]+", "-", request.module.__name__.rpartition(".")[2].lower())
    name = f"{words.strip('-')[:40]}-{uuid.uuid4().hex[:8]}"
    s3_client.create_bucket(Bucket=name)
    return name
