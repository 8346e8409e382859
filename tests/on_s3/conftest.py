"""A service whose storage is a real S3 server, and what stands between the two."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.faultproxy import fault_proxy
from tests.on_s3.ways import Serve, Ways
from tests.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.serving import SETTINGS, Service, end_everything, serving


@pytest.fixture
def ways(s3_server: S3Server) -> Iterator[Ways]:
    at = s3_server.endpoint
    with fault_proxy(at) as one, fault_proxy(at) as two, fault_proxy(at) as three:
        yield Ways(one, two, three)


@pytest.fixture
def storage(ways: Ways, bucket: str) -> dict[str, str]:
    """The section of the settings, to be changed before the service starts."""
    return {
        "plugin": "s3",
        "bucket": bucket,
        "endpoint": ways.of_service.url,
        "job_endpoint": ways.of_jobs.url,
        "public_endpoint": ways.of_consumers.url,
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
    }


@pytest.fixture
def serve(tmp_path: Path, storage: dict[str, str]) -> Iterator[Serve]:
    """Start the service with its storage on S3."""

    @contextmanager
    def start(more: Mapping[str, str] | None = None, **known: str) -> Iterator[Service]:
        lines = [f'{name} = "{text}"' for name, text in storage.items() if name != "secret_key"]
        settings = "\n".join([SETTINGS, "[storage]", *lines, ""])
        environment = dict(more or {})
        if "secret_key" in storage:
            environment["LONGSHORE_STORAGE__SECRET_KEY"] = storage["secret_key"]
        with serving(tmp_path, settings=settings, environment=environment, **known) as service:
            yield service

    yield start
    end_everything(tmp_path)
