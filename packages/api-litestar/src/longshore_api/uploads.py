"""The requests of an upload on the wire."""

from collections.abc import Collection, Mapping
from typing import Any

from longshore.transfer import SignedRequest, SignedUpload

Json = dict[str, Any]


def uploads_to_wire(uploads: Mapping[str, SignedUpload]) -> Json:
    """Return the uploads of a job by input."""
    return {name: upload_to_wire(upload) for name, upload in uploads.items()}


def upload_to_wire(upload: SignedUpload, *, without: Collection[int] = ()) -> Json:
    """Return one request, or the ``parts`` in order less those that are there."""
    if len(upload.parts) == 1:
        return _request(upload.parts[0])
    return {
        "parts": [
            {"number": number, "size": upload.size_of(number), **_request(part)}
            for number, part in enumerate(upload.parts, start=1)
            if number not in without
        ]
    }


def _request(request: SignedRequest) -> Json:
    return {"method": request.method, "url": request.url, "headers": dict(request.headers)}
