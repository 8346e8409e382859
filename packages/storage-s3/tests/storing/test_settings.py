"""``[storage]`` as a provider writes it."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from longshore.errors import SettingsInvalid
from longshore.settings import build, load_table, parse_settings
from longshore_s3.settings import S3Settings


def built(**table: Any) -> S3Settings:
    return build(S3Settings, {"bucket": "longshore", **table}, "storage")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"bucket": "Not_A_Bucket"}, "bucket"),
        ({"endpoint": "s3.example"}, "'endpoint' must be http"),
        ({"endpoint": "ftp://s3.example"}, "'endpoint' must be http"),
        ({"endpoint": "https://s3.example/path"}, "'endpoint' must be http"),
        ({"endpoint": "https://s3.example?a=b"}, "'endpoint' must be http"),
        ({"public_endpoint": "https://user:hidden@s3.example"}, "'public_endpoint' must be http"),
        ({"job_endpoint": "http://s3.example:99999"}, "'job_endpoint' must be http"),
        ({"region": "EU Central"}, "region"),
        ({"prefix": "../up"}, "prefix"),
        ({"addressing": "hosted"}, "none of auto, path, virtual"),
        ({"endpoint": "http://10.0.0.1", "addressing": "virtual"}, "'endpoint' is an address"),
        ({"job_endpoint": "http://[::1]:80", "addressing": "virtual"}, "must be 'path' there"),
        ({"access_key": "hidden"}, "belong together"),
        ({"secret_key_file": "/hidden"}, "belong together"),
        ({"session_token": "hidden"}, "belongs to"),
        ({"access_key": "a", "secret_key": "hidden", "profile": "p"}, "two ways"),
        ({"buckets": "x"}, "is no setting"),
    ],
)
def test_a_mistake_is_named_and_no_secret(table: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        built(**table)
    assert says in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_bucket_must_be_named() -> None:
    with pytest.raises(SettingsInvalid, match=r"storage.bucket: is missing"):
        build(S3Settings, {}, "storage")


@pytest.mark.parametrize(
    ("table", "endpoint", "virtual"),
    [
        ({"region": "eu-central-1"}, "https://s3.eu-central-1.amazonaws.com", True),
        ({"bucket": "a.b"}, "https://s3.us-east-1.amazonaws.com", False),
        ({"endpoint": "http://localhost:8333/"}, "http://localhost:8333", False),
        ({"endpoint": "https://s3.example", "addressing": "virtual"}, "https://s3.example", True),
    ],
)
def test_urls_name_the_bucket_as_the_server_wants(
    table: dict[str, Any], endpoint: str, *, virtual: bool
) -> None:
    settings = built(**table)
    assert (settings.service_endpoint, settings.is_virtual) == (endpoint, virtual)


def test_any_value_comes_by_the_environment() -> None:
    environment = {
        "LONGSHORE_STORAGE__PLUGIN": "s3",
        "LONGSHORE_STORAGE__BUCKET": "longshore",
        "LONGSHORE_STORAGE__ACCESS_KEY": "access",
        "LONGSHORE_STORAGE__SECRET_KEY": "hidden",
        "LONGSHORE_STORAGE__SESSION_TOKEN": "hidden",
        "LONGSHORE_STORAGE__CA_FILE": "~/ca.pem",
        "LONGSHORE_STORAGE__TIMEOUT": "5s",
        "LONGSHORE_STORAGE__PROBE": "false",
        "LONGSHORE_STORAGE__PREFIX": "/jobs/",
    }
    settings = parse_settings(load_table(None, environment))
    storage = build(S3Settings, settings.storage.table, "storage")
    assert storage.secret_key == "hidden"  # noqa: S105 - not a password of anything
    assert storage.ca_file == Path(os.environ["HOME"]) / "ca.pem"
    assert (storage.timeout, storage.probe) == (timedelta(seconds=5), False)
    assert storage.prefix == "jobs"
    assert "hidden" not in repr(storage)
