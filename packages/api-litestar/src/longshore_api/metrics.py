"""What the service counts of itself, as plain numbers that a scrape turns into text."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import MutableMapping
from typing import Any

#: upper bounds in seconds
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: the route of a request that has none
NO_ROUTE = "none"
#: the method of a request whose method no route has: callers must not be able to add series
OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Tally:
    """Requests by route, method and status, and how long they took.

    Its size is bounded: routes are templates, and strange methods are one. Its numbers count on
    from the start of the process.
    """

    def __init__(self) -> None:
        self.requests: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        self.durations: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(BUCKETS) + 1))
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def count(self, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
        """Count one request that was answered with ``status`` after so many seconds."""
        route = scope.get("path_template") or NO_ROUTE
        method = scope["method"]
        if method not in METHODS:
            method = OTHER
        self.requests[route, method, status] += 1
        self.durations[route][bisect_left(BUCKETS, seconds)] += 1
        self.seconds[route] += seconds

    def by_class(self) -> dict[tuple[str, str, str], int]:
        """Return the requests by route, method and class of status, such as ``2xx``."""
        found: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        for (route, method, status), number in list(self.requests.items()):
            found[route, method, f"{status // 100}xx"] += number
        return dict(found)
