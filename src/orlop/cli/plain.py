"""Words of the command line that need no parser, see `declared`."""

from __future__ import annotations

from orlop.cli.declared import DeclaredGroup, WrongUsage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from orlop.cli.declared import Declared, Parameter
    from orlop.cli.session import Session

# What these settings mean for a value is known here. What has others is left to click.
_KNOWN = frozenset({"complete", "envvar", "help", "is_flag", "metavar", "multiple", "nargs", "required"})
# What only these settings have cannot be of another type than text.
_KNOWN_OF_CHOICES = _KNOWN | {"choices", "default", "show_default"}


def run(session: Session, root: Declared, words: Sequence[str], environment: Mapping[str, str]) -> int | None:
    """Run the command that plain words name, and return its exit status; None where click must read them.

    Raises whatever the command raises.
    """
    declared, rest = root, list(words)
    try:
        while True:
            values = read(declared, rest, environment)
            if values is None:
                return None
            status = call(declared, session, values)
            if not isinstance(declared, DeclaredGroup):
                return status or 0
            found = declared.find(rest[0]) if rest else None
            if found is None:
                return None
            declared, rest = found, rest[1:]
    except WrongUsage:
        return None


def read(declared: Declared, words: list[str], environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the values of a command's parameters by their names, as click gives them; None where it must read them.

    Of a group the words up to the name of a command are read, and taken away.

    Raises:
        WrongUsage: a value means nothing.
    """
    by_word = {word: one for one in declared.parameters for word in one.words}
    given: dict[Parameter, list[str]] = {}
    plain: list[str] = []
    left = iter(words)
    for word in left:
        if not word.startswith("-") or word == "-":
            plain.append(word)
            if isinstance(declared, DeclaredGroup):
                break
            continue
        name, equals, value = word.partition("=")
        option = by_word.get(name)
        if option is None or not _is_known(option) or (equals and not name.startswith("--")):
            return None
        if option.is_flag:
            if equals:
                return None
            value = name
        elif not equals:
            value = next(left, "-")
            if value.startswith("-"):
                return None
        given.setdefault(option, []).append(value)
    if isinstance(declared, DeclaredGroup):
        words[:] = [*plain, *left]
    elif not _place(declared, plain, given):
        return None
    values = {}
    for one in declared.parameters:
        found = given.get(one) or _from(environment, one)
        if found and ((one.is_flag and one not in given) or not _are_choices(one, found)):
            return None
        if not found and one.kind == "option" and one.settings.get("required"):
            return None
        values[one.dest] = _value(one, found) if found else one.default
    return values


def call(declared: Declared, session: Session, values: Mapping[str, Any]) -> int | None:
    """Call a command's function with values, but for those that the session gets."""
    for one in declared.parameters:
        if one.into is not None and values[one.dest] is not None:
            setattr(session, one.into, values[one.dest])
    return declared.run(session, **{one.dest: values[one.dest] for one in declared.parameters if one.into is None})


def _place(declared: Declared, words: list[str], given: dict[Parameter, list[str]]) -> bool:
    """Assign words to the arguments, and return whether they fit."""
    arguments = [one for one in declared.parameters if one.kind == "argument"]
    for one in arguments:
        if not _is_known(one):
            return False
        many = one.settings.get("nargs") == -1
        taken, words = (words, []) if many else (words[:1], words[1:])
        if taken:
            given[one] = taken
        elif one.settings.get("required", not many):
            return False
    return not words


def _is_known(one: Parameter) -> bool:
    known = _KNOWN_OF_CHOICES if "choices" in one.settings else _KNOWN
    # A default of no words has no type.
    return all(name in known or (name, value) == ("default", ()) for name, value in one.settings.items())


def _are_choices(one: Parameter, words: list[str]) -> bool:
    return "choices" not in one.settings or set(words) <= set(one.settings["choices"])


def _from(environment: Mapping[str, str], one: Parameter) -> list[str] | None:
    value = environment.get(one.settings.get("envvar", ""))
    return [value] if value else None


def _value(one: Parameter, words: list[str]) -> object:
    if one.is_flag:
        return True
    value = tuple(words) if one.has_many else words[-1]
    return value if one.read is None else one.read(value)
