"""What a mover is to do: the file PLAN, which may be replaced while the mover works."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import attrs

from longshore.codec import from_json
from longshore.models.run import LOG_CAP
from longshore.models.workflow import Input, Output
from longshore.transfer import TransferPlan


@attrs.frozen(kw_only=True)
class Order:
    """The plan of one attempt, and what is needed around it.

    ``name`` and ``directory`` are the launcher's ``--name`` and ``--dir``; ``key`` is what
    ``go`` holds. ``state`` is a directory that the mover can write to and the worker does not see.
    Places are paths of files, or of directories for archives. ``outage`` is how long the storage
    may be away; ``grace`` how long the mover may go on after SIGTERM. ``closed`` are two or more
    independent targets, ``host:port``, that must answer at first and must no longer within
    ``closing`` after stage-in, or the worker is not started; none asks for nothing.
    """

    name: str
    plan: TransferPlan
    directory: Path
    state: Path
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    input_places: Mapping[str, Path] = attrs.field(factory=dict[str, Path])
    output_places: Mapping[str, Path] = attrs.field(factory=dict[str, Path])
    key: str = attrs.field(default="", repr=False)
    log_cap: int = LOG_CAP
    outage: timedelta = timedelta(minutes=60)
    grace: timedelta = timedelta(seconds=60)
    closed: tuple[str, ...] = ()
    closing: timedelta = timedelta(minutes=2)


class OrderFile:
    """The file PLAN; whoever replaces it puts a whole file in its place, with a new generation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()
        self.order = self._read()

    def newer(self) -> TransferPlan:
        """Return the newest plan of this attempt.

        Raises:
            OSError, ValueError: the file that is there now cannot be read.
        """
        if self._signature() != self._seen:
            found = self._read()
            if _attempt(found) == _attempt(self.order) and (
                found.plan.generation > self.order.plan.generation
            ):
                self.order = attrs.evolve(self.order, plan=found.plan)
        return self.order.plan

    def _read(self) -> Order:
        seen = self._signature()
        order = from_json(Order, self._path.read_bytes())
        self._seen = seen
        return order

    def _signature(self) -> tuple[int, ...]:
        status = self._path.stat()
        return status.st_ino, status.st_mtime_ns, status.st_size


def _attempt(order: Order) -> tuple[str, int]:
    return order.plan.job_id, order.plan.attempt
