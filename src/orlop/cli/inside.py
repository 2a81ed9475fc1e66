"""Commands that look inside an image: what their words name, and the options that they share."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

from orlop.cli.declared import WrongUsage, option
from orlop.cli.source import archive_option, platform_option
from orlop.model.given import brief
from orlop.model.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Final, TypeVar

    from orlop.cli.session import Session
    from orlop.inside.view import ImageFiles
    from orlop.model.platform import Platform
    from orlop.service.listing.inspect import ImageDetails

    Command = Callable[..., Any]
    Found = TypeVar("Found")


_DIGITS: Final = 10


def read_number(text: str) -> int:
    """Return a number from 1 on; raise `WrongUsage` where a word is not one."""
    digits = text.lstrip("0") if text.isascii() and text.isdecimal() else ""
    # Python reads no number of very many digits.
    if not 0 < len(digits) <= _DIGITS or int(digits) >= 1 << 31:
        raise WrongUsage(f"{brief(text)} is not a number of 1 or more")
    return int(digits)


class Look(NamedTuple):
    """How a command looks into an image: in an archive or the store, of which platform, and which of its layers."""

    archive: str | None = None
    platform: Platform | None = None
    resolve_links: bool = False
    layer: int | None = None
    up_to: int | None = None


def look_options(*, layers: bool = False) -> Callable[[Command], Command]:
    """Add what says how a command looks into an image, which it gets as ``look``.

    Args:
        layers: add what says which layers, too.
    """
    options = [
        archive_option,
        platform_option("Look into an image of this platform; fail if there is none."),
        option(
            "--resolve-links",
            is_flag=True,
            help="If a layer has files below a symbolic link of a lower layer, put them where the link points, as umoci"
            " does. By default a directory takes the place of the link, as in a container.",
        ),
    ]
    if layers:
        options += [
            option("--up-to", read=read_number, metavar="N", help="Look into the layers up to this one."),
            option("--layer", read=read_number, metavar="N", help="Look into this layer alone; 1 is the lowest."),
        ]
    names = Look._fields if layers else Look._fields[:3]

    def add(command: Command) -> Command:
        def looking(session: Session, /, **values: Any) -> Any:
            look = Look(**{name: values.pop(name) for name in names})
            return command(session, look=look, **values)

        looking.__dict__.update(command.__dict__)
        looking.__name__, looking.__doc__, looking.__module__ = command.__name__, command.__doc__, command.__module__
        found: Command = looking
        for one in options:
            found = one(found)
        return found

    return add


def image_and_paths(words: Sequence[str], archive: str | None) -> tuple[str | None, list[str]]:
    """Return the image and the paths that words name.

    With an archive the image may be left out: a word that begins with a slash is a path.

    Raises:
        WrongUsage: no image is named, or a path is empty, as where a variable of a script is not set.
    """
    if archive is not None and (not words or words[0].startswith("/")):
        name, paths = None, list(words)
    elif words:
        name, paths = words[0], list(words[1:])
    else:
        raise WrongUsage("Missing argument 'IMAGE'.")
    if "" in paths:
        raise WrongUsage("a path is empty; name a file or directory, such as / for the root")
    return name, paths


class Complaints:
    """Paths that are not there, or not what is asked for: they are reported, and the others gone on with."""

    def __init__(self) -> None:
        self.status = 0
        """The exit status of the first of them; 0 if there was none."""

    def each(self, paths: Sequence[str], look: Callable[[str], Found]) -> Iterator[Found]:
        """Yield what a look at each path returns, where it can be returned."""
        from orlop.cli.show import output  # noqa: PLC0415 - errors of usage look at nothing
        from orlop.errors import PathNotFound, WrongFileType  # noqa: PLC0415 - as above

        for path in paths:
            try:
                found = look(path)
            except (PathNotFound, WrongFileType) as error:
                output.complain(f"Error: {error}")
                self.status = self.status or error.exit_code
                continue
            yield found


def listed_at(files: ImageFiles, path: str) -> str:
    """Return where a path leads that is to be listed: through a link to a directory, but to any other link itself.

    Raises PathNotFound where nothing is there.
    """
    from orlop.errors import PathNotFound  # noqa: PLC0415 - errors of usage look at nothing

    try:
        real = files.real_path(path)
    except PathNotFound as error:
        try:
            return files.real_path(path, follow=False)
        except PathNotFound:
            raise error from None
    is_directory = files.node(real, follow=False).children is not None
    return real if is_directory else files.real_path(path, follow=False)


@contextmanager
def looked_into(session: Session, name: str | None, look: Look, *, target: str | None = None) -> Iterator[ImageFiles]:
    """Open an image of the store or of an archive for a block, in which a ``target`` may be written.

    Raises InvalidInput where the target lies in the data root that is looked into.
    """
    with looked_up(session, name, look, target=target) as (files, _):
        yield files


@contextmanager
def looked_up(
    session: Session, name: str | None, look: Look, *, target: str | None = None
) -> Iterator[tuple[ImageFiles, Callable[[], ImageDetails]]]:
    """Do what `looked_into` does, and yield also what inspects the image."""
    archive, platform = look.archive, look.platform
    how = {"layer": look.layer, "up_to": look.up_to, "resolve_links": look.resolve_links}
    with ExitStack() as stack:
        if archive is not None:
            from orlop.cli.source import DataRoot, opened  # noqa: PLC0415 - most looks are into the store

            service: Any = stack.enter_context(opened(session, archive, platform))
            if isinstance(archive, DataRoot) and target is not None:
                from orlop.service.rescue_places import check_outside  # noqa: PLC0415 - as above

                check_outside(service.root, target)
            files = stack.enter_context(service.files(name, **how))
            yield files, lambda: service.inspect(name)
        else:
            assert name is not None
            images: Any = stack.enter_context(session.open())
            files = stack.enter_context(images.files(name, platform=platform, **how))
            yield files, lambda: images.inspect(name, platform=platform)
