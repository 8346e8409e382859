"""Load by ``wrk`` where it is installed, as that takes little; else by ``_load``."""

import json
import shutil
import subprocess
import tempfile

import attrs
from _load import offer
from _table import percentile

#: sends the requests round robin, and says in the end what came back
_SCRIPT = """
local requests, number = {%s}, 0
request = function() number = number %% #requests + 1; return requests[number] end
done = function(summary, latency)
  io.write(string.format('\\n{"requests":%%d,"refused":%%d,"micros":%%d,"p99":%%f}',
    summary.requests, summary.errors.status, summary.duration, latency:percentile(99)))
end
"""


@attrs.frozen
class Pressed:
    """Good answers per second, and the 99th percentile of their latencies in seconds."""

    rate: float
    p99: float


def generator() -> str:
    """Return the name of what offers the load."""
    return "wrk" if shutil.which("wrk") else "a load generator in Python (wrk is not installed)"


def press(port: int, requests: list[str], *, connections: int = 32, seconds: float) -> Pressed:
    """Offer ``requests`` in a closed loop from another process."""
    if not shutil.which("wrk"):
        load = offer(port, requests, connections=connections, seconds=seconds)
        return Pressed(load.rate, percentile(load.latencies, 0.99))
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SCRIPT % ",".join(json.dumps(one) for one in requests))
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", script.name]
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}/"], stdout=subprocess.PIPE, check=True, text=True
        )
    said = json.loads(done.stdout.splitlines()[-1])
    good = said["requests"] - said["refused"]
    return Pressed(good / (said["micros"] / 1e6), said["p99"] / 1e6)
