"""One machine among several that use a store at once: a process of its own, whose clock is wrong.

``python -m tests.machines URL SEED SECONDS CLOCK FAULTS ARCHIVE…`` loads, saves, removes, prunes and collects until the
time is over, and brings content of its own that nobody removes. What others take away in between is not an error; with
FAULTS (``yes``), neither is an engine that cannot be reached, or a session that died. Anything else is, and ends it
with a traceback. At the end it prints what it did, and what it was told is kept.
"""

from __future__ import annotations

import io
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orlop.store.blobs.s3.settings import S3Settings

SLOW: Final = 60.0
"""Seconds that a machine may take longer."""
VERBS: Final = {"load": 5, "save": 3, "remove": 3, "gc": 1, "prune": 1, "keep": 3, "large": 1}
LARGE: Final = 17 << 20
"""Bytes that are sent in three parts."""
MOST: Final = 8
"""How many contents of that size a machine has brought at most: it removes its own, so that an hour fills no disk."""


def main(url: str, seed: int, seconds: float, archives: list[str], *, faults: bool) -> None:
    """Work, and print how often each thing was done, and which names are kept."""
    import orlop
    from orlop.errors import ContentNotFound, NotFound, StorageError, StoreDamaged, StoreInUse

    chosen = random.Random(seed)
    done = dict.fromkeys((*VERBS, "shed", "gone", "cut"), 0)
    kept: list[str] = []
    large: list[str] = []
    until = time.monotonic() + seconds
    # A slow machine goes on until it has done what it is there for.
    while (now := time.monotonic()) < until or (now < until + SLOW and not (done["load"] and done["keep"])):
        verb = chosen.choices(list(VERBS), list(VERBS.values()))[0]
        if verb == "large" and len(large) == MOST:
            verb = "shed"
        try:
            with orlop.open(url) as images:
                if verb == "load":
                    images.load(chosen.choice(archives))
                elif verb == "gc":
                    images.gc()
                elif verb == "prune":
                    images.prune()
                elif verb == "shed":
                    # An error does not say whether it is still there.
                    name = large.pop(0)
                    kept.remove(name)
                    images.remove(name, force=True)
                elif verb in ("keep", "large"):
                    name = f"docker.io/library/kept:{seed}-{sum(done.values())}"
                    content = chosen.randbytes(LARGE if verb == "large" else 600)
                    images.import_image(io.BytesIO(tar_of(content)), name)
                    kept.append(name)
                    if verb == "large":
                        large.append(name)
                else:
                    names = [str(name) for one in images.images() for name in one.references]
                    names = [name for name in names if "kept:" not in name or verb == "save"]
                    if names and verb == "remove":
                        images.remove(chosen.choice(names), force=True)
                    elif names:
                        with Path(os.devnull).open("wb") as nowhere:
                            images.save([chosen.choice(names)], nowhere)
            done[verb] += 1
        except (NotFound, ContentNotFound, StoreInUse):
            done["gone"] += 1
        except StorageError as error:
            if not faults or isinstance(error, StoreDamaged):
                raise
            done["cut"] += 1
    sys.stdout.write(json.dumps({"done": done, "kept": kept}))


def tar_of(content: bytes) -> bytes:
    """Return an archive with one file."""
    import tarfile

    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo("content")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def shorten() -> None:
    """Shorten every limit of silence, so that a test sees what happens after each."""
    from dataclasses import replace

    from orlop.store import remote
    from orlop.store.rows.postgres import database, pool, silence

    silence.WatchedConnection.patience, silence.WatchedConnection.asking = 2.0, 1
    pool._CONNECTING = 2  # type: ignore[misc]
    silence.KEEPING["tcp_user_timeout"] = 2_000
    for name in ("_WRITE", "SHORT", "READ"):
        setattr(database, name, getattr(database, name).replace("'20s'", "'2s'"))
    unchanged = remote.settings_of

    def settings_of(*given: object) -> S3Settings:
        return replace(unchanged(*given), timeout=2.0, patience=4.0)  # type: ignore[arg-type]

    remote.settings_of = settings_of  # type: ignore[assignment]


if __name__ == "__main__":
    AHEAD: Final = float(sys.argv[4])
    real = time.time
    time.time = lambda: real() + AHEAD
    is_cut = sys.argv[5] == "yes"
    if is_cut:
        shorten()
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[6:], faults=is_cut)
