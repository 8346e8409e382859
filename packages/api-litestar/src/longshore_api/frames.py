"""Events as frames of a stream, each made once for all who follow."""

from collections import OrderedDict

import msgspec

from longshore.models import JobEvent
from longshore.wire import event_to_wire

_MOST = 4096


class EventFrames:
    """The frames that were sent last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def frame(self, event: JobEvent) -> bytes:
        """Return an event as server-sent events have it: id, type, and its JSON."""
        key = (event.job_id, event.seq)  # an event never changes
        kept = self._kept.get(key)
        if kept is None:
            data = msgspec.json.encode(event_to_wire(event))
            kept = b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.type.encode(), data)
            self._kept[key] = kept
            if len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        return kept
