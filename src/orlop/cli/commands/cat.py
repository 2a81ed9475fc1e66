"""``orlop cat``."""

from __future__ import annotations

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.inside import Complaints, image_and_paths, look_options, looked_into

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cli.inside import Look
    from orlop.cli.session import Session


@command(epilog="Example: orlop cat alpine /etc/os-release")
@option("--verify", is_flag=True, help="Read whole layers, and fail if one does not match its digest.")
@look_options(layers=True)
@argument("words", metavar="IMAGE PATH...", nargs=-1, complete="names")
def cat(
    session: Session,
    words: tuple[str, ...],
    *,
    verify: bool,
    look: Look,
) -> int:
    """Print files of an image, byte for byte.

    Symbolic links are followed inside the image. A layer is read only as far as needed. A PATH that is not a file is
    reported and makes the command exit with an error; the others are still printed. With --archive, IMAGE can be
    omitted if the archive holds one image, and each PATH must begin with a slash.
    """
    name, paths = image_and_paths(words, look.archive)
    if not paths:
        raise WrongUsage("Missing argument 'PATH...'.")
    from orlop.cli.show import output  # noqa: PLC0415 - errors of usage print nothing

    with looked_into(session, name, look) as files:
        complaints = Complaints()
        nodes = list(complaints.each(paths, files.file))
        with files.contents(nodes, verify=verify) as contents:
            for node in nodes:
                for chunk in contents.chunks((node.origin, node.content)):
                    output.write(chunk)
            contents.finish()
    return complaints.status
