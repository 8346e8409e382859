"""Storages behind TLS, with a certificate authority of their own."""

import io
import random
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from tests.mover.objects import MIB, Objects, served

from longshore.errors import StorageUnavailable
from longshore_mover.transport import HttpTransport

DATA = random.Random(8).randbytes(12 * MIB)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine that signs itself, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here: no certificate can be made")
    made = tmp_path_factory.mktemp("tls") / "both.pem"
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    public = made.with_suffix(".crt")
    named = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(made), "-out", str(public)]
    subprocess.run(["openssl", "req", *options, *named], check=True, capture_output=True)
    made.write_text(made.read_text() + public.read_text())
    return made


@pytest.fixture
def secure(certificate: Path) -> Iterator[Objects]:
    with served() as storage:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        storage.server.socket = context.wrap_socket(storage.server.socket, server_side=True)
        storage.url = storage.url.replace("http:", "https:")
        yield storage


def test_bytes_go_both_ways(
    secure: Objects, certificate: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    transport = HttpTransport(outage=timedelta(seconds=5))
    secure.put("it", DATA)
    with (tmp_path / "it").open("w+b", buffering=0) as file:
        into = cast("BinaryIO", file)
        transport.fetch(secure.sign_get("it"), into, size=len(DATA), sha256=None)
    upload = secure.open("up", len(DATA))
    with (tmp_path / "it").open("rb", buffering=0) as file:
        source = cast("BinaryIO", file)
        receipt = transport.send(secure.sign_upload(upload, len(DATA)), source, max_size=len(DATA))
    secure.commit(upload, receipt.parts)
    assert secure.get("up") == DATA


def test_a_certificate_of_strangers_is_refused_at_once(secure: Objects) -> None:
    secure.put("it", b"1")
    with pytest.raises(StorageUnavailable, match=r"not trusted.*SSL_CERT_FILE"):
        HttpTransport().fetch(secure.sign_get("it"), io.BytesIO(), size=1, sha256=None)
    assert not secure.asked
