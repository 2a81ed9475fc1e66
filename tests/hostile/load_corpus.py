"""Loads every archive in a folder into a store, each in every way: ``load_corpus.py ROOT FOLDER``. Prints how many."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import orlop


def main() -> None:
    root, folder = sys.argv[1:]
    loaded = refused = 0
    with orlop.open(root) as images:
        for path in sorted(Path(folder).iterdir()):
            for streamed in (False, True) if path.is_file() else (False,):
                try:
                    if streamed:
                        with path.open("rb") as file:
                            images.load(_Pipe(file))  # type: ignore[arg-type]
                    else:
                        images.load(path)
                    loaded += 1
                except orlop.OrlopError:
                    refused += 1
        for image in images.images():
            with suppress(orlop.OrlopError):
                images.remove(str(image.id), force=True)
    print(loaded, refused)


class _Pipe:
    """A file that can only be read."""

    def __init__(self, file: object) -> None:
        self.read = file.read  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
