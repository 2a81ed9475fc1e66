"""``orlop import``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.cli.declared import argument, command, option
from orlop.cli.limits import limit_option
from orlop.cli.shell.completion import complete_names
from orlop.cli.show import output
from orlop.cli.source import platform_option, source_of

if TYPE_CHECKING:
    from orlop.cli.session import Session
    from orlop.model.platform import Platform


@command("import", epilog="""Example: tar -C rootfs -c . | orlop import -c 'CMD ["/bin/sh"]' - user/base:1.0""")
@option("-c", "--change", "changes", metavar="INSTRUCTION", multiple=True, help="Apply an instruction of a Dockerfile.")
@option("-m", "--message", metavar="TEXT", help="The comment of the image.")
@platform_option("What the image runs on. Default: this machine's.")
@limit_option
@argument("source", metavar="FILE|URL|-")
@argument("reference", metavar="[NAME]", required=False, shell_complete=complete_names)
def import_image(
    session: Session,
    source: str,
    reference: str | None,
    *,
    changes: tuple[str, ...],
    message: str | None,
    platform: Platform | None,
) -> None:
    """Make an image of the tar of a root file system.

    The tar may be plain or compressed by gzip, bzip2, xz or zstd. "-" is the standard input. The ID is printed.

    An INSTRUCTION is one of CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME
    and WORKDIR.
    """
    origin = source_of(source, option="FILE")
    with session.open(downloads=True) as images:
        image_id = images.import_image(origin, reference, changes=changes, message=message, platform=platform)
    output.write(f"{image_id}\n")
