"""A page in a real browser sends bytes straight to S3, and reads what comes of them from there."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.browser.chromium import PROGRAM, Portal, portal
from tests.faultproxy import FaultProxy, fault_proxy
from tests.s3 import ACCESS_KEY, SECRET_KEY, S3Server, StartS3
from tests.serving import SETTINGS, Service, end_everything, serving

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")
MIB = 1024**2
SIZE = 40 * MIB + 7
BUCKET = "pages"
DOCS = Path(__file__).parents[2] / "docs" / "storage-s3.md"


@pytest.fixture(scope="module")
def s3_server(start_s3: StartS3) -> S3Server:
    """A server that allows pages nothing but what the bucket says."""
    server = start_s3("-cors", "")
    server.client().create_bucket(Bucket=BUCKET)
    return server


@pytest.fixture
def friend(s3_server: S3Server) -> Iterator[Portal]:
    """The page of an origin to which the bucket gives what the documentation says."""
    with portal() as made:
        rules = DOCS.read_text().partition('```json\n{\n  "CORSRules"')[2].partition("```")[0]
        rules = rules.replace("https://portal.example", made.origin)
        s3_server.client().put_bucket_cors(
            Bucket=BUCKET, CORSConfiguration=json.loads('{"CORSRules"' + rules)
        )
        yield made


@pytest.fixture
def way(s3_server: S3Server) -> Iterator[FaultProxy]:
    """The way of pages to the server."""
    with fault_proxy(s3_server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def service(
    tmp_path: Path, s3_server: S3Server, way: FaultProxy, friend: Portal
) -> Iterator[Service]:
    settings = f"""\
{SETTINGS}
[service]
origins = ["{friend.origin}"]
[storage]
plugin = "s3"
bucket = "{BUCKET}"
endpoint = "{s3_server.endpoint}"
public_endpoint = "{way.url}"
access_key = "{ACCESS_KEY}"
"""
    secret = {"LONGSHORE_STORAGE__SECRET_KEY": SECRET_KEY}
    try:
        with serving(tmp_path, settings=settings, environment=secret) as made:
            yield made
    finally:
        end_everything(tmp_path)


def test_a_page_of_an_allowed_origin_sends_to_s3_and_reads_from_there(
    service: Service, friend: Portal, way: FaultProxy, tmp_path: Path
) -> None:
    given = {"server": service.url, "token": service.consumer(), "size": SIZE, "workflow": "hello"}
    said = friend.visit(tmp_path / "profile", **given)
    assert "error" not in said, said
    assert said["state"] == "SUCCEEDED"
    assert said["isSame"]
    assert said["parts"] == 3
    assert said["range"] == f"bytes 0-3/{SIZE}"
    assert way.moved >= 2 * SIZE


def test_control_without_the_rules_of_the_bucket_the_browser_sends_nothing(
    service: Service, friend: Portal, s3_server: S3Server, tmp_path: Path
) -> None:
    s3_server.client().delete_bucket_cors(Bucket=BUCKET)
    given = {"server": service.url, "token": service.consumer(), "size": SIZE, "workflow": "hello"}
    said = friend.visit(tmp_path / "profile", **given)
    assert said == {"error": "TypeError: Failed to fetch", "steps": ["POST /v1/jobs 201"]}
