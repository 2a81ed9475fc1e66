"""Completion in shells: names of images for every NAME, and scripts that ask this program for them."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Final

    import click

    from orlop.cli.declared import DeclaredGroup as _Group
    from orlop.service.images import ImageSummary

VARIABLE: Final = "_ORLOP_COMPLETE"
"""The variable of the environment by which a shell asks for completions."""

_MOST: Final = 1000


def complete_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Give the names of images that begin so, and IDs where that could be one; a store that is not there has none."""
    from orlop.errors import OrlopError  # noqa: PLC0415 - only shells ask for it

    given = context.params.get(parameter.name or "")
    taken = set(given) if isinstance(given, (tuple, list)) else set()
    try:
        found = [name for name in _names(context, incomplete) if name not in taken]
    except (OrlopError, OSError):
        return []
    return list(dict.fromkeys(found))[:_MOST]


def _names(context: click.Context, incomplete: str) -> Iterator[str]:
    import orlop  # noqa: PLC0415 - only shells ask for it

    root = context.find_root().params.get("root") or orlop.default_root()
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
    from orlop.cli import output  # noqa: PLC0415 - only shells ask for it
    from orlop.cli.root import orlop  # noqa: PLC0415 - as above

    if instruction == "bash_complete":
        commands = plain_commands(orlop, os.environ)
        if commands is not None:
            output.write("".join(f"plain,{name}\n" for name in commands))
            return 0
    from click.shell_completion import add_completion_class, shell_complete  # noqa: PLC0415 - only shells ask for it

    from orlop.cli.completion_bash import Bash  # noqa: PLC0415 - as above
    from orlop.cli.session import Session  # noqa: PLC0415 - as above
    from orlop.cli.signals import heed  # noqa: PLC0415 - as above

    heed()
    add_completion_class(Bash)
    return shell_complete(orlop.command(), {"obj": Session()}, "orlop", VARIABLE, instruction)


def plain_commands(root: _Group, environment: Mapping[str, str]) -> list[str] | None:
    """Return the commands that the word in bash may become, or nothing where click must say what it may be.

    Click is asked where options stand before the word, where it may be one, and where it is no word of a command.
    """
    from orlop.cli.declared import DeclaredGroup  # noqa: PLC0415 - only shells ask for it

    cut = environment.get("COMP_WORDS", "").split("\x1f")
    before, word = cut[1:-1], cut[-1]
    if len(cut) < 2 or environment.get("COMP_CWORD") != str(len(cut) - 1) or not (word + "x").isalnum():
        return None
    declared = root
    for name in before:
        found = declared.find(name)
        if not isinstance(found, DeclaredGroup):
            return None
        declared = found
    return [name for name in sorted(declared.places.keys() - declared.hidden) if name.startswith(word)]
