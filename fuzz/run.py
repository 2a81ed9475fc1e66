"""Run a fuzz target with atheris until it fails or is stopped: `python fuzz/run.py tar [OPTION OF LIBFUZZER]...`.

`all` runs every target, one after another, so that an option such as `-max_total_time=60` is needed. What it finds
stays in `fuzz/found/`, outside version control; seeds are read and never changed.
"""

# ruff: noqa: INP001 -- a script

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Find the target, instrument what it tests, and hand over to atheris, which ends the process."""
    names = sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=[*names, "all"])
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="...", help="options of libFuzzer")
    given = parser.parse_args()
    name, options = given.target, given.options
    if name == "all":
        # A process of its own for each: atheris ends the one in which it runs.
        failed = [
            name for name in names if subprocess.run([sys.executable, __file__, name, *options], check=False).returncode
        ]
        raise SystemExit(f"failed: {', '.join(failed)}" if failed else 0)
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
    arguments = [f"-artifact_prefix={found}/", *options, str(found), str(HERE / "seeds" / name)]
    atheris.Setup([sys.argv[0], *arguments], one, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
