"""Both clients against a real server: what a consumer does, and what an administrator does."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from longshore_client import (
    Client,
    Conflict,
    Denied,
    Invalid,
    JobFailed,
    LongshoreClient,
    NotFound,
    Unauthenticated,
)
from longshore_client.errors import ChecksumMismatch


def test_a_file_goes_there_and_comes_back(client: Client, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "data").write_bytes(content)
    job = client.run("copy", inputs={"data": tmp_path / "data"})
    outputs = job.result(30)
    assert outputs["data"].read_bytes() == content
    saved = outputs["data"].save(tmp_path / "out")
    assert saved.read_bytes() == content
    assert [path.name for path in saved.parent.iterdir()] == ["data"]


@pytest.mark.parametrize("content", ["", "tëxt", b"\0\xff", bytes(range(256)) * 200])
def test_the_content_itself_may_be_given(client: Client, content: str | bytes) -> None:
    output = client.run("copy", inputs={"data": content}).result(30)["data"]
    assert output.read_bytes() == (content.encode() if isinstance(content, str) else content)


def test_a_directory_arrives_as_an_archive(client: Client, tmp_path: Path) -> None:
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    (tmp_path / "tree" / "inner" / "a").write_text("A")
    (tmp_path / "tree" / "ü b").write_text("B")
    job = client.run("names", inputs={"data": tmp_path / "tree"})
    assert job.result(30)["data"].read_bytes().decode().split("\n") == ["./inner/a", "./ü b", ""]


def test_events_and_the_log_are_followed_to_the_end(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    job = client.run("talk", inputs={"gate": str(gate)})
    seen = b""
    for chunk in job.logs(follow=True):
        seen += chunk
        if b"line 10\n" in seen:
            gate.touch()
    lines = seen.decode().splitlines()
    assert lines == [*(f"line {n}" for n in range(len(lines) - 1)), "end"]
    events = list(job.events(follow=True))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].state == "SUCCEEDED"
    assert list(job.events()) == events
    assert b"".join(job.logs()) == seen
    assert b"".join(job.logs(start=7)) == seen[7:]


def test_a_job_that_fails_says_why_and_keeps_its_log(client: Client) -> None:
    job = client.run("break")
    with pytest.raises(JobFailed) as caught:
        job.result(30)
    assert caught.value.reason_code == "nonzero-exit"
    assert job.job.exit_code == 3
    assert b"".join(job.logs()) == b"it breaks\n"
    assert "nonzero" in (job.job.reason.code if job.job.reason else "")


def test_cancel_ends_a_job_and_may_be_repeated(client: Client, tmp_path: Path) -> None:
    job = client.run("talk", inputs={"gate": str(tmp_path / "never")})
    job.cancel()
    job.cancel()
    assert job.wait(30).state == "CANCELED"


def test_deleting_takes_the_bytes_and_leaves_the_record(client: Client, tmp_path: Path) -> None:
    job = client.run("talk", inputs={"gate": str(tmp_path / "gate")})
    with pytest.raises(Conflict):
        job.delete()
    (tmp_path / "gate").touch()
    job.result(30)
    job.delete()
    job.delete()
    assert job.outputs == {}
    assert job.state == "SUCCEEDED"
    with pytest.raises(NotFound):
        job.output("data")


def test_jobs_are_listed_newest_first_in_pages(client: Client) -> None:
    made = [client.run("copy", inputs={"data": "x"}) for _ in range(3)]
    for job in made:
        job.wait(30)
    page = client.jobs(limit=2, workflow="copy", state="SUCCEEDED")
    rest = client.jobs(limit=1, workflow="copy", cursor=page.next)
    assert [job.id for job in (*page, *rest)] == [job.id for job in reversed(made)]
    assert client.jobs(state=["FAILED", "CANCELED"], workflow="copy", limit=1000).next is None


def test_workflows_and_the_caller_are_shown(client: Client) -> None:
    assert {"copy", "names"} <= {workflow.id for workflow in client.workflows()}
    assert client.workflow("copy").inputs["data"]["kind"] == "file"
    me = client.me()
    assert (me.tenant, me.role, me.workflows) == ("acme", "consumer", None)


def test_mistakes_are_named_with_their_place(client: Client) -> None:
    with pytest.raises(Invalid) as caught:
        client.run("break", parameters={"n": 9, "m": 1})
    assert {problem.where.split("/")[1] for problem in caught.value.problems} == {"parameters"}
    assert caught.value.status == 422
    assert caught.value.request_id
    with pytest.raises(NotFound):
        client.run("no-such")
    with pytest.raises(NotFound):
        client.job("01k9x3v0c8e6h4y2t7r5w1q9za")


def test_the_same_key_is_the_same_job_and_another_body_is_refused(client: Client) -> None:
    first = client.run("copy", inputs={"data": "x"}, key="one")
    assert client.run("copy", inputs={"data": "x"}, key="one").id == first.id
    with pytest.raises(Conflict):
        client.run("copy", inputs={"data": "y"}, key="one")


def test_a_job_may_be_built_step_by_step(client: Client, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"step")
    job = client.submit({"workflow": "copy", "start": False})
    with pytest.raises(Conflict) as caught:
        job.start()
    assert caught.value.missing == ("data",)
    job.put_input("data", tmp_path / "data")
    job.put_input("data", tmp_path / "data")
    job.start()
    assert job.result(30)["data"].read_bytes() == b"step"


def test_bytes_that_were_not_announced_are_refused(client: Client, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"other")
    announced = {"data": {"upload": {"size": 5, "sha256": "0" * 64}}}
    job = client.submit({"workflow": "copy", "inputs": announced})
    with pytest.raises(ChecksumMismatch):
        job.put_input("data", tmp_path / "data")


def test_map_runs_many_jobs_and_yields_them_in_order(client: Client) -> None:
    items = [{"data": f"item {n}"} for n in range(12)]
    found = [job.result()["data"].read_bytes().decode() for job in client.map("copy", items)]
    assert found == [f"item {n}" for n in range(12)]


def test_the_asynchronous_client_tells_the_same_story(server: Any, tmp_path: Path) -> None:
    async def story() -> None:
        async with LongshoreClient(server.url, server.token) as client:
            job = await client.run("copy", inputs={"data": "abc"})
            outputs = await job.result(30)
            assert await outputs["data"].read_bytes() == b"abc"
            assert await job.outputs["data"].read_bytes() == b"abc"
            assert (await job.outputs["data"].save(tmp_path)).read_bytes() == b"abc"
            assert [event.type async for event in job.events(follow=True)]
            assert [chunk async for chunk in job.logs()] == []
            with pytest.raises(NotFound, match="it has data"):
                await job.outputs["other"].read_bytes()

    anyio.run(story)


def test_an_administrator_gives_and_takes_access(server: Any) -> None:
    with Client(server.url, server.admin_token) as admin:
        end = datetime.now(UTC) + timedelta(hours=1)
        agreement = admin.agreements.create("umbra", ["copy"], valid_until=end, at_end="drain")
        assert (agreement.valid_until, agreement.at_end) == (end, "drain")
        assert agreement in admin.agreements.list()
        token = admin.agreements.issue_token(agreement.id)
        narrow = admin.agreements.issue_token(agreement.id, scopes=["jobs:read"], expires_at=end)
        assert {it.id for it in admin.agreements.tokens(agreement.id)} == {token.id, narrow.id}
        with Client(server.url, token.secret) as umbra, Client(server.url, narrow.secret) as reader:
            assert [it.id for it in umbra.workflows()] == ["copy"]
            assert umbra.me().tenant == "umbra"
            assert len(umbra.jobs()) == 0
            with pytest.raises(Denied) as caught:
                reader.run("copy", inputs={"data": "x"})
            assert caught.value.reason == "wrong-scope"
            with pytest.raises(NotFound):
                umbra.run("names")
            admin.agreements.revoke_token(agreement.id, narrow.id)
            with pytest.raises(Unauthenticated):
                reader.me()
            admin.agreements.revoke(agreement.id)
            with pytest.raises((Unauthenticated, Denied)):
                umbra.run("copy", inputs={"data": "x"})
