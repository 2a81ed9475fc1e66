"""Every command over a store that has no files: the same as over a directory, or one sentence on what is missing."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.cli.main import run
from orlop.model.store_url import StoreURL
from orlop.store.opening import open_store
from tests import engines
from tests.elsewhere import install

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.elsewhere import Elsewhere

URL = "postgresql://ci@db.example/images?blobs=s3://bucket/team"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    """Stores in memory, for what looks behind the commands."""
    monkeypatch.setenv("ORLOP_ROOT", URL)
    return install(monkeypatch)


@pytest.fixture(params=["memory", "engines"])
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a store without files here: one in memory, and one over real engines."""
    if request.param == "memory":
        install(monkeypatch)
        found = URL
    else:
        engines.install(monkeypatch)
        found = engines.new_url()
    monkeypatch.setenv("ORLOP_ROOT", found)
    return found


@pytest.fixture
def archive(data: Path) -> Path:
    return data / "dockerd-20.10-overlay2" / "parent-child.tar"


@pytest.fixture
def call(capsysbinary: pytest.CaptureFixture[bytes]) -> Callable[..., str]:
    def called(*arguments: str, status: int = 0) -> str:
        capsysbinary.readouterr()
        got = run(arguments)
        out, err = capsysbinary.readouterr()
        assert got == status, (arguments, out, err)
        assert b"Traceback" not in err
        if status and not out:
            assert err.count(b"\n") == 1, err
        return (err if status and not out else out).decode()

    return called


@pytest.fixture
def here(tmp_path: Path) -> str:
    return str(tmp_path / "here")


def loaded(call: Callable[..., str], archive: Path) -> list[str]:
    call("load", "-q", "-i", str(archive))
    return call("images", "--format", "{{.Repository}}:{{.Tag}}").split()


def _timeless(text: str) -> str:
    """Return an answer without the time of the last change, which is that of the load."""
    return re.sub(r'"LastTagTime": "[^"]*"', "", text)


@pytest.mark.sampled(2)
def test_images_are_the_same_as_in_a_directory(call, url, archive, here, tmp_path):
    names = loaded(call, archive)
    call("--root", here, "load", "-q", "-i", str(archive))
    for words in (
        ["images", "--format", "json"],
        ["inspect", names[0]],
        ["history", names[0], "--format", "json"],
        ["ls", names[0]],
        ["tree", names[0]],
        ["df", "-v", "--format", "json"],
    ):
        there, local = (call(*root, *words) for root in ([], ["--root", here]))
        if words[0] != "df":
            assert _timeless(there).replace(url, here) == _timeless(local)
    call("save", names[0], "-o", str(tmp_path / "there.tar"))
    call("--root", here, "save", names[0], "-o", str(tmp_path / "here.tar"))
    assert (tmp_path / "there.tar").read_bytes() == (tmp_path / "here.tar").read_bytes()


# Every command of the store, in an order in which each has something to do; {0} is a directory for what they write.
COMMANDS = [
    "load -q -i {archive}",
    "load -q -i {archive}",
    "images -a --digests --no-trunc",
    "images --tree",
    "tag {name} new/name:1",
    "pin new/name:1",
    "images --format json",
    "inspect new/name:1",
    "tree new/name:1",
    "history new/name:1",
    "ls -l new/name:1",
    "find new/name:1",
    "audit new/name:1",
    "stat new/name:1 /",
    "diff {name} new/name:1",
    "have {name}",
    "have none:1",
    "export new/name:1 -o {0}/export.tar",
    "import {0}/export.tar imported:1",
    "save -o {0}/save.tar new/name:1",
    "save --format oci -o {0}/layout new/name:1",
    "copy new/name:1 oci:{0}/copied:1",
    "load -q -i {0}/layout",
    "archive ls {0}/save.tar",
    "image prune --force",
    "prune --dry-run",
    "rmi new/name:1",
    "unpin {name}",
    "rmi -f {name}",
    "rmi none:1",
    "gc --dry-run",
    "gc",
    "gc --dry-run",
    "prune --all --force",
    "system prune --force",
    "fsck",
    "fsck --repair",
]


@pytest.mark.sampled(8, daily=False)
def test_every_command_says_and_does_the_same(
    url: str, archive: Path, here: str, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    def told(root: str, number: int) -> list[tuple[str, int, str, str]]:
        found = []
        folder = tmp_path / str(number)
        folder.mkdir()
        for line in COMMANDS:
            words = [word.format(folder, archive=archive, name="example/tiny:1.0") for word in line.split()]
            capsysbinary.readouterr()
            status = run(["--root", root, *words])
            out, err = (_plain(text.decode(), root, str(folder)) for text in capsysbinary.readouterr())
            assert "Traceback" not in err
            found.append((line, status, out, err))
        return found

    found = told(url, 1)
    assert sum(not status for _, status, *_ in found) > len(COMMANDS) - 8
    for there, local in zip(found, told(here, 2), strict=True):
        assert there == local


def _plain(text: str, root: str, folder: str) -> str:
    """Return what a command said without what differs between two stores or moments: digests, times, their order."""
    text = text.replace(root, "ROOT").replace(folder, "FOLDER")
    text = re.sub(r"sha256:[0-9a-f]{64}|\b[0-9a-f]{12,64}\b", "DIGEST", text)
    text = re.sub(r"\d{4}-\d\d-\d\d[T ][0-9:.]+(Z| \+0000 UTC)?|(\d+ \w+|Less than a second) ago", "TIME", text)
    return "\n".join(sorted(re.sub(" +", " ", line) for line in text.splitlines()))


@pytest.mark.sampled(2)
def test_what_the_disk_is_used_for(call, url, archive, here):
    loaded(call, archive)
    call("--root", here, "load", "-q", "-i", str(archive))
    there, local = (
        json.loads(call(*root, "df", "--format", "json").splitlines()[0]) for root in ([], ["--root", here])
    )
    assert there["Type"] == local["Type"]
    with orlop.open(here) as images:
        expected = images.df()
    with orlop.open(url) as images:
        found = images.df()
    assert found.root == url
    assert found.layers == expected.layers
    assert [image.freed for image in found.images] == [image.freed for image in expected.images]
    kinds = {"blob", "toc"}
    assert [one for one in found.files if one.kind in kinds] == [one for one in expected.files if one.kind in kinds]


@pytest.mark.sampled(2)
def test_facts_about_the_store(call, url, archive):
    loaded(call, archive)
    found = json.loads(call("store", "info", "--format", "json"))
    assert found["Root"] == url
    assert found["DiskBytes"] > found["BlobBytes"] > 0
    assert (found["FileSystem"], found["Group"], found["Ingests"], found["Trash"]) == ("", "", 0, 0)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("words", [["store", "check"], ["store", "check", "--verify"], ["fsck"], ["fsck", "--quick"]])
@pytest.mark.usefixtures("url")
def test_a_whole_store_is_whole(call, archive, words):
    loaded(call, archive)
    call(*words)


def test_damage_is_found_and_put_right_from_an_archive(call, archive, elsewhere):
    loaded(call, archive)
    blobs = elsewhere.blobs(URL)
    bad, missing = sorted(blobs.digests())[:2]
    content = blobs._blobs
    content[bad] = bytes(len(content[bad]))
    del content[missing]
    found = call("store", "check", "--verify", status=6)
    assert f"the blob {missing} is missing" in found
    assert f"the blob {bad} does not match its digest" in found or "not a layer" in found
    assert "missing" in call("store", "check", status=6)
    call("fsck", "--repair", "--from", str(archive), status=8)
    call("store", "check", "--verify")


def test_a_table_of_contents_is_made_again(call, archive, elsewhere):
    names = loaded(call, archive)
    before = call("ls", names[0])
    tocs = elsewhere.blobs(URL)._tocs
    kept = dict(tocs)
    lost, bad = sorted(tocs)[:2] if len(tocs) > 1 else [*tocs, *tocs]
    tocs[bad] = b"nonsense"
    tocs.pop(lost)
    call("fsck", "--repair", status=8)
    assert tocs == kept
    assert call("ls", names[0]) == before


@pytest.mark.sampled(2)
def test_garbage_goes(call, archive, url):
    for name in loaded(call, archive):
        call("rmi", name)
    call("prune", "--all", "--force")
    call("gc")
    with open_store(StoreURL.parse(url, os.environ)) as store:
        assert list(store.blobs.digests()) == []
        assert list(store.blobs.tocs()) == []


@pytest.mark.sampled(2)
@pytest.mark.usefixtures("url")
def test_what_it_cannot_do_is_one_sentence(call, archive):
    loaded(call, archive)
    assert "no quarantine" in call("fsck", "--empty-quarantine", status=1)


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("postgresql://ci:hunter2@db/images?blobs=s3://b", "must not hold a password; set PGPASSWORD"),
        ("postgresql://db/images", "needs blobs=s3://BUCKET"),
        ("postgresql://db/images?blobs=s3://b&sslmode=off", "has no parameter 'sslmode'"),
    ],
)
def test_a_url_that_is_not_valid_is_refused(call, root, message):
    for words in (["images"], ["store", "info"], ["fsck"], ["gc"]):
        said = call("--root", root, *words, status=3)
        assert message in said
        assert "hunter2" not in said
