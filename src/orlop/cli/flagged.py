"""Words of a command line as Docker's parser reads them, written as click reads them.

Flags may have a value, as in ``--no-trunc=false``, also at the end of several in one word, as in ``-aq=false``. Short
options may be followed by an equals sign, as in ``-f=dangling=true``. What is the value of an option is left as it is,
even where it looks like an option.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Final

# What Go's strconv.ParseBool takes.
_WORDS: Final = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


class NoBoolean(ValueError):
    """The value of a flag is neither true nor false.

    Args:
        flag: its name.
        word: the value.
    """

    def __init__(self, flag: str, word: str) -> None:
        super().__init__(f"{word!r} is neither true nor false")
        self.flag = flag


class Switch:
    """A flag.

    Args:
        off: its other name, which takes away what is set by default.
    """

    def __init__(self, off: str | None) -> None:
        self.off = off


def rewritten(words: Sequence[str], options: Mapping[str, Switch | None], *, only_first: bool = False) -> Iterator[str]:
    """Yield the words as click reads them.

    Args:
        words: of one command.
        options: by their names, each a flag or an option with one value.
        only_first: only what comes before the first word that is not an option.

    Raises:
        NoBoolean: a flag has another value.
    """
    left = iter(words)
    for word in left:
        if word == "--" or (only_first and not _is_option(word)):
            yield word
            yield from left
        elif word.startswith("--"):
            yield from _long(word, options, left)
        elif _is_option(word):
            yield from _short(word, options, left)
        else:
            yield word


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-"


def _long(word: str, options: Mapping[str, Switch | None], left: Iterator[str]) -> Iterator[str]:
    name, equals, value = word.partition("=")
    option = options.get(name)
    if option is None:
        yield word
        if name in options and not equals:
            yield from _next(left)
    elif not equals:
        yield word
    elif (switched := _switched(name, option, value)) is not None:
        yield switched


def _short(word: str, options: Mapping[str, Switch | None], left: Iterator[str]) -> Iterator[str]:
    for at in range(1, len(word)):
        name, rest = f"-{word[at]}", word[at + 1 :]
        if name not in options:
            break
        option = options[name]
        if option is None:
            yield word[: at + 1]
            yield from (rest.removeprefix("="),) if rest else _next(left)
            return
        if rest.startswith("="):
            # The flags before it, if there are any.
            yield from (word[:at],) if at > 1 else ()
            if (switched := _switched(name, option, rest[1:])) is not None:
                yield switched
            return
    yield word


def _next(left: Iterator[str]) -> Iterator[str]:
    value = next(left, None)
    if value is not None:
        yield value


def _switched(name: str, flag: Switch, word: str) -> str | None:
    """Return what stands for a flag with a value: the flag, its other name, or nothing."""
    if word not in _WORDS:
        raise NoBoolean(name, word)
    return name if _WORDS[word] else flag.off
