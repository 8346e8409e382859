"""The blocking client against a real server."""

import os
from pathlib import Path
from typing import Any

import pytest

from longshore_client import Client, JobFailed, NotFound


def test_a_file_goes_there_and_comes_back(client: Client, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "data").write_bytes(content)
    job = client.run("copy", inputs={"data": tmp_path / "data"})
    outputs = job.result(30)
    assert outputs["data"].read_bytes() == content
    saved = outputs["data"].save(tmp_path / "out")
    assert saved.read_bytes() == content
    assert [path.name for path in saved.parent.iterdir()] == ["data"]


def test_text_and_bytes_are_inputs(client: Client) -> None:
    assert (
        client.run("copy", inputs={"data": "tëxt"}).result(30)["data"].read_bytes()
        == "tëxt".encode()
    )
    big = bytes(range(256)) * 200
    assert client.run("copy", inputs={"data": big}).result(30)["data"].read_bytes() == big
