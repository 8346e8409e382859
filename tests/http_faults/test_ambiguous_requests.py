"""S16: a request that two readers could understand differently is refused, and nothing follows it.

Each is followed on the same connection by another request. Where a proxy in front has seen one
request and the server two, the second is somebody else's: it must not be answered.
"""

from collections.abc import Iterator

import pytest
from tests.http_faults.mutations import mutated
from tests.http_faults.wire import Wire
from tests.serving import Service, end_everything, serving

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /livez HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
LAST = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
HELLO = b"\r\n\r\nhello"
NONE = b"\r\n\r\n0\r\n\r\n"

REFUSED = {
    "length, then coding": POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked" + NONE,
    "coding, then length": CHUNKED + b"Content-Length: 6" + NONE,
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6" + HELLO,
    "the same length twice": POST + b"Content-Length: 5\r\nContent-Length: 5" + HELLO,
    "a list of lengths": POST + b"Content-Length: 5, 5" + HELLO,
    "length with a sign": POST + b"Content-Length: +5" + HELLO,
    "negative length": POST + b"Content-Length: -5" + HELLO,
    "length in hex": POST + b"Content-Length: 0x5" + HELLO,
    "length with a gap": POST + b"Content-Length: 1 5" + HELLO,
    "length without digits": POST + b"Content-Length: " + HELLO,
    "length beyond 64 bits": POST + b"Content-Length: 99999999999999999999" + HELLO,
    "space before the colon of the length": POST + b"Content-Length : 5" + HELLO,
    "space before the colon of the coding": POST + b"Transfer-Encoding : chunked" + NONE,
    "coding with a control character": POST + b"Transfer-Encoding: \x0bchunked" + NONE,
    "coding twice": CHUNKED + b"Transfer-Encoding: identity" + NONE,
    "chunked twice": CHUNKED + b"Transfer-Encoding: chunked" + NONE,
    "chunked, then another": POST + b"Transfer-Encoding: chunked, identity" + NONE,
    "folded coding": POST + b"Transfer-Encoding:\r\n chunked" + NONE,
    "folded header": GET + b"A: a\r\n b\r\n\r\n",
    "chunk with a sign": CHUNKED + b"\r\n-1\r\nhello\r\n0\r\n\r\n",
    "chunk with 0x": CHUNKED + b"\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "chunk with a space": CHUNKED + b"\r\n5 \r\nhello\r\n0\r\n\r\n",
    "chunk beyond 64 bits": CHUNKED + b"\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "chunk longer than it says": CHUNKED + b"\r\n5\r\nhelloXX0\r\n\r\n",
    "chunk ended by LF": CHUNKED + b"\r\n5\nhello\n0\n\n",
    "extension ended by LF": CHUNKED + b"\r\n5;a\nhello\r\n0\r\n\r\n",
    "length behind the body": CHUNKED + b"\r\n0\r\nContent-Length: 50\r\n\r\n",
    "lines ended by LF": b"GET /livez HTTP/1.1\nHost: x\n\n",
    "one line ended by LF": b"GET /livez HTTP/1.1\r\nHost: x\nA: y\r\n\r\n",
    "a line ended by CR": b"GET /livez HTTP/1.1\r\nHost: x\rA: y\r\n\r\n",
    "NUL in a value": GET + b"A: a\0b\r\n\r\n",
    "NUL in a name": GET + b"A\0: a\r\n\r\n",
    "space in a name": GET + b"A B: a\r\n\r\n",
    "no colon": GET + b"Abc\r\n\r\n",
    "no name": GET + b": a\r\n\r\n",
    "no host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: y\r\n\r\n",
    "a tunnel": b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "another version": b"GET /livez HTTP/1.2\r\nHost: x\r\n\r\n",
    "a longer version": b"GET /livez HTTP/1.10\r\nHost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "a method in small letters": b"get /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown method": b"BREW /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tab for a space": b"GET\t/livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space first": b" " + GET + b"\r\n",
    "bytes in the URL": b"GET /liv\xc3\xa9z HTTP/1.1\r\nHost: x\r\n\r\n",
}
#: codings that the body has beside the chunks: a reader who ignores them has another body
UNKNOWN_CODING = {
    "xchunked": POST + b"Transfer-Encoding: xchunked" + NONE,
    "identity": POST + b"Transfer-Encoding: identity" + NONE,
    "gzip and chunked": POST + b"Transfer-Encoding: gzip, chunked" + NONE,
    "quoted": POST + b'Transfer-Encoding: "chunked"' + NONE,
}
#: what is understood, in one way, with all answers
UNDERSTOOD = {
    "a body that nobody asked for": (GET + b"Content-Length: 5" + HELLO, [200, 200]),
    "blanks behind the length": (POST + b"Content-Length: 5 " + HELLO, [405, 200]),
    "a tab before the coding": (POST + b"Transfer-Encoding:\tchunked" + NONE, [405, 200]),
    "an extension": (CHUNKED + b"\r\n5;a=b\r\nhello\r\n0\r\n\r\n", [405, 200]),
    "empty lines first": (b"\r\n\r\n" + GET + b"\r\n", [200, 200]),
    "another protocol offered": (
        GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        [200, 200],
    ),
    "another protocol offered, with a body": (
        POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5" + HELLO,
        [405, 200],
    ),
    "another protocol offered, with chunks": (
        CHUNKED + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        [405, 200],
    ),
    "coding in HTTP/1.0, which is closed": (CHUNKED.replace(b"1.1", b"1.0") + NONE, [400]),
    "a request behind one that closes": (GET + b"Connection: close\r\n\r\n", [200]),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    place = tmp_path_factory.mktemp("wire")
    try:
        with serving(place, program=mutated("short-patience")) as running:
            yield running
    finally:
        end_everything(place)


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED)
def test_what_is_ambiguous_is_refused_and_nothing_behind_it_is_heard(
    service: Service, request_: bytes
) -> None:
    with Wire(service.port, request_ + LAST) as wire:
        assert wire.statuses() == [400]


@pytest.mark.parametrize("request_", UNKNOWN_CODING.values(), ids=UNKNOWN_CODING)
def test_a_coding_that_is_not_understood_is_refused_as_such(
    service: Service, request_: bytes
) -> None:
    with Wire(service.port, request_ + LAST) as wire:
        assert wire.statuses() in ([400], [501])


@pytest.mark.parametrize(("request_", "statuses"), UNDERSTOOD.values(), ids=UNDERSTOOD)
def test_what_has_one_meaning_is_answered_and_so_is_what_follows(
    service: Service, request_: bytes, statuses: list[int]
) -> None:
    with Wire(service.port, request_ + LAST) as wire:
        assert wire.statuses() == statuses


def test_what_was_asked_before_is_answered_and_never_with_the_refusal_of_another(
    service: Service,
) -> None:
    with Wire(service.port, GET + b"\r\n" + GET + b"\r\nNONSENSE\r\n\r\n" + LAST) as wire:
        assert wire.statuses() == [200, 200]


def test_a_body_that_breaks_behind_another_request_takes_no_answer_from_it(
    service: Service,
) -> None:
    with Wire(service.port, GET + b"\r\n" + CHUNKED + b"\r\nzz\r\n" + LAST) as wire:
        assert wire.statuses() == [200]


def test_a_header_behind_the_body_gives_nobody_rights(service: Service) -> None:
    ask = b"GET /v1/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    token = b"Authorization: Bearer %s\r\n" % service.admin.encode()
    with Wire(service.port, ask + token + b"\r\n") as wire:
        assert wire.statuses() == [200]
    with Wire(
        service.port, ask + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + token + b"\r\n"
    ) as wire:
        assert wire.statuses() == [401]


def test_pipelined_requests_are_answered_in_their_order(service: Service) -> None:
    asked = [b"/livez", b"/nothing", b"/livez", b"/v1/me", b"/docs"]
    lines = [b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path for path in asked]
    with Wire(service.port, b"".join(lines) + LAST) as wire:
        assert wire.statuses() == [200, 401, 200, 401, 200, 200]
