"""TOML as Python reads it, but for keys of so many parts that reading them takes all memory there is."""

from __future__ import annotations

from typing import Any, Final

from orlop.model.regex import regex

_DEEPEST: Final = 100
# A text that does not end is a part as well, so that nothing is looked through twice.
_PART: Final = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"?+|'[^'\n]*+'?+)[ \t]*+"""
_PARTS: Final = rf"(?:{_PART}\.[ \t]*+)"
_TOKENS: Final = regex(rf"""(?P<deep>{_PARTS}{{{_DEEPEST}}})|{_PARTS}++|{_PART}|[^A-Za-z0-9_"'-]++""")


def loads(text: str) -> dict[str, Any]:
    """Return what a document says. Raises `ValueError`, whose text says where it is not one, or is too deep."""
    import tomllib  # noqa: PLC0415 - most commands read no such file

    # Python takes memory by the square of the parts of a key.
    deep = next((found.start() for found in _TOKENS.finditer(text) if found["deep"]), None)
    if deep is not None:
        line = text.count("\n", 0, deep) + 1
        raise ValueError(f"a key in line {line} has more than {_DEEPEST} parts")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:
        raise ValueError("a number in it has too many digits") from error
    except RecursionError as error:
        raise ValueError("its values are nested too deep") from error
