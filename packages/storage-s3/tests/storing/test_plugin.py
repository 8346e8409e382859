"""How the storage comes to a host, and what the documentation says of it."""

import re
import subprocess
import sys
from pathlib import Path

import attrs

from longshore.registry import load_plugins
from longshore_s3.settings import FsspecSettings, S3Settings

DOCS = Path(__file__).parents[4] / "docs"
_LOADED = """
import sys
from longshore.registry import load_plugins
assert {"s3", "fsspec", "local"} <= set(load_plugins().storage_backends)
print(sorted({"botocore", "aiohttp", "obstore", "fsspec", "s3fs"} & set(sys.modules)))
"""


def test_both_storages_are_found_and_nothing_heavy_is_loaded() -> None:
    plugins = load_plugins()
    assert plugins.storage_backend("s3").settings is S3Settings
    assert plugins.storage_backend("fsspec").settings is FsspecSettings
    done = subprocess.run(
        [sys.executable, "-c", _LOADED], check=True, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"


def test_every_setting_stands_in_the_documentation() -> None:
    page = (DOCS / "storage-s3.md").read_text("utf-8")
    table = page.partition("## Settings")[2].partition("\n## ")[0]
    told = {
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert told == {field.name for field in attrs.fields(S3Settings)}
