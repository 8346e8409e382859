"""Secrets leave no text, and other texts are left alone."""

import pytest
from hypothesis import given, settings, strategies as st

from longshore_api.redaction import HIDDEN, LONGEST, redact, redact_text

TOKEN = "ls_" + "aB3-_" * 8 + "xyz"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"token {TOKEN} is unknown", TOKEN),
        ("GET https://s3.example/b/k?X-Amz-Signature=abc&X-Amz-Date=1 failed", "abc"),
        ("/v1/blobs/i/acme/j/inputs/text?expires=1&signature=QUJD", "QUJD"),
        ("postgresql://user:hunter2@db/longshore", "hunter2"),
        ("Authorization: Bearer eyJhbGciOi.x.y", "eyJhbGciOi"),
        ("S3Settings(bucket='b', secret_key='hunter2')", "hunter2"),
        ('{"password": "hunter2", "a": 1}', "hunter2"),
        ("access_key=hunter2;region=x", "hunter2"),
        ("apikey: hunter2", "hunter2"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, hidden: str) -> None:
    said = redact_text(text)

    assert hidden not in said
    assert HIDDEN in said
    assert redact_text(said) == said


@pytest.mark.parametrize(
    "text",
    [
        "there is no token in the request",
        "a job waits for the engine: slots are taken",
        "job 01m7yx0md66s7yvpfs01kaagdv is at https://compute.example/v1/jobs/01m7yx",
        "what? nothing",
        "ls-01m7yx0md66s7yvpfs01kaagdv-1",
    ],
)
def test_other_texts_are_left_alone(text: str) -> None:
    assert redact_text(text) == text


def test_a_value_with_the_name_of_a_secret_is_hidden_at_any_depth() -> None:
    found = redact({"a": [{"secretKey": 5, "b": {"token": None, "password": "x"}}]})

    assert found == {"a": [{"secretKey": HIDDEN, "b": {"token": None, "password": HIDDEN}}]}


def test_an_object_is_told_as_text_without_its_secrets() -> None:
    class Settings:
        def __repr__(self) -> str:
            return "Settings(token='hunter2')"

    assert redact(Settings()) == f"Settings(token={HIDDEN})"


def test_a_long_text_is_cut() -> None:
    assert len(redact_text("x" * (10 * LONGEST))) < LONGEST + 100


@settings(deadline=2000)
@given(
    st.sampled_from(["http://", "a://b@", "token=", "bearer ", "ls_", "'", "\\", "?", "secret: "]),
    st.integers(1, LONGEST),
)
def test_no_text_takes_long(piece: str, times: int) -> None:
    assert len(redact_text(piece * times)) <= 2 * LONGEST  # hypothesis fails what takes too long
