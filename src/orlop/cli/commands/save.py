"""``orlop save``."""

from __future__ import annotations

import sys
from contextlib import closing, nullcontext
from functools import partial

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.limits import archive_limit_option
from orlop.cli.show import output, terminal
from orlop.cli.source import read_platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from typing import Any, BinaryIO, Final

    from orlop.archive.save_report import SaveReport
    from orlop.cli.session import Session
    from orlop.model.holdings import Holdings
    from orlop.model.platform import Platform
    from orlop.service.image_service import ImageService

_ALL: Final = "all"
_DOCKER: Final = "docker"
_OLD: Final = "docker-20.10"
_DIRECTORY: Final = "oci-dir"
_MOST_AT_ONCE: Final = 4096


def _read_platforms(words: Sequence[str]) -> Platform | list[Platform | str]:
    """Return the platforms that are named, in one word or several; the word ``all`` stays as it is."""
    named = [word for words_ in words for word in words_.split(",")]
    found = [word if word == _ALL else read_platform(word) for word in named]
    if _ALL in found and len(found) > 1:
        raise WrongUsage(f"{_ALL!r} stands for every platform; do not name others with it", "--platform")
    first = found[0]
    return found if len(found) > 1 or isinstance(first, str) else first


@command(epilog="Example: orlop save -o images.tar alpine user/app:1.0")
@option("-o", "--output", "target", metavar="FILE", help="Write to this file instead of standard output.")
@option(
    "--format",
    "form",
    choices=[_DOCKER, _OLD, "oci", _DIRECTORY],
    default=_DOCKER,
    show_default=True,
    help="Use the layout of Docker Engine 25 and later, or of 20.10, which load anywhere; or an OCI image layout with"
    " manifests as they came, in a tar or a directory.",
)
@option(
    "--platform",
    "platforms",
    read=_read_platforms,
    metavar="OS/ARCH",
    multiple=True,
    help="Save only images of this platform; fail if there are none. May be repeated; all saves every platform."
    " Not with docker-20.10.",
    complete="platforms",
)
@option(
    "--compress",
    metavar="FORM",
    help="Compress the layers of an OCI layout as none, gzip[:LEVEL] or zstd[:LEVEL] instead of keeping their form."
    " Manifests and digests change.",
)
@option("--append", is_flag=True, help="Add the images to FILE, an archive of this format; their names move to them.")
@option(
    "--since",
    metavar="OLD",
    multiple=True,
    help="Leave out the layers of this image, which the other side must have. May be repeated.",
    complete="names",
)
@option(
    "--without",
    metavar="FILE",
    help='Leave out the layers in this list, which `orlop have` printed on the other side. "-" is standard input.',
)
@archive_limit_option
@argument("names", metavar="NAME...", nargs=-1, required=True, complete="names")
def save(
    session: Session,
    names: tuple[str, ...],
    *,
    target: str | None,
    form: str,
    platforms: Platform | list[Platform | str] | None,
    compress: str | None,
    append: bool,
    since: tuple[str, ...],
    without: str | None,
) -> None:
    """Save images to an archive.

    `docker load` and other tools read it. NAME without a tag saves all tags of a repository; an ID saves the image
    without a name. The same images in the same order give the same bytes. FILE appears only when it is complete; "-" is
    standard output.

    With --format oci-dir, FILE is a directory. If it is an OCI layout already, the images are added to it.

    With --since or --without, the archive leaves out layers. It can be loaded only into a store that has them.
    """
    if target == "-":
        target = None
    if append:
        _check_append(target, form)
    if target is None and form == _DIRECTORY:
        raise WrongUsage(f"the format {_DIRECTORY} makes a directory; name it with -o")
    if target is None and output.is_terminal():
        msg = "an archive cannot go to a terminal; name a file with -o, or redirect the output"
        raise WrongUsage(msg)
    if isinstance(platforms, list) and (form == _OLD or (append and form == _DOCKER)):
        what = f"the format {form}" if form == _OLD else f"an archive of the format {form} that is added to"
        raise WrongUsage(f"{what} has one platform of each image; name one, or choose --format oci")
    if compress is not None:
        _check(compress, form)
    had = None if without is None else _read_list(without)
    with session.open() as images:
        report = _saved(
            images, names, target, form, platform=platforms, compress=compress, since=since, without=had, append=append
        )
    for line in report.messages():
        output.complain(terminal.harmless(line))


def _check(compress: str, form: str) -> None:
    """Raise `WrongUsage` for what is not a compression, or where a format has none."""
    from orlop.errors import InvalidInput  # noqa: PLC0415 - only where the option is given
    from orlop.streams.compressing import Recipe  # noqa: PLC0415 - as above

    if not form.startswith("oci"):
        raise WrongUsage(f"the format {form} holds layers uncompressed; choose --format oci", "--compress")
    try:
        Recipe.parse(compress)
    except InvalidInput as error:
        raise WrongUsage(str(error), "--compress") from error


def _check_append(target: str | None, form: str) -> None:
    """Raise `WrongUsage` where images cannot be added to what is named."""
    if target is None:
        raise WrongUsage("images are added to a file; name it with -o", "--append")
    if form == _DIRECTORY:
        raise WrongUsage(f"the format {form} is a directory, to which images are added anyway", "--append")


def _read_list(name: str) -> Holdings:
    """Return what a list says that somebody has. Raises `InvalidInput`, `NotFound` or `StorageError`."""
    from orlop.model.holdings import Holdings  # noqa: PLC0415 - most saves leave nothing out
    from orlop.streams.files import explaining  # noqa: PLC0415 - as above

    with explaining("read", "standard input" if name == "-" else name), _open_list(name) as file:
        return Holdings.read(iter(partial(file.readline, _MOST_AT_ONCE), b""))


def _open_list(name: str) -> AbstractContextManager[BinaryIO]:
    if name != "-":
        return open(name, "rb")
    if sys.stdin is None or sys.stdin.isatty():
        raise WrongUsage("the list does not come from a terminal; name a file, or redirect one", "--without")
    return nullcontext(sys.stdin.buffer)


def _saved(images: ImageService, names: Sequence[str], target: str | None, form: str, **options: Any) -> SaveReport:
    append = options.pop("append")
    if target is not None:
        return images.save(names, target, format=form, append=append, **options)
    from orlop.service.save import Told  # noqa: PLC0415 - the store is open by now, and what saves is there

    with closing(images.save_chunks(names, format=form, **options)) as chunks:
        told = Told(chunks)
        for chunk in told:
            output.write(chunk)
    output.flush()
    return told.report
