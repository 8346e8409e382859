"""``longshore run`` against ``longshore serve`` with its storage on S3, as processes."""

import json
import random
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.commanding import Command
from tests.faultproxy import Asked, Fault, FaultProxy, fault_proxy
from tests.on_s3.ways import Serve, Ways, puts
from tests.s3 import SECRET_KEY
from tests.serving import Service
from tests.support import until

MIB = 1024**2
WORDS = 250_000
TEXT = "to be or not to be\n" * WORDS
MORE = {
    "pack.toml": """\
id = "pack"
command = ["/bin/sh", "-c", "cp -R {inputs.tree}/. {outputs.tree}; echo more > {outputs.tree}/more"]
[inputs.tree]
kind = "archive"
max_size = "64 MiB"
[outputs.tree]
kind = "archive"
max_size = "64 MiB"
[resources]
memory = "256 MiB"
""",
    "talk.toml": """\
id = "talk"
command = ["/bin/sh", "-c", "seq -f 'line %.0f' 50000"]
[resources]
memory = "256 MiB"
""",
}


@attrs.frozen
class Provider:
    """A service, all that goes to it, and the command of a consumer."""

    service: Service
    front: FaultProxy
    ways: Ways
    command: Command
    token: str

    @property
    def through(self) -> int:
        """How many bytes of bodies went through the service, on all its connections."""
        return self.front.moved + self.ways.of_service.moved

    def objects(self) -> set[str]:
        """Return the last part of the keys of a job's objects whose bytes the service moved."""
        asked = [it for it in self.ways.of_service.seen if it.method in {"GET", "PUT"}]
        keys = [it.target.partition("?")[0] for it in asked if "uploadId=" not in it.target]
        return {key.rpartition("/")[2] for key in keys if "/acme/" in key}


@pytest.fixture
def provider(serve: Serve, ways: Ways, tmp_path: Path) -> Iterator[Provider]:
    (tmp_path / "workflows").mkdir()
    for name, text in MORE.items():
        (tmp_path / "workflows" / name).write_text(text)
    with serve() as service, fault_proxy(service.url) as front:
        token = service.consumer()
        desk = tmp_path / "desk"
        desk.mkdir()
        command = Command(desk, LONGSHORE_SERVER=front.url, LONGSHORE_TOKEN=token)
        yield Provider(service, front, ways, command, token)
        said = service.said()
    assert SECRET_KEY not in said
    assert "X-Amz-Signature" not in said


def test_the_words_of_a_text_are_counted_and_no_byte_of_it_meets_the_service(
    provider: Provider,
) -> None:
    desk = provider.command.directory
    (desk / "text").write_text(TEXT)
    before = provider.through
    ran = provider.command("run", "wordcount", "-i", "text=text", "-p", "top=2", "-d", "made")
    assert ran.returncode == 0, ran.stderr
    counts = json.loads((desk / "made" / "counts").read_bytes())
    assert counts["words"] == 6 * WORDS
    assert provider.ways.of_consumers.moved > len(TEXT)
    assert provider.through - before < len(TEXT) / 100
    # what the mover says of the results is read, and the log where the job was faster than we
    assert provider.objects() - {"log"} == {"manifest.json"}
    assert not [asked for asked in provider.front.seen if asked.method == "PUT"]


def test_directories_go_in_and_come_out(provider: Provider) -> None:
    tree = provider.command.directory / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "a").write_text("A")
    (tree / "b").write_bytes(random.Random(8).randbytes(20 * MIB))
    ran = provider.command("run", "pack", "-i", "tree=tree", "-d", "made")
    assert ran.returncode == 0, ran.stderr
    with tarfile.open(tree.parent / "made" / "tree") as packed:
        names = {name.removeprefix("./") for name in packed.getnames()}
    assert {"inner/a", "b", "more"} <= names
    assert "tree" not in provider.objects()
    assert provider.through < MIB


def test_the_dummy_workflow_runs_and_its_result_is_fetched_later_from_the_bucket(
    provider: Provider,
) -> None:
    desk = provider.command.directory
    (desk / "source").write_text("to be copied\n")
    (desk / "env").write_text(
        f"SOURCE={desk / 'source'}\nDESTINATION=/output/result\nSLEEPTIME=1\n"
    )
    ran = provider.command("run", "dummy", "-i", "env=env", "--detach")
    assert ran.returncode == 0, ran.stderr
    job = ran.stdout.strip()
    logs = provider.command("logs", "-f", job)
    assert logs.returncode == 0, logs.stderr
    before = len(provider.ways.of_consumers.seen)
    got = provider.command("results", job, "-d", "made")
    assert got.returncode == 0, got.stderr
    assert [path.read_text() for path in (desk / "made").iterdir()] == ["to be copied\n"]
    read = [asked.method for asked in provider.ways.of_consumers.seen[before:]]
    assert read == ["GET"]
    assert "result" not in provider.objects()


def test_the_log_alone_comes_through_the_service_and_no_more_than_its_own_bytes(
    provider: Provider,
) -> None:
    """It is read while it grows, when the bucket has none of it, and by ranges afterwards."""
    ran = provider.command("run", "talk", "--detach")
    assert ran.returncode == 0, ran.stderr
    job = ran.stdout.strip()

    def is_final() -> bool:
        return bool(provider.command.json("status", job)["state"] == "SUCCEEDED")

    until(is_final, "the job's end")
    before = provider.front.moved, provider.ways.of_service.moved
    logs = provider.command("logs", job)
    assert logs.stdout.splitlines()[-1] == "line 50000"
    length = len(logs.stdout.encode())
    assert length <= provider.front.moved - before[0] < length + 10_000
    assert length <= provider.ways.of_service.moved - before[1] < length + 10_000


@pytest.mark.kill
def test_a_command_that_was_killed_sends_only_what_is_missing_when_it_is_given_again(
    provider: Provider, ways: Ways
) -> None:
    desk = provider.command.directory
    (desk / "source").write_bytes(bytes(range(256)) * (60 * MIB // 256))
    run = ("run", "hello", "-i", "text=source", "--key", "monday", "-d", "made")

    def number(asked: Asked) -> int:
        return int(asked.target.partition("partNumber=")[2].partition("&")[0] or 0)

    ways.of_consumers.choose = lambda asked: (
        Fault(at=10 * MIB, pause=20) if asked.method == "PUT" and number(asked) > 2 else None
    )
    first = provider.command.start(*run)

    def half_is_there() -> bool:
        with provider.service.client(provider.token) as http:
            jobs: list[Any] = http.get("/v1/jobs").json()["items"]
            if not jobs:
                return False
            found = http.get(f"/v1/jobs/{jobs[0]['id']}/inputs/text").json()
            return [one["number"] for one in found["sent"]] == [1, 2]

    until(half_is_there, "half of the parts")
    first.kill()
    first.communicate()
    ways.of_consumers.choose = lambda _: None
    again = provider.command(*run)
    assert again.returncode == 0, again.stderr
    assert (desk / "made" / "copy").read_bytes() == (desk / "source").read_bytes()
    sent = Counter(number(asked) for asked in puts(ways.of_consumers))
    assert sent == {1: 1, 2: 1, 3: 2, 4: 2}
