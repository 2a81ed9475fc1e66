"""Commands as they are declared, before anything is parsed.

The parser of the command line, click, takes longer to import than most commands to run. So a command declares what it
takes with the decorators of this module, which only note it, and its words are read in one of two ways:

- `plain` reads words that need no parser: names, flags and options as they are declared, each a word of its own. It
  returns nothing where there is more to it: help, errors of usage, short flags in one word, values that are converted.
- `clicked` makes a command of click from the same declaration, which reads everything.

Both call the same function with the same values; a test compares them. What is wrong with values raises `WrongUsage`,
before the command has done anything: click then explains it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Final

    Run = Callable[..., int | None]


class WrongUsage(Exception):
    """The words of a command do not fit together, or one means nothing.

    Args:
        why: a sentence, or a clause where an ``option`` is named.
        option: the one that is wrong, such as ``--format``.
    """

    def __init__(self, why: str, option: str | None = None) -> None:
        super().__init__(why)
        self.option = option


class Parameter:
    """An option or an argument.

    Args:
        kind: ``option`` or ``argument``.
        names: as click takes them.
        read: makes the value of a word, or of all words where there may be several; raises `WrongUsage`.
        into: the attribute of the session that gets the value; else the command's function gets it.
        settings: what click takes besides names. ``complete`` is a key of `orlop.cli.completed.COMPLETIONS`, and
            ``choices`` are the only words that are taken.
    """

    __slots__ = ("dest", "into", "kind", "names", "read", "settings", "words")

    def __init__(
        self,
        kind: str,
        names: tuple[str, ...],
        *,
        read: Callable[[Any], object] | None = None,
        into: str | None = None,
        **settings: Any,
    ) -> None:
        self.kind = kind
        self.names = names
        self.read = read
        self.into = into
        self.settings = settings
        self.words = [name for name in names if name.startswith("-")]
        plain = [name for name in names if not name.startswith("-")]
        longest = max(self.words, key=len, default="").lstrip("-").split("/")[0].replace("-", "_")
        self.dest: Final = plain[0] if plain else longest

    @property
    def is_flag(self) -> bool:
        """Whether it is an option without a value."""
        return bool(self.settings.get("is_flag")) or any("/" in word for word in self.words)

    @property
    def has_many(self) -> bool:
        """Whether its value is a tuple of words."""
        return bool(self.settings.get("multiple")) or self.settings.get("nargs") == -1

    @property
    def default(self) -> object:
        """Its value where it is not given; what is read has none then, unless it is declared."""
        if "default" in self.settings:
            word = self.settings["default"]
            return word if self.read is None else self.read(word)
        if self.has_many and self.read is None:
            return ()
        return False if self.is_flag else None


class Declared:
    """A command: a function of the session and of what the parameters say, which may return an exit status."""

    def __init__(self, run: Run, parameters: Sequence[Parameter], name: str, settings: Mapping[str, Any]) -> None:
        self.run = run
        self.parameters = parameters
        self.name = name
        self.settings = settings


class DeclaredGroup(Declared):
    """A group of commands, each imported when it is used.

    Args:
        places: where each command is, by its name: ``module:attribute``, below `orlop.cli`.
        hidden: those that help does not list, because they are other names of listed ones.
    """

    def __init__(
        self,
        run: Run,
        parameters: Sequence[Parameter],
        name: str,
        settings: Mapping[str, Any],
        *,
        places: Mapping[str, str],
        hidden: Sequence[str] = (),
    ) -> None:
        super().__init__(run, parameters, name, settings)
        self.places = places
        self.hidden = frozenset(hidden)

    def find(self, name: str) -> Declared | None:
        """Return one of its commands, or nothing where there is none of that name."""
        place = self.places.get(name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        # What `importlib` does takes a module more.
        found: Declared = getattr(__import__(f"orlop.cli.{module}", fromlist=(attribute,)), attribute)
        return found


def option(*names: str, **settings: Any) -> Callable[[Run], Run]:
    """Declare an option; see `Parameter`."""
    return _noting(Parameter("option", names, **settings))


def filter_option(*names: str, help: str) -> Callable[[Run], Run]:  # noqa: A002 - click's word
    """Declare docker's option ``--filter``, which may be given several times and takes no white space around values."""
    return option(
        *names, "--filter", "filters", metavar="FILTER", multiple=True, default=(), read=_without_space, help=help
    )


def _without_space(texts: Sequence[str]) -> tuple[str, ...]:
    parts = (text.partition("=") for text in texts)
    return tuple(f"{name}{equals}{value.strip()}" for name, equals, value in parts)


def argument(name: str, **settings: Any) -> Callable[[Run], Run]:
    """Declare an argument; see `Parameter`."""
    return _noting(Parameter("argument", (name,), **settings))


def command(name: str | None = None, **settings: Any) -> Callable[[Run], Declared]:
    """Declare a command of what is decorated; ``settings`` are click's."""
    return lambda run: Declared(run, _noted(run), name or _name(run), settings)


def group(places: Mapping[str, str], *, hidden: Sequence[str] = (), **settings: Any) -> Callable[[Run], DeclaredGroup]:
    """Declare a group; see `DeclaredGroup`."""
    return lambda run: DeclaredGroup(run, _noted(run), _name(run), settings, places=places, hidden=hidden)


_NOTES: Final = "__parameters__"


def _noting(parameter: Parameter) -> Callable[[Run], Run]:
    def note(run: Run) -> Run:
        # The lowest decorator comes first.
        setattr(run, _NOTES, [parameter, *_noted(run)])
        return run

    return note


def _noted(run: Run) -> list[Parameter]:
    return list(getattr(run, _NOTES, ()))


def _name(run: Run) -> str:
    return getattr(run, "__name__", "").replace("_", "-")
