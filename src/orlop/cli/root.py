"""The command `orlop` itself: its global options, and the commands, each imported when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from orlop._version import __version__
from orlop.cli.lazy import LazyGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.cli.session import Session

_COMMANDS: Final = {
    "completion": "completion_script:completion",
    "df": "df:df",
    "fsck": "fsck:fsck",
    "gc": "gc:gc",
    "history": "history:history",
    "image": "image:image",
    "images": "images:images",
    "import": "import_image:import_image",
    "inspect": "inspect:inspect",
    "load": "load:load",
    "pin": "pin:pin",
    "prune": "prune:prune",
    "pull": "registries:pull",
    "push": "registries:push",
    "rmi": "rmi:rmi",
    "save": "save:save",
    "serve": "serve:serve",
    "store": "store:store",
    "system": "system:system",
    "tag": "tag:tag",
    "unpin": "pin:unpin",
}


@click.group(
    cls=LazyGroup,
    commands=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: orlop load -i images.tar && orlop images",
)
@click.option(
    "--root",
    metavar="DIR",
    envvar="ORLOP_ROOT",
    help="Where the images are kept. Default: $ORLOP_ROOT, else a directory of your own, such as ~/.local/share/orlop.",
)
@click.option(
    "--allow-network-fs",
    is_flag=True,
    envvar="ORLOP_ALLOW_NETWORK_FS",
    help="Write on network and FUSE file systems too: safe if one machine at a time uses the store.",
)
@click.option(
    "--allow-foreign-owner",
    is_flag=True,
    help="Write also to a store that another user owns, or in which everybody may write; see $ORLOP_SAFE_DIRECTORY.",
)
@click.option("--debug", is_flag=True, help="Log to the standard error, and show tracebacks of errors.")
@click.version_option(__version__, prog_name="orlop", message="%(prog)s %(version)s")
@click.pass_obj
def root(session: Session, root: str | None, *, allow_network_fs: bool, allow_foreign_owner: bool, debug: bool) -> None:
    """Keep container images without a daemon, by the words of docker.

    Wherever a NAME is asked for it is a reference (alpine, user/app:1.0), an image ID, or the first digits of one.
    """
    if root == "":
        raise click.BadParameter("a directory is needed", param_hint="'--root'")
    session.root = root
    session.allow_network = allow_network_fs
    session.allow_foreign = allow_foreign_owner
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
