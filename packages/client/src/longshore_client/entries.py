"""Jobs, outputs and logs as the entries of a directory: the mappings that fsspec knows."""

from contextlib import suppress

from longshore_client.errors import NotFound, ServerError
from longshore_client.models import Job
from longshore_client.places import Kind, Place, parse
from longshore_client.results import Result
from longshore_client.session import Json


def directory_entry(place: Place) -> Json:
    """Return the entry of a directory."""
    return {"name": place.path, "size": 0, "type": "directory"}


def job_entry(job: Job) -> Json:
    """Return the entry of a job, as the server lists it.

    Raises:
        ServerError: its id is none.
    """
    place = _checked(Place(Kind.JOB, job.id))
    more = {"state": job.state, "workflow": job.workflow, "created": job.created_at}
    return {**directory_entry(place), **more}


def file_entry(place: Place, result: Result, item: Json | None = None) -> Json:
    """Return the entry of a file; ``item`` is an output as the server lists it.

    Raises:
        ServerError: its name is none.
    """
    entry: Json = {"name": _checked(place).path, "size": result.size, "type": "file"}
    if item is not None:
        entry |= {"sha256": result.sha256, "mediaType": item.get("mediaType")}
    return entry


def _checked(place: Place) -> Place:
    """Return ``place``, which the server named, unless that name would lead elsewhere."""
    with suppress(NotFound):
        if parse(place.path) == place:
            return place
    raise ServerError(f"the server lists {place.path!r}, which is no name")
