"""Stage-in and stage-out of one attempt."""

import contextlib
import errno
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, cast

from longshore.errors import (
    ArchiveRefused,
    ChecksumMismatch,
    DataRefused,
    LongshoreError,
    NotFound,
    TooLarge,
)
from longshore.models.job import Outcome
from longshore.models.workflow import Input, InputKind, Output, OutputKind
from longshore.staging.below import open_directory, open_file, open_parent
from longshore.staging.chunks import chunked
from longshore.staging.manifest import (
    MANIFEST_MAX_SIZE,
    Manifest,
    ManifestEntry,
    StagingProblem,
    encode_manifest,
)
from longshore.staging.transport import CHUNK, Transport
from longshore.transfer import PlannedInput, SignedUpload, TransferPlan

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
#: characters of a problem's message, which may quote what a worker named
_MESSAGE = 500
#: what failed while an input was fetched, and its reason; the first that fits
_IN_CODES: tuple[tuple[type[Exception], str], ...] = (
    (ArchiveRefused, "archive-refused"),
    (ChecksumMismatch, "input-checksum"),
    (TooLarge, "input-too-large"),
)
_OUT_CODES: tuple[tuple[type[Exception], str], ...] = (
    (TooLarge, "output-too-large"),
    (DataRefused, "output-refused"),
)


class StagingFailed(LongshoreError):
    """An input, or the manifest, could not be carried.

    ``code`` is one of ``longshore.reasons``, ``name`` the declared name.
    """

    def __init__(self, code: str, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.code = code
        self.name = name


def stage_in(
    plan: TransferPlan,
    inputs: Sequence[Input],
    places: Mapping[str, Path],
    transport: Transport,
) -> None:
    """Fetch every input of the plan to its place: a file, or a directory for an archive.

    When it returns, each has the announced size and sha256. Repeatable until the worker starts:
    what an earlier try left is replaced. The directories of the places are there already.

    Raises:
        StagingFailed: with ``input-checksum``, ``input-too-large``, ``archive-refused``,
            ``input-unavailable`` or ``disk``; no part of an archive is left.
    """
    declared = {entry.name: entry for entry in inputs}
    for planned in plan.inputs:
        entry, place = declared[planned.name], places[planned.name]
        try:
            if planned.size > entry.max_size:
                raise TooLarge(f"{planned.size} bytes; {entry.max_size} are allowed")
            if entry.kind is InputKind.ARCHIVE:
                _fetch_archive(planned, entry, place, transport)
            else:
                _fetch_file(planned, place, transport)
        except (LongshoreError, OSError) as exc:
            full = isinstance(exc, OSError) and exc.errno in _FULL
            code = "disk" if full else _code(exc, _IN_CODES, otherwise="input-unavailable")
            raise StagingFailed(code, planned.name, _words(exc)) from exc


def _fetch_file(planned: PlannedInput, place: Path, transport: Transport) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(place, flags, 0o644), "r+b", buffering=0) as into:
        transport.fetch(
            planned.request, cast("BinaryIO", into), size=planned.size, sha256=planned.sha256
        )


def _fetch_archive(planned: PlannedInput, entry: Input, place: Path, transport: Transport) -> None:
    # most jobs have no archive
    import tempfile  # noqa: PLC0415

    from longshore.staging.archives import unpack  # noqa: PLC0415

    _remove(place)
    # without a name from the start: a killed mover leaves no packed copy behind
    with tempfile.TemporaryFile(dir=place.parent, buffering=0) as packed:
        transport.fetch(
            planned.request, cast("BinaryIO", packed), size=planned.size, sha256=planned.sha256
        )
        place.mkdir()
        try:
            unpack(cast("BinaryIO", packed), place, max_unpacked=entry.max_unpacked)
        except BaseException:
            _remove(place)
            raise


def _remove(place: Path) -> None:
    import shutil  # noqa: PLC0415 - as above

    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(place)


def stage_out(
    plan: TransferPlan,
    outputs: Sequence[Output],
    places: Mapping[str, Path],
    *,
    log: Path,
    log_cap: int,
    outcome: Outcome | None,
    started_at: datetime | None,
    ended_at: datetime | None,
    problems: Iterable[StagingProblem] = (),
    transport: Transport,
    root: Path | None = None,
    log_first: bool = False,
) -> Manifest:
    """Send what the worker wrote, then the log, then the manifest, and return the manifest.

    ``log_first`` sends the log before the outputs: where the time may not be enough for all.

    An output that is missing, too large, refused or not taken by the storage becomes a problem
    and keeps no other from being sent. ``problems`` are those known before. The worker has ended,
    but what it left is not trusted: no link is followed from ``root`` (by default the log's
    directory) down to a place; a place that is not below ``root`` counts from its own directory.
    The log is cut at ``log_cap`` bytes. Nothing is synced here: a commit is what makes it durable.
    Repeatable.

    Raises:
        StagingFailed: ``output-unavailable``: the manifest could not be sent.
    """
    found = list(problems)
    trusted = root or log.parent
    entry, log_cut = None, False
    if log_first:
        entry, log_cut = _try_log(plan, log, trusted, log_cap, found, transport)
    sent = _send_outputs(plan, outputs, places, trusted, found, transport)
    if not log_first:
        entry, log_cut = _try_log(plan, log, trusted, log_cap, found, transport)
    manifest = Manifest(
        job_id=plan.job_id,
        attempt=plan.attempt,
        outcome=outcome,
        outputs=tuple(sent),
        log=entry,
        log_cut=log_cut,
        problems=tuple(found),
        started_at=started_at,
        ended_at=ended_at,
    )
    try:
        content = io.BytesIO(encode_manifest(manifest))
        transport.send(plan.manifest, content, max_size=MANIFEST_MAX_SIZE)
    except (LongshoreError, OSError) as exc:
        raise StagingFailed("output-unavailable", "manifest", _words(exc)) from exc
    return manifest


def _send_outputs(
    plan: TransferPlan,
    outputs: Sequence[Output],
    places: Mapping[str, Path],
    root: Path,
    found: list[StagingProblem],
    transport: Transport,
) -> list[ManifestEntry]:
    uploads = {planned.name: planned.upload for planned in plan.outputs}
    sent: list[ManifestEntry] = []
    for output in outputs:
        try:
            upload = _planned(uploads, output.name)
            sent.append(_send_output(output, places[output.name], root, upload, transport))
        except FileNotFoundError:
            if output.required:
                message = "the worker did not write it"
                found.append(
                    StagingProblem(name=output.name, code="output-missing", message=message)
                )
        except (LongshoreError, OSError) as exc:
            found.append(_problem(output.name, exc))
    return sent


def _try_log(
    plan: TransferPlan,
    log: Path,
    root: Path,
    cap: int,
    found: list[StagingProblem],
    transport: Transport,
) -> tuple[ManifestEntry | None, bool]:
    try:
        return _send_log(plan, log, root, cap, transport)
    except FileNotFoundError:
        pass  # no worker, no log
    except (LongshoreError, OSError) as exc:
        found.append(_problem("log", exc))
    return None, False


def _send_output(
    output: Output, place: Path, root: Path, upload: SignedUpload, transport: Transport
) -> ManifestEntry:
    with contextlib.ExitStack() as opened:
        parent = open_parent(place, root)
        opened.callback(os.close, parent)
        if output.kind is OutputKind.ARCHIVE:
            from longshore.staging.packing import pack  # noqa: PLC0415 - most jobs have no archive

            directory = open_directory(place.name, parent)
            opened.callback(os.close, directory)
            source = chunked(pack(directory))
        else:
            source = cast("BinaryIO", os.fdopen(open_file(place.name, parent), "rb", buffering=0))
        opened.enter_context(source)
        return _send(output.name, source, output.max_size, upload, transport)


def _send(
    name: str, source: BinaryIO, max_size: int, upload: SignedUpload, transport: Transport
) -> ManifestEntry:
    receipt = transport.send(upload, source, max_size=max_size)
    if receipt.size is None or receipt.sha256 is None:
        raise TypeError(f"{type(transport).__name__} must say what it sent")
    return ManifestEntry(name=name, size=receipt.size, sha256=receipt.sha256, parts=receipt.parts)


def _planned(uploads: Mapping[str, SignedUpload], name: str) -> SignedUpload:
    if name not in uploads:
        raise NotFound("the plan has no upload for it")
    return uploads[name]


def _problem(name: str, exc: Exception) -> StagingProblem:
    code = _code(exc, _OUT_CODES, otherwise="output-unavailable")
    return StagingProblem(name=name, code=code, message=_words(exc)[:_MESSAGE])


def _send_log(
    plan: TransferPlan, log: Path, root: Path, cap: int, transport: Transport
) -> tuple[ManifestEntry, bool]:
    with contextlib.ExitStack() as opened:
        parent = open_parent(log, root)
        opened.callback(os.close, parent)
        # the worker may have put a link in its place
        file = opened.enter_context(os.fdopen(open_file(log.name, parent), "rb", buffering=0))
        size = os.fstat(file.fileno()).st_size
        source = cast("BinaryIO", file) if size <= cap else chunked(_beginning(file, cap))
        return _send("log", source, cap, plan.log, transport), size >= cap


def _beginning(file: io.FileIO, size: int) -> Iterator[bytes]:
    while size > 0 and (chunk := file.read(min(CHUNK, size))):
        size -= len(chunk)
        yield chunk


def _code(exc: Exception, codes: Iterable[tuple[type[Exception], str]], *, otherwise: str) -> str:
    return next((code for kind, code in codes if isinstance(exc, kind)), otherwise)


def _words(exc: Exception) -> str:
    if isinstance(exc, OSError):
        return os.strerror(exc.errno) if exc.errno else str(exc)
    return str(exc)
