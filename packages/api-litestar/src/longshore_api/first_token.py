"""The administrator's token that a new store begins with."""

import sys

from longshore.access import Access


async def show_first_token(access: Access) -> None:
    """Make it and show it on standard error, once in the life of a store; outside of any log."""
    token = await access.bootstrap()
    if token is not None:
        sys.stderr.write(f"admin token (shown once): {token}\n")
        sys.stderr.flush()
