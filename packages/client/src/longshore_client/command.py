"""The `longshore` command: options, sub-commands, and how errors end.

Sub-commands beyond the built-in ones come from packages that offer one as an entry point of the
group `longshore.commands`: a function of the remaining arguments that returns an exit code.
"""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import click

from longshore_client import entrypoints, granting, verbs
from longshore_client.output import say
from longshore_client.session import Session, open_session

if TYPE_CHECKING:
    from longshore_client.httpsession import HttpSession

DEBUG = "LONGSHORE_DEBUG"
#: sub-commands that a reader of the documentation looks for, and the packages that offer them
_OFFERED_BY = {"serve": "longshore-api", "demo": "longshore"}


@dataclass(frozen=True, kw_only=True)
class Provider:
    """Which provider is spoken to."""

    state: str | None
    config: str | None
    server: str | None = None

    def open(self) -> AbstractContextManager[Session]:
        """Open a session with it: a server where one is named, else what is installed here."""
        return open_session(state=self.state, config=self.config, server=self._chosen())

    def administer(self) -> AbstractContextManager["HttpSession"]:
        """Open a session with the server, for what is a server's alone.

        Raises:
            click.UsageError: no server is spoken to.
        """
        server = self._chosen()
        if server is None:
            raise click.UsageError("this is about a server: name it with --server, or log in")
        from longshore_client.httpsession import open_session as over_http  # noqa: PLC0415 - HTTP

        return over_http(server=server)

    def _chosen(self) -> str | None:
        if self.server is None and self.state is not None:
            return None
        from longshore_client.configfile import chosen_server  # noqa: PLC0415 - not for --help

        return chosen_server(self.server)


class Offered(click.Command):
    """A sub-command of another package: it gets its arguments as they are, ``--help`` too."""

    def __init__(self, name: str, value: str) -> None:
        super().__init__(name, add_help_option=False, help=entrypoints.summary(value))
        self._value = value

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take everything."""
        ctx.args = list(args)
        return []

    def invoke(self, ctx: click.Context) -> NoReturn:
        """Run the function that the package offers; what it returns is the exit code."""
        provider = ctx.find_object(Provider)
        for variable, value in _as_environment(provider).items():
            os.environ[variable] = value
        try:
            function = entrypoints.load(self._value)
        except (ImportError, AttributeError) as exc:
            raise click.ClickException(f"{self.name} cannot be used: {exc}") from exc
        ctx.exit(function(ctx.args))


def _as_environment(provider: Provider | None) -> dict[str, str]:
    given = {
        "LONGSHORE_STATE": provider and provider.state,
        "LONGSHORE_CONFIG": provider and provider.config,
        "LONGSHORE_SERVER": provider and provider.server,
    }
    return {name: value for name, value in given.items() if value}


class Root(click.Group):
    """The built-in sub-commands, and those that other packages offer."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all sub-commands."""
        return sorted({*super().list_commands(ctx), *entrypoints.find(entrypoints.COMMANDS)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a sub-command; a built-in one cannot be replaced."""
        built_in = super().get_command(ctx, cmd_name)
        if built_in is not None:
            return built_in
        value = entrypoints.find(entrypoints.COMMANDS).get(cmd_name)
        return Offered(cmd_name, value) if value else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the sub-command that is meant; where its package is missing, say which it is."""
        if args[0] in _OFFERED_BY and self.get_command(ctx, args[0]) is None:
            package = _OFFERED_BY[args[0]]
            ctx.fail(f"{args[0]} needs the package {package}: install it beside longshore-client")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the sub-command; a reader that went away, as `head` does, ends it quietly."""
        try:
            result: object = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # what is still buffered must not be flushed, and fail again, at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(128 + signal.SIGPIPE)
        return result


def _show_version(ctx: click.Context, _: click.Parameter, value: object) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import version  # noqa: PLC0415 - 40 ms

    click.echo(f"longshore {version('longshore-client')}")
    ctx.exit()


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExample:\n  longshore run wordcount -i text=README.md",
)
@click.option(
    "--server",
    metavar="URL",
    envvar="LONGSHORE_SERVER",
    help="The server to speak to; none: this machine's own service. [default: that of login]",
)
@click.option(
    "--state",
    metavar="DIR",
    envvar="LONGSHORE_STATE",
    help="Where jobs and their bytes lie. [default: $XDG_STATE_HOME/longshore]",
)
@click.option(
    "--config", metavar="FILE", envvar="LONGSHORE_CONFIG", help="The provider's settings (TOML)."
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
@click.pass_context
def root(ctx: click.Context, server: str | None, state: str | None, config: str | None) -> None:
    """Run predefined workflows and fetch what they make."""
    ctx.obj = Provider(server=server or None, state=state, config=config)


for built_in in (*verbs.COMMANDS, *granting.COMMANDS):
    root.add_command(built_in)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0, the worker's own code, 1 for what failed, 2 for a wrong request.

    An error is one line and what to do; ``LONGSHORE_DEBUG=1`` shows the traceback as well.
    """
    try:
        code = root.main(args=arguments, prog_name="longshore", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        code = 130
    except click.ClickException as exc:
        exc.show()
        code = exc.exit_code
    except Exception as exc:
        if os.environ.get(DEBUG):
            raise
        code = _tell(exc)
    sys.exit(code if isinstance(code, int) else 0)


def _tell(exc: Exception) -> int:
    message = getattr(exc, "message", None)
    if not isinstance(message, str):
        say(f"error: unexpected {type(exc).__name__}: {exc}", "red")
        say(f"hint: {DEBUG}=1 shows where")
        return 1
    say(f"error: {message}", "red")
    for problem in getattr(exc, "problems", ()):
        say(f"  {problem}")
    hint = getattr(exc, "hint", "")
    if hint:
        say(f"hint: {hint}")
    if getattr(exc, "is_request", False):
        return 2
    request_id = getattr(exc, "request_id", None)
    if request_id:
        say(f"the provider finds it as request {request_id}")
    return 1
