"""A program of its own that uses the service: ``python second.py HOME SETTINGS``.

It reads questions, one JSON list per line, and answers each with one line of JSON.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from longshore import Longshore


def main() -> None:
    """Answer until the input ends, then leave."""
    with Longshore.open(sys.argv[1], settings=json.loads(sys.argv[2])) as longshore:
        answers: dict[str, Callable[..., Any]] = {
            "submit": lambda workflow: longshore.run(workflow).id,
            "wait": lambda job_id: longshore.job(job_id).wait(30).state,
            "cancel": lambda job_id: longshore.job(job_id).cancel().state,
            "log": lambda job_id: b"".join(longshore.job(job_id).logs()).decode(),
            "holds": lambda: longshore.bridge.embedded.is_holder,
        }
        for line in sys.stdin:
            word, *rest = json.loads(line)
            sys.stdout.write(json.dumps(answers[word](*rest)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
