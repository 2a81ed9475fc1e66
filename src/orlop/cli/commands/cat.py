"""``orlop cat``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.inside import image_and_paths, image_options, layer_options, looked_into
from orlop.cli.shell.completion import complete_names

if TYPE_CHECKING:
    from orlop.cli.session import Session
    from orlop.model.platform import Platform


@command(epilog="Example: orlop cat alpine /etc/os-release")
@option("--verify", is_flag=True, help="Read whole layers, and fail if one does not match its digest.")
@layer_options
@image_options
@argument("words", metavar="IMAGE PATH...", nargs=-1, shell_complete=complete_names)
def cat(
    session: Session,
    words: tuple[str, ...],
    *,
    verify: bool,
    layer: int | None,
    up_to: int | None,
    archive: str | None,
    platform: Platform | None,
    resolve_links: bool,
) -> None:
    """Print files of an image, byte for byte.

    Symbolic links are followed inside the image. A layer is read only as far as needed. With --archive, IMAGE can be
    omitted if the archive holds one image, and each PATH must begin with a slash.
    """
    name, paths = image_and_paths(words, archive)
    if not paths:
        raise WrongUsage("Missing argument 'PATH...'.")
    from orlop.cli.show import output  # noqa: PLC0415 - errors of usage print nothing

    with looked_into(
        session, name, archive=archive, platform=platform, layer=layer, up_to=up_to, resolve_links=resolve_links
    ) as files:
        nodes = [files.file(path) for path in paths]
        with files.contents(nodes, verify=verify) as contents:
            for node in nodes:
                for chunk in contents.chunks((node.origin, node.content)):
                    output.write(chunk)
            contents.finish()
