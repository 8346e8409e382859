"""A round trip through the bucket that says what is wrong with it, before a job finds out."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import anyio
import anyio.to_thread
from botocore.exceptions import ClientError

from longshore.clock import Clock
from longshore.errors import LongshoreError, StorageUnavailable
from longshore.ids import new_id
from longshore.transfer import Audience, SignedRequest, UploadReceipt, UploadTicket
from longshore_s3.asking import Answer, ask
from longshore_s3.failing import Unreachable, code_of, skew, skewed
from longshore_s3.settings import S3Settings
from longshore_s3.storage import S3Storage

_LIFE = timedelta(minutes=10)
_OK = 200
_PATIENCE = 10.0
#: servers refuse what is signed by a clock that is off by a quarter of an hour
_OFF, _NEARLY_OFF = 10 * 60, 60
#: an origin that no rule names
_ANY = "https://any.example"
_BODY = b"longshore was here\n"
_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
_NAMES = {
    Audience.SERVICE: "endpoint",
    Audience.CONSUMER: "public_endpoint",
    Audience.JOB: "job_endpoint",
}
_NO_RULES = frozenset({"NoSuchLifecycleConfiguration"})


class Probe:
    """One round trip. ``origins`` are those of pages whose browsers send and fetch bytes."""

    def __init__(
        self,
        storage: S3Storage,
        settings: S3Settings,
        clock: Clock,
        origins: Sequence[str] = (),
    ) -> None:
        self._storage = storage
        self._settings = settings
        self._clock = clock
        # where all may: any will do, as it would not be listed
        self._origins = [_ANY if one == "*" else one for one in origins]
        self._notes: list[str] = []

    async def run(self) -> Sequence[str]:
        """Return what is not well, and no reason not to start.

        Raises:
            StorageUnavailable: what is wrong, and what to do.
            Unreachable: the server does not answer now.
        """
        key = f"probe/{new_id(self._clock.now())}"
        ticket = await self._begin(key)
        try:
            await self._go_round(key, ticket)
        except BaseException:
            with anyio.move_on_after(_PATIENCE, shield=True), suppress(LongshoreError):
                await self._clean_up(key, ticket)
            raise
        await self._clean_up(key, ticket)
        await self._look_at_rules()
        return self._notes

    async def _go_round(self, key: str, ticket: UploadTicket) -> None:
        storage = self._storage
        for audience in self._audiences():
            await self._send(ticket, audience)
        with suppress(Unreachable):  # which is a note already
            of_pages = Audience.CONSUMER
            sending = await storage.sign_upload(ticket, audience=of_pages, expires=_LIFE)
            reading = await storage.sign_read(key, audience=of_pages, expires=_LIFE)
            await self._look_at_pages(sending.parts[0], reading)
        if await storage.stat(key) is not None:
            raise StorageUnavailable(
                "the S3 server shows an upload before it is complete",
                hint="results would be readable before they are whole: use another server",
            )
        parts = await storage.sent(ticket)
        if [one.size for one in parts] != [len(_BODY)]:
            raise StorageUnavailable("the S3 server does not list the parts of an upload")
        await storage.commit(ticket, UploadReceipt(parts=tuple(one.tag for one in parts)))
        for audience in self._audiences():
            await self._fetch(key, audience)

    async def _clean_up(self, key: str, ticket: UploadTicket) -> None:
        await self._storage.abort(ticket)
        await self._storage.delete(key)

    def _audiences(self) -> Iterator[Audience]:
        """Yield one audience for each endpoint, the service's own first."""
        yield Audience.SERVICE
        if self._settings.public_endpoint is not None:
            yield Audience.CONSUMER
        if self._settings.job_endpoint is not None:
            yield Audience.JOB

    async def _begin(self, key: str) -> UploadTicket:
        try:
            return await self._storage.prepare_upload(key, max_size=len(_BODY))
        except StorageUnavailable as exc:
            if "(501)" in exc.message or "(405)" in exc.message:
                raise StorageUnavailable(
                    "the S3 server has no multipart uploads",
                    hint="Longshore needs them: nothing may be readable before it is whole",
                ) from None
            raise

    async def _send(self, ticket: UploadTicket, audience: Audience) -> None:
        signed = await self._storage.sign_upload(ticket, audience=audience, expires=_LIFE)
        answer = await self._ask(signed.parts[0], audience, _BODY)
        if answer is None:
            return
        self._check_clock(answer)
        if answer.status != _OK:
            raise self._refused("send a part", answer, audience)

    async def _fetch(self, key: str, audience: Audience) -> None:
        request = await self._storage.sign_read(key, audience=audience, expires=_LIFE)
        answer = await self._ask(request, audience)
        if answer is None:
            return
        if answer.status != _OK:
            raise self._refused("read an object", answer, audience)
        if answer.body != _BODY:
            raise StorageUnavailable(
                f"other bytes come back by {_NAMES[audience]} than were sent",
                hint="is it the same bucket, and does something in front keep old answers?",
            )

    async def _ask(
        self, request: SignedRequest, audience: Audience, body: bytes = b""
    ) -> Answer | None:
        """Return the answer; None where this machine need not reach the endpoint, and cannot."""
        try:
            return await self._plainly(request.method, request.url, body)
        except Unreachable as exc:
            if audience is Audience.SERVICE:
                raise
            self._notes.append(
                f"[storage] {_NAMES[audience]} cannot be reached from here ({exc.message}): "
                "it was not tried"
            )
            return None

    async def _plainly(
        self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        return await anyio.to_thread.run_sync(ask, method, url, body, headers or {}, self._settings)

    def _check_clock(self, answer: Answer) -> None:
        off = skew(answer.headers, self._clock.now())
        if off is not None and abs(off) > _OFF:
            raise StorageUnavailable(skewed(off), hint="let it be set (NTP)")
        if off is not None and abs(off) > _NEARLY_OFF:
            self._notes.append(f"{skewed(off)}: let it be set (NTP)")

    def _refused(self, what: str, answer: Answer, audience: Audience) -> StorageUnavailable:
        found = _CODE.search(answer.body)
        code = found[1].decode() if found else "no reason"
        name = _NAMES[audience]
        hint = "give the credentials the rights that docs/storage-s3.md lists"
        if code == "SignatureDoesNotMatch" and audience is not Audience.SERVICE:
            hint = f"does something in front of {name} change the Host that clients send?"
        return StorageUnavailable(
            f"cannot {what} by a signed request to {name}: the S3 server says "
            f"{code} ({answer.status})",
            hint=hint,
        )

    async def _look_at_pages(self, sending: SignedRequest, reading: SignedRequest) -> None:
        """Ask as browsers would: they begin with a question, and say ``null`` after a redirect."""
        rule = "the bucket's CORS rules must allow it (docs/storage-s3.md)"
        for origin in self._origins:
            asks = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
            answer = await self._plainly("OPTIONS", sending.url, headers=asks)
            methods = answer.headers.get("access-control-allow-methods", "")
            if not _lets(answer, origin) or "PUT" not in methods:
                self._notes.append(f"pages of {origin} cannot send inputs: {rule}")
                continue
            answer = await self._plainly("PUT", sending.url, _BODY, {"Origin": origin})
            shown = answer.headers.get("access-control-expose-headers", "").lower()
            if "etag" not in shown and "*" not in shown:
                self._notes.append(f"pages of {origin} do not see ETag: {rule}")
        if self._origins:
            answer = await self._plainly("GET", reading.url, headers={"Origin": "null"})
            if not _lets(answer, "null"):
                self._notes.append(f"pages cannot fetch results: {rule}")

    async def _look_at_rules(self) -> None:
        try:
            rules = await self._storage.rules()
        except ClientError as exc:
            if code_of(exc) in _NO_RULES:
                self._notes.append(
                    "no lifecycle rule drops unfinished uploads: those of a killed service stay"
                )
            return  # the server has none, or does not show them to us
        problems = list(too_early(rules, self._settings.prefix, self._settings.upload_life))
        if problems:
            raise StorageUnavailable(
                "; ".join(problems),
                hint=f"{self._settings.upload_life.days} days are needed: the queue's limit, the "
                "longest walltime and a week (upload_life in [storage])",
            )


def _lets(answer: Answer, origin: str) -> bool:
    return answer.headers.get("access-control-allow-origin", "") in {"*", origin}


def too_early(rules: Sequence[Mapping[str, Any]], prefix: str, least: timedelta) -> Iterator[str]:
    """Yield what lifecycle rules of a bucket would take away before ``least`` has passed."""
    for rule in rules:
        if rule.get("Status") != "Enabled" or not _applies(rule, prefix):
            continue
        name = rule.get("ID") or "without a name"
        aborts = rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation")
        if aborts is not None and timedelta(days=aborts) < least:
            yield f"the lifecycle rule {name!r} drops uploads after {aborts} days"
        expires = rule.get("Expiration", {}).get("Days")
        if expires is not None and timedelta(days=expires) < least:
            yield f"the lifecycle rule {name!r} drops objects after {expires} days"


def _applies(rule: Mapping[str, Any], prefix: str) -> bool:
    """Say whether a rule may concern what lies below ``prefix``: tags of ours there are none."""
    chosen = rule.get("Filter", {})
    narrowed = chosen.get("And", chosen)
    if narrowed.get("Tag") or narrowed.get("Tags"):
        return False
    of_rule = str(narrowed.get("Prefix", rule.get("Prefix", "")))
    return prefix.startswith(of_rule) or of_rule.startswith(prefix)
