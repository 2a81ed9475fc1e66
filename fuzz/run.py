"""Run a fuzz target with atheris until it fails or is stopped: `python fuzz/run.py tar [OPTION OF LIBFUZZER]...`.

What it finds stays in `fuzz/found/`, outside version control; seeds are read and never changed.
"""

# ruff: noqa: INP001 -- a script

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Find the target, instrument what it tests, and hand over to atheris, which ends the process."""
    if len(sys.argv) < 2 or not (HERE / f"fuzz_{sys.argv[1]}.py").exists():
        names = sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))
        raise SystemExit(f"usage: python fuzz/run.py {{{','.join(names)}}} [OPTION]...")
    name = sys.argv[1]
    atheris: Any = importlib.import_module("atheris")
    sys.path.insert(0, str(HERE))
    with atheris.instrument_imports(include=["orlop"]):
        target = importlib.import_module(f"fuzz_{name}")

    def mutator(data: bytes, most: int, seed: int) -> bytes:
        changed: bytes = atheris.Mutate(data, most)
        # Now and then a wrong checksum stays, for the code that refuses it.
        return changed if seed % 8 == 0 else target.mutate(changed)[:most]

    def one(data: bytes) -> None:
        target.check(data)

    found = HERE / "found" / name
    found.mkdir(parents=True, exist_ok=True)
    (HERE / "found" / ".gitignore").write_text("*\n", encoding="utf-8")
    arguments = [f"-artifact_prefix={found}/", *sys.argv[2:], str(found), str(HERE / "seeds" / name)]
    atheris.Setup([sys.argv[0], *arguments], one, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
