"""A page of an origin of its own, opened by a real browser, and what it reports."""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
from tests.answering import answering
from tests.support import until

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
PAGE = Path(__file__).with_name("page.html")
_PATIENCE = 90.0
#: without a sandbox, as root has none there; and nothing that would ask the rest of the world
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-extensions", "--disable-background-networking"),
    *("--disable-component-update", "--disable-default-apps", "--disable-sync"),
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


@attrs.define(kw_only=True)
class Portal:
    """A web server of its own: the origin of a page, which tells it what it has done."""

    origin: str
    given: Mapping[str, Any] = {}
    reports: list[dict[str, Any]] = attrs.field(factory=list)

    def visit(self, place: Path, **given: Any) -> dict[str, Any]:
        """Open the page with a browser that keeps its things at ``place``; return its report."""
        assert PROGRAM is not None
        self.given = given
        before = len(self.reports)
        argv = [PROGRAM, *_OPTIONS, f"--user-data-dir={place}", f"{self.origin}/"]
        with (place.parent / f"{place.name}.txt").open("wb") as said:
            browser = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )
            try:
                until(lambda: len(self.reports) > before, "the page to report", _PATIENCE)
            finally:
                browser.terminate()
                try:
                    browser.wait(10)
                except subprocess.TimeoutExpired:
                    browser.kill()
                    browser.wait()
        return self.reports[-1]


class _Handler(BaseHTTPRequestHandler):
    portal: Portal

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if self.path == "/":
            self._answer("text/html; charset=utf-8", PAGE.read_bytes())
        elif self.path == "/given":
            self._answer("application/json", json.dumps(self.portal.given).encode())
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self._answer("text/plain", b"")
        self.portal.reports.append(json.loads(body))

    def _answer(self, media_type: str, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def portal() -> Iterator[Portal]:
    """Serve the page from an origin of its own."""
    handler = type("Bound", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    made = Portal(origin=f"http://127.0.0.1:{server.server_address[1]}")
    handler.portal = made  # type: ignore[attr-defined]  # as its class has it
    with answering(server):
        yield made
