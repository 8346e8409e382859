"""What is done for those who are served when four times as much is offered.

First the peak: 32 connections that submit jobs as fast as they can. Then 128 of them against a
service that works on 48 requests at a time; who is refused (503) waits as ``Retry-After`` says.
Then 128 of one token with a rate limit of half the peak (429), beside four of another token. Must:
goodput 0.9 of the peak; all others are 429 or 503.
"""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from _load import Load, offer, request
from _server import Served, serve
from _table import percentile, show

_BODY = json.dumps({"workflow": "small", "parameters": {"n": 1}})


def _submit(served: Served, connections: int, seconds: float) -> Load:
    post = [request("POST", "/v1/jobs", token=served.consumer, body=_BODY)]
    return offer(served.port, post, connections=connections, seconds=seconds)


def _crowd(rounds: int, seconds: float) -> tuple[list[Load], list[Load]]:
    peak, crowd = [], []
    with serve({"LONGSHORE_LIMITS__REQUESTS_AT_ONCE": "48"}) as served:
        for _ in range(rounds):
            peak.append(_submit(served, 32, seconds))
            crowd.append(_submit(served, 128, seconds))
    return peak, crowd


def _limited(rate: int, seconds: float) -> tuple[Load, Load, Load]:
    """Return another token alone, then beside one that asks for far more than it may."""
    settings = {
        "LONGSHORE_LIMITS__REQUESTS_PER_SECOND": str(rate),
        "LONGSHORE_LIMITS__BURST": str(rate),
    }
    with serve(settings) as served:
        other = served.another_token()
        look = [request("GET", "/v1/me", token=other)]
        alone = offer(served.port, look, connections=4, seconds=seconds)
        with ThreadPoolExecutor(2) as pool:
            abuser = pool.submit(_submit, served, 128, seconds)
            beside = pool.submit(offer, served.port, look, connections=4, seconds=seconds)
            return alone, abuser.result(), beside.result()


def _refused(load: Load) -> str:
    return ", ".join(f"{count:,} x {status}" for status, count in sorted(load.statuses.items()))


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    peak, crowd = _crowd(options.rounds, options.seconds)
    best = median(one.rate for one in peak)
    many = median(one.rate for one in crowd)
    alone, abuser, beside = _limited(1000, options.seconds)
    show(
        "accepted per second",
        ("what", "per second", "of the peak", "p99 ms", "answers"),
        [
            ("32 connections", best, 1.0, _p99(peak[-1]), _refused(peak[-1])),
            ("128 connections", many, many / best, _p99(crowd[-1]), _refused(crowd[-1])),
            ("1 token, 1,000/s", abuser.rate, abuser.rate / best, _p99(abuser), _refused(abuser)),
            ("another, alone", alone.rate, 0.0, _p99(alone), _refused(alone)),
            ("another, beside", beside.rate, 0.0, _p99(beside), _refused(beside)),
        ],
    )


def _p99(load: Load) -> float:
    return percentile(load.latencies, 0.99) * 1e3


if __name__ == "__main__":
    main()
