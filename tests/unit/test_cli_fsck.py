"""`orlop fsck`: what it prints, and how it ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from orlop.cli.main import run
from tests.unit.damage import blobs, digest, flip, tocs
from tests.unit.test_json import check

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORLOP_ROOT", str(tmp_path / "root"))
    assert run(["load", "-q", "-i", str(data / "dockerd-29-overlay2" / "multi.tar")]) == 0
    return tmp_path / "root"


@pytest.fixture
def orlop(root, capsysbinary):
    capsysbinary.readouterr()

    def call(*arguments: object) -> tuple[int, str, str]:
        status = run([str(argument) for argument in arguments])
        out, err = capsysbinary.readouterr()
        return status, out.decode(), err.decode()

    return call


def test_a_store_that_is_whole(orlop, root):
    assert orlop("fsck") == (0, f"{root}: nothing is damaged\n", "")
    assert orlop("fsck", "--quick", "-q") == (0, f"{root}: nothing is damaged\n", "")
    status, out, _ = orlop("fsck", "--format", "json")
    check("fsck", [json.loads(out)])
    assert status == 0
    assert json.loads(out) == {
        "Root": str(root),
        "Quick": False,
        "State": "clean",
        "Found": [],
        "Repairs": [],
        "Problems": [],
    }


def test_damage_is_a_sentence_and_a_status(orlop, root):
    blob = blobs(root)[0]
    flip(blob)
    toc = tocs(root)[-1]
    toc.unlink()
    assert orlop("fsck", "--quick")[0] == 0
    status, out, err = orlop("fsck")
    assert (status, err) == (6, "")
    assert out.splitlines() == [
        f"note: the table of contents of the layer {digest(toc)} is missing; it can be made again from the layer",
        f"damage: the blob {blob} is not what its digest says; load its image again",
        f"{root}: 1 damaged",
    ]
    status, out, _ = orlop("fsck", "--format", "json")
    assert status == 6
    document = json.loads(out)
    check("fsck", [document])
    assert (document["State"], document["Found"]) == ("damaged", document["Problems"])
    assert [(one["Kind"], one["Subject"]) for one in document["Problems"] if one["Level"] == "damage"] == [
        ("blob-damaged", digest(blob))
    ]
    assert orlop("fsck", "--format", "{{.State}} {{len .Problems}}") == (6, "damaged 2\n", "")


def test_where_there_is_no_store(orlop, tmp_path):
    status, out, err = orlop("--root", tmp_path / "nothing", "fsck")
    assert (status, out) == (4, "")
    assert err == f"Error: there is no store at {tmp_path / 'nothing'}; check the root that was given\n"
