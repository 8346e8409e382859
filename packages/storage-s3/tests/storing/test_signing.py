"""Our signatures against botocore's."""

import string
from datetime import UTC, datetime
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as TheirCredentials
from hypothesis import assume, given, settings, strategies as st

from longshore_s3.signing import Credentials, Place, Signer, place_of

KEY_TEXT = st.text(string.ascii_letters + string.digits + "._-/ +%~ü", min_size=1, max_size=60)
TEXT = st.text(string.printable[:94], min_size=1, max_size=40)
NAMES = st.sampled_from(["partNumber", "uploadId", "response-content-type", "versionId", "uploads"])
CREDENTIALS = st.builds(
    lambda access, secret, token: Credentials(access_key=access, secret_key=secret, token=token),
    st.text(string.ascii_uppercase + string.digits, min_size=3, max_size=20),
    TEXT,
    st.none() | TEXT,
)
TIMES = st.datetimes(datetime(2013, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
ENDPOINTS = st.sampled_from(
    ["https://s3.example", "http://127.0.0.1:7071", "https://s3.example:443", "http://[::1]:80"]
)
REGIONS = st.sampled_from(["us-east-1", "eu-central-1", "garage"])


def theirs(
    place: Place,
    region: str,
    credentials: Credentials,
    method: str,
    url: str,
    at: datetime,
    expires: int,
    headers: dict[str, str],
) -> dict[str, str]:
    """Return the members of the query that botocore signs."""
    known = TheirCredentials(credentials.access_key, credentials.secret_key, credentials.token)
    auth = botocore.auth.S3SigV4QueryAuth(known, "s3", region, expires=expires)
    request = AWSRequest(method, url, headers={"Host": place.host, **headers})
    with mock.patch("botocore.auth.get_current_datetime", return_value=at):
        auth.add_auth(request)
    return dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True))


def members(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


@settings(max_examples=1000, deadline=None)
@given(
    endpoint=ENDPOINTS,
    virtual=st.booleans(),
    region=REGIONS,
    credentials=CREDENTIALS,
    method=st.sampled_from(["GET", "PUT", "HEAD", "POST", "DELETE"]),
    key=KEY_TEXT,
    at=TIMES,
    expires=st.integers(1, 604800),
    query=st.dictionaries(NAMES, TEXT, max_size=3),
    headers=st.dictionaries(st.sampled_from(["x-amz-meta-a", "x-amz-acl"]), TEXT, max_size=2),
)
def test_a_signature_is_botocores(
    *,
    endpoint: str,
    virtual: bool,
    region: str,
    credentials: Credentials,
    method: str,
    key: str,
    at: datetime,
    expires: int,
    query: dict[str, str],
    headers: dict[str, str],
) -> None:
    assume("[" not in endpoint or not virtual)  # settings refuse it, and so do URLs
    signer = Signer(place_of(endpoint, "bucket", virtual=virtual), region)
    url = signer.sign(
        credentials, method, key, at=at, expires=expires, query=query.items(), headers=headers
    )
    plain = (
        AWSRequest(method, signer.place.origin + signer.place.path_of(key), params=query)
        .prepare()
        .url
    )
    assert members(url) == theirs(
        signer.place, region, credentials, method, plain, at, expires, headers
    )


@settings(max_examples=50, deadline=None)
@given(
    endpoint=ENDPOINTS,
    virtual=st.booleans(),
    credentials=CREDENTIALS,
    key=KEY_TEXT,
    upload_id=TEXT,
    at=TIMES,
)
def test_the_signatures_of_parts_are_those_of_single_requests(
    *,
    endpoint: str,
    virtual: bool,
    credentials: Credentials,
    key: str,
    upload_id: str,
    at: datetime,
) -> None:
    signer = Signer(place_of(endpoint, "bucket", virtual=virtual), "us-east-1")
    urls = signer.sign_parts(credentials, key, upload_id, 12, at=at, expires=900)
    for number, url in enumerate(urls, start=1):
        query = [("partNumber", str(number)), ("uploadId", upload_id)]
        single = signer.sign(credentials, "PUT", key, at=at, expires=900, query=query)
        assert url == single


@pytest.mark.parametrize(
    ("endpoint", "virtual", "expected"),
    [
        ("https://s3.example", False, "https://s3.example/b/k"),
        ("https://s3.example:443", False, "https://s3.example/b/k"),
        ("http://S3.Example:7071/", False, "http://s3.example:7071/b/k"),
        ("https://s3.example", True, "https://b.s3.example/k"),
        ("http://[::1]:9000", False, "http://[::1]:9000/b/k"),
    ],
)
def test_a_url_names_the_bucket_in_its_path_or_its_host(
    *,
    endpoint: str,
    virtual: bool,
    expected: str,
) -> None:
    place = place_of(endpoint, "b", virtual=virtual)
    assert place.origin + place.path_of("k") == expected


def test_another_day_has_another_key_and_other_credentials_too() -> None:
    signer = Signer(place_of("http://h", "b", virtual=False), "r")
    first, second = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    one = Credentials(access_key="a", secret_key="one")
    other = Credentials(access_key="a", secret_key="two")
    urls = [
        signer.sign(credentials, "GET", "k", at=at, expires=9)
        for credentials, at in ((one, first), (one, second), (other, second), (one, first))
    ]
    assert len(set(urls)) == 3
    assert urls[0] == urls[3]
    fresh = Signer(signer.place, "r")
    assert fresh.sign(other, "GET", "k", at=second, expires=9) == urls[2]


def test_no_secret_is_shown() -> None:
    shown = repr(Credentials(access_key="a", secret_key="hidden", token="hidden"))
    assert "hidden" not in shown
