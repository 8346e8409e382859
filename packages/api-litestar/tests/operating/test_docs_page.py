"""The page at /docs: all of it from here, below whatever path."""

import hashlib
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import httpx2
import pytest
from tests.serving import SETTINGS, Service, serving

from longshore_api import docs_page

STATIC = resources.files("longshore_api") / "static"


class Links(HTMLParser):
    """What a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "script" and "src" not in values:
            self.inline += 1
        if tag != "a":
            self.found += [values[name] or "" for name in ("src", "href") if name in values]


def links_of(page: str) -> Links:
    links = Links()
    links.feed(page)
    return links


def test_the_page_loads_only_what_the_service_has(nobody: httpx2.Client) -> None:
    page = nobody.get("/docs")
    links = links_of(page.text)

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert links.inline == 0
    assert len(links.found) == 4
    for link in links.found:
        if link != "data:,":
            assert not re.match(r"[a-z]+:|/", link), link
            answer = nobody.get(f"/{link}")
            assert answer.status_code == 200
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "max-age" in answer.headers["cache-control"] or link.endswith("start.js")


def test_nothing_else_may_be_loaded_and_the_page_may_not_be_framed(nobody: httpx2.Client) -> None:
    policy = nobody.get("/docs").headers["content-security-policy"]

    directives = dict(one.strip().split(" ", 1) for one in policy.split(";"))
    assert directives.pop("default-src") == "'none'"
    assert directives.pop("frame-ancestors") == "'none'"
    allowed = {source for value in directives.values() for source in value.split()}
    assert allowed == {"'none'", "'self'", "data:"}


def test_our_own_script_names_no_other_address() -> None:
    script = (STATIC / "start.js").read_text()

    assert not re.search(r"https?://", script)
    assert "validatorUrl: null" in script


def test_the_vendored_files_are_those_that_are_named() -> None:
    listed = re.findall(r"\| `(\S+)` \| `([0-9a-f]{64})` \|", (STATIC / "README.md").read_text())

    assert {name for name, _ in listed} == {"swagger-ui-bundle.js", "swagger-ui.css"}
    for name, digest in listed:
        assert hashlib.sha256(docs_page.load(name).plain).hexdigest() == digest


def test_all_of_it_is_small() -> None:
    with resources.as_file(STATIC) as folder:
        assert sum(path.stat().st_size for path in Path(folder).iterdir()) < 1_600_000


def test_files_are_sent_packed_or_plain_and_not_again(nobody: httpx2.Client) -> None:
    path = "/docs/swagger-ui.css"
    packed = nobody.get(path, headers={"accept-encoding": "gzip"})
    plain = nobody.get(path, headers={"accept-encoding": "identity"})
    again = nobody.get(path, headers={"if-none-match": plain.headers["etag"]})

    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert (again.status_code, again.content) == (304, b"")


def test_only_those_files_are_there(nobody: httpx2.Client) -> None:
    for name in ("README.md", "swagger-ui.css.gz", "..%2fapp.py", "%2e%2e%2fapp.py"):
        answer = nobody.get(f"/docs/{name}")
        assert answer.status_code == 404
        assert answer.json()["code"] in {"unknown-route", "not-found"}


def test_with_a_slash_at_its_end_the_page_is_elsewhere(nobody: httpx2.Client) -> None:
    answer = nobody.get("/docs/")

    assert answer.status_code == 307
    assert answer.headers["location"] == "../docs"


@pytest.mark.parametrize("prefix", ["/longshore", ""])
def test_it_works_below_the_path_of_the_public_address(place: Path, prefix: str) -> None:
    """A proxy hands on the path as it is, or without what is its own."""
    settings = f'[service]\npublic_url = "https://compute.example/longshore"\n{SETTINGS}'

    with serving(place, settings=settings) as service, service.client() as client:
        page = client.get(f"{prefix}/docs")
        document = client.get(f"{prefix}/openapi.json")

        assert page.status_code == document.status_code == 200
        for link in links_of(page.text).found:
            if link != "data:,":
                assert client.get(f"{prefix}/{link}").status_code == 200
        assert document.json()["servers"] == [{"url": "https://compute.example/longshore"}]
        assert client.get("/longshore2/docs").status_code == 401


def test_the_service_has_a_page(service: Service) -> None:
    assert f"{service.url}/docs" in service.out.read_text()
