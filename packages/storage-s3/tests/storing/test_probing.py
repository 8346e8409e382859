"""What a start says of a bucket: the round trip, on servers that are right and wrong."""

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from moto.server import ThreadedMotoServer
from tests.faultproxy import Fault, fault_proxy
from tests.s3 import ACCESS_KEY, SECRET_KEY, S3Server, StartS3

from longshore.blobs import BlobUrls, Secret
from longshore.clock import SystemClock
from longshore.errors import StorageUnavailable
from longshore.hookspecs import PluginContext
from longshore.testing import FakeClock
from longshore_s3.opening import open_bucket, open_storage
from longshore_s3.probing import Probe, too_early
from longshore_s3.settings import S3Settings

pytestmark = pytest.mark.anyio

ORIGIN = "https://compute.example"
DOCS = Path(__file__).parents[4] / "docs"
#: what the documentation gives to pages of ``ORIGIN``
RULES: list[dict[str, Any]] = [
    {
        "AllowedOrigins": [ORIGIN],
        "AllowedMethods": ["PUT"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag"],
    },
    {
        "AllowedOrigins": ["*"],
        "AllowedMethods": ["GET"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag", "Content-Range"],
    },
]
#: what the documentation gives to the service
RIGHTS = (
    "s3:ListBucket",
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
)


@pytest.fixture(scope="module")
def plain_server(start_s3: StartS3) -> S3Server:
    """A server that has no CORS rule of its own."""
    return start_s3("-cors", "")


@pytest.fixture(scope="module")
def plain_client(plain_server: S3Server) -> Any:
    return plain_server.client()


@pytest.fixture
def settings(
    plain_server: S3Server, plain_client: Any, request: pytest.FixtureRequest
) -> S3Settings:
    """Settings of an empty bucket with a CORS rule."""
    name = f"probe-{uuid.uuid4().hex[:12]}"
    plain_client.create_bucket(Bucket=name)
    plain_client.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": RULES})
    return S3Settings(
        bucket=name, endpoint=plain_server.endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY
    )


def context(home: Path, clock: Any = None) -> PluginContext:
    blobs = BlobUrls(secret=Secret(b"x" * 32), public=f"{ORIGIN}/longshore")
    return PluginContext(
        state=home, instance="i", clock=clock or SystemClock(), blobs=blobs, origins=(ORIGIN,)
    )


async def probed(settings: S3Settings, clock: Any = None) -> list[str]:
    async with open_storage(settings, clock or SystemClock()) as storage:
        return list(await Probe(storage, settings, clock or SystemClock(), [ORIGIN]).run())


def left_behind(client: Any, bucket: str) -> object:
    return (
        client.list_objects_v2(Bucket=bucket).get("Contents", []),
        client.list_multipart_uploads(Bucket=bucket).get("Uploads", []),
    )


async def test_of_a_bucket_that_is_well_nothing_is_said_and_nothing_is_left(
    settings: S3Settings, plain_client: Any
) -> None:
    assert await probed(settings) == []
    assert left_behind(plain_client, settings.bucket) == ([], [])


async def test_the_rights_in_the_documentation_are_enough(
    settings: S3Settings, plain_server: S3Server
) -> None:
    plain_server.add_user(settings.bucket, "least", "least-secret")
    plain_server.allow(settings.bucket, "least", RIGHTS)
    least = attrs.evolve(settings, access_key="least", secret_key="least-secret")
    assert await probed(least) == []
    docs = (DOCS / "storage-s3.md").read_text()
    policy = json.loads(docs.partition("```json\n")[2].partition("```")[0])
    actions = {action for one in policy["Statement"] for action in one["Action"]}
    assert actions == {*RIGHTS, "s3:GetLifecycleConfiguration"}  # which it need not have


@pytest.mark.parametrize("missing", [one for one in RIGHTS if one != "s3:AbortMultipartUpload"])
async def test_a_right_that_is_missing_is_named(
    settings: S3Settings, plain_server: S3Server, missing: str
) -> None:
    name = f"no{missing.partition(':')[2].lower()}"
    plain_server.add_user(settings.bucket, name, "least-secret")
    plain_server.allow(settings.bucket, name, [one for one in RIGHTS if one != missing])
    with pytest.raises(StorageUnavailable, match=missing.partition(":")[2]) as caught:
        await probed(attrs.evolve(settings, access_key=name, secret_key="least-secret"))
    assert caught.value.hint


async def test_a_bucket_that_is_missing_is_named(settings: S3Settings) -> None:
    with pytest.raises(StorageUnavailable, match="there is no bucket 'nothing'"):
        await probed(attrs.evolve(settings, bucket="nothing"))


@pytest.mark.parametrize(("minutes", "where"), [(20, "ahead of"), (-20, "behind")])
async def test_a_clock_that_is_off_is_named_with_how_far(
    settings: S3Settings, plain_client: Any, minutes: int, where: str
) -> None:
    clock = FakeClock(SystemClock().now() + timedelta(minutes=minutes))
    with pytest.raises(StorageUnavailable, match=f"clock is 20 minutes {where} the S3 server's"):
        await probed(settings, clock)
    assert left_behind(plain_client, settings.bucket) == ([], [])


async def test_a_server_without_multipart_uploads_is_refused(settings: S3Settings) -> None:
    assert settings.endpoint
    with fault_proxy(settings.endpoint) as proxy:
        proxy.choose = lambda asked: Fault(status=501) if asked.method == "POST" else None
        with pytest.raises(StorageUnavailable, match="no multipart uploads"):
            await probed(attrs.evolve(settings, endpoint=proxy.url))


async def test_a_server_that_shows_what_is_not_complete_is_refused(
    settings: S3Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found(*_: object) -> object:
        return object(), ""

    monkeypatch.setattr("longshore_s3.storage.S3Storage._find", found)
    with pytest.raises(StorageUnavailable, match="before it is complete"):
        await probed(settings)


async def test_pages_that_the_bucket_does_not_know_are_a_note(
    settings: S3Settings, plain_client: Any
) -> None:
    plain_client.delete_bucket_cors(Bucket=settings.bucket)
    noted = " ".join(await probed(settings))
    assert f"pages of {ORIGIN} cannot send inputs" in noted
    assert "pages cannot fetch results" in noted
    plain_client.put_bucket_cors(
        Bucket=settings.bucket,
        CORSConfiguration={"CORSRules": [{**RULES[0], "AllowedOrigins": ["https://other"]}]},
    )
    assert f"pages of {ORIGIN} cannot send inputs" in " ".join(await probed(settings))


async def test_pages_that_cannot_see_etag_are_a_note(settings: S3Settings) -> None:
    assert settings.endpoint
    with fault_proxy(settings.endpoint) as proxy:
        behind = attrs.evolve(settings, public_endpoint=proxy.url)
        assert await probed(behind) == []
        proxy.hidden = "access-control-expose-headers"  # the server of the tests always sends it
        assert [note for note in await probed(behind) if "do not see ETag" in note]


def test_the_rules_in_the_documentation_are_those_that_are_tested() -> None:
    docs = (DOCS / "storage-s3.md").read_text()
    rules = json.loads(docs.partition("CORSRules")[2].partition(":")[2].partition("\n}")[0])
    told = json.loads(json.dumps(rules).replace("https://portal.example", ORIGIN))
    assert told == RULES


async def test_an_endpoint_for_others_that_cannot_be_reached_from_here_is_a_note(
    settings: S3Settings,
) -> None:
    away = attrs.evolve(settings, public_endpoint="http://127.0.0.1:9")
    assert [note for note in await probed(away) if "public_endpoint cannot be reached" in note]


async def test_a_proxy_that_changes_the_host_is_named(settings: S3Settings) -> None:
    assert settings.endpoint
    with fault_proxy(settings.endpoint) as proxy:
        assert await probed(attrs.evolve(settings, job_endpoint=proxy.url)) == []
        proxy.host = "internal"
        with pytest.raises(StorageUnavailable, match="job_endpoint") as caught:
            await probed(attrs.evolve(settings, job_endpoint=proxy.url))
    assert "Host" in caught.value.hint


async def test_a_server_of_ours_tries_the_bucket_when_it_starts(
    settings: S3Settings, tmp_path: Path
) -> None:
    with pytest.raises(StorageUnavailable, match="there is no bucket"):
        async with open_bucket(attrs.evolve(settings, bucket="nothing"), context(tmp_path)):
            pass
    untried = attrs.evolve(context(tmp_path), blobs=None)  # no server: the command itself
    async with open_bucket(attrs.evolve(settings, bucket="nothing"), untried):
        pass


async def test_a_server_of_ours_starts_while_the_bucket_is_away(
    settings: S3Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = attrs.evolve(settings, endpoint="http://127.0.0.1:9")
    async with open_bucket(away, context(tmp_path)) as storage:
        assert "the S3 server does not answer" in caplog.text
        with pytest.raises(StorageUnavailable):
            await storage.stat("i/key")


# rules that only moto shows: the server of the tests answers 501


@pytest.fixture(scope="module")
def moto_server(request: pytest.FixtureRequest) -> Iterator[S3Server]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield S3Server(f"http://{host}:{port}", Path())
    server.stop()


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}, "drops uploads after 7"),
        ({"Expiration": {"Days": 1}}, "drops objects after 1 days"),
        ({"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 30}}, None),
    ],
)
async def test_rules_that_drop_too_early_are_named(
    moto_server: S3Server, rule: dict[str, Any], says: str | None
) -> None:
    client = moto_server.client()
    client.create_bucket(Bucket="rules")
    settings = S3Settings(
        bucket="rules", endpoint=moto_server.endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY
    )
    assert [note for note in await probed(settings) if "no lifecycle rule" in note]
    rules = [{"ID": "mine", "Status": "Enabled", "Filter": {"Prefix": ""}, **rule}]
    client.put_bucket_lifecycle_configuration(
        Bucket="rules", LifecycleConfiguration={"Rules": rules}
    )
    if says is None:
        assert not [note for note in await probed(settings) if "lifecycle" in note]
    else:
        with pytest.raises(StorageUnavailable, match=says) as caught:
            await probed(settings)
        assert "15 days" in caught.value.hint
    client.delete_bucket_lifecycle(Bucket="rules")


@pytest.mark.parametrize(
    ("rule", "is_ours"),
    [
        ({"Filter": {"Prefix": "other/"}}, False),
        ({"Filter": {"Prefix": "ours"}}, True),
        ({"Filter": {"Prefix": "ours/i/acme/"}}, True),
        ({"Prefix": ""}, True),
        ({"Filter": {"Tag": {"Key": "a", "Value": "b"}}}, False),
        ({"Filter": {"And": {"Prefix": "ours/", "Tags": [{"Key": "a", "Value": "b"}]}}}, False),
        ({"Status": "Disabled"}, False),
    ],
)
def test_rules_for_others_do_not_matter(rule: dict[str, Any], *, is_ours: bool) -> None:
    given = {"Status": "Enabled", "Expiration": {"Days": 1}, **rule}
    assert bool(list(too_early([given], "ours", timedelta(days=2)))) is is_ours
