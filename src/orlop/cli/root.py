"""The command `orlop` itself: its global options, and the commands, each imported when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import click

from orlop._version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.cli.session import Session

# The attribute that holds a command has the command's name, and so has its module.
_COMMANDS = ("history", "images", "inspect", "load", "rmi", "save", "tag")


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Give the names of all commands, sorted."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Give one command, or nothing where there is none of that name."""
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"orlop.cli.{cmd_name}"), cmd_name)
        return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: orlop load -i images.tar && orlop images",
)
@click.option(
    "--root",
    metavar="DIR",
    envvar="ORLOP_ROOT",
    help="Where the images are kept. Default: $ORLOP_ROOT, else a directory of your own, such as ~/.local/share/orlop.",
)
@click.option("--debug", is_flag=True, help="Log to the standard error, and show tracebacks of errors.")
@click.version_option(__version__, prog_name="orlop", message="%(prog)s %(version)s")
@click.pass_obj
def root(session: Session, root: str | None, *, debug: bool) -> None:
    """Keep container images without a daemon, by the words of docker.

    Wherever a NAME is asked for it is a reference (alpine, user/app:1.0), an image ID, or the first digits of one.
    """
    if root == "":
        raise click.BadParameter("a directory is needed", param_hint="'--root'")
    session.root = root
    session.debug = debug


def invoke(session: Session, arguments: Sequence[str]) -> int:
    """Run the command that the arguments name and give its exit status.

    Raises:
        click.ClickException: the arguments are wrong. Beside it, what the command itself raises.
    """
    # Not `root.main`: it has statuses of its own for closed pipes and interrupts.
    try:
        with root.make_context("orlop", list(arguments), obj=session) as context:
            root.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    return 0
