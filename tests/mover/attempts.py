"""One attempt with a mover of its own process, a launcher, and a storage."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
from tests.launcher.places import Place
from tests.mover.objects import Storage, planned
from tests.support import PATIENCE, until

from longshore.codec import to_json
from longshore.models import Input, Output
from longshore.staging import MANIFEST_MAX_SIZE, Manifest, decode_manifest
from longshore.transfer import PlannedOutput, TransferPlan
from longshore_mover.order import Order

Process = subprocess.Popen[bytes]
_LOG_CAP = 10**6


@attrs.define(kw_only=True)
class Attempt:
    """Begins ``serve`` and a worker; what runs ends with ``close``."""

    storage: Storage
    place: Place
    home: Path
    inputs: Mapping[str, bytes] = attrs.field(factory=dict[str, bytes])
    declared: Sequence[Input] = ()
    outputs: Sequence[Output] = ()
    changes: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    options: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    wrapped: Sequence[str] = ()
    uploads: dict[str, str] = attrs.field(factory=dict[str, str])
    movers: list[Process] = attrs.field(factory=list[Process])

    def __attrs_post_init__(self) -> None:
        self.home.mkdir(exist_ok=True)
        for name, content in self.inputs.items():
            self.storage.put(self.key(name), content)
        for output in self.outputs:
            self.uploads[output.name] = self.storage.open(self.key(output.name), output.max_size)
        self.uploads["log"] = self.storage.open(self.key("log"), _LOG_CAP)
        self.uploads["manifest"] = self.storage.open(self.key("manifest"), MANIFEST_MAX_SIZE)
        self.write_plan()

    def key(self, name: str) -> str:
        return f"{self.place.name}-{name}"

    def at(self, name: str) -> Path:
        """Return the place of an input or output."""
        return self.place.directory / ("in/0" if name in self.inputs else "out") / name

    @property
    def plan(self) -> Path:
        return self.home / "plan.json"

    def write_plan(self) -> None:
        """Put the plan of the storage's present generation in the place of the one before."""
        draft = self.home / "draft"
        draft.write_text(to_json(self.order()))
        draft.rename(self.plan)

    def order(self) -> Order:
        sign = self.storage.sign_upload
        inputs = []
        for name, content in self.inputs.items():
            one = planned(self.storage, self.key(name), content, **self.changes)
            inputs.append(attrs.evolve(one, name=name))
        manifest = sign(self.uploads["manifest"], MANIFEST_MAX_SIZE)
        plan = TransferPlan(
            job_id="job",
            attempt=1,
            inputs=tuple(inputs),
            outputs=tuple(
                PlannedOutput(name=one.name, upload=sign(self.uploads[one.name], one.max_size))
                for one in self.outputs
            ),
            log=sign(self.uploads["log"], _LOG_CAP),
            manifest=manifest,
            valid_until=manifest.parts[0].expires_at,
            generation=self.storage.generation,
        )
        declared = {one.name: one for one in self.declared}
        return Order(
            name=self.place.name,
            plan=plan,
            directory=self.place.directory,
            state=self.home / "state",
            inputs=tuple(declared.get(name, Input(name=name)) for name in self.inputs),
            outputs=tuple(self.outputs),
            input_places={name: self.at(name) for name in self.inputs},
            output_places={one.name: self.at(one.name) for one in self.outputs},
            key=self.place.key,
            log_cap=_LOG_CAP,
            **{"outage": timedelta(seconds=20), **self.options},
        )

    def begin(self, verb: str = "serve") -> Process:
        """Start a mover."""
        plan = str(self.plan)
        argv = [*self.wrapped, sys.executable, "-m", "longshore_mover.command", verb, plan]
        number = len(self.movers)
        out, err = self.home / f"{number}.out", self.home / f"{number}.err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            started = subprocess.Popen(argv, stdout=stdout, stderr=stderr)
        self.movers.append(started)
        return started

    def serve(self, verb: str = "serve") -> int:
        """Run a mover to its end; return its exit code."""
        return self.begin(verb).wait(PATIENCE)

    def worker(self, script: str, **options: Any) -> Process:
        """Start the launcher with a worker that is a shell script, beside a mover."""
        popen = {"cwd": self.place.directory}
        return self.place.sh(script, go=False, popen=popen, **options)

    def said(self) -> list[dict[str, Any]]:
        """Return what the last mover has said."""
        text = (self.home / f"{len(self.movers) - 1}.out").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def errors(self) -> str:
        return (self.home / f"{len(self.movers) - 1}.err").read_text()

    def until_said(self, what: str) -> None:
        until(lambda: what in {line["what"] for line in self.said()}, f"the mover says {what}")

    def readable(self) -> set[str]:
        """Return what can be read of the results."""
        return {name for name in self.uploads if self.storage.get(self.key(name)) is not None}

    def manifest(self) -> Manifest:
        """Commit the manifest as the service does, unless that was done, and read it."""
        if "manifest" not in self.readable():
            tags = self.storage.sent_tags(self.uploads["manifest"])
            self.storage.commit(self.uploads["manifest"], tags)
        return decode_manifest(self.storage.get(self.key("manifest")) or b"")

    def commit(self) -> dict[str, bytes]:
        """Commit everything that the manifest names; return what is readable then."""
        manifest = self.manifest()
        log = [manifest.log] if manifest.log else []
        for entry in (*manifest.outputs, *log):
            self.storage.commit(self.uploads[entry.name], entry.parts)
        return {
            entry.name: self.storage.get(self.key(entry.name)) or b""
            for entry in (*manifest.outputs, *log)
        }

    def close(self) -> None:
        for mover in self.movers:
            mover.kill()
            mover.wait(PATIENCE)


def problems(manifest: Manifest) -> dict[str, str]:
    """Return the codes of what went wrong, by name."""
    return {one.name: one.code for one in manifest.problems}
