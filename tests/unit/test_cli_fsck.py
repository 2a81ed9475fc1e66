"""`orlop fsck`: what it prints, and how it ends."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing
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
        f"damage: the blob {blob} does not match its digest; load its image again",
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


@pytest.mark.sampled(2)
def test_a_repair_says_what_it_did_and_ends_with_a_status_of_its_own(orlop, root, data):
    toc, blob = tocs(root)[0], blobs(root)[0]
    flip(toc)
    message = f"the table of contents of the layer {digest(toc)} was made again"
    assert orlop("fsck", "--repair") == (8, f"repaired: {message}\n{root}: 1 repaired, nothing is damaged\n", "")
    assert orlop("fsck", "--repair") == (0, f"{root}: nothing is damaged\n", "")
    flip(blob)
    status, out, _ = orlop("fsck", "--repair", "--format", "json")
    document = json.loads(out)
    check("fsck", [document])
    (aside,) = (root / "quarantine").iterdir()
    assert (status, document["State"]) == (6, "damaged")
    assert [one["Kind"] for one in document["Found"]] == ["blob-damaged"]
    assert document["Repairs"] == [
        {"Kind": "blob-damaged", "Subject": digest(blob), "Message": f"{blob} was set aside as {aside}"}
    ]
    assert [one["Kind"] for one in document["Problems"]] == ["blob-missing", "quarantined"]
    archive = data / "dockerd-29-overlay2" / "multi.tar"
    status, out, err = orlop("fsck", "--repair", "--from", archive)
    assert (status, err) == (8, "")
    assert out.splitlines() == [
        f"repaired: the layer {digest(blob)} was taken from the archive as the blob {digest(blob)}",
        f"note: {aside} was set aside by a repair, and is of no use to the store",
        f"{root}: 1 repaired, nothing is damaged",
    ]
    assert orlop("fsck", "--empty-quarantine") == (0, f"{root}: nothing is damaged\n", "")
    assert not aside.exists()


def test_archives_come_from_the_standard_input_too(orlop, root, data, monkeypatch):
    blobs(root)[0].unlink()
    with (data / "dockerd-29-overlay2" / "multi.tar").open("rb") as archive:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(archive))
        assert orlop("fsck", "--repair", "--from", "-")[0] == 8


def test_what_makes_no_sense_is_an_error_of_usage(orlop, root, tmp_path):
    assert orlop("fsck", "--from", "x")[0] == 2
    status, out, err = orlop("fsck", "--repair", "--from", tmp_path / "nothing")
    assert (status, out) == (4, "")
    assert err == f"Error: cannot read {tmp_path / 'nothing'}: no such file or directory; check the path\n"
    assert orlop("fsck", "--repair", "--from", tmp_path / "nothing", "--limit", "x=1")[0] == 2


def test_where_there_is_no_store(orlop, tmp_path):
    status, out, err = orlop("--root", tmp_path / "nothing", "fsck")
    assert (status, out) == (4, "")
    assert err == f"Error: there is no store at {tmp_path / 'nothing'}; check the root that was given\n"


@pytest.mark.parametrize("words", [["fsck"], ["fsck", "--repair"], ["store", "check"], ["prune", "-f"]], ids=" ".join)
def test_what_is_found_is_a_line_whatever_a_damaged_row_holds(orlop, root, words):
    name = "x" * 100_000 + "\nnothing is damaged\u2028"
    with closing(sqlite3.connect(root / "metadata.db")) as database, database:
        database.execute("INSERT INTO reference VALUES (?, ':1', ?, 1)", (name, f"sha256:{'0' * 64}"))
    status, out, err = orlop(*words)
    assert status == 6
    lines = (out + err).splitlines()
    assert 0 < max(map(len, lines)) < 10_000
    assert not [line for line in lines if line.startswith("nothing is damaged")]
    # What there is to do stands at the end.
    assert ("orlop fsck --repair" if words[0] == "prune" else "; remove it") in out + err
