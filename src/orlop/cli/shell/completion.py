"""Completion in shells: names of images for every NAME, and scripts that ask this program for them."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from typing import Final

    import click

    from orlop.cli.declared import Declared
    from orlop.service.listing.summaries import ImageSummary

VARIABLE: Final = "_ORLOP_COMPLETE"
"""The variable of the environment by which a shell asks for completions."""

_MOST: Final = 1000
_PLATFORMS: Final = (
    "linux/386",
    "linux/amd64",
    "linux/arm/v5",
    "linux/arm/v6",
    "linux/arm/v7",
    "linux/arm64",
    "linux/loong64",
    "linux/mips64le",
    "linux/ppc64le",
    "linux/riscv64",
    "linux/s390x",
    "windows/amd64",
)
"""Those that images are published for; others are taken, too."""


def complete_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of images that begin so, and IDs where that could be one; a store that is not there has none."""
    given = context.params.get(parameter.name or "")
    taken = given if isinstance(given, (tuple, list)) else ()
    return _names(context.find_root().params.get("root"), incomplete, taken)


def _names(root: str | None, incomplete: str, taken: Collection[str]) -> list[str]:
    from orlop.errors import OrlopError  # noqa: PLC0415 - only shells ask for it

    try:
        found = [name for name in _found(root, incomplete) if name not in taken]
    except (OrlopError, OSError):
        return []
    return list(dict.fromkeys(found))[:_MOST]


def complete_platforms(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the usual platforms that begin so."""
    del context, parameter
    return [platform for platform in _PLATFORMS if platform.startswith(incomplete)]


def _found(root: str | None, incomplete: str) -> Iterator[str]:
    import orlop  # noqa: PLC0415 - only shells ask for it

    root = root or orlop.default_root()
    # A shell that asks makes no store.
    if not os.path.isfile(os.path.join(root, "metadata.db")):
        return
    with orlop.open(root) as images:
        for image in images.iter_images():
            yield from _names_of(image, incomplete)


def _names_of(image: ImageSummary, incomplete: str) -> Iterator[str]:
    for reference in image.repo_tags:
        if reference.familiar.startswith(incomplete):
            yield reference.familiar
    if incomplete and image.id.hex.startswith(incomplete):
        yield image.id.short if image.id.short.startswith(incomplete) else image.id.hex


def answer(instruction: str) -> int:
    """Do what a shell asks for: print its script (``bash_source``), or completions (``bash_complete``).

    Args:
        instruction: the value of `VARIABLE`; what is to be completed lies in other variables.

    Returns:
        The exit status: 0, or 1 where there is no such shell or instruction.
    """
    from orlop.cli.root import orlop  # noqa: PLC0415 - as above
    from orlop.cli.show import output  # noqa: PLC0415 - only shells ask for it

    if instruction == "bash_complete":
        found = plain_answers(orlop, os.environ)
        if found is not None:
            output.write("".join(f"plain,{name}\n" for name in found))
            return 0
    from click.shell_completion import add_completion_class, shell_complete  # noqa: PLC0415 - only shells ask for it

    from orlop.cli.clicked import command_of  # noqa: PLC0415 - as above
    from orlop.cli.session import Session  # noqa: PLC0415 - as above
    from orlop.cli.shell.bash import Bash  # noqa: PLC0415 - as above
    from orlop.cli.signals import heed  # noqa: PLC0415 - as above

    heed()
    add_completion_class(Bash)
    return shell_complete(command_of(orlop), {"obj": Session()}, "orlop", VARIABLE, instruction)


def plain_answers(root: Declared, environment: Mapping[str, str]) -> list[str] | None:
    """Return what the word in bash may become: a command, or the name of an image; nothing where click must say it.

    Click is asked where an option may stand, of a word that bash has cut, and of arguments that are not images.
    """
    from orlop.cli import plain  # noqa: PLC0415 - only shells ask for it
    from orlop.cli.declared import DeclaredGroup, WrongUsage  # noqa: PLC0415 - as above

    cut = environment.get("COMP_WORDS", "").split("\x1f")
    words, word = cut[1:-1], cut[-1]
    is_cut = any(one in text for text in cut[1:] for one in ":@")
    if not cut[1:] or is_cut or word.startswith("-") or environment.get("COMP_CWORD") != str(len(cut) - 1):
        return None
    declared, place = root, None
    try:
        while isinstance(declared, DeclaredGroup):
            values = plain.read(declared, words, environment)
            if values is None:
                return None
            place = values.get("root", place)
            if not words:
                return [name for name in sorted(declared.places.keys() - declared.hidden) if name.startswith(word)]
            found = declared.find(words.pop(0))
            if found is None:
                return None
            declared = found
    except WrongUsage:
        return None
    if any(one.startswith("-") for one in words) or not _takes_name(declared, len(words)):
        return None
    from orlop.cli.signals import heed  # noqa: PLC0415 - names of commands are there in a moment

    heed()
    return _names(place, word, words)


def _takes_name(declared: Declared, count: int) -> bool:
    """Return whether a command that has got so many words takes the name of an image next."""
    arguments = [one for one in declared.parameters if one.kind == "argument"]
    # The last of them may take many.
    following = arguments[count : count + 1] or [one for one in arguments if one.has_many]
    return any(one.settings.get("shell_complete") is complete_names for one in following)
