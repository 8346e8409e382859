"""Administrators' tokens: the one that a new store begins with, and another when it is lost."""

import sys
from pathlib import Path

from longshore.access import Access
from longshore.embedded import open_embedded
from longshore.models import Role
from longshore.settings import Settings


async def show_first_token(access: Access) -> None:
    """Make it and show it on standard error, once in the life of a store; outside of any log."""
    token = await access.bootstrap()
    if token is not None:
        _show(token)


async def show_new_token(settings: Settings, home: Path) -> None:
    """Make one more for the store in ``home``, whether or not a service runs on it.

    Raises:
        LongshoreError: the store cannot be opened.
    """
    async with open_embedded(home, settings=settings, detach=False) as embedded:
        access = embedded.host.access
        token = await access.bootstrap()
        if token is None:
            issued = await access.issue_token(None, role=Role.ADMIN, by="longshore serve")
            token = issued.text
        _show(token)


def _show(token: str) -> None:
    sys.stderr.write(f"admin token (shown once): {token}\n")
    sys.stderr.flush()
