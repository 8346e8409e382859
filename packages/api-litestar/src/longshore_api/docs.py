"""What the OpenAPI document says beside the handlers: every error that a route answers."""

from litestar.openapi.datastructures import ResponseSpec

from longshore_api.problems import MEDIA_TYPE, TITLES, Problem


def errors(*statuses: int) -> dict[int, ResponseSpec]:
    """Return the problems that a route may answer."""
    return {
        status: ResponseSpec(
            data_container=Problem,
            generate_examples=False,
            description=TITLES[status],
            media_type=MEDIA_TYPE,
        )
        for status in statuses
    }
