"""The command `orlop` itself: its global options, and the commands, each imported when it is used."""

from __future__ import annotations

from orlop._version import __version__
from orlop.cli import plain
from orlop.cli.declared import WrongUsage, group, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final

    from orlop.cli.session import Session

_COMMANDS: Final = {
    "archive": "groups.archive:archive",
    "audit": "commands.audit:audit",
    "cat": "commands.cat:cat",
    "completion": "commands.completion:completion",
    "cp": "commands.cp:cp",
    "copy": "commands.copy:copy",
    "df": "commands.df:df",
    "diff": "commands.diff:diff",
    "export": "commands.export:export",
    "find": "commands.find:find",
    "fsck": "commands.fsck:fsck",
    "gc": "commands.gc:gc",
    "grep": "commands.grep:grep",
    "have": "commands.have:have",
    "history": "commands.history:history",
    "image": "groups.image:image",
    "images": "commands.images:images",
    "import": "commands.import_image:import_image",
    "inspect": "commands.inspect:inspect",
    "load": "commands.load:load",
    "login": "commands.login:login",
    "logout": "commands.login:logout",
    "manifest": "commands.look:manifest",
    "ls": "commands.ls:ls",
    "pin": "commands.pin:pin",
    "prune": "commands.prune:prune",
    "pull": "commands.pull:pull",
    "push": "commands.push:push",
    "rescue": "commands.rescue:rescue",
    "rmi": "commands.rmi:rmi",
    "save": "commands.save:save",
    "serve": "commands.serve:serve",
    "stat": "commands.stat_path:stat_path",
    "store": "groups.store:store",
    "sync": "commands.sync:sync",
    "system": "groups.system:system",
    "tag": "commands.tag:tag",
    "tags": "commands.look:tags",
    "tree": "commands.tree:tree",
    "unpin": "commands.pin:unpin",
}


def _read_root(text: str) -> str:
    if not text:
        raise WrongUsage("a directory or the URL of a store is needed")
    return text


@group(
    _COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: orlop load -i images.tar && orlop images",
    version=__version__,
)
@option(
    "--root",
    metavar="DIR",
    envvar="ORLOP_ROOT",
    read=_read_root,
    into="root",
    help="Keep images in this directory, or in the store that this URL names. Default: $ORLOP_ROOT, or your data "
    "directory, such as ~/.local/share/orlop.",
)
@option(
    "--allow-network-fs",
    is_flag=True,
    envvar="ORLOP_ALLOW_NETWORK_FS",
    into="allow_network",
    help="Write to network and FUSE file systems too. Safe if only one machine at a time uses the store.",
)
@option(
    "--allow-foreign-owner",
    is_flag=True,
    into="allow_foreign",
    help="Write to a store that another user owns or anyone can write to. See also $ORLOP_SAFE_DIRECTORY.",
)
@option("--debug", is_flag=True, into="debug", help="Log to standard error and show tracebacks.")
def orlop(session: Session) -> None:
    """Store and manage container images without a daemon, with docker's commands.

    NAME is an image reference (alpine, user/app:1.0), an image ID, or the first characters of one.
    """
    del session


def invoke(session: Session, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the command that the arguments name and return its exit status.

    Raises:
        click.ClickException: the arguments are wrong. Beside it, what the command itself raises.
    """
    status = plain.run(session, orlop, arguments, environment)
    if status is not None:
        return status
    import click  # noqa: PLC0415 - what is plain needs no parser

    from orlop.cli.clicked import command_of  # noqa: PLC0415 - as above

    # Not `main`: it has statuses of its own for closed pipes and interrupts.
    command = command_of(orlop)
    try:
        with command.make_context("orlop", list(arguments), obj=session) as context:
            command.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    return 0
