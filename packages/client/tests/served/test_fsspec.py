"""Results as files of fsspec, from a real server: read in place, in parts, by several at once."""

import concurrent.futures
import csv
import hashlib
import io
import os
import pickle
import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import fsspec
import pytest
from tests.inside import Inside, running
from tests.matrix import COPY
from tests.support import end_processes_of, until

from longshore_client import Client, filesystem
from longshore_client.filesystem import LongshoreFileSystem

CONTENT = random.Random(7).randbytes(3_000_001)
BLOCK = 64 * 1024
UNKNOWN = "01k9x3v0c8e6h4y2t7r5w1q9za"
Files = Callable[..., Any]


@pytest.fixture
def files(server: Any) -> Iterator[Files]:
    """Return a function that opens the file system; its connections end with the test."""
    opened = []

    def make(token: str = "", url: str = "") -> LongshoreFileSystem:
        made = LongshoreFileSystem(
            server=url or server.url, token=token or server.token, skip_instance_cache=True
        )
        opened.append(made)
        return made

    yield make
    for one in opened:
        close(one)


def close(opened: LongshoreFileSystem) -> None:
    fsspec.asyn.sync(opened.loop, opened._transport.close)


def close_all() -> None:
    for one in LongshoreFileSystem._cache.values():
        close(one)
    LongshoreFileSystem.clear_instance_cache()


@pytest.fixture
def fs(files: Files) -> Any:
    return files()


@pytest.fixture(scope="module")
def options(server: Any) -> Iterator[dict[str, str]]:
    """Return what a program that calls ``fsspec.open`` gives it."""
    options = {"server": server.url, "token": server.token}
    yield options
    close_all()


@pytest.fixture(scope="module")
def job(server: Any) -> str:
    """Return the id of a job whose output ``data`` is CONTENT."""
    with server.client() as client:
        made = client.run("copy", inputs={"data": CONTENT})
        made.result(30)
        return str(made.id)


def test_fsspec_finds_it_by_its_entry_point() -> None:
    (found,) = entry_points(group="fsspec.specs", name="longshore")
    assert found.load() is fsspec.get_filesystem_class("longshore") is LongshoreFileSystem


def test_a_url_is_all_that_a_program_needs(
    server: Any, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LONGSHORE_SERVER", server.url)
    monkeypatch.setenv("LONGSHORE_TOKEN", server.token)
    with fsspec.open(f"longshore://{job}/outputs/data") as file:
        assert file.read() == CONTENT
    close_all()


@pytest.mark.parametrize("cache", ["readahead", "bytes", "blockcache", "first", "all", "none"])
def test_every_part_that_is_read_is_that_part(
    options: dict[str, str], job: str, cache: str
) -> None:
    chance = random.Random(cache)
    url = f"longshore://{job}/outputs/data"
    more = {"block_size": BLOCK, "cache_type": cache}
    with fsspec.open(url, **more, **options) as file:
        assert (file.blocksize, file.cache.name) == (BLOCK, cache)
        for _ in range(30):
            start, length = chance.randrange(len(CONTENT) + 10), chance.randrange(3 * BLOCK)
            file.seek(start)
            assert file.tell() == start
            assert file.read(length) == CONTENT[start : start + length]
        assert file.seek(-5, os.SEEK_END) == len(CONTENT) - 5
        assert file.read() == CONTENT[-5:]
        assert file.read() == file.read(7) == b""


@pytest.mark.parametrize(
    ("start", "end"),
    [(None, None), (5, 9), (None, 10), (-10, None), (-10, -3), (2_999_999, 9_000_000), (9, 9)],
)
def test_a_part_is_cut_as_python_cuts(fs: Any, job: str, start: Any, end: Any) -> None:
    assert fs.cat_file(f"{job}/outputs/data", start, end) == CONTENT[start:end]


def test_parts_of_several_files_come_at_once(fs: Any, job: str) -> None:
    path = f"{job}/outputs/data"
    starts = list(range(0, len(CONTENT), 200_000))
    found = fs.cat_ranges([path] * len(starts), starts, [at + 77 for at in starts])
    assert found == [CONTENT[at : at + 77] for at in starts]


def test_a_table_is_read_as_text(client: Client, options: dict[str, str]) -> None:
    table = "word,count\r\n" + "".join(f"wörd{n},{n}\r\n" for n in range(5000))
    made = client.run("copy", inputs={"data": table})
    made.result(30)
    url = f"longshore://{made.id}/outputs/data"
    with fsspec.open(url, "rb", block_size=4096, **options) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        rows = list(csv.DictReader(text))
        text.detach()
    assert rows == list(csv.DictReader(io.StringIO(table)))
    with fsspec.open(url, "rt", encoding="utf-8", newline="", **options) as file:
        assert next(file) == "word,count\r\n"


def test_a_job_is_a_directory_of_its_outputs_and_its_log(fs: Any, job: str) -> None:
    path = f"{job}/outputs/data"
    entry = fs.info(path)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    said = {"name": path, "size": len(CONTENT), "type": "file", "sha256": sha256}
    assert entry == {**said, "mediaType": "application/octet-stream"}
    assert fs.ls(f"longshore://{job}/outputs/") == fs.ls(path) == [entry]
    assert fs.ls(job, detail=False) == [f"{job}/outputs", f"{job}/log"]
    assert fs.checksum(path) == int(sha256, 16)
    assert fs.ukey(path) == sha256
    assert fs.isdir(job)
    assert fs.isdir(f"{job}/outputs")
    assert not fs.isdir(path)
    assert fs.exists(path)
    assert not fs.exists(f"{job}/outputs/other")
    assert fs.find(job) == [f"{job}/log", path]
    assert fs.glob(f"{job}/*/d*") == [path]
    assert fs.du(job) == len(CONTENT)
    assert [(here, sorted(names)) for here, _, names in fs.walk(job)] == [
        (job, ["log"]),
        (f"{job}/outputs", ["data"]),
    ]
    assert fs.info(job)["state"] == "SUCCEEDED"


def test_jobs_are_listed_newest_first_and_no_more_than_asked_for(
    fs: Any, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [client.run("copy", inputs={"data": str(n)}) for n in range(5)]
    for one in made:
        one.wait(30)
    newest = [one.id for one in reversed(made)]
    assert fs.ls("longshore://", detail=False, limit=5) == newest
    monkeypatch.setattr(filesystem, "_PAGE", 2)
    assert fs.ls("", detail=False, limit=5) == newest
    chosen = fs.ls("", limit=2, state=["SUCCEEDED"], workflow="copy")
    assert [(one["name"], one["type"]) for one in chosen] == [
        (id_, "directory") for id_ in newest[:2]
    ]
    assert fs.ls("", workflow="names", state="CANCELED") == []
    assert len(fs.ls("")) > 5


def test_the_log_of_a_job_is_a_file_also_while_it_runs(
    fs: Any, client: Client, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    made = client.run("talk", inputs={"gate": str(gate)})
    path = f"{made.id}/log"
    until(lambda: fs.info(path)["size"] > 100, "some lines of the log")
    with fs.open(path) as file:
        begun = file.read()
    assert begun.startswith(b"line 0\nline 1\n")
    assert fs.ls(f"{made.id}/outputs") == []
    with pytest.raises(FileNotFoundError, match="is RUNNING: its outputs can be read when it has"):
        fs.open(f"{made.id}/outputs/data")
    gate.touch()
    made.result(30)
    whole = b"".join(made.logs())
    assert fs.cat_file(path) == whole
    assert whole.startswith(begun)
    assert whole.endswith(b"end\n")
    assert fs.cat_file(path, 7, 20) == whole[7:20]
    assert fs.cat_file(path, -4) == b"end\n"
    fs.get(path, str(tmp_path / "log"))
    assert (tmp_path / "log").read_bytes() == whole
    with pytest.raises(ValueError, match="no checksum"):
        fs.open(path, verify=True)


def test_a_log_of_many_pieces_is_read_whole(fs: Any, server: Any, client: Client) -> None:
    """A range of a log is at most 4 MiB."""
    made = client.run("chatter", parameters={"lines": 300_000})
    made.wait(30)
    whole = b"".join(made.logs())
    assert len(whole) > 9_000_000
    assert fs.cat_file(f"{made.id}/log", 3, 9_000_003) == whole[3:9_000_003]
    assert fs.cat_file(f"{made.id}/log") == whole


def test_what_cannot_be_read_is_missing_and_says_why(fs: Any, client: Client, job: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"SUCCEEDED, has no output 'other' \(it has data"):
        fs.open(f"{job}/outputs/other")
    failed = client.run("break")
    failed.wait(30)
    with pytest.raises(FileNotFoundError, match=r"FAILED: .* has no output 'data'"):
        fs.cat_file(f"{failed.id}/outputs/data")
    assert fs.cat_file(f"{failed.id}/log") == b"it breaks\n"
    with pytest.raises(IsADirectoryError):
        fs.open(job)
    with pytest.raises(FileNotFoundError):
        fs.open(f"{UNKNOWN}/outputs")


def test_of_a_purged_job_nothing_is_left_not_even_what_was_open(fs: Any, client: Client) -> None:
    made = client.run("copy", inputs={"data": CONTENT})
    made.result(30)
    path = f"{made.id}/outputs/data"
    with fs.open(path, block_size=BLOCK) as file:
        assert file.read(BLOCK) == CONTENT[:BLOCK]
        assert fs.cat_file(path, 0, 5) == CONTENT[:5]
        made.delete()
        for read in (partial(file.read, 10 * BLOCK), partial(fs.cat_file, path, 0, 5)):
            with pytest.raises(FileNotFoundError, match="were removed"):
                read()
    for missing in (path, f"{made.id}/log"):
        with pytest.raises(FileNotFoundError, match="removed"):
            fs.open(missing)
    assert fs.ls(made.id, detail=False) == [f"{made.id}/outputs"]


def test_a_refused_token_is_no_permission_and_never_an_empty_directory(
    files: Files, job: str
) -> None:
    fs = files("ls_" + "x" * 43)
    path = f"{job}/outputs/data"
    calls: list[Callable[[], Any]] = [
        lambda: fs.open(path),
        lambda: fs.info(job),
        lambda: fs.exists(path),
        lambda: fs.ls(""),
        lambda: fs.find(job),
        lambda: fs.glob(f"{job}/outputs/*"),
        lambda: fs.cat_file(path),
    ]
    for call in calls:
        with pytest.raises(PermissionError, match="longshore://"):
            call()


def test_the_job_of_another_tenant_does_not_exist(
    files: Files, fs: Any, server: Any, job: str
) -> None:
    with Client(server.url, server.admin_token) as admin:
        agreement = admin.agreements.create("another", ["*"])
        other = files(admin.agreements.issue_token(agreement.id).secret)

    def said(who: Any, path: str) -> str:
        with pytest.raises(FileNotFoundError) as caught:
            who.open(path)
        return str(caught.value)

    for rest in ("outputs/data", "log"):
        theirs = said(other, f"{job}/{rest}")
        assert theirs == said(fs, f"{UNKNOWN}/{rest}").replace(UNKNOWN, job)
    assert other.ls("") == other.find("") == []
    assert not other.exists(job)


@pytest.mark.parametrize(
    "path",
    [
        "{job}/outputs/../log",
        "{job}/../{job}/log",
        "../v1/me",
        "{job}/outputs/data/more",
        "{job}/outputs/%2e%2e",
        "{job}%2Foutputs",
        "{job}/inputs/data",
        "{job}//outputs/data",
        "{job}/outputs/data?x=1",
        "{job}/outputs/da\0ta",
        "{job}/outputs/a b",
        "{job}/logs",
        "./{job}",
        "..",
        "{job}/outputs/.data",
        "{job}/outputs/" + "x" * 300,
    ],
)
def test_a_path_leads_nowhere_else(fs: Any, job: str, path: str) -> None:
    path = path.replace("{job}", job)
    assert not fs.exists(path)
    with pytest.raises(FileNotFoundError):
        fs.open(path)
    with pytest.raises(FileNotFoundError):
        fs.cat_file(path)


@pytest.mark.parametrize("mode", ["wb", "ab", "xb", "r+b", "w", "wt"])
def test_a_file_opens_for_reading_only(fs: Any, job: str, mode: str) -> None:
    with pytest.raises(OSError, match="can only be read"):
        fs.open(f"{job}/outputs/data", mode)


@pytest.mark.parametrize(
    "write",
    [
        lambda fs, path: fs.rm(path),
        lambda fs, path: fs.rm_file(path),
        lambda fs, path: fs.pipe(path, b"x"),
        lambda fs, path: fs.pipe_file(path, b"x"),
        lambda fs, path: fs.put(__file__, path),
        lambda fs, path: fs.put_file(__file__, path),
        lambda fs, path: fs.mkdir(path),
        lambda fs, path: fs.makedirs(path, exist_ok=True),
        lambda fs, path: fs.rmdir(path),
        lambda fs, path: fs.touch(path),
        lambda fs, path: fs.copy(path, path),
        lambda fs, path: fs.mv(path, f"{path}2"),
        lambda fs, path: fs.delete(path),
    ],
)
def test_nothing_is_written(fs: Any, job: str, write: Callable[[Any, str], None]) -> None:
    with pytest.raises(OSError, match="can only be read"):
        write(fs, f"{job}/outputs/data")
    assert fs.exists(f"{job}/outputs/data")


def test_whole_files_are_checked_and_stored(
    fs: Any, options: dict[str, str], job: str, tmp_path: Path
) -> None:
    url = f"longshore://{job}/outputs/data"
    for opened in (fs.open(url, verify=True), fsspec.open(url, verify=True, **options)):
        with opened as file:
            file.seek(-9, os.SEEK_END)
            assert file.read() == CONTENT[-9:]
    fs.get(url, str(tmp_path / "file"))
    fs.get(job, str(tmp_path / "tree"), recursive=True)
    for stored in (tmp_path / "file", tmp_path / "tree" / "outputs" / "data"):
        assert stored.read_bytes() == CONTENT
    local = fsspec.open_local(
        f"filecache::{url}",
        longshore=options,
        filecache={"cache_storage": str(tmp_path / "cache"), "check_files": True},
    )
    assert Path(local).read_bytes() == CONTENT
    with fsspec.open(f"simplecache::{url}", longshore=options) as file:
        assert file.read() == CONTENT
    told = io.BytesIO()
    fs.get_file(url, told)
    assert told.getvalue() == CONTENT


def test_several_threads_read_at_once(options: dict[str, str], job: str) -> None:
    def read(seed: int) -> bool:
        chance = random.Random(seed)
        with fsspec.open(f"longshore://{job}/outputs/data", block_size=BLOCK, **options) as file:
            for _ in range(10):
                start = chance.randrange(len(CONTENT))
                file.seek(start)
                if file.read(1000) != CONTENT[start : start + 1000]:
                    return False
        return True

    before = set(LongshoreFileSystem._cache)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(16))) == [True] * 16
    assert len(set(LongshoreFileSystem._cache) - before) <= 1


def test_file_systems_and_open_files_travel_to_other_processes(
    options: dict[str, str], job: str
) -> None:
    with fsspec.open(f"longshore://{job}/outputs/data", **options) as file:
        file.seek(1000)
        with pickle.loads(pickle.dumps(file)) as other:  # noqa: S301 - our own
            assert other.tell() == 1000
            assert other.read(10) == CONTENT[1000:1010]
    fs = fsspec.filesystem("longshore", **options)
    assert pickle.loads(pickle.dumps(fs)) is fs  # noqa: S301 - our own
    assert options["token"] not in fs.to_json(include_password=False)


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Inside]:
    """A service whose clock the test moves."""
    try:
        with running(tmp_path / "state", COPY) as made:
            yield made
    finally:
        end_processes_of(tmp_path)


def test_a_url_that_expires_while_a_file_is_read_is_asked_for_again(
    inside: Inside, files: Files
) -> None:
    token = inside.token(inside.agreement("acme"))
    with Client(inside.url, token) as client:
        made = client.run("copy", inputs={"text": CONTENT})
        made.result(30)
    fs = files(token, inside.url)
    with fs.open(f"{made.id}/outputs/copy", block_size=BLOCK, cache_type="none") as file:
        assert file.read(BLOCK) == CONTENT[:BLOCK]
        first = file._result._download.location.url
        assert file.read(BLOCK) == CONTENT[BLOCK : 2 * BLOCK]
        assert file._result._download.location.url == first
        inside.clock.ahead += timedelta(minutes=16)
        assert file.read(BLOCK) == CONTENT[2 * BLOCK : 3 * BLOCK]
        assert file._result._download.location.url != first
        assert file.read() == CONTENT[3 * BLOCK :]
