"""Where a path of ``longshore://`` leads.

```
<job>                   a job
<job>/log               what its worker printed
<job>/outputs/<name>    what it made
```
"""

import re
from dataclasses import dataclass
from enum import Enum

from longshore_client.errors import NotFound

#: ids of jobs and names of outputs; nothing that could lead elsewhere
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}\Z")
LOG, OUTPUTS = "log", "outputs"


class Kind(Enum):
    """What is at a path."""

    ROOT = "root"
    JOB = "job"
    OUTPUTS = "outputs"
    OUTPUT = "output"
    LOG = "log"


FILES = frozenset({Kind.OUTPUT, Kind.LOG})


@dataclass(frozen=True)
class Place:
    """What a path leads to: ``job`` is an id, and ``name`` that of an output."""

    kind: Kind
    job: str = ""
    name: str = ""

    @property
    def path(self) -> str:
        """The path that leads here."""
        last = {Kind.LOG: (LOG,), Kind.OUTPUTS: (OUTPUTS,), Kind.OUTPUT: (OUTPUTS, self.name)}
        return "/".join((self.job, *last.get(self.kind, ())))


def parse(path: str) -> Place:
    """Return where ``path`` leads, without asking whether that is there.

    Raises:
        NotFound: nothing can be there.
    """
    segments = path.split("/") if path else []
    if all(_SEGMENT.match(one) for one in segments):
        match segments:
            case []:
                return Place(Kind.ROOT)
            case [job]:
                return Place(Kind.JOB, job)
            case [job, "log"]:
                return Place(Kind.LOG, job)
            case [job, "outputs"]:
                return Place(Kind.OUTPUTS, job)
            case [job, "outputs", name]:
                return Place(Kind.OUTPUT, job, name)
            case _:
                pass
    raise NotFound("there can be nothing", hint="<job>/outputs/<name> or <job>/log")
