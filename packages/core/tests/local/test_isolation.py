"""What a sandbox hides, and which workflow runs where."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from longshore.backends.local import Isolation
from longshore.backends.local.isolation import choose
from longshore.errors import IsolationUnavailable, WorkflowRefused
from longshore.models import Dataset, Input, JobSpec, Network, Output

HOST = JobSpec(workflow="w", command=("true",))
IMAGE = attrs.evolve(HOST, image="registry.example/w@sha256:" + "0" * 64)
CLOSED = attrs.evolve(HOST, network=Network.CLOSED)
DATA = attrs.evolve(HOST, datasets=(Dataset(name="d", source="/data"),))
INPUT_PATH = attrs.evolve(HOST, inputs=(Input(name="i", path="/in/i"),))
OUTPUT_PATH = attrs.evolve(HOST, outputs=(Output(name="o", path="/out/o"),))


def everything(_: Isolation) -> bool:
    return True


def nothing(_: Isolation) -> bool:
    return False


@pytest.mark.parametrize(
    ("spec", "setting", "engine"),
    [
        (HOST, Isolation.AUTO, Isolation.BUBBLEWRAP),
        (HOST, Isolation.BUBBLEWRAP, Isolation.BUBBLEWRAP),
        (HOST, Isolation.NONE, Isolation.NONE),
        (CLOSED, Isolation.AUTO, Isolation.BUBBLEWRAP),
        (DATA, Isolation.AUTO, Isolation.BUBBLEWRAP),
        (INPUT_PATH, Isolation.AUTO, Isolation.BUBBLEWRAP),
        (IMAGE, Isolation.AUTO, Isolation.PODMAN),
        (IMAGE, Isolation.BUBBLEWRAP, Isolation.PODMAN),
        (IMAGE, Isolation.DOCKER, Isolation.DOCKER),
    ],
)
def test_a_workflow_runs_in_what_works_and_is_allowed(
    spec: JobSpec, setting: Isolation, engine: Isolation
) -> None:
    assert choose(spec, setting, everything) is engine


@pytest.mark.parametrize(
    ("spec", "setting"),
    [
        (CLOSED, Isolation.NONE),
        (DATA, Isolation.NONE),
        (INPUT_PATH, Isolation.NONE),
        (OUTPUT_PATH, Isolation.NONE),
        (IMAGE, Isolation.NONE),
        (HOST, Isolation.PODMAN),
    ],
)
def test_what_the_setting_cannot_protect_is_refused(spec: JobSpec, setting: Isolation) -> None:
    with pytest.raises(WorkflowRefused) as caught:
        choose(spec, setting, everything)
    assert caught.value.code == "not-allowed"
    assert caught.value.hint


@pytest.mark.parametrize("spec", [HOST, IMAGE])
@pytest.mark.parametrize("setting", [Isolation.AUTO, Isolation.BUBBLEWRAP])
def test_without_a_working_engine_nothing_runs(spec: JobSpec, setting: Isolation) -> None:
    with pytest.raises(IsolationUnavailable) as caught:
        choose(spec, setting, nothing)
    assert caught.value.code == "isolation-unavailable"


@pytest.mark.anyio
async def test_a_bubblewrap_that_is_installed_and_does_not_work_is_not_used(
    lab: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr("longshore.backends.local.isolation.base_view", lambda _: (str(broken),))
    lab.default = Isolation.AUTO
    async with lab.open() as backend:
        with pytest.raises(IsolationUnavailable):
            await lab.submit(backend, "true")
        assert (await backend.snapshot()).observations == ()


@pytest.mark.anyio
async def test_a_sandboxed_worker_reaches_no_network(sandboxed: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"""exec python3 -c '
import socket
try: socket.create_connection(("127.0.0.1", {port}), 2); print("CONNECTED")
except OSError as exc: print("refused")
print([name for _, name in socket.if_nameindex()])
'"""
        async with sandboxed.open() as backend:
            seen = await sandboxed.run(backend, script, network=Network.CLOSED)
            ref = await sandboxed.submit(backend, script)
            await sandboxed.over(backend, ref)
            assert await sandboxed.log(backend, ref) == b"refused\n['lo']\n"
    assert seen.enforced["network"] == "closed"


@pytest.mark.anyio
async def test_a_sandboxed_worker_sees_and_changes_nothing_of_the_machine(
    sandboxed: Any, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary")
    script = f"""
        cat {secret} {sandboxed.state}/attempts/*/*.jsonl /etc/shadow
        touch /usr/x /etc/x /x /job/x /workflow/x && echo WROTE
        ls /proc | grep -c '^[0-9]'
        grep CapEff /proc/self/status
        ls /dev
    """
    async with sandboxed.open() as backend:
        ref = await sandboxed.submit(backend, script)
        await sandboxed.over(backend, ref)
        log = (await sandboxed.log(backend, ref)).decode()
    assert "canary" not in log
    assert "root:" not in log
    assert "WROTE" not in log
    assert "CapEff:\t0000000000000000" in log
    processes = next(int(line) for line in log.splitlines() if line.isdecimal())
    assert processes <= 6
    assert "vda" not in log.split()


@pytest.mark.anyio
async def test_declared_paths_and_datasets_are_where_the_workflow_says(
    sandboxed: Any, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows").write_text("private rows\n")
    command = """
        cat /in/text /data/rows > /out/deep/result.new && mv /out/deep/result.new /out/deep/result
        echo "$LS_INPUT_TEXT $LS_OUTPUT_R $LS_DATASET_D $1 $2 $3"
        touch /data/x || touch /in/x || echo read-only
    """
    spec = JobSpec(
        workflow="w",
        command=("sh", "-c", command, "sh", "{inputs.text}", "{outputs.r}", "{datasets.d}"),
        inputs=(Input(name="text", path="/in/text"),),
        outputs=(Output(name="r", path="/out/deep/result"),),
        datasets=(Dataset(name="d", source=str(tmp_path / "data"), path="/data"),),
        network=Network.CLOSED,
    )
    async with sandboxed.open() as backend:
        ref = sandboxed.ref()
        await backend.submit(ref, spec, await sandboxed.plan(ref, spec, {"text": b"text\n"}))
        await sandboxed.over(backend, ref)
        log = (await sandboxed.log(backend, ref)).decode().splitlines()
    places = "/in/text /out/deep/result /data"
    assert f"{places} {places}" in log
    assert "read-only" in log
    assert await sandboxed.stored(ref, "r") == b"text\nprivate rows\n"


@pytest.mark.anyio
async def test_what_is_not_enforced_is_said(lab: Any) -> None:
    async with lab.open(cgroups=False) as backend:
        seen = await lab.run(backend, "true")
    assert seen.enforced == {
        "network": "not enforced",
        "filesystem": "not enforced",
        "memory": "prlimit",
        "cpu": "not enforced",
        "pids": "not enforced",
        "walltime": "timer",
        "disk": "not enforced",
    }


@pytest.fixture
def image(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """An image made of busybox alone."""
    busybox = shutil.which("busybox")
    if shutil.which("podman") is None or busybox is None:
        pytest.skip("podman or busybox (statically linked) is not installed")
    directory = tmp_path_factory.mktemp("image")
    (directory / "root" / "bin").mkdir(parents=True)
    for place in ("tmp", "job", "etc"):
        (directory / "root" / place).mkdir()
    for name in ("busybox", "sh", "cat", "true", "sleep", "id", "ls", "echo", "wc", "tr"):
        shutil.copy(busybox, directory / "root" / "bin" / name)
    configuration = directory / "containers.conf"
    configuration.write_text('[containers]\ndefault_ulimits = []\n[engine]\nruntime = "runc"\n')
    monkeypatch.setenv("CONTAINERS_CONF", str(configuration))
    subprocess.run(
        ["tar", "-C", str(directory / "root"), "-cf", str(directory / "root.tar"), "."], check=True
    )
    name = f"localhost/longshore-test-{os.getpid()}:1"
    subprocess.run(
        ["podman", "import", str(directory / "root.tar"), name], check=True, capture_output=True
    )
    yield name
    subprocess.run(["podman", "rmi", "--force", name], check=True, capture_output=True)


@pytest.mark.anyio
async def test_an_image_runs_in_a_container_without_network(
    lab: Any, image: str, outputs: Callable[..., Any]
) -> None:
    lab.default = Isolation.AUTO
    script = "tr a-z A-Z < $LS_INPUT_TEXT > $LS_OUTPUT_R; ls /sys/class/net; exit 3"
    async with lab.open() as backend:
        ref = await lab.submit(
            backend, script, image=image, content={"text": b"quiet"}, outputs=outputs("r")
        )
        seen = await lab.over(backend, ref, seconds=60)
        assert (seen.outcome.exit_code, await lab.log(backend, ref)) == (3, b"lo\n")
        assert seen.enforced["network"] == "closed"
    assert await lab.stored(ref, "r") == b"QUIET"


@pytest.mark.anyio
async def test_a_container_is_removed_with_its_attempt(lab: Any, image: str) -> None:
    lab.default = Isolation.PODMAN
    async with lab.open() as backend:
        ref = await lab.submit(backend, "echo ready; sleep 1000", image=image)
        await lab.started(backend, ref)
        await backend.remove(ref)
    found = await anyio.run_process(
        ["podman", "ps", "--all", "--quiet", "--filter", f"name={ref.name}"]
    )
    assert found.stdout == b""
