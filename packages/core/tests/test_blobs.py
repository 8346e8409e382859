"""Signed URLs and their secret: the pure part."""

import os
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from longshore import blobs
from longshore.blobs import PATH, Grant, Secret, load_secret, sign, verify
from longshore.errors import Denied, SettingsInvalid

SECRET = Secret(b"k" * 32)
EXPIRES = 2_000_000_000
BEFORE = datetime.fromtimestamp(EXPIRES - 0.001, UTC)
GET = Grant(method="GET", key="i/t/j/outputs/result", expires=EXPIRES)
PUT = Grant(
    method="PUT",
    key="i/t/j/inputs/data",
    expires=EXPIRES,
    upload="u",
    part=3,
    at=200,
    size=100,
    sha256="ab",
)


def taken_apart(url: str) -> tuple[str, str]:
    path, _, query = url.partition("?")
    assert path.startswith(PATH)
    return path.removeprefix(PATH), query


@pytest.mark.parametrize("grant", [GET, PUT])
def test_what_was_signed_is_what_is_allowed(grant: Grant) -> None:
    key, query = taken_apart(sign(SECRET, grant))
    assert verify(SECRET, grant.method, key, query, BEFORE) == grant


def test_a_url_to_read_is_good_for_its_head() -> None:
    key, query = taken_apart(sign(SECRET, GET))
    assert verify(SECRET, "HEAD", key, query, BEFORE) == GET


def test_a_url_expires_at_its_second() -> None:
    key, query = taken_apart(sign(SECRET, GET))
    with pytest.raises(Denied) as caught:
        verify(SECRET, "GET", key, query, datetime.fromtimestamp(EXPIRES, UTC))
    assert caught.value.reason == "expired"


@given(data=st.data())
def test_no_other_member_key_or_method_is_allowed(data: st.DataObject) -> None:
    grant = data.draw(st.sampled_from([GET, PUT]))
    name = data.draw(st.sampled_from([field.name for field in attrs.fields(Grant)]))
    texts = st.text("abc/=&?%\n\0é", max_size=20)
    value: Any = getattr(grant, name)
    value = data.draw(st.integers(0, 2**62) if isinstance(value, int) else texts)
    changed = attrs.evolve(grant, **{name: value})
    if changed == grant:
        return
    query = taken_apart(sign(SECRET, grant))[1]
    signature = query.rpartition("&signature=")[2]
    asked = sign(SECRET, changed).rpartition("&signature=")[0]
    asked = f"{asked.removeprefix(PATH + changed.key).removeprefix('?')}&signature={signature}"
    with pytest.raises(Denied):
        verify(SECRET, changed.method, changed.key, asked, BEFORE)


@pytest.mark.parametrize(
    "change",
    [
        lambda query: query + "&size=1",
        lambda query: query + "&expires=2000000000",
        lambda query: query + "&part=0",
        lambda query: query + "&new=1",
        lambda query: query + "&",
        lambda query: query.replace("expires=", "expires=0"),
        lambda query: query.replace("expires=", "expires=%32").replace("%322", "%32"),
        lambda query: query.replace("expires=", "expires=+"),
        lambda query: query.replace("expires=2", "expires=٢"),
        lambda query: query[:-1],
        lambda query: query + "=",
        lambda query: query.partition("&signature=")[0],
        lambda query: query[:0],
        lambda query: query.replace("signature=", "signature=é"),
    ],
)
def test_a_query_that_is_written_otherwise_is_refused(change: object) -> None:
    key, query = taken_apart(sign(SECRET, GET))
    assert callable(change)
    with pytest.raises(Denied):
        verify(SECRET, "GET", key, change(query), BEFORE)


def test_a_url_of_another_secret_is_refused() -> None:
    key, query = taken_apart(sign(Secret(b"o" * 32), GET))
    with pytest.raises(Denied):
        verify(SECRET, "GET", key, query, BEFORE)


def test_the_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    first = load_secret(path)
    assert len(first.key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_secret(path) == first
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret.key"]


def test_of_many_who_make_the_secret_all_get_the_same(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    found: list[Secret] = []
    together = threading.Barrier(16)

    def load() -> None:
        together.wait()
        found.append(load_secret(path))

    threads = [threading.Thread(target=load) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len({one.key for one in found}) == 1


def test_the_secret_is_on_the_disk_before_anybody_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, bool]] = []
    fsync = os.fsync

    def watching(fd: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(fd).st_mode), (tmp_path / "secret.key").exists()))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watching)
    load_secret(tmp_path / "secret.key")
    assert synced == [(False, False), (True, True)]


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    path.write_bytes(b"short")
    with pytest.raises(SettingsInvalid, match=r"secret\.key is not a key"):
        load_secret(path)


def test_nothing_shows_the_secret() -> None:
    secret = Secret(b"canary")
    urls = blobs.BlobUrls(secret=secret, public="https://here")
    assert "canary" not in f"{secret!r} {urls!r} {secret} {urls}"
