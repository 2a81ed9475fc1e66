"""Rows in PostgreSQL that contradict each other or their bytes: whoever acts on all rows refuses before it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.cli.main import run
from orlop.model.store_url import StoreURL
from tests import engines
from tests.unit.damage import fill
from tests.unit.test_remote_store import direct

if TYPE_CHECKING:
    from pathlib import Path

_FLIPPED = "set_byte({0}, length({0}) / 2, get_byte({0}, length({0}) / 2) # 1)"
WRONG: dict[str, str] = {
    "a config": f"UPDATE image SET config = {_FLIPPED.format('config')}",
    "a manifest": f"UPDATE manifest SET content = {_FLIPPED.format('content')}",
    "the layers of an image": "UPDATE image SET chain = (SELECT min(id) FROM chain WHERE parent IS NULL)",
    "no layers of an image": "UPDATE image SET chain = NULL",
    "the time of an image": "UPDATE image SET created = created + 1",
    "where a manifest leads": "DELETE FROM edge WHERE role = 'layer'",
    "what a manifest leads to": "UPDATE edge SET child = parent WHERE role = 'layer'",
    "a type": "UPDATE manifest SET media_type = 'application/vnd.oci.image.index.v1+json'",
    "the content of a layer": "UPDATE chain SET diff = (SELECT max(id) FROM diff)",
}
NOWHERE: dict[str, str] = {
    "an image": "DELETE FROM image WHERE id = (SELECT image FROM image_manifest LIMIT 1)",
    "a manifest": "DELETE FROM manifest WHERE digest = (SELECT manifest FROM image_manifest LIMIT 1)",
    "the content of a layer": "DELETE FROM diff WHERE id = (SELECT diff FROM diff_blob LIMIT 1)",
    "a blob": "DELETE FROM blob WHERE digest = (SELECT blob FROM diff_blob LIMIT 1)",
    "a layer in its place": "DELETE FROM chain WHERE id IN (SELECT parent FROM chain)",
    "an image that came by a manifest": "UPDATE image_manifest SET image = manifest",
    "a form of a layer": "UPDATE diff_blob SET blob = overlay(blob placing 'aaaa' from 20)",
}
"""What rows lead to and no row is, where no link was checked as it went."""
COMMANDS = {
    "gc": ("gc",),
    "prune": ("prune", "-f"),
    "image prune": ("image", "prune", "-a", "-f"),
    "store copy": ("store", "copy", "{}/copied"),
    "store backup": ("store", "backup", "{}/copied"),
}
_DAMAGED = 6


@pytest.mark.sampled(3)
@pytest.mark.parametrize("wrong", [*WRONG.values(), *NOWHERE.values()], ids=[*WRONG, *(f"no {one}" for one in NOWHERE)])
def test_what_acts_on_all_rows_refuses_before_it_changes_any(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    url = engines.placed(monkeypatch, tmp_path)
    fill(url, data)  # type: ignore[arg-type]  # a store by its name
    with direct(StoreURL.parse(url, engines.variables())) as connection:
        connection.execute("SET session_replication_role = replica")
        assert connection.execute(f"SET search_path TO orlop; {wrong}".encode()) is not None
        state = b"SELECT (SELECT count(*) FROM object), (SELECT count(*) FROM blob), count(*) FROM lease"
        before = connection.execute(state).fetchall()
        for name, words in COMMANDS.items():
            # A pruning removes by names, whatever is in a config.
            if "prune" in name and "config" in wrong:
                continue
            capsys.readouterr()
            status = run(("--root", url, *(word.format(tmp_path) for word in words)))
            said = capsys.readouterr().err
            assert (status, said.count("\n")) == (_DAMAGED, 1), (name, said)
            assert connection.execute(state).fetchall() == before, name
            assert not (tmp_path / "copied").exists(), name
    assert orlop.stores.fsck(url).damage


@pytest.mark.sampled(3)
@pytest.mark.parametrize("gone", NOWHERE.values(), ids=NOWHERE)
def test_a_repair_brings_back_what_rows_lead_to_or_holds_what_that_may_have_had(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    url = engines.placed(monkeypatch, tmp_path)
    fill(url, data)  # type: ignore[arg-type]  # as above
    with direct(StoreURL.parse(url, engines.variables())) as connection:
        names = b"SELECT name FROM orlop.object WHERE left(name, 4) <> 'toc:'"
        before = set(connection.execute(names).fetchall())
        connection.execute("SET session_replication_role = replica")
        assert connection.execute(f"SET search_path TO orlop; {gone}".encode()) is not None
        assert "database" in {one.kind for one in orlop.stores.fsck(url, quick=True).damage}
        orlop.stores.fsck(url, repair=True)
        assert {one.kind for one in orlop.stores.fsck(url).damage} <= {"name-dangling"}
        with orlop.open(url) as images:
            images.gc()
        left = {name for (name,) in connection.execute(names).fetchall()}
    assert left >= {name for (name,) in before}
