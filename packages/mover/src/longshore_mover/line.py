"""One thread's way to the storage: a request is sent until it is answered, or for good refused."""

from collections.abc import Callable

from longshore.errors import (
    ChecksumMismatch,
    LongshoreError,
    NotFound,
    StorageUnavailable,
    TooLarge,
)
from longshore.transfer import SignedRequest
from longshore_mover.answers import Then, meaning
from longshore_mover.connection import Answer, Broken, Connection
from longshore_mover.patience import Patience
from longshore_mover.renewal import Renewal

#: bytes that are read, or hashed, by one call
BUFFER = 1024**2

_ENDS: dict[Then, tuple[type[LongshoreError], str]] = {
    Then.GONE: (NotFound, "the storage does not have it, or no longer takes it"),
    Then.TOO_LARGE: (TooLarge, "more than the storage takes"),
    Then.CHANGED: (ChecksumMismatch, "not the object that was announced"),
    Then.REFUSED: (StorageUnavailable, "the storage refused the request"),
}


class Line:
    """A connection with the rules of trying again, and a buffer; used by one thread at a time."""

    def __init__(self, patience: Patience, renewal: Renewal) -> None:
        self.patience = patience
        self.connection = Connection(patience.left)
        self.buffer = memoryview(bytearray(BUFFER))
        #: nobody waits for it any more
        self.is_abandoned = False
        self._renewal = renewal

    def ask(
        self,
        request: SignedRequest,
        send: Callable[[SignedRequest], None],
        take: Callable[[Answer], None],
    ) -> None:
        """Send a request until ``take`` has taken its answer.

        ``send`` sends it whole; ``take`` reads the body and may be called again after ``Broken``.

        Raises:
            NotFound, TooLarge, ChecksumMismatch: the storage's word is final.
            StorageUnavailable: it did not answer within the allowance, or refused.
        """
        tries, count = 0, self.patience.count
        while True:
            self.patience.check()
            if self.is_abandoned:
                raise StorageUnavailable("another piece of the transfer failed")
            current = self._renewal.current(request)
            after = 0.0
            was_open = self.connection.is_open
            try:
                answer = self._exchange(current, send)
                then, words = Then.DONE, ""
                if answer.status not in {200, 206}:
                    code = answer.code()
                    then = meaning(answer.status, code)
                    words = f"{answer.status} {code}".rstrip()
                    after = answer.retry_after
                if then is Then.DONE:
                    take(answer)
                    return
            except Broken as exc:
                then, words = Then.AGAIN, str(exc)
                self.connection.close()
                if was_open:  # it may have been closed since it was last used: that proves nothing
                    continue
            if then is Then.RENEW:
                self._renewal.wait(current, self.patience)
            elif then is Then.AGAIN:
                if self.patience.count != count:  # something moved meanwhile: begin to count anew
                    tries, count = 0, self.patience.count
                tries += 1
                self.patience.again(f"no answer from the storage: {words}", tries, after=after)
            else:
                kind, sentence = _ENDS[then]
                raise kind(f"{sentence}: {words}")

    def _exchange(self, request: SignedRequest, send: Callable[[SignedRequest], None]) -> Answer:
        try:
            send(request)
        except Broken as exc:
            # a server that refuses may say why before it has read all
            try:
                return self.connection.answer()
            except Broken:
                raise exc from None
        return self.connection.answer()
