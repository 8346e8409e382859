"""A whole job whose bytes lie on an fsspec file system, which the service serves."""

import random
from pathlib import Path

from tests.serving import SETTINGS, end_everything, serving

from longshore_client import Client

DATA = random.Random(5).randbytes(3 * 1024**2)


def test_a_job_keeps_its_bytes_on_a_file_system_and_none_on_the_service(tmp_path: Path) -> None:
    there = tmp_path / "there"
    (tmp_path / "source").write_bytes(DATA)
    settings = f'{SETTINGS}\n[storage]\nplugin = "fsspec"\nurl = "{there.as_uri()}"\n'
    with (
        serving(tmp_path, settings=settings) as service,
        Client(service.url, service.consumer(workflows=["hello"])) as client,
    ):
        job = client.run("hello", inputs={"text": tmp_path / "source"})
        assert job.result()["copy"].read_bytes() == DATA
        assert b"hello" in b"".join(job.logs())
        kept = {one for one in there.rglob("*") if one.is_file() and job.job.id in one.parts}
        named = {one.name for one in kept if ".longshore" not in one.parts}
        assert named == {"text", "copy", "log", "manifest.json"}
        spool = [one for one in (service.home / "storage").rglob("*") if one.is_file()]
        assert spool == []
        job.delete()
        assert not [one for one in there.rglob("*") if job.job.id in one.parts]
    end_everything(tmp_path)
