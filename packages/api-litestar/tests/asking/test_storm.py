"""Connections that come together do not wait for a round of the loop each."""

import itertools
import socket
import time
from contextlib import ExitStack

import anyio
import anyio.lowlevel
from tests.inside import Inside

_STORM = 60


async def _rounds(inside: Inside, port: int) -> int:
    """Return how many rounds the loop needs for a storm that came while it was busy."""
    there = len(inside.server.server_state.connections)
    with ExitStack() as storm:
        for _ in range(_STORM):  # the kernel takes them in; the loop is here, and cannot
            storm.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        end = time.monotonic() + 10
        for rounds in itertools.count():
            if len(inside.server.server_state.connections) >= there + _STORM:
                return rounds
            assert time.monotonic() < end
            await anyio.lowlevel.checkpoint()
    raise AssertionError


def test_a_storm_of_connections_is_let_in_several_at_a_time(inside: Inside) -> None:
    assert inside.call(_rounds, inside, inside.port) <= _STORM / 3
