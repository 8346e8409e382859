"""The sub-commands of administrators: who may run what, and the tokens for it."""

from datetime import datetime
from functools import partial
from typing import Any

import click

from longshore_client import output, views
from longshore_client.verbs import FORMAT, command

_AGREEMENT = "01k9x3v0c8e6h4y2t7r5w1q9za"
_TOKEN = "01k9x4q7m2n8p5r3s6t1v0w9xy"  # noqa: S105 - a token's id
_CREATE = "longshore agreements create acme -w wordcount --until 2027-01-01"
_ISSUE = f"longshore tokens create {_AGREEMENT} --until 2027-01-01"
_SCOPES = ("jobs:read", "jobs:write", "data:read", "data:write")
LIMIT = click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
CURSOR = click.option("--cursor", metavar="CURSOR", help="Go on where a page ended (its next).")
AGREEMENT = click.argument("agreement_id", metavar="AGREEMENT")


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return a time as the server takes it; without a zone it is this machine's."""
    try:
        return value and datetime.fromisoformat(value).astimezone().isoformat()
    except (ValueError, OverflowError):
        said = f"{value!r} is no time such as 2027-01-01 or 2027-01-01T12:00"
        raise click.BadParameter(said, ctx, param) from None


_time = partial(click.option, metavar="TIME", callback=_moment)


@click.group(epilog=f"\b\nExample:\n  {_CREATE}")
def agreements() -> None:
    """Say which workflows a tenant may run, and until when.

    For administrators of a server: log in with an admin token, or set LONGSHORE_TOKEN.
    """


@click.group(epilog=f"\b\nExample:\n  {_ISSUE}")
def tokens() -> None:
    """Issue, list and revoke the tokens of an agreement.

    For administrators of a server: log in with an admin token, or set LONGSHORE_TOKEN.
    """


@command("list", "longshore agreements list", of=agreements)
@LIMIT
@CURSOR
@FORMAT
@click.pass_obj
def list_agreements(provider: Any, /, *, form: str, **page: Any) -> None:
    """List agreements, newest first."""
    with provider.administer() as session:
        found = session.agreements(**page)
    _show(found, form, views.show_agreements)


@command(
    "create", "longshore agreements create acme -w wordcount --until 2027-01-01", of=agreements
)
@click.argument("tenant")
@click.option(
    "-w",
    "--workflow",
    "workflows",
    metavar="ID",
    multiple=True,
    required=True,
    help="A workflow that TENANT may run; '*' for all.",
)
@_time("--from", "valid_from", help="Not before. [default: now]")
@_time("--until", "valid_until", help="Not after. [default: no end]")
@click.option(
    "--at-end",
    type=click.Choice(["stop", "drain"]),
    default="stop",
    show_default=True,
    help="Whether jobs that run then are stopped, or may end.",
)
@FORMAT
@click.pass_obj
def create_agreement(
    provider: Any,
    /,
    *,
    tenant: str,
    workflows: tuple[str, ...],
    valid_from: str | None,
    valid_until: str | None,
    at_end: str,
    form: str,
) -> None:
    """Let TENANT run workflows."""
    body = {"tenant": tenant, "workflows": list(workflows), "atEnd": at_end}
    times = {"validFrom": valid_from, "validUntil": valid_until}
    body |= {name: at for name, at in times.items() if at is not None}
    with provider.administer() as session:
        made = session.create_agreement(body)
    for warning in made.get("warnings") or ():
        output.say(f"warning: {warning['detail']}", "yellow")
    _show(made, form, views.show_agreement)


@command("revoke", f"longshore agreements revoke {_AGREEMENT}", of=agreements)
@AGREEMENT
@click.pass_obj
def revoke_agreement(provider: Any, /, *, agreement_id: str) -> None:
    """Take AGREEMENT back.

    Its tokens open nothing any more, its jobs are stopped, and their bytes are removed.
    """
    with provider.administer() as session:
        session.revoke_agreement(agreement_id)
    output.say(f"agreement {agreement_id} is revoked")


@command("list", f"longshore tokens list {_AGREEMENT}", of=tokens)
@AGREEMENT
@LIMIT
@CURSOR
@FORMAT
@click.pass_obj
def list_tokens(provider: Any, /, *, agreement_id: str, form: str, **page: Any) -> None:
    """List the tokens of AGREEMENT, newest first; without their secrets."""
    with provider.administer() as session:
        found = session.tokens(agreement_id, **page)
    _show(found, form, lambda it: views.show_tokens(it, agreement_id))


@command("create", _ISSUE, of=tokens)
@AGREEMENT
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(_SCOPES),
    help="What it is for. [default: everything]",
)
@_time("--until", "expires_at", help="Not after. [default: 90 days]")
@FORMAT
@click.pass_obj
def create_token(
    provider: Any,
    /,
    *,
    agreement_id: str,
    scopes: tuple[str, ...],
    expires_at: str | None,
    form: str,
) -> None:
    """Issue a token of AGREEMENT. It is shown this once, alone on standard output."""
    body = {"scopes": list(scopes), "expiresAt": expires_at}
    with provider.administer() as session:
        issued = session.create_token(agreement_id, {key: it for key, it in body.items() if it})
    _show(issued, form, lambda it: views.show_secret(it, agreement_id))


@command("revoke", f"longshore tokens revoke {_AGREEMENT} {_TOKEN}", of=tokens)
@AGREEMENT
@click.argument("token_id", metavar="TOKEN_ID")
@click.pass_obj
def revoke_token(provider: Any, /, *, agreement_id: str, token_id: str) -> None:
    """Take the token with TOKEN_ID back, at once."""
    with provider.administer() as session:
        session.revoke_token(agreement_id, token_id)
    output.say(f"token {token_id} is revoked")


def _show(found: Any, form: str, show: Any) -> None:
    if form == output.JSON:
        output.emit_json(found)
    else:
        show(found)


COMMANDS = (agreements, tokens)
