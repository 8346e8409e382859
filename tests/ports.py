"""Ports of servers that go away and come back."""

import random
import socket

#: below the ports that connections out of this machine get
_PORTS = range(10_000, 30_000)


def free_port() -> int:
    """Return a port that no connection out of this machine gets while its server is away.

    A random one: tests that run beside each other do not look at the same.
    """
    for port in random.SystemRandom().sample(_PORTS, 1000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
