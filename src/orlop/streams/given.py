"""Checks of the paths and files that callers pass. For the first line of a verb."""

from __future__ import annotations

import io
import os

from orlop.errors import InvalidInput, WrongType
from orlop.model.given import brief, shown


def path_text(path: str | os.PathLike[str], what: str) -> str:
    """Return a path as a text.

    Args:
        path: the path; bytes are decoded as Python decodes file names.
        what: what the path is for, for the error.

    Raises:
        WrongType: it is not a path. InvalidInput: it has a character that no path has.
    """
    try:
        text = os.fsdecode(path)
        encoded = os.fsencode(text)
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{what} is {brief(path)}, which cannot be encoded as a path: {error.reason}") from error
    except TypeError as error:
        raise WrongType(f"{what} is a path, a str or an os.PathLike, not {shown(path)}") from error
    if b"\0" in encoded:
        raise InvalidInput(f"{what} is {brief(text)}, which has a null character; no path has one")
    return text


def check_file(file: object, what: str, method: str = "read") -> None:
    """Check that something is a path or a binary file.

    Args:
        file: the argument.
        what: what it is for, for the error.
        method: the method that such a file must have, ``read`` or ``write``.

    Raises:
        WrongType: it is neither. InvalidInput: it is a path with a character that no path has.
    """
    if isinstance(file, str | os.PathLike):
        path_text(file, what)
        return
    if isinstance(getattr(file, "file", file), io.TextIOBase):
        raise WrongType(f'{what} is a file in text mode; open it in binary mode, such as "rb" or "wb"')
    if not callable(getattr(file, method, None)):
        raise WrongType(f"{what} is a path or a binary file, not {shown(file)}")
