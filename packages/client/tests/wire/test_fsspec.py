"""Results as files of fsspec, from a server that lies, breaks, or has too many."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from longshore_client.filesystem import LongshoreFileSystem

JOB_ID = "01k9x3v0c8e6h4y2t7r5w1q9za"
TOKEN = "ls_" + "t" * 43
DATA = f"{JOB_ID}/outputs/data"
BLOCK = 100_000


@pytest.fixture
def fs(provider: Any, clock: Any) -> Iterator[Any]:
    provider.output = os.urandom(10 * BLOCK)
    opened = LongshoreFileSystem(
        server=provider.url, token=TOKEN, retry=clock.retry(), skip_instance_cache=True
    )
    yield opened
    fsspec.asyn.sync(opened.loop, opened._transport.close)


def test_many_parts_ask_once_where_the_bytes_are(provider: Any, fs: Any) -> None:
    with fs.open(DATA, block_size=BLOCK) as file:
        assert file.read(1) + file.read() == provider.output
    for at in range(0, len(provider.output), BLOCK):
        assert fs.cat_file(DATA, at, at + 5) == provider.output[at : at + 5]
    assert len(provider.requests("GET", "/blobs/out")) > 10
    assert len(provider.requests("GET", f"/v1/jobs/{JOB_ID}/outputs/data")) == 1
    assert len(provider.requests("GET", f"/v1/jobs/{JOB_ID}/outputs")) == 2


def test_the_token_goes_to_the_server_alone(provider: Any, fs: Any) -> None:
    assert fs.cat_file(DATA) == provider.output
    for request in provider.requests("GET", "/blobs/"):
        assert "authorization" not in request.headers
    assert provider.seen[0].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("fault", [{"status": 403}, {"status": 404}])
def test_a_url_that_was_good_is_asked_for_anew_without_a_pause(
    provider: Any, fs: Any, clock: Any, fault: dict[str, Any]
) -> None:
    with fs.open(DATA, block_size=BLOCK, cache_type="none") as file:
        assert file.read(9) == provider.output[:9]
        provider.fail("GET", "/blobs/out", **fault)
        assert file.read(9) == provider.output[9:18]
    assert clock.pauses == []
    assert len(provider.requests("GET", f"/v1/jobs/{JOB_ID}/outputs/data")) == 2


@pytest.mark.parametrize("fault", [{"cut": 700}, {"status": 503}])
def test_after_a_break_the_rest_is_read(
    provider: Any, fs: Any, clock: Any, fault: dict[str, Any]
) -> None:
    provider.fail("GET", "/blobs/out", **fault)
    with fs.open(DATA) as file:
        assert file.read() == provider.output
    assert len(clock.pauses) == 1


def test_a_server_that_stays_away_is_an_error_of_the_file_system(
    provider: Any, fs: Any, clock: Any
) -> None:
    with fs.open(DATA, block_size=BLOCK) as file:
        provider.fail("GET", "/blobs/out", status=503, times=1000)
        with pytest.raises(OSError, match=rf"tried \d+ times.*longshore://{DATA}"):
            file.read()
    assert clock.now > 50


def test_whole_files_that_are_not_what_the_job_made_are_refused(
    provider: Any, fs: Any, tmp_path: Path
) -> None:
    provider.claimed = "0" * 64
    wrong = "is not what was stored"
    with pytest.raises(OSError, match=wrong):
        fs.cat_file(DATA)
    with pytest.raises(OSError, match=wrong):
        fs.get(DATA, str(tmp_path / "data"))
    with pytest.raises(OSError, match=wrong):
        fs.open(DATA, verify=True)
    with pytest.raises(OSError, match=wrong):
        fsspec.open_local(
            f"simplecache::longshore://{DATA}",
            longshore={"server": provider.url, "token": TOKEN},
            simplecache={"cache_storage": str(tmp_path / "cache")},
        )
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    with fs.open(DATA) as file:
        assert file.read() == provider.output  # nobody has asked for a check, and no part has one


@pytest.mark.parametrize("name", ["../../etc", "a/b", "", "..", ".hidden", "a b"])
def test_a_server_cannot_list_what_leads_elsewhere(
    provider: Any, fs: Any, name: str, tmp_path: Path
) -> None:
    item = provider.outputs()[0]
    provider.outputs = lambda: [{**item, "name": name}]
    for call in (fs.ls, fs.find, lambda path: fs.get(path, str(tmp_path), recursive=True)):
        with pytest.raises(OSError, match="no name"):
            call(f"{JOB_ID}/outputs")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("job_id", ["../x", f"{JOB_ID}/log", "x y"])
def test_nor_a_job(provider: Any, fs: Any, job_id: str) -> None:
    job = provider.job()
    provider.job = lambda: {**job, "id": job_id}
    with pytest.raises(OSError, match="no name"):
        fs.ls("")


def test_a_file_system_that_nobody_has_closes_its_connections(provider: Any) -> None:
    opened = LongshoreFileSystem(server=provider.url, token=TOKEN, skip_instance_cache=True)
    loop, http = opened.loop, opened._transport._http
    assert opened.isdir(JOB_ID)
    del opened
    gc.collect()

    async def nothing() -> None:
        """Let the loop do what it was told before."""

    for _ in range(10):
        fsspec.asyn.sync(loop, nothing)
    assert http.is_closed


def test_a_program_that_closes_nothing_ends_quietly(provider: Any) -> None:
    provider.output = b"word,count\n"
    program = f"import fsspec; print(fsspec.open('longshore://{DATA}').open().read())"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "LONGSHORE_SERVER": provider.url, "LONGSHORE_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("b'word,count\\n'\n", "", 0)


def test_without_a_server_the_error_says_how_to_name_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("LONGSHORE_SERVER", raising=False)
    with pytest.raises(Exception, match=r"no server is named .*LONGSHORE_SERVER"):
        fsspec.open(f"longshore://{DATA}")
