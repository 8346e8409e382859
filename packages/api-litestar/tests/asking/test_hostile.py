"""Whatever is sent: a documented problem, never a failure, and the connection goes on."""

import json
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from tests.asking import Header, Raw
from tests.blobserving import Answer
from tests.inside import Inside
from tests.matrix import ROWS

_PROBLEM = "application/problem+json"
_JSON: Header = (b"content-type", b"application/json")
_PROPERTY = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
#: statuses that the document has for a request that is wrong
_WRONG = {400, 401, 403, 404, 405, 409, 412, 413, 415, 416, 422}
_NAMES = [
    "..",
    ".",
    "%2e%2e",
    "%2E%2E%2f%2e%2e%2fetc%2fpasswd",
    "a%2Fb",
    "%00",
    "a%00b",
    "%ff%fe",
    "%c0%ae%c0%ae",
    "%ed%a0%80",
    "%F0%9F%92%A5",
    "%e2%80%ae",
    "%25%32%65",
    "%",
    "%zz",
    "%0d%0aX-Injected:%201",
    "a%0ab",
    "';DROP%20TABLE%20jobs--",
    "{job_id}",
    "%5c..%5c",
    "a" * 5000,
    "%41" * 3000,
    "CON",
    "-",
]
_TEMPLATES = sorted({(method, path) for method, path in ROWS if "{" in path})


def _check(answer: Answer) -> None:
    assert answer.status < 500, answer.body
    assert "x-injected" not in answer.headers
    if answer.status >= 400:
        assert answer.status in _WRONG, answer
        assert answer.headers["content-type"] == _PROBLEM
        problem = json.loads(answer.body)
        assert problem["status"] == answer.status
        assert problem["type"] == f"urn:longshore:problem:{problem['code']}"
        assert problem["requestId"] == answer.headers["x-request-id"]


def _ask(raw: Raw, method: str, path: str, name: str) -> Answer:
    for part in ("job_id", "workflow_id", "agreement_id", "token_id", "name"):
        path = path.replace(f"{{{part}}}", name)
    body = b"{}" if method in {"POST", "PUT"} else None
    return raw.ask(method.encode(), path.encode("latin-1"), [_JSON], body)


@pytest.mark.parametrize(("method", "path"), _TEMPLATES)
def test_no_name_in_an_address_leads_anywhere(raw: Raw, method: str, path: str) -> None:
    for name in _NAMES:
        answer = _ask(raw, method, path, name)
        _check(answer)
        assert answer.status >= 400 or (method == "GET" and answer.status == 200), name
    assert raw.is_usable()


@pytest.mark.parametrize(("method", "path"), _TEMPLATES)
def test_an_administrators_address_leads_nowhere_either(admin: Raw, method: str, path: str) -> None:
    for name in _NAMES:
        _check(_ask(admin, method, path, name))
    assert admin.is_usable()


@_PROPERTY
@given(route=st.sampled_from(_TEMPLATES), name=st.binary(min_size=1, max_size=80))
def test_no_bytes_in_an_address_are_a_failure(
    raw: Raw, route: tuple[str, str], name: bytes
) -> None:
    _check(_ask(raw, *route, quote_from_bytes(name)))
    assert raw.is_usable()


#: headers, a target that looks at them, and what is answered
_NONSENSE: list[tuple[str, str, bytes, set[int]]] = [
    ("GET", "", b"prefer: wait=soon", {400}),
    ("GET", "", b"prefer: wait=-1", {400}),
    ("GET", "", b"prefer: ,;=", {200}),
    ("GET", "", b"if-none-match: nonsense", {200}),
    ("GET", "/events", b"last-event-id: x", {200}),
    ("GET", "/events?after=x", b"accept: application/json", {400}),
    ("GET", "/events?after=-1", b"accept: application/json", {400}),
    ("GET", "/events?limit=0", b"accept: application/json", {400}),
    ("GET", "/events?limit=1001", b"accept: application/json", {400}),
    ("GET", "/events?after=99999999999999999999999", b"accept: */*", {400}),
    ("GET", "/events?after=1&after=2", b"accept: */*", {200, 400}),
    ("GET", "/events?%ff=%00&=&&a", b"accept: */*", {200}),
    ("GET", "/logs", b"range: bytes=5-2", {200}),
    ("GET", "/logs", b"range: lines=1-2", {200}),
    ("GET", "/logs", b"range: bytes=0-1,3-4", {200}),
    ("GET", "/logs", b"range: bytes=99999999999999999999-", {200, 416}),
    ("GET", "/logs", b"range: bytes=9999999-", {416}),
    ("GET", "/logs?start=x", b"accept: */*", {400}),
    ("GET", "/logs?follow=perhaps", b"accept: */*", {400}),
    ("POST", "/cancel", b"if-match: nonsense", {412}),
    ("POST", "/cancel", b'if-match: W/"3"', {412}),
    ("DELETE", "", b"if-match: " + b"x" * 1001, {400}),
    ("GET", "", b"x-request-id: \x80 a b", {200}),
    ("GET", "", b"accept: " + b"a/b;q=0.1," * 500, {200}),
    ("GET", "", b"cookie: a=\x80; ;=;==", {200}),
]


@pytest.mark.parametrize(("method", "more", "header", "statuses"), _NONSENSE)
def test_headers_and_queries_of_nonsense_are_ignored_or_named(
    raw: Raw, canceled: str, method: str, more: str, header: bytes, statuses: set[int]
) -> None:
    name, _, value = header.partition(b": ")

    answer = raw.ask(method.encode(), f"/v1/jobs/{canceled}{more}".encode(), [(name, value)])

    _check(answer)
    assert answer.status in statuses, answer
    assert raw.is_usable()


def test_a_nonsense_last_event_id_is_named(raw: Raw, canceled: str) -> None:
    for seen in (b"x", b"-1", b"\xb2", b"99999999999999999999", b"9007199254740993"):
        headers = [(b"accept", b"text/event-stream"), (b"last-event-id", seen)]
        answer = raw.ask(b"GET", f"/v1/jobs/{canceled}/events".encode(), headers)
        _check(answer)
        assert answer.status == 400
    assert raw.is_usable()


@pytest.mark.parametrize("given_id", [b"two words", b"a\xe9", b"x" * 65, b"", b"<script>"])
def test_a_strange_request_id_is_not_repeated(raw: Raw, given_id: bytes) -> None:
    answer = raw.ask(b"GET", b"/v1/me", [(b"x-request-id", given_id)])

    assert answer.headers["x-request-id"] not in {given_id.decode("latin-1"), ""}


def test_a_plain_request_id_is_repeated(raw: Raw) -> None:
    assert raw.ask(b"GET", b"/v1/me", [(b"x-request-id", b"a-1.b_2")]).headers["x-request-id"] == (
        "a-1.b_2"
    )


@pytest.mark.parametrize(
    "value",
    [b"", b"Bearer", b"Bearer ", b"bearer ls_\xff", b"Bearer " + b"x" * 9000, b"Basic eA=="],
)
def test_a_strange_token_is_no_token(inside: Inside, value: bytes) -> None:
    connection = inside.connect()
    connection.send(b"GET /v1/me HTTP/1.1\r\nhost: x\r\nauthorization: " + value + b"\r\n\r\n")
    answer = connection.answer()

    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    _check(answer)


def test_two_tokens_are_none(inside: Inside, token: str) -> None:
    connection = inside.connect()
    good = b"authorization: Bearer " + token.encode() + b"\r\n"
    for twice in (good + good, good + b"authorization: x\r\n", b"authorization: x\r\n" + good):
        connection.send(b"GET /v1/me HTTP/1.1\r\nhost: x\r\n" + twice + b"\r\n")
        assert connection.answer().status == 401


def test_a_token_in_the_address_is_none(inside: Inside, token: str) -> None:
    for name in ("token", "access_token", "authorization"):
        connection = inside.connect()
        connection.ask("GET", f"/v1/me?{name}={token}")
        assert connection.answer().status == 401


# bodies

_BAD_BODIES: dict[str, bytes] = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "a text": b'"x"',
    "cut off": b'{"workflow": ',
    "two values": b"{}{}",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"workflow":"copy"}'.encode("utf-16"),
    "bad UTF-8": b'{"workflow": "\xff"}',
    "an overlong NUL": b'{"workflow": "\xc0\x80"}',
    "a surrogate in UTF-8": b'{"workflow": "\xed\xa0\x80"}',
    "a lone surrogate": b'{"workflow": "\\ud800"}',
    "a member twice": b'{"workflow": "copy", "workflow": "copy"}',
    "a member twice by escape": b'{"workflow": "copy", "workfl\\u006fw": "copy"}',
    "an unknown member": b'{"workflow": "copy", "podSpecPatch": "x"}',
    "NaN": b'{"workflow": "copy", "parameters": {"a": NaN}}',
    "Infinity": b'{"workflow": "copy", "parameters": {"a": -Infinity}}',
    "a number too large": b'{"workflow": "copy", "parameters": {"a": 1e400}}',
    "a number of many digits": b'{"workflow": "copy", "parameters": {"a": %s}}' % (b"9" * 9000),
    "too deep": b'{"workflow": "copy", "parameters": {"a": %s%s}}' % (b"[" * 99, b"]" * 99),
    "far too deep": b"[" * 100_000,
    "deep members": b'{"a":' * 50_000,
    "single quotes": b"{'workflow': 'copy'}",
    "a comment": b'{"workflow": "copy" /* x */}',
    "a comma too many": b'{"workflow": "copy",}',
    "a raw control character": b'{"workflow": "co\npy"}',
}
_TAKES_A_BODY = [
    ("POST", "/v1/jobs"),
    ("POST", "/v1/jobs?framework=1"),
    ("POST", "/v1/jobs/{job_id}/inputs/text/complete"),
]
_OF_ADMIN = [
    ("POST", "/v1/agreements"),
    ("POST", "/v1/agreements/{agreement_id}/tokens"),
    ("PUT", "/v1/workflows/offered"),
]


@pytest.mark.parametrize("name", _BAD_BODIES)
def test_a_body_that_is_no_strict_json_is_named(
    raw: Raw, admin: Raw, waiting: str, inside: Inside, name: str
) -> None:
    agreement = inside.agreement("acme")
    for who, routes in ((raw, _TAKES_A_BODY), (admin, _OF_ADMIN)):
        for method, path in routes:
            target = path.format(job_id=waiting, agreement_id=agreement).encode()
            answer = who.ask(method.encode(), target, [_JSON], _BAD_BODIES[name])
            _check(answer)
            # a definition of a workflow is read by the core, which says 422 where it is JSON
            assert answer.status == 400 or (method == "PUT" and answer.status == 422), answer
        assert who.is_usable()


def test_null_characters_in_texts_are_no_failure(raw: Raw) -> None:
    bodies = [
        {"workflow": "a\0b"},
        {"workflow": "copy", "inputs": {"a\0b": {"text": ""}}},
        {"workflow": "gated", "parameters": {"gate": "a\0b"}},
        {"workflow": "copy", "inputs": {"text": {"text": "a\0b"}}, "start": False},
    ]
    statuses = []
    for body in bodies:
        answer = raw.ask(b"POST", b"/v1/jobs", [_JSON], json.dumps(body).encode())
        _check(answer)
        statuses.append(answer.status)
    assert statuses == [404, 422, 422, 201]


_ALPHABET = st.characters(codec="utf-8")
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(_ALPHABET, max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(_ALPHABET, max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@_PROPERTY
@given(
    route=st.sampled_from([*_TAKES_A_BODY, *_OF_ADMIN]),
    body=st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            [
                "workflow",
                "parameters",
                "inputs",
                "resources",
                "start",
                "parts",
                "size",
                "sha256",
                "tenant",
                "workflows",
                "validUntil",
                "validFrom",
                "atEnd",
                "scopes",
                "expiresAt",
            ],
            _VALUES,
        ),
    ),
)
def test_no_json_is_a_failure(
    raw: Raw, admin: Raw, waiting: str, route: tuple[str, str], body: dict[str, object]
) -> None:
    method, path = route
    target = path.format(job_id=waiting, agreement_id="0" * 26).encode()
    who = admin if route in _OF_ADMIN else raw

    _check(who.ask(method.encode(), target, [_JSON], json.dumps(body).encode()))


@pytest.mark.parametrize("kind", [b"", b"text/plain", b"application/json-seq", b"a", b"x" * 1100])
def test_a_body_that_is_not_sent_as_json_is_refused(raw: Raw, kind: bytes) -> None:
    for target in (b"/v1/jobs", b"/v1/jobs?framework=1"):
        answer = raw.ask(b"POST", target, [(b"content-type", kind)], b'{"workflow":"copy"}')
        _check(answer)
        assert answer.status == 415
    assert raw.is_usable()


_TOO_LARGE = 1024**2 + 1


@pytest.mark.parametrize("target", [b"/v1/jobs", b"/v1/jobs?framework=1"])
def test_a_body_that_is_too_large_is_refused_before_it_is_sent(
    inside: Inside, token: str, target: bytes
) -> None:
    raw = Raw(inside, token)
    length = (b"content-length", b"%d" % _TOO_LARGE)
    answer = raw.send(raw.head(b"POST", target, [_JSON, length, (b"expect", b"100-continue")]))

    _check(answer)
    assert answer.status == 413


@pytest.mark.parametrize("target", [b"/v1/jobs", b"/v1/jobs?framework=1"])
def test_a_body_that_is_too_large_leaves_a_connection_that_can_be_used(
    raw: Raw, target: bytes
) -> None:
    answer = raw.ask(b"POST", target, [_JSON], b" " * _TOO_LARGE)

    _check(answer)
    assert answer.status == 413
    assert raw.is_usable()


def _chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("target", [b"/v1/jobs", b"/v1/jobs?framework=1"])
def test_a_body_in_chunks_counts_as_it_comes(raw: Raw, target: bytes) -> None:
    head = raw.head(b"POST", target, [_JSON, (b"transfer-encoding", b"chunked")])
    body = b'{"workflow":"copy","inputs":{"text":{"upload":{}}}}'

    good = raw.send(head + _chunked(body[:7], body[7:]))
    too_large = raw.send(head + _chunked(*[b" " * 65_536] * 17))

    assert (good.status, too_large.status) == (201, 413)
    assert raw.is_usable()


def test_expect_is_answered_with_continue(inside: Inside, token: str) -> None:
    raw, connection = Raw(inside, token), inside.connect()
    body = b'{"workflow":"copy","inputs":{"text":{"upload":{}}}}'
    headers = [_JSON, (b"content-length", b"%d" % len(body)), (b"expect", b"100-continue")]
    connection.send(raw.head(b"POST", b"/v1/jobs", headers))

    assert connection.read_line() == b"HTTP/1.1 100 Continue\r\n"
    assert connection.read_line() == b"\r\n"
    connection.send(body)
    assert connection.answer().status == 201
