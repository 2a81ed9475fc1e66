"""``orlop cp``."""

from __future__ import annotations

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.inside import look_options, looked_into

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cli.inside import Look
    from orlop.cli.session import Session


@command(epilog="Example: orlop cp alpine:/etc/os-release .")
@option("-L", "--follow-link", "follow", is_flag=True, help="If PATH is a symbolic link, copy what it points to.")
@option("-a", "--archive-mode", "owners", is_flag=True, help="Keep owners, setuid bits and setgid bits; needs root.")
@option("--verify", is_flag=True, help="Read whole layers, and fail if one does not match its digest.")
@look_options(layers=True)
@argument("source", metavar="IMAGE:PATH")
@argument("target", metavar="DEST")
def cp(
    session: Session,
    source: str,
    target: str,
    *,
    follow: bool,
    owners: bool,
    verify: bool,
    look: Look,
) -> None:
    """Copy files out of an image, without a container.

    PATH must begin with a slash. If DEST is an existing directory, the copy goes into it, under the name of PATH. If
    PATH ends with /., the content of the directory is copied instead. If DEST is "-", a tar is written to standard
    output. Hard links are kept. Nothing is ever written outside DEST, whatever links the image has. Devices are
    skipped. With --archive, "IMAGE:" can be omitted if the archive holds one image.
    """
    name, path = _split(source, look.archive)
    from orlop.cli.show import output  # noqa: PLC0415 - errors of usage print nothing

    if target == "-" and output.is_terminal():
        raise WrongUsage("a tar cannot go to a terminal; name a directory, or redirect the output")
    with looked_into(session, name, look, target=None if target == "-" else target) as files:
        if target == "-":
            from orlop.inside.export import export_chunks  # noqa: PLC0415 - most copies are files

            for chunk in export_chunks(files, path, follow=follow, verify=verify):
                output.write(chunk)
            output.flush()
            return
        from orlop.inside.extract import extract  # noqa: PLC0415 - errors of usage copy nothing

        left_out = extract(files, path, target, follow=follow, owners=owners, verify=verify)
    for one in left_out:
        output.complain(f"Warning: {one} is a device, which is not copied")


def _split(source: str, archive: str | None) -> tuple[str | None, str]:
    """Return the image and the path in it. Raises `WrongUsage`."""
    name, colon, path = source.partition(":/")
    if archive is not None and source.startswith("/"):
        return None, source
    if not colon or (not name and archive is None):
        raise WrongUsage(f"{source!r} does not name a file in an image; write IMAGE:/PATH")
    return name or None, f"/{path}"
