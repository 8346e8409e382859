"""The command does the same with a server and with this machine's own service."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.commanding import Command
from tests.support import end_processes_of, until

from longshore_client import Client

MIB = 1024**2


@pytest.fixture
def embedded(server: Any, tmp_path: Path) -> Iterator[Command]:
    home = tmp_path / "own"
    yield Command(tmp_path, LONGSHORE_STATE=str(home), LONGSHORE_CONFIG=str(server.config))
    end_processes_of(home)


@pytest.fixture(params=["over_http", "embedded"])
def command(request: pytest.FixtureRequest) -> Command:
    found: Command = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(os.urandom(MIB))
    return path


def test_run_uploads_follows_and_downloads(command: Command, data: Path) -> None:
    done = command("run", "copy", "-i", f"data={data}", "-d", "out")
    assert done.returncode == 0, done.stderr
    assert (command.directory / "out" / "data").read_bytes() == data.read_bytes()
    assert [path.name for path in (command.directory / "out").iterdir()] == ["data"]
    told = [line for line in done.stderr.splitlines() if line.replace("_", "").isupper()]
    assert told[0] == "QUEUED"
    assert set(told) <= {"QUEUED", "STAGING_IN", "RUNNING", "STAGING_OUT"}  # some pass unseen
    assert "SUCCEEDED" in done.stderr


def test_the_log_goes_to_standard_output(command: Command, tmp_path: Path) -> None:
    (tmp_path / "gate").write_text(str(tmp_path))  # which is there
    done = command("run", "talk", "-i", "gate=gate")
    assert (done.returncode, done.stdout) == (0, "end\n")


def test_a_directory_is_packed(command: Command, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a b").touch()
    assert command("run", "names", "-i", "data=tree", "-d", "out").returncode == 0
    assert (command.directory / "out" / "data").read_text() == "./a b\n"


def test_a_job_that_fails_gives_the_code_of_its_worker(command: Command) -> None:
    done = command("run", "break")
    assert (done.returncode, done.stdout) == (3, "it breaks\n")
    assert "[nonzero-exit, app]" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "no-such"], "no-such"),
        (["run", "break", "-p", "n=9"], "/parameters/n"),
        (["status", "01k9x3v0c8e6h4y2t7r5w1q9za"], "01k9x3v0c8e6h4y2t7r5w1q9za"),
        (["jobs", "--state", "ODD"], "ODD"),
    ],
)
def test_a_wrong_request_ends_with_2_and_says_where(
    command: Command, arguments: list[str], said: str
) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_detached_job_is_shown_waited_for_and_fetched(command: Command, data: Path) -> None:
    started = command("run", "copy", "-i", f"data={data}", "--detach")
    job = started.stdout.strip()
    assert command("logs", "-f", job).returncode == 0
    assert command.json("status", job)["state"] == "SUCCEEDED"
    assert command.json("jobs", "--limit", "1")["items"][0]["id"] == job
    assert command("results", job, "-d", "out").returncode == 0
    assert (command.directory / "out" / "data").read_bytes() == data.read_bytes()


def test_a_job_is_canceled(command: Command, tmp_path: Path) -> None:
    (tmp_path / "gate").write_text(str(tmp_path / "never"))
    job = command("run", "talk", "-i", "gate=gate", "--detach").stdout.strip()
    assert command("cancel", job).returncode == 0
    command("logs", "-f", job)
    until(lambda: command.json("status", job)["state"] == "CANCELED", "the job to be canceled")


def test_the_same_key_is_the_same_job(command: Command, data: Path) -> None:
    run = ("run", "copy", "-i", f"data={data}", "--detach", "--key", f"one {data}")
    assert command(*run).stdout == command(*run).stdout != ""


def test_both_say_the_same_of_workflows_and_jobs(
    over_http: Command, embedded: Command, data: Path
) -> None:
    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: shape(it) for name, it in value.items()}
        return [shape(it) for it in value] if isinstance(value, list) else type(value).__name__

    assert over_http.json("workflows", "copy") == embedded.json("workflows", "copy")
    ran = [it.json("run", "copy", "-i", f"data={data}") for it in (over_http, embedded)]
    assert shape(ran[0]) == shape(ran[1])


def test_where_nobody_can_be_asked_ctrl_c_detaches(over_http: Command, tmp_path: Path) -> None:
    gate = tmp_path / "gate is open"
    (tmp_path / "gate").write_text(str(gate))
    process = over_http.start("run", "talk", "-i", "gate=gate")
    assert process.stdout is not None
    assert process.stdout.readline() == b"line 0\n"
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"detached: the job goes on" in told
    gate.touch()
    job = told.decode().split("job ")[1].split()[0]
    assert over_http("logs", "-f", job).stdout.endswith("end\n")


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big"
    with path.open("wb") as file:
        for _ in range(100):
            file.write(os.urandom(MIB))
    return path


@pytest.fixture
def begun() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Return a function that keeps a process, to be ended with the test."""
    kept: list[subprocess.Popen[bytes]] = []

    def keep(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        kept.append(process)
        return process

    yield keep
    for process in kept:
        process.kill()
        process.communicate()


@pytest.mark.kill
def test_ctrl_c_while_uploading_cancels_the_job_and_with_a_key_leaves_it(
    over_http: Command, client: Client, big: Path, begun: Any
) -> None:
    def stopped(*more: str) -> str:
        process = begun(over_http.start("run", "copy", "-i", f"data={big}", *more))
        job: str = process.stderr.readline().decode().split()[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        return client.job(job).state

    assert stopped() == "CANCELED"
    assert stopped("--key", f"upload {big}") == "CREATED"
    again = over_http("run", "copy", "-i", f"data={big}", "--key", f"upload {big}", "-d", "out")
    assert again.returncode == 0
    assert (over_http.directory / "out" / "data").read_bytes() == big.read_bytes()


@pytest.mark.kill
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_fetch_that_is_ended_leaves_no_half_file_and_goes_on(
    over_http: Command, client: Client, big: Path, begun: Any, number: signal.Signals
) -> None:
    job = client.run("copy", inputs={"data": big})
    job.result(60)
    into = over_http.directory / "out"
    process = begun(over_http.start("results", job.id, "-d", "out"))
    part = into / "data.part"

    def began() -> bool:
        return part.exists() and part.stat().st_blocks > 0

    until(began, "the download to begin")
    process.send_signal(number)
    process.wait(30)
    assert [path.name for path in into.iterdir()] == ["data.part"]
    assert over_http("results", job.id, "-d", "out").returncode == 0
    assert [path.name for path in into.iterdir()] == ["data"]
    assert (into / "data").read_bytes() == big.read_bytes()
