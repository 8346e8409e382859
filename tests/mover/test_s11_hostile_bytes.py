"""S11: what is harmless to unpack is so whoever fetches it, and what a worker leaves as well."""

import io
import os
import stat
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.mover.attempts import Attempt, problems
from tests.mover.conftest import Begin
from tests.mover.objects import MIB, Objects, S3Objects, Storage
from tests.s3 import S3Server

from longshore.errors import ArchiveRefused
from longshore.models import Input, InputKind, Output, OutputKind
from longshore.staging import archives, packing
from longshore.staging.archives import unpack
from longshore.testing.hostile import ARCHIVES, NAMES, HostileArchive, tar_of
from longshore_mover.mover import open_mover
from longshore_mover.progress import Progress

pytestmark = pytest.mark.thorough

TREE_IN = Input(name="tree", kind=InputKind.ARCHIVE)
TREE_OUT = Output(name="tree", kind=OutputKind.ARCHIVE, max_size=MIB)
#: what a mover that refuses an archive leaves
LEFT = {"state", "mover.json", "stop", "0.out", "0.err"}


@pytest.fixture(params=["http", "s3"])
def storage(request: pytest.FixtureRequest) -> Storage:
    """A storage in this process, or a bucket of a real server."""
    if request.param == "http":
        objects: Objects = request.getfixturevalue("objects")
        return objects
    server: S3Server = request.getfixturevalue("s3_server")
    client = server.client()
    return S3Objects(client, request.getfixturevalue("bucket"), client)


def stage_in(attempt: Attempt) -> int:
    """Stage in as ``longshore-mover stage-in`` does, in this process."""
    mover = open_mover(attempt.plan, Progress())
    try:
        code = mover.stage_in()
        failed = mover._memory.failed
        assert failed is None or failed.code == "archive-refused"
        return code
    finally:
        mover._carriage._inner.close()  # type: ignore[attr-defined]  # of HTTP, as here


def check_that_it_is_refused(begin: Begin, storage: Storage, packed: bytes) -> None:
    """The property: the job is refused, and no byte or name of the archive is anywhere."""
    attempt = begin(storage, inputs={"tree": packed}, declared=[TREE_IN])
    root = attempt.home.parent
    before = set(root.rglob("*"))
    assert stage_in(attempt) == 3
    new = {path.name for path in set(root.rglob("*")) - before}
    assert new <= LEFT
    assert new >= {"state", "stop"}


@pytest.mark.parametrize("archive", ARCHIVES, ids=str)
def test_an_archive_that_breaks_a_rule_is_refused_whoever_carries_it(
    begin: Begin, objects: Objects, archive: HostileArchive
) -> None:
    check_that_it_is_refused(begin, objects, archive.make())


@pytest.mark.parametrize(
    "archive", [one for one in ARCHIVES if "bomb" in one.name or "escaped" in one.name], ids=str
)
def test_a_mover_of_its_own_process_says_what_it_refused(
    begin: Begin, storage: Storage, archive: HostileArchive
) -> None:
    attempt = begin(storage, inputs={"tree": archive.make()}, declared=[TREE_IN])
    root = attempt.home.parent
    before = set(root.rglob("*"))
    assert attempt.serve("stage-in") == 3
    assert {path.name for path in set(root.rglob("*")) - before} == LEFT
    (said,) = [line for line in attempt.said() if line["what"] == "failed"]
    assert (said["name"], said["code"]) == ("tree", "archive-refused")


def test_control_without_the_rule_for_names_a_member_is_found_elsewhere(
    begin: Begin, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tar_of([("file", "../escaped", b"x")])
    check_that_it_is_refused(begin, objects, packed)
    monkeypatch.setattr(archives, "safe_segments", lambda name: name.decode().split("/"))
    with pytest.raises(AssertionError):
        check_that_it_is_refused(begin, objects, packed)


def left_by_a_worker(begin: Begin, storage: Storage, plant: Callable[[Path], object]) -> Attempt:
    """Return an attempt whose output is a tree that was planted, before a mover carried it."""
    attempt = begin(storage, TREE_OUT)
    secret = attempt.home / "secret"
    secret.write_text("secret")
    tree = attempt.at("tree")
    tree.mkdir()
    plant(tree)
    attempt.worker("exit 0")
    return attempt


def write(tree: Path, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(tree) + b"/" + name)).write_bytes(b"content")


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_file_of_any_name_is_sent_under_that_name_or_refused(
    begin: Begin, storage: Storage, name: bytes, tmp_path: Path
) -> None:
    attempt = left_by_a_worker(begin, storage, lambda tree: write(tree, name))
    assert attempt.serve() == 0, attempt.errors()
    made = attempt.commit()
    found = problems(attempt.manifest())
    try:
        text = name.decode()
    except UnicodeDecodeError:
        assert found == {"tree": "output-refused"}
        assert attempt.readable() == {"log", "manifest"}
        return
    assert found == {}
    packed = made["tree"]
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        (member,) = archive.getmembers()
        assert member.isreg()
        assert member.name == text
    check_that_it_unpacks_below(packed, tmp_path, text)


def check_that_it_unpacks_below(packed: bytes, place: Path, name: str) -> None:
    """The property: it comes out as it was, or is refused where another system means a path."""
    into = place / "outer" / "into"
    into.mkdir(parents=True)
    try:
        unpack(io.BytesIO(packed), into, max_unpacked=MIB)
    except ArchiveRefused:
        assert "\\" in name or name[1:2] == ":"
    else:
        assert (into / name).read_bytes() == b"content"
    assert list(into.parent.iterdir()) == [into]


def _device(tree: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("making a device needs root")
    os.mknod(tree / "odd", stat.S_IFCHR | 0o600, os.makedev(1, 3))


def _deep(tree: Path) -> None:
    (tree / "/".join("d" * 70)).mkdir(parents=True)


ODD: dict[str, Callable[[Path], object]] = {
    "a link out": lambda tree: (tree / "odd").symlink_to("../../../of-ls-job-1/secret"),
    "an absolute link": lambda tree: (tree / "odd").symlink_to("/etc/passwd"),
    "a link to a directory": lambda tree: (tree / "odd").symlink_to("."),
    "a link in a circle": lambda tree: (tree / "odd").symlink_to("odd"),
    "a pipe": lambda tree: os.mkfifo(tree / "odd"),
    "a device": _device,
    "a depth": _deep,
}


@pytest.mark.parametrize("plant", ODD.values(), ids=ODD)
def test_a_tree_with_what_is_no_file_is_refused_and_not_a_byte_of_it_can_be_read(
    begin: Begin, objects: Objects, plant: Callable[[Path], object]
) -> None:
    attempt = left_by_a_worker(begin, objects, plant)
    assert attempt.serve() == 0, attempt.errors()
    assert problems(attempt.manifest()) == {"tree": "output-refused"}
    check_that_no_secret_was_sent(objects)


def check_that_no_secret_was_sent(objects: Objects) -> None:
    """The property: what a link leads to was not even sent."""
    sent = [part for upload in objects.uploads.values() for part in upload.parts.values()]
    assert not any(b"secret" in plain(part) for part in sent)


def plain(part: bytes) -> bytes:
    return zlib.decompressobj(31).decompress(part) if part[:2] == b"\x1f\x8b" else part


def test_control_a_packer_that_follows_links_sends_the_secret(
    begin: Begin, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = left_by_a_worker(begin, objects, ODD["a link out"])
    (attempt.place.directory / "log").touch()

    def follow(root: int, path: str) -> int:
        return os.open(path, os.O_RDONLY, dir_fd=root)

    monkeypatch.setattr(packing, "_open_linked", follow)
    assert open_mover(attempt.plan, Progress()).serve() == 0
    with pytest.raises(AssertionError):
        check_that_no_secret_was_sent(objects)
