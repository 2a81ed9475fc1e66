"""Completion in shells: names of images for every NAME, and scripts that ask this program for them."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from orlop.cli.declared import Declared

VARIABLE: Final = "_ORLOP_COMPLETE"
"""The variable of the environment by which a shell asks for completions."""


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
    from orlop.cli.completed import names_in  # noqa: PLC0415 - as above

    return names_in(place, word, words)


def _takes_name(declared: Declared, count: int) -> bool:
    """Return whether a command that has got so many words takes the name of an image next."""
    arguments = [one for one in declared.parameters if one.kind == "argument"]
    # The last of them may take many.
    following = arguments[count : count + 1] or [one for one in arguments if one.has_many]
    return any(one.settings.get("complete") == "names" for one in following)
