"""The built-in sub-commands: their options and help; what they do is in other modules."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from longshore_client import output, views
from longshore_client.session import FINAL_STATES

_JOB_ID = "01k9x3v0c8e6h4y2t7r5w1q9za"

FORMAT = click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice([output.TABLE, output.JSON]),
    default=output.TABLE,
    show_default=True,
    help="For people, or one JSON document.",
)
DIRECTORY = click.option(
    "-d",
    "--directory",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where outputs go; files of their names are replaced. [default: ./JOB]",
)


def _complete(noun: str) -> Any:
    def names(ctx: click.Context, param: click.Parameter, incomplete: str) -> Any:
        from longshore_client import completion  # noqa: PLC0415 - at a press of TAB only

        return getattr(completion, noun)(ctx, param, incomplete)

    return names


JOB = click.argument("job_id", metavar="JOB", shell_complete=_complete("jobs"))


def command(
    name: str, example: str, *, of: click.Group | None = None
) -> Callable[[Callable[..., None]], click.Command]:
    """Return what makes a sub-command of a function, with an example at the end of its help."""
    make = click.command if of is None else of.command
    return make(name, epilog=f"\b\nExample:\n  {example}")


@command("run", "longshore run wordcount -i text=README.md -p top=5 -d counts")
@click.argument("workflow", shell_complete=_complete("workflows"))
@click.option(
    "-i",
    "--input",
    "inputs",
    metavar="NAME=FILE",
    multiple=True,
    help="An input: a file, - for standard input, a directory where an archive is wanted.",
)
@click.option(
    "-p",
    "--parameter",
    "parameters",
    metavar="KEY=VALUE",
    multiple=True,
    help="A parameter; @FILE takes the text of a file, @@ begins a plain @.",
)
@DIRECTORY
@click.option("--detach", is_flag=True, help="Start it, print its id, and leave.")
@click.option(
    "--key", metavar="TEXT", help="Idempotency key: the same key again is the same job, no other."
)
@FORMAT
@click.pass_obj
def run(provider: Any, /, **given: Any) -> None:
    """Run WORKFLOW, follow its log, fetch its outputs.

    The log goes to standard output, everything else to standard error. The exit code is the
    worker's; 1 when the job failed otherwise, 130 when it was canceled or left by Ctrl-C.

    Ctrl-C asks whether to detach or to cancel, a second one cancels at once. Where nobody can be
    asked, Ctrl-C, SIGTERM and a closed terminal detach: the job goes on. Before the inputs have
    arrived there is nothing that could go on, and the job is canceled.
    """
    from longshore_client.running import Order, run as carry_out  # noqa: PLC0415 - 10 ms

    with provider.open() as session:
        code = carry_out(session, Order(**given))
    click.get_current_context().exit(code)


@command("workflows", "longshore workflows wordcount")
@click.argument(
    "workflow_id", metavar="[WORKFLOW]", required=False, shell_complete=_complete("workflows")
)
@FORMAT
@click.pass_obj
def workflows(provider: Any, /, *, workflow_id: str | None, form: str) -> None:
    """List the workflows, or show one.

    With WORKFLOW, its parameters, inputs and outputs are shown.
    """
    with provider.open() as session:
        if workflow_id is None:
            found: Any = {"items": session.workflows(), "next": None}
        else:
            found = session.workflow(workflow_id)
    if form == output.JSON:
        output.emit_json(found)
    elif workflow_id is None:
        views.show_workflows(found["items"])
    else:
        views.show_workflow(found)


@command("jobs", "longshore jobs --state RUNNING --state QUEUED")
@click.option("--state", metavar="STATE", multiple=True, help="Only jobs in this state.")
@click.option(
    "--workflow",
    metavar="ID",
    help="Only jobs of this workflow.",
    shell_complete=_complete("workflows"),
)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@click.option("--cursor", metavar="CURSOR", help="Go on where a page ended (its next).")
@FORMAT
@click.pass_obj
def jobs(provider: Any, /, *, state: tuple[str, ...], form: str, **selection: Any) -> None:
    """List jobs, newest first."""
    states = [name.upper() for name in state] or None
    with provider.open() as session:
        page = session.jobs(state=states, **selection)
    if form == output.JSON:
        output.emit_json(page)
    else:
        views.show_jobs(page)


@command("status", f"longshore status {_JOB_ID} -o json")
@JOB
@FORMAT
@click.pass_obj
def status(provider: Any, /, *, job_id: str, form: str) -> None:
    """Show where JOB is, and why."""
    with provider.open() as session:
        job = session.job(job_id)
    if form == output.JSON:
        output.emit_json(job)
    else:
        views.show_job(job)


@command("logs", f"longshore logs -f {_JOB_ID}")
@click.option("-f", "--follow", is_flag=True, help="Go on until the log is complete.")
@JOB
@click.pass_obj
def logs(provider: Any, /, *, job_id: str, follow: bool) -> None:
    """Write the log of JOB to standard output.

    Its very bytes, where they go to a file or a program; on a terminal control characters are
    written out.
    """
    with provider.open() as session:
        writer = output.LogWriter(sys.stdout)
        for chunk in session.logs(job_id, follow=follow):
            writer.write(chunk)
        writer.finish()


@command("cancel", f"longshore cancel {_JOB_ID}")
@JOB
@FORMAT
@click.pass_obj
def cancel(provider: Any, /, *, job_id: str, form: str) -> None:
    """Ask for the end of JOB; what it wrote is kept."""
    with provider.open() as session:
        job = session.cancel(job_id)
    if form == output.JSON:
        output.emit_json(job)
    elif job["state"] in FINAL_STATES:
        output.say(f"job {job_id} is {job['state']}")
    else:
        output.say(f"job {job_id} is asked to stop; it is {job['state']}")
        output.footer(f"longshore status {job_id}")


@command("results", f"longshore results {_JOB_ID} -d results")
@JOB
@DIRECTORY
@FORMAT
@click.pass_obj
def results(provider: Any, /, *, job_id: str, directory: Path | None, form: str) -> None:
    """Fetch the outputs of JOB."""
    from longshore_client.running import fetch  # noqa: PLC0415 - 10 ms

    with provider.open() as session:
        job = session.job(job_id)
        paths = fetch(session, job_id, directory)
    if form == output.JSON:
        output.emit_json({"items": paths, "next": None})
    elif paths:
        rows = [[item["path"], output.size(item["size"]), item.get("mediaType")] for item in paths]
        output.emit_table(["PATH", "SIZE", "TYPE"], rows)
    if not paths:
        output.say(f"job {job_id} has no outputs")
        views.tell_end(job)
        click.get_current_context().exit(1)


@command("completion", 'eval "$(longshore completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, /, *, shell: str) -> None:
    """Print the script that completes this command in SHELL.

    For bash and zsh the example's line goes to ~/.bashrc or ~/.zshrc; for fish, write the script
    to ~/.config/fish/completions/longshore.fish.
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - seldom needed

    kind = get_completion_class(shell)
    if kind is not None:
        script = kind(ctx.find_root().command, {}, "longshore", "_LONGSHORE_COMPLETE").source()
        click.echo(script)


@command("login", "longshore login https://compute.example")
@click.argument("server")
@click.option("--token-stdin", is_flag=True, help="Read the token from standard input.")
def login(*, server: str, token_stdin: bool) -> None:
    """Keep the token for SERVER, and speak to it from now on.

    The token is asked for and not shown. It is kept in the system's keyring where the package
    keyring is installed and works, else in a file that only you may read.
    """
    from longshore_client.login import log_in  # noqa: PLC0415 - HTTP

    log_in(server, from_stdin=token_stdin)


@command("logout", "longshore logout")
@click.argument("server", metavar="[SERVER]", required=False)
@click.pass_obj
def logout(provider: Any, /, *, server: str | None) -> None:
    """Forget the token of SERVER, or of the one that is spoken to.

    The token itself stays good: ask the provider to revoke one that others may have seen.
    """
    from longshore_client.login import log_out  # noqa: PLC0415 - HTTP

    log_out(server or provider.server)


COMMANDS = (login, logout, run, workflows, jobs, status, logs, cancel, results, completion)
