"""`orlop df`: what it prints, for people and for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.cli.main import run
from tests.unit.damage import copied, fill
from tests.unit.test_json import check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    root = tmp_path_factory.mktemp("made") / "root"
    fill(root, data)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORLOP_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("TZ", "UTC")
    return copied(made, tmp_path / "root")


@pytest.fixture
def call(root: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Callable[..., str]:
    def called(*arguments: str, status: int = 0) -> str:
        capsysbinary.readouterr()
        assert run(arguments) == status
        out, err = capsysbinary.readouterr()
        assert bool(err) == bool(status)
        return (err if status else out).decode()

    return called


def test_a_summary_for_people(call, root):
    lines = call("df").splitlines()
    assert lines[0].split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert [line[:18].strip() for line in lines[1:]] == [
        "Images",
        "Layers",
        "Tables of contents",
        "Database",
        "Unfinished",
        "Trash",
        "Quarantine",
        "Other",
        "All files",
    ]
    assert lines[1].split() == ["Images", "7", "6", "6.328kB", "0B", "(0%)"]
    assert lines[2].split()[:3] == ["Layers", "19", "19"]
    assert call("system", "df", "--format", "table").splitlines()[:3] == lines[:3]


def test_the_commands_that_free_something_are_named(call, root):
    assert "frees" not in call("df")
    (root / "ingest" / "0123456789abcdef.0").write_bytes(bytes(1234))
    assert call("df").splitlines()[-2:] == ["", "`orlop gc` frees 1.234kB"]
    with orlop.open(root) as images:
        (packed,) = images.images("example.com/packed")
        for reference in packed.references:
            images.references.delete(reference)
    assert call("df", "-v").splitlines()[-1] == "`orlop gc` frees 1.234kB, `orlop image prune` frees 245B"
    # Who asks for a form gets it alone.
    assert "frees" not in call("df", "--format", "json") + call("df", "--format", "{{.Type}}")
    call("gc")
    call("image", "prune", "-f")
    assert "frees" not in call("df")


def test_every_image_is_listed_under_its_first_name(call, root):
    first, second = call("df", "--verbose").split("Files space usage:")
    lines = first.splitlines()
    assert lines[:2] == ["Images space usage:", ""]
    assert lines[2].split("  ")[0] == "REPOSITORY"
    rows = {line.split()[0]: line for line in lines[3:] if line}
    assert rows["example/imported"].split()[1:3] == ["latest", rows["example/imported"].split()[2]]
    assert rows["example/imported"].endswith("106B      0B            106B          10.47kB")
    assert rows["example.com/packed"].endswith("6B        3B            3B            245B")
    assert rows["<none>"].split()[1] == "<none>"
    assert [line[:18].strip() for line in second.splitlines()[2:]][1:4] == [
        "Layers (gzip)",
        "Layers (plain)",
        "Layers (zstd)",
    ]
    image = next(iter(rows["tiny"].split()[2:3]))
    call("tag", image, "another/name:2")
    assert "another/name " in call("df", "-v")
    assert call("df", "-v").count(image) == 1


def test_an_image_that_has_only_a_digest_has_a_repository(call, root):
    call("rmi", "example.com/plain:1")
    with orlop.open(root) as images:
        (packed,) = images.images("example.com/packed")
        images.references.delete(packed.repo_tags[0])
    (line,) = [line for line in call("df", "-v").splitlines() if line.startswith("example.com/packed")]
    assert line.split()[1] == "<none>"
    assert "`orlop image prune` frees" in call("df")


def test_forms_for_programs(call, root):
    rows = [json.loads(line) for line in call("df", "--format", "json").splitlines()]
    check("df", rows)
    assert rows[0] == {
        "Type": "Images",
        "TotalCount": "7",
        "Active": "6",
        "Size": "6.328kB",
        "Reclaimable": "0B (0%)",
        "Garbage": "0B",
        "Dangling": "0B",
    }
    text = call("df", "-v", "--format", "json")
    document = json.loads(text)
    check("df-verbose", [document])
    assert text.count("\n") == 1
    assert document["Root"] == str(root)
    assert document["Size"] == sum(one["Size"] for one in document["Files"])
    assert [one["Compression"] for one in document["Files"]][:4] == ["gzip", "none", "zstd", ""]
    with orlop.open(root) as images:
        usage = images.df()
    assert [one["ID"] for one in document["Images"]] == [str(one.summary.id) for one in usage.images]
    for said, one in zip(document["Images"], usage.images, strict=True):
        assert (said["Bytes"], said["SharedBytes"], said["UniqueBytes"], said["FreedBytes"]) == (
            one.summary.size,
            one.shared_size,
            one.unique_size,
            one.freed,
        )
    call("pin", "example/imported")
    assert call("df", "-v", "--format", "{{range .Images}}{{if .Pinned}}{{.Names}}{{end}}{{end}}") == (
        "[example/imported:latest]\n"
    )
    assert call("df", "--format", "table {{.Type}}\t{{.Garbage}}").splitlines()[0].split() == ["TYPE", "GARBAGE"]


def test_what_cannot_be_asked_is_refused(call, root):
    assert "there is no field 'Colour'" in call("df", "--format", "{{.Colour}}", status=2)
    assert "there is no field 'Colour'" in call("df", "-v", "--format", "{{.Colour}}", status=2)
    call("df", "example/tiny", status=2)
