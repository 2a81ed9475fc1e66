"""Kills a repair at each of its steps: ``python -m tests.crash.repairs`` prints how many there were.

What could be used of the damaged store can be used after each kill, and the same command then puts the rest right.
"""

from __future__ import annotations

import io
import json
import shutil
from functools import partial
from typing import TYPE_CHECKING, Final

import orlop
from orlop import stores
from orlop.errors import OrlopError
from orlop.service.image_service import ImageService
from orlop.store.local import local_store
from tests.crash import kills, stages
from tests.crash.damaged import MULTI, OTHER
from tests.crash.scenarios import Scenario
from tests.unit.damage import ask, blobs, digest, flip, sql, swap, tocs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.crash.stages import Stage

_CLEAN, _REPAIRED = 0, 8


def _damaged(place: Path) -> None:
    """Damage something of every kind: bytes, names of files, tables, rows that are wrong, and rows that are missing."""
    root = place / "root"
    with orlop.open(root) as images:
        images.load(MULTI)
        images.load(OTHER)
    # One image is left as it is: its one layer is its chain.
    statement = "SELECT chain FROM image JOIN reference ON image = id WHERE name LIKE '%/imported'"
    ((whole,),) = ask(root, statement)
    touched = [path for path in blobs(root) if digest(path) != whole]
    flip(touched[0])
    swap(touched[1], touched[-1])
    touched[2].unlink()
    flip(tocs(root)[0])
    tocs(root)[-1].unlink()
    (root / "toc").chmod(0o755)
    sql(
        root,
        "UPDATE image SET head = NOT head, created = 1",
        "UPDATE chain SET size = 1 WHERE parent IS NULL",
        "DELETE FROM chain WHERE id IN (SELECT chain FROM image WHERE id LIKE 'sha256:8126%')",
        f"DELETE FROM diff_blob WHERE blob = 'sha256:{touched[3].name}'",
        f"DELETE FROM blob WHERE digest = 'sha256:{touched[3].name}'",
        f"INSERT INTO image_labels VALUES ('sha256:{'1' * 64}', '{{}}')",
    )


REPAIR: Final = Scenario("fsck", ("fsck", "--repair", "--from", str(MULTI), "--from", str(OTHER)), _damaged)


def _usable(root: Path) -> dict[str, bytes]:
    """Return every image that can be saved, as it is saved. A copy is looked at: a look lets unneeded layers go."""
    copy = root.with_name("looked-at")
    stages.copy_tree(root, copy)
    found: dict[str, bytes] = {}
    # A store that is to be mended is used as it is.
    with ImageService(local_store(copy, mending=True)) as images:
        for image in list(images.image_store.ids()):
            out = io.BytesIO()
            try:
                images.save([str(image)], out)
            except OrlopError:
                continue
            found[str(image)] = out.getvalue()
    shutil.rmtree(copy)
    return found


def killed_everywhere(stage: Stage) -> kills.Count:
    """Kill the repair, look at what is left, finish; raises AssertionError where something is not right."""
    root = stage.place / "root"
    stage.reset()
    usable = _usable(root)
    assert 0 < len(usable) < 5
    count = kills.Count()
    moments = kills.moments(stage, count, status=_REPAIRED)
    assert stores.fsck(root).damage == ()
    repaired = _kept(stages.tidied(stage))
    for moment in moments:
        stage.reset()
        ended = stage.watched(partial(kills.kill_at, moment))
        if ended.status == _REPAIRED:
            assert moment > count.steps - 20, moment
            continue
        where = f"killed before step {moment} of {count.steps}, {ended.calls[-1]}"
        assert ended.status == -9, (where, stage.said())
        count.kills += 1
        found = _usable(root)
        assert {image: found.get(image) for image in usable} == usable, where
        status, said = stage.command()
        assert status in {_CLEAN, _REPAIRED}, (where, said)
        assert _kept(stages.tidied(stage)) == repaired, where
    return count


def _kept(tree: dict[str, object]) -> dict[str, object]:
    """Leave out what was set aside: a repair that begins again may find a use for it."""
    return {name: content for name, content in tree.items() if "/quarantine" not in name}


def main() -> None:
    """Do it."""
    with stages.staged(REPAIR) as stage:
        print(json.dumps([REPAIR.name, vars(killed_everywhere(stage))]), flush=True)


if __name__ == "__main__":
    main()
