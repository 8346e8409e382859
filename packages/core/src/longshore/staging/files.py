"""The names of what whoever runs a worker and whoever carries its results share in a directory.

A launcher in a container and the local runner keep to it alike.
"""

#: what is known of the attempt: sealed lines, locked by whoever takes care of the worker
ATTEMPT = "attempt.jsonl"
#: bytes of that file from its beginning on
ATTEMPT_SIZE = 8192
#: what the worker printed, at most the cap
LOG = "log"
#: bytes before the cap that may be a sentence about what was cut, instead of the worker's
LOG_NOTE = 160
#: the request to stop: ``{"grace": seconds}``
STOP = "stop"
#: the inputs are there: the worker may start; holds the key, and is taken away by who reads it
GO = "go"
#: HOME and TMPDIR of the worker
SCRATCH = "tmp"
