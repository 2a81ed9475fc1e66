"""One machine among several that use a store at once: a process of its own, whose clock is wrong.

``python -m tests.machines URL SEED SECONDS CLOCK ARCHIVE…`` loads, saves, removes, prunes and collects until the time
is over. What others take away in between is not an error; anything else is, and ends it with a traceback.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path
from typing import Final

AHEAD: Final = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0


def main(url: str, seed: int, seconds: float, archives: list[str]) -> None:
    """Work, and print how often each thing was done."""
    real = time.time
    time.time = lambda: real() + AHEAD
    import orlop
    from orlop.errors import ContentNotFound, NotFound, StoreInUse

    chosen = random.Random(seed)
    done = dict.fromkeys(("load", "save", "remove", "gc", "prune", "gone"), 0)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        verb = chosen.choices(("load", "save", "remove", "gc", "prune"), (5, 3, 3, 1, 1))[0]
        try:
            with orlop.open(url) as images:
                if verb == "load":
                    images.load(chosen.choice(archives))
                elif verb == "gc":
                    images.gc()
                elif verb == "prune":
                    images.prune(all=True)
                else:
                    names = [str(name) for one in images.images() for name in one.references]
                    if names and verb == "remove":
                        images.remove(chosen.choice(names), force=True)
                    elif names:
                        with Path(os.devnull).open("wb") as nowhere:
                            images.save([chosen.choice(names)], nowhere)
            done[verb] += 1
        except (NotFound, ContentNotFound, StoreInUse):
            done["gone"] += 1
    sys.stdout.write(f"{done}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[5:])
