"""The proof that the network is closed: what had answered does so no longer."""

import socket
import time
from collections.abc import Callable, Sequence

from longshore.errors import IsolationUnavailable

#: an address as ``socket`` takes it, with its family
Address = tuple[int, str, int]

#: so many independent targets prove something; each must fail so often, one after another
TARGETS, FAILURES = 2, 3
#: seconds for an answer, and between two rounds
ANSWER, PAUSE = 1.0, 0.25


def answering(targets: Sequence[str]) -> tuple[Address, ...]:
    """Return one address of each of ``targets`` (``host:port``), all of which answer now.

    Raises:
        IsolationUnavailable: fewer than two do: then nothing could be proven.
    """
    found = [address for target in targets if (address := _address(target)) is not None]
    if len(found) < TARGETS:
        raise IsolationUnavailable(
            f"only {len(found)} of {', '.join(targets) or 'no targets'} answer while the network "
            "is open: that proves nothing",
            hint=f"{TARGETS} or more must answer over TCP from where the job runs",
        )
    return tuple(found)


def wait_until_closed(
    addresses: Sequence[Address],
    seconds: float,
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Return when none of ``addresses`` has answered three times in a row.

    Raises:
        IsolationUnavailable: one still answers after ``seconds``.
    """
    end, failures = now() + seconds, 0
    while failures < FAILURES:
        open_one = next((one for one in addresses if answers(one)), None)
        failures = 0 if open_one else failures + 1
        if open_one and now() > end:
            host, port = open_one[1:]
            raise IsolationUnavailable(
                f"the network was not closed within {seconds:g} s: {host}:{port} answers",
                hint="the engine's network policies must be enforced where the job runs",
            )
        if failures < FAILURES:
            sleep(PAUSE)


def answers(address: Address) -> bool:
    """Say whether a connection is accepted."""
    family, host, port = address
    with socket.socket(family, socket.SOCK_STREAM) as tried:
        tried.settimeout(ANSWER)
        try:
            tried.connect((host, port))
        except OSError:
            return False
        return True


def _address(target: str) -> Address | None:
    host, _, port = target.rpartition(":")
    try:
        known = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return None
    # the address, not the name: a name that is no longer found proves less
    found = ((int(family), str(place[0]), int(place[1])) for family, _, _, _, place in known)
    return next((address for address in found if answers(address)), None)
