"""An administrator's sub-commands: agreements and tokens over the wire."""

import re
from pathlib import Path
from typing import Any

import pytest
from tests.commanding import Command

from longshore_client import Client

_TOKEN = re.compile(r"ls_[A-Za-z0-9_-]{43}\Z")


@pytest.fixture
def admin(server: Any, tmp_path: Path) -> Command:
    return Command(tmp_path, LONGSHORE_SERVER=server.url, LONGSHORE_TOKEN=server.admin_token)


def test_from_an_agreement_to_a_token_that_ends_with_it(admin: Command, server: Any) -> None:
    until = ("--until", "2099-01-01T00:00:00Z")
    agreement = admin.json("agreements", "create", "umbrella", "-w", "copy", *until)
    issued = admin("tokens", "create", agreement["id"], "--scope", "jobs:read", *until)
    token = issued.stdout.strip()

    assert (agreement["warnings"], agreement["atEnd"]) == ([], "stop")
    assert _TOKEN.match(token), issued.stdout
    assert "shown this once" in issued.stderr
    with Client(server.url, token) as client:
        me = client.me()
    assert (me.tenant, me.agreement, me.scopes) == ("umbrella", agreement["id"], ("jobs:read",))
    assert me.expires_at is not None
    assert me.expires_at.year == 2099

    (listed,) = admin.json("tokens", "list", agreement["id"])["items"]
    assert "token" not in listed
    revoked = admin("tokens", "revoke", agreement["id"], listed["id"])
    assert (revoked.returncode, revoked.stderr) == (0, f"token {listed['id']} is revoked\n")
    assert admin.json("tokens", "list", agreement["id"])["items"][0]["revokedAt"]

    assert admin("agreements", "revoke", agreement["id"]).returncode == 0
    found = {one["id"]: one["state"] for one in admin.json("agreements", "list")["items"]}
    assert found[agreement["id"]] == "revoked"


def test_people_get_tables(admin: Command) -> None:
    made = admin("agreements", "create", "table", "-w", "*", "--at-end", "drain")
    about = dict(line.split(":", 1) for line in made.stdout.splitlines())
    agreement_id = about["id"].strip()
    admin("tokens", "create", agreement_id)

    header, first = admin("agreements", "list", "--limit", "1").stdout.splitlines()
    assert header.split() == ["ID", "TENANT", "STATE", "UNTIL", "WORKFLOWS"]
    assert first.split() == [agreement_id, "table", "active", "*"]
    header, first = admin("tokens", "list", agreement_id).stdout.splitlines()
    assert header.split() == ["ID", "CREATED", "UNTIL", "REVOKED", "SCOPES"]
    assert first.endswith("jobs:read, jobs:write, data:read, data:write")


def test_the_page_that_follows_is_asked_for_by_its_cursor(admin: Command) -> None:
    for _ in range(2):
        admin("agreements", "create", "pages", "-w", "*")
    first = admin.json("agreements", "list", "--limit", "1")
    second = admin.json("agreements", "list", "--limit", "1", "--cursor", first["next"])

    assert first["items"][0]["id"] > second["items"][0]["id"]


def test_a_workflow_that_is_not_offered_is_warned_of(admin: Command) -> None:
    made = admin("agreements", "create", "acme", "-w", "copi")

    assert made.returncode == 0
    assert made.stderr == ("warning: no workflow 'copi' is offered now; did you mean 'copy'?\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["agreements", "create", "a b", "-w", "UP"], ["/tenant: ", "/workflows/0: "]),
        (["agreements", "create", "acme"], ["Missing option"]),
        (["agreements", "create", "acme", "-w", "*", "--until", "soon"], ["is no time such as"]),
        (["tokens", "create", "01k9x3v0c8e6h4y2t7r5w1q9za"], ["there is no agreement"]),
        (["tokens", "create", "x", "--scope", "jobs"], ["'jobs' is not one of"]),
    ],
)
def test_mistakes_end_with_2_and_are_named(
    admin: Command, arguments: list[str], said: list[str]
) -> None:
    done = admin(*arguments)

    assert done.returncode == 2
    assert all(one in done.stderr for one in said), done.stderr


def test_a_consumer_is_told_which_role_it_needs(over_http: Command) -> None:
    done = over_http("agreements", "list")

    assert done.returncode == 2
    assert "this needs the role admin" in done.stderr


def test_without_a_server_there_is_nothing_to_administer(tmp_path: Path) -> None:
    done = Command(tmp_path, LONGSHORE_STATE=str(tmp_path / "state"))("agreements", "list")

    assert done.returncode == 2
    assert "name it with --server" in done.stderr
    assert not (tmp_path / "state").exists()


def test_the_library_lists_all_tokens_and_says_what_may_not_be_meant(server: Any) -> None:
    with Client(server.url, server.admin_token) as admin:
        made = admin.agreements.create("many", ["copi"])
        issued = [admin.agreements.issue_token(made.id).id for _ in range(51)]
        admin.agreements.revoke_token(made.id, issued[0])
        found = admin.agreements.tokens(made.id)

    assert made.warnings == ("no workflow 'copi' is offered now; did you mean 'copy'?",)
    assert {one.id for one in found} == set(issued)
    assert [one.id for one in found if one.revoked_at] == [issued[0]]
