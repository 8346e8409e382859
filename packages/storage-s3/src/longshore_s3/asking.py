"""One plain request, as a job or a consumer would send it. Blocking."""

import http.client
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

import attrs

from longshore_s3.failing import Unreachable
from longshore_s3.settings import S3Settings

_MOST = 64 * 1024
_PATIENCE = 10.0


@attrs.frozen
class Answer:
    """What came: the names of ``headers`` are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(
    method: str, url: str, body: bytes, headers: Mapping[str, str], settings: S3Settings
) -> Answer:
    """Send a request and return its answer; nothing is sent again, and nothing followed.

    Raises:
        Unreachable: there is no answer.
    """
    parts = urlsplit(url)
    place = parts.hostname or "", parts.port
    connection = http.client.HTTPConnection(*place, timeout=_PATIENCE)
    if parts.scheme == "https":
        tls = ssl.create_default_context()
        if settings.ca_file is not None:
            tls.load_verify_locations(settings.ca_file)
        connection = http.client.HTTPSConnection(*place, timeout=_PATIENCE, context=tls)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body or None, dict(headers))
        answer = connection.getresponse()
        got = {name.lower(): text for name, text in answer.getheaders()}
        return Answer(answer.status, got, answer.read(_MOST))
    except (OSError, http.client.HTTPException) as exc:
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else type(exc).__name__
        raise Unreachable(f"{parts.netloc} does not answer: {why}") from None
    finally:
        connection.close()
