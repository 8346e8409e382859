"""A server of blobs in a process of its own, and connections that speak HTTP by the byte."""

import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import attrs

from longshore.blobs import BlobUrls, load_secret
from longshore.storages.local import LocalStorage
from longshore.transfer import Audience, UploadTicket

_PROGRAM = Path(__file__).with_name("blob_server.py")
PART = 400_000
_MINUTE = timedelta(minutes=1)
#: the ways in which a server may run
MODES = {"lending": (), "plain": ("plain",), "asyncio": ("asyncio",)}


@attrs.frozen
class Answer:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection to a server, on which requests are written by hand."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> None:
        """Send one request; ``content_length=""`` leaves the length away."""
        named = {"host": "x", "content-length": str(len(body))} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        lines = [f"{name}: {value}" for name, value in named.items() if value]
        self.send("\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode() + body)

    def read_line(self) -> bytes:
        return self._file.readline()

    def wait(self) -> None:
        """Return when an answer begins to come."""
        self._file.peek(1)

    def answer(self, *, has_body: bool = True) -> Answer:
        """Read one answer; a body that is cut off raises."""
        status = int(self.read_line().split()[1])
        headers = {}
        while (line := self.read_line().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(": ")
            headers[name.lower()] = value
        if has_body and headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, b"".join(self._chunks()))
        length = int(headers.get("content-length", "0")) if has_body else 0
        body = self._file.read(length)
        if len(body) < length:
            raise ConnectionError(f"{len(body)} of {length} bytes")
        return Answer(status, headers, body)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.read_line(), 16):
            yield self._file.read(size)
            self.read_line()
        self.read_line()

    def skip(self, count: int) -> None:
        """Read so many bytes of a body, and forget them."""
        buffer = memoryview(bytearray(1024**2))
        while count and (got := self._file.readinto(buffer[: min(count, len(buffer))])):
            count -= got
        assert not count

    def is_closed(self) -> bool:
        """Wait until the server has closed the connection."""
        try:
            return self._file.read(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self._file.close()
        self.socket.close()


class Server:
    """A running server; its storage may be opened from here as well."""

    def __init__(self, root: Path, *options: str) -> None:
        self.root = root
        self.options = options
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listening.getsockname()[1]
        self.secret = load_secret(root / "secret.key")
        self.storage = self.opened("", part_size=PART)
        self._closing = ExitStack()

    def opened(self, public: str, *, part_size: int) -> LocalStorage:
        """Return the server's storage, opened here; its consumers and jobs use ``public``."""
        urls = BlobUrls(secret=self.secret, public=public, job=public)
        return LocalStorage(self.root / "storage", None, urls, part_size=part_size)

    def start(self) -> None:
        descriptor = self._listening.fileno()
        argv = [sys.executable, str(_PROGRAM), str(self.root), str(descriptor), *self.options]
        self.process = subprocess.Popen(argv, pass_fds=[descriptor])
        assert self.get("/livez").status == 200

    async def upload(
        self, key: str, size: int, *, sha256: str | None = None
    ) -> tuple[UploadTicket, list[str]]:
        """Open an upload; return its ticket and the targets of its parts."""
        ticket = await self.storage.prepare_upload(key, max_size=size)
        signed = await self.storage.sign_upload(
            ticket, audience=Audience.CONSUMER, expires=_MINUTE, sha256=sha256
        )
        return ticket, [one.url for one in signed.parts]

    async def target(self, key: str) -> str:
        """Return the target that reads an object."""
        request = await self.storage.sign_read(key, audience=Audience.CONSUMER, expires=_MINUTE)
        return request.url

    async def keep(self, key: str, data: bytes) -> str:
        """Store an object; return the target that reads it."""
        await self.storage.write(key, _once(data))
        return await self.target(key)

    def connect(self) -> Connection:
        connection = Connection(self.port)
        self._closing.callback(connection.close)
        return connection

    def request(self, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
        """Send one request on a connection of its own."""
        connection = self.connect()
        connection.ask(method, target, body, **headers)
        return connection.answer(has_body=method != "HEAD")

    def get(self, target: str, **headers: str) -> Answer:
        return self.request("GET", target, b"", **headers)

    def put(self, target: str, body: bytes, **headers: str) -> Answer:
        return self.request("PUT", target, body, **headers)

    def peak_memory(self) -> int:
        """Return the most memory that the process ever had, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def has_open(self, name: str) -> bool:
        """Say whether the process has a file of this name open."""
        with suppress(FileNotFoundError):  # closed while we looked
            files = Path(f"/proc/{self.process.pid}/fd").iterdir()
            return any(one.readlink().name == name for one in files)
        return True

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        self._closing.close()
        self.kill()
        self._listening.close()


@contextmanager
def serving(root: Path, *options: str) -> Iterator[Server]:
    """Run a server for a while; ``options`` are those of ``blob_server.py``."""
    root.mkdir(exist_ok=True)
    server = Server(root, *options)
    try:
        server.start()
        yield server
    finally:
        server.close()


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
