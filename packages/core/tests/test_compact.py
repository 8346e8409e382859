"""Plans of large uploads are small, and read back as they were."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from longshore.blobs import BlobUrls, Secret
from longshore.clock import SystemClock
from longshore.codec import converter, from_json, to_json
from longshore.compact import FEWEST, FORM
from longshore.storages.local import LocalStorage
from longshore.transfer import (
    Audience,
    PlannedOutput,
    SignedRequest,
    SignedUpload,
    TransferPlan,
)

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
#: as a storage of buckets signs, with the token of a session
URL = (
    "https://bucket.s3.example/i/acme/job/outputs/result?X-Amz-Date=20260102T030405Z&"
    f"X-Amz-Security-Token={'t%2F' * 300}&partNumber={{}}&uploadId=u-1&X-Amz-Signature={{:064x}}"
)


def upload_of(parts: Sequence[SignedRequest]) -> SignedUpload:
    return SignedUpload(ticket_id="t", part_size=5, parts=tuple(parts), max_size=5 * len(parts))


def plan_of(*uploads: SignedUpload) -> TransferPlan:
    small = upload_of([SignedRequest(method="PUT", url="file:///log", expires_at=AT)])
    return TransferPlan(
        job_id="job",
        attempt=1,
        outputs=tuple(
            PlannedOutput(name=f"o{number}", upload=one) for number, one in enumerate(uploads)
        ),
        log=small,
        manifest=small,
        valid_until=AT,
    )


def signed(count: int, **changes: Any) -> list[SignedRequest]:
    return [
        SignedRequest(
            **{
                "method": "PUT",
                "url": URL.format(number, number**9),
                "expires_at": AT,
                **changes,
            }
        )
        for number in range(1, count + 1)
    ]


#: members that are alike, differ, are missing, or look as what is written for them
_VALUES = st.sampled_from(
    ["", "1", "2", "3", "{}", "{part}", "a&b", "a=b", "?", "/", "%7B", "\ud800", "\u20ac"]
) | st.text(max_size=4)
_URLS = st.lists(_VALUES, max_size=4).map("&x=".join) | st.integers(0, 9).map(
    lambda number: f"http://h/k?part={number}&s={number}"
)
REQUESTS = st.builds(
    SignedRequest,
    method=st.sampled_from(["PUT", "PUT", "POST"]),
    url=_URLS,
    headers=st.sampled_from([{}, {}, {"x-amz-a": "1"}]),
    expires_at=st.sampled_from([AT, AT, AT + timedelta(seconds=1)]),
)
ALIKE = st.builds(
    lambda before, between, after, values: [
        SignedRequest(method="PUT", url=f"{before}{number}{between}{value}{after}", expires_at=AT)
        for number, value in enumerate(values, start=1)
    ],
    st.sampled_from(
        ["http://h/k?part=", "file:///", "", "?a=1&2=", "h/2/3?n=", "h/{}?n=", "h/{part}?n="]
    ),
    st.sampled_from(["&s=", "", "/", "&s=2&t=", "&"]),
    st.sampled_from(["", "&e=1", "/", "2"]),
    st.lists(_VALUES, max_size=9),
)


@settings(max_examples=1000, deadline=None)
@given(parts=st.lists(REQUESTS, max_size=8) | ALIKE, other=st.lists(REQUESTS, max_size=2))
def test_any_plan_is_the_same_after_json(
    parts: list[SignedRequest], other: list[SignedRequest]
) -> None:
    for given_parts in (parts, [*parts, *other], [*other, *parts]):
        plan = plan_of(upload_of(given_parts))
        assert from_json(TransferPlan, to_json(plan)) == plan


@pytest.mark.parametrize("count", [1, FEWEST - 1, FEWEST, 1000])
def test_an_upload_of_many_parts_is_the_same_after_json(count: int) -> None:
    upload = upload_of(signed(count))
    written = json.loads(to_json(upload))
    assert from_json(SignedUpload, to_json(upload)) == upload
    assert written.get("form", 1) == (FORM if count >= FEWEST else 1)


def test_a_part_that_is_unlike_the_others_is_written_whole() -> None:
    parts = signed(9)
    parts[5] = SignedRequest(method="PUT", url="file:///x", expires_at=AT)
    parts[6] = signed(9, headers={"x-amz-a": "1"})[6]
    parts[7] = signed(9, expires_at=AT + timedelta(hours=1))[7]
    upload = upload_of(parts)
    written = json.loads(to_json(upload))["parts"]
    assert [number for number, one in enumerate(written) if isinstance(one, dict)] == [5, 6, 7]
    assert from_json(SignedUpload, to_json(upload)) == upload


def test_a_plan_of_eight_thousand_parts_fits_into_a_secret() -> None:
    plan = plan_of(*(upload_of(signed(1000)) for _ in range(8)))
    text = to_json(plan)
    assert len(text) <= 900 * 1024
    assert len(text) / 8000 < 70, "bytes of a part"
    assert from_json(TransferPlan, text) == plan


def test_the_plain_form_would_not_fit() -> None:
    parts = [converter.unstructure(one) for one in signed(8000)]
    assert len(json.dumps(parts)) > 1024**2


async def test_the_urls_of_the_local_storage_are_small_as_well(tmp_path: Path) -> None:
    urls = BlobUrls(secret=Secret(bytes(32)), public="http://h", job="http://h/sub")
    storage = LocalStorage(tmp_path, SystemClock(), urls, part_size=1000)
    ticket = await storage.prepare_upload("i/acme/job/outputs/result", max_size=99_500)
    upload = await storage.sign_upload(
        ticket, audience=Audience.JOB, expires=timedelta(hours=1), sha256="a" * 64
    )
    written = json.loads(to_json(upload))
    assert len(upload.parts) == 100
    assert sum(isinstance(one, str) for one in written["parts"]) >= 98
    assert max(len(one) for one in written["parts"][1:-1]) <= 60
    assert from_json(SignedUpload, to_json(upload)) == upload


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


pytestmark = pytest.mark.anyio


def test_a_plan_that_an_older_version_wrote_is_read() -> None:
    upload = upload_of(signed(9))
    old = {
        "ticket_id": "t",
        "part_size": 5,
        "max_size": 45,
        "parts": [
            {"method": "PUT", "url": one.url, "expires_at": "2026-01-02T03:04:05Z"}
            for one in upload.parts
        ],
    }
    assert from_json(SignedUpload, json.dumps(old)) == upload


def test_a_plan_of_a_newer_version_is_refused_as_such_and_no_url_is_shown() -> None:
    written = json.loads(to_json(plan_of(upload_of(signed(9)))))
    written["outputs"][0]["upload"]["form"] = FORM + 1
    with pytest.raises(ValueError, match=r"newer version: update .* @ \$\.outputs") as caught:
        from_json(TransferPlan, json.dumps(written))
    assert "bucket.s3.example" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"form": None},
        {"form": "2"},
        {"form": []},
        {"form": 1},
        {"like": None},
        {"like": {}},
        {"like": {"method": "PUT", "url": 5, "expires_at": "2026-01-02T03:04:05Z", "more": 1}},
        {"parts": None},
        {"parts": 5},
        {"parts": ["a&b"]},
        {"parts": [""]},
        {"parts": [5]},
        {"parts": [{}]},
        {"more": 1},
        {"ticket_id": ...},
        {"like": ...},
    ],
    ids=str,
)
def test_what_is_no_upload_is_a_value_error(changes: dict[str, Any]) -> None:
    written = {**json.loads(to_json(upload_of(signed(4)))), **changes}
    text = json.dumps({name: value for name, value in written.items() if value is not ...})
    with pytest.raises(ValueError, match=r".+"):
        from_json(SignedUpload, text)
    with pytest.raises(ValueError, match="not a PlannedOutput"):
        from_json(PlannedOutput, f'{{"name": "a", "upload": {text}}}')
