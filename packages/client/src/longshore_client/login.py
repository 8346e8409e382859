"""`longshore login` and `logout`: which server is spoken to, and where its token is kept."""

import sys
from urllib.parse import urlsplit

import click

from longshore_client.configfile import chosen_server, config_path, forget, keep
from longshore_client.httpsession import open_session
from longshore_client.output import footer, say
from longshore_client.transport import server_url


def log_in(server: str, *, from_stdin: bool) -> None:
    """Ask for the token of ``server``, try it, and keep it.

    Raises:
        LongshoreError: the server does not know the token, or was not reached; nothing is kept.
        click.UsageError: what was given is no token.
        OSError: the configuration cannot be written.
    """
    url = server_url(server)
    token = _token(url, from_stdin=from_stdin)
    with open_session(server=url, token=token) as session:
        me = session.me()
    where = keep(url, token)
    workflows = me.get("workflows")
    may = "all workflows" if workflows is None else f"workflows: {', '.join(workflows) or 'none'}"
    say(f"logged in at {url} as {me['tenant']} ({me['role']}; {may})")
    say(f"the token is kept in {where}")
    if _is_open(url):
        say("warning: http sends the token readable for everybody on the way; use https")
    footer("longshore workflows", "longshore logout")


def _token(url: str, *, from_stdin: bool) -> str:
    if from_stdin:
        token = sys.stdin.readline().strip()
    elif not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked for the token here: give it with --token-stdin")
    else:
        token = click.prompt(f"token for {url}", hide_input=True, err=True).strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise click.UsageError("that is no token; it begins with ls_")
    return str(token)


def _is_open(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}


def log_out(server: str | None) -> None:
    """Forget the token of ``server``, or of the one that is spoken to.

    Raises:
        click.UsageError: there is none.
    """
    wanted = chosen_server(server)
    if wanted is None:
        raise click.UsageError("you are not logged in")
    url = server_url(wanted)
    if not forget(url):
        raise click.UsageError(f"no token for {url} is kept in {config_path()}")
    say(f"the token for {url} is forgotten")
