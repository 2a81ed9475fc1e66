"""Checks of the paths and files that callers pass. For the first line of a verb."""

from __future__ import annotations

import io
import os

from orlop.errors import WrongType
from orlop.model.names import shown


def path_text(path: str | os.PathLike[str], what: str) -> str:
    """Return a path as a text.

    Args:
        path: the path; bytes are decoded as Python decodes file names.
        what: what the path is for, for the error.

    Raises:
        WrongType: it is not a path.
    """
    try:
        return os.fsdecode(path)
    except TypeError as error:
        raise WrongType(f"{what} is a path, a str or an os.PathLike, not {shown(path)}") from error


def check_file(file: object, what: str, method: str = "read") -> None:
    """Check that something is a path or a binary file.

    Args:
        file: the argument.
        what: what it is for, for the error.
        method: the method that such a file must have, ``read`` or ``write``.

    Raises:
        WrongType: it is neither.
    """
    if isinstance(file, str | os.PathLike):
        return
    if isinstance(getattr(file, "file", file), io.TextIOBase):
        raise WrongType(f'{what} is a file in text mode; open it in binary mode, such as "rb" or "wb"')
    if not callable(getattr(file, method, None)):
        raise WrongType(f"{what} is a path or a binary file, not {shown(file)}")
