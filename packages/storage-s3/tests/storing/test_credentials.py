"""Where credentials come from, and that the new ones are used when they change."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from longshore.errors import StorageUnavailable
from longshore.testing import FakeClock
from longshore.transfer import Audience
from longshore_s3.credentials import CredentialSource, source_of
from longshore_s3.opening import bucket_of
from longshore_s3.settings import S3Settings
from longshore_s3.signing import Credentials
from longshore_s3.storage import S3Storage

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def source(clock: FakeClock | None = None, **table: Any) -> CredentialSource:
    return source_of(S3Settings(bucket="longshore", **table), clock or FakeClock(NOW))


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of AWS tools, and no machine to ask."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


def write_profile(home: Path, access: str, secret: str = "hidden") -> None:  # noqa: S107 - a test's
    lines = ["[work]", f"aws_access_key_id={access}", f"aws_secret_access_key={secret}"]
    (home / "credentials").write_text("\n".join(lines))


async def test_files_are_read_again_when_they_change(tmp_path: Path) -> None:
    access, secret = tmp_path / "access", tmp_path / "secret"
    access.write_text("first\n")
    secret.write_text(" hidden \n")
    given = source(access_key_file=access, secret_key_file=secret)
    first = await given.get()
    assert (first.access_key, first.secret_key) == ("first", "hidden")
    assert await given.get() is first  # so that what is derived from it stays
    fresh = tmp_path / "fresh"
    fresh.write_text("second")
    fresh.replace(access)
    assert (await given.get()).access_key == "second"


async def test_a_file_with_a_session_says_when_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    known = {"AccessKeyId": "a", "SecretAccessKey": "hidden", "SessionToken": "t"}
    path.write_text(json.dumps({**known, "Expiration": "2026-01-01T12:30:00Z"}))
    found = await source(credentials_file=path).get()
    assert (found.token, found.expires_at) == ("t", NOW + timedelta(minutes=30))
    path.write_text(json.dumps({**known, "SecretAccessKey": "other"}))
    assert (await source(credentials_file=path).get()).expires_at is None


@pytest.mark.parametrize("content", ["", "hidden", "[]", '{"AccessKeyId": "hidden"}'])
async def test_a_file_that_holds_something_else_is_named_and_not_shown(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "credentials.json"
    path.write_text(content)
    with pytest.raises(StorageUnavailable, match=r"credentials\.json does not hold") as caught:
        await source(credentials_file=path).get()
    assert "hidden" not in str(caught.value)


async def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    given = source(access_key_file=tmp_path / "access", secret_key_file=tmp_path / "secret")
    with pytest.raises(StorageUnavailable, match=r"access and .*secret: No such file"):
        await given.get()


async def test_a_profile_is_read_again_when_it_changes(aws: Path) -> None:
    write_profile(aws, "first")
    given = source(profile="work")
    first = await given.get()
    assert first.access_key == "first"
    assert await given.get() is first
    write_profile(aws, "the-second")
    assert (await given.get()).access_key == "the-second"


async def test_the_environment_of_aws_tools_is_found(
    aws: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t")
    found = await source().get()
    assert (found.access_key, found.token) == ("a", "t")


async def test_credentials_that_a_program_gives_are_renewed_before_they_end(aws: Path) -> None:
    now = datetime.now(UTC)
    given = aws / "given.json"

    def give(access: str, ends: datetime) -> None:
        known = {"Version": 1, "AccessKeyId": access, "SecretAccessKey": "s", "SessionToken": "t"}
        given.write_text(json.dumps({**known, "Expiration": ends.isoformat()}))

    (aws / "config").write_text(f"[profile work]\ncredential_process = /bin/cat {given}\n")
    give("first", now + timedelta(minutes=5))
    asked = source(FakeClock(now), profile="work")
    first = await asked.get()
    assert first.expires_at is not None
    assert abs(first.expires_at - now - timedelta(minutes=5)) < timedelta(seconds=1)
    give("second", now + timedelta(hours=5))
    assert (await asked.get()).access_key == "second"


async def test_nothing_at_all_says_what_to_set(aws: Path) -> None:
    with pytest.raises(StorageUnavailable, match="there are no credentials") as caught:
        await source().get()
    assert "access_key_file" in caught.value.hint


async def test_a_profile_that_does_not_exist_is_named(aws: Path) -> None:
    with pytest.raises(StorageUnavailable, match="nobody"):
        await source(profile="nobody").get()


class _Fixed:
    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def get(self) -> Credentials:
        return self._credentials


def signing(ends: datetime | None) -> S3Storage:
    bucket = bucket_of(S3Settings(bucket="longshore"))
    credentials = Credentials(access_key="a", secret_key="s", token="t", expires_at=ends)
    return S3Storage(bucket, None, None, _Fixed(credentials), FakeClock(NOW))


@pytest.mark.parametrize(
    ("ends", "asked", "life"),
    [
        (timedelta(minutes=30), timedelta(hours=24), timedelta(minutes=30)),
        (timedelta(hours=30), timedelta(hours=24), timedelta(hours=24)),
        (None, timedelta(days=30), timedelta(days=7)),
    ],
)
async def test_no_request_outlives_the_session_or_what_the_protocol_knows(
    ends: timedelta | None, asked: timedelta, life: timedelta
) -> None:
    storage = signing(None if ends is None else NOW + ends)
    request = await storage.sign_read("i/key", audience=Audience.JOB, expires=asked)
    assert request.expires_at == NOW + life
    assert f"X-Amz-Expires={int(life.total_seconds())}&" in request.url
    assert "X-Amz-Security-Token=t&" in request.url


async def test_nothing_is_signed_by_a_session_that_has_ended() -> None:
    with pytest.raises(StorageUnavailable, match="the session token has expired"):
        await signing(NOW).sign_read("i/key", audience=Audience.JOB, expires=timedelta(hours=1))
