"""``orlop import``."""

from __future__ import annotations

from orlop.cli.declared import argument, command, option
from orlop.cli.limits import limit_option
from orlop.cli.show import output
from orlop.cli.source import platform_option, source_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cli.session import Session
    from orlop.model.platform import Platform


@command("import", epilog="""Example: tar -C rootfs -c . | orlop import -c 'CMD ["/bin/sh"]' - user/base:1.0""")
@option(
    "-c",
    "--change",
    "changes",
    metavar="INSTRUCTION",
    multiple=True,
    help="Apply a Dockerfile instruction to the image.",
)
@option("-m", "--message", metavar="TEXT", help="Set the comment of the image.")
@platform_option("Set the platform of the image. Default: that of this machine.")
@limit_option
@argument("source", metavar="FILE|URL|-")
@argument("reference", metavar="[NAME]", required=False, complete="names")
def import_image(
    session: Session,
    source: str,
    reference: str | None,
    *,
    changes: tuple[str, ...],
    message: str | None,
    platform: Platform | None,
) -> None:
    """Create an image from a root file system tar.

    Prints the ID of the image.

    The tar may be plain or compressed with gzip, bzip2, xz or zstd. "-" is standard input.

    INSTRUCTION is one of CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME and
    WORKDIR.
    """
    origin = source_of(source, option="FILE")
    with session.open(downloads=True) as images:
        image_id = images.import_image(origin, reference, changes=changes, message=message, platform=platform)
    output.write(f"{image_id}\n")
