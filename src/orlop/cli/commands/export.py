"""``orlop export``."""

from __future__ import annotations

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.inside import image_and_paths, look_options, looked_into

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cli.inside import Look
    from orlop.cli.session import Session


@command(epilog="Example: orlop export alpine -o alpine.tar")
@option("-o", "--output", "target", metavar="FILE", help="Write to FILE instead of standard output.")
@look_options(layers=True)
@argument("words", metavar="IMAGE", nargs=-1, complete="names")
def export(
    session: Session,
    words: tuple[str, ...],
    *,
    target: str | None,
    look: Look,
) -> None:
    """Write the flattened root file system of an image as a tar.

    The same files always give the same tar, however they are spread over layers: paths are sorted, a directory comes
    before its content, and a hard link after its target. Layers are verified while they are read. FILE appears only
    when it is complete. With --archive, IMAGE can be omitted if the archive holds one image.
    """
    name, paths = image_and_paths(words, look.archive)
    if paths:
        raise WrongUsage(f"Got unexpected extra argument ({paths[0]})")
    from orlop.cli.show import output  # noqa: PLC0415 - errors of usage print nothing
    from orlop.inside.export import export_chunks  # noqa: PLC0415 - as above

    if target == "-":
        target = None
    if target is None and output.is_terminal():
        raise WrongUsage("a tar cannot go to a terminal; name a file with -o, or redirect the output")
    with looked_into(session, name, look, target=None if target == "-" else target) as files:
        chunks = export_chunks(files)
        if target is None:
            for chunk in chunks:
                output.write(chunk)
            output.flush()
            return
        from orlop.streams.output import Output  # noqa: PLC0415 - only where a file is named

        # The first chunk is made before the target is touched.
        first = next(chunks)
        with Output(target) as file:
            file.write(first)
            for chunk in chunks:
                file.write(chunk)
            file.finish()
