"""The file that a sync reads: what it means, and where its errors say that they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop import errors
from orlop.service.sync.plan import SyncPlan
from orlop.service.sync.state import Known, SyncState, state_at

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = '[[sync]]\nsource = "docker://example.com/a"\ntarget = "docker://mirror.example.com/b"\n'

WRONG = [
    ("", "has no [[sync]]"),
    ("[[sync]\n", "line 1, column 7"),
    ("sync = 1", "sync is 1"),
    ('[[sync]]\nsource = "oci:a"', "sync 1 has no target"),
    ('[[sync]]\ntarget = "oci:a"', "sync 1 has no source"),
    (ENTRY + ENTRY + 'exclud = ["a"]', "sync 2: 'exclud' is not a valid key"),
    (ENTRY + "newest = true", "sync 1: newest is True; expected a whole number"),
    (ENTRY + "newest = 0", "newest is 0; expected 1 or more"),
    (ENTRY + "tags = []", "tags is not a list of texts, or is empty"),
    (ENTRY + "tags = [1]", "tags is not a list of texts"),
    (ENTRY + 'tags = ["a b"]', "'a b' in tags is not a valid tag"),
    (ENTRY + 'tags = ["a"]\nexclude = ["b"]', "exclude needs match"),
    (ENTRY + 'match = ["[a"]', "sync 1: match:"),
    (ENTRY + 'versions = ">=a"', "sync 1: versions:"),
    (ENTRY + 'platforms = ["a/b/c/d"]', "sync 1: platforms:"),
    (ENTRY + "mirror = 1", "mirror is 1; expected true or false"),
    (ENTRY.replace("example.com/a", "example.com/A"), "sync 1, source:"),
    (ENTRY.replace("docker://example.com/a", "docker:a"), "sync 1, source: 'docker:a' is not a place"),
    (ENTRY.replace("example.com/a", "example.com/a@sha256:" + "0" * 64), "names a digest"),
    (ENTRY.replace("example.com/a", "example.com/a:1") + 'match = "2.*"', "has the tag 1 already"),
    (ENTRY.replace("example.com/b", "example.com/b:1"), "sync 1, target:"),
    (ENTRY + '[budget."docker.io"]\nmanifests = 1', "budget docker.io needs manifests"),
    (ENTRY + '[budget."docker.io"]\nmanifests = 1\nper = "never"', "budget docker.io: per:"),
    (ENTRY + "[budget]\nmanifests = 1", "budget manifests is not a table"),
    (ENTRY + "x = " + "[" * 5000 + "]" * 5000, "too deep"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), WRONG, ids=range(len(WRONG)))
def test_an_error_says_where_it_is(text: str, words: str):
    with pytest.raises(errors.InvalidSettings) as caught:
        SyncPlan.parse(text, shown="mirrors.toml")
    assert str(caught.value).startswith("mirrors.toml")
    assert words in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(errors.ReadFailed, match=r"none\.toml"):
        SyncPlan.read(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'a = "\xe9"')
    with pytest.raises(errors.InvalidSettings, match="not UTF-8: byte 6"):
        SyncPlan.read(tmp_path / "latin.toml")


def test_an_entry_is_read_as_it_stands():
    text = (
        ENTRY + 'tags = "latest"\nmatch = ["1.*"]\nplatforms = ["linux/arm64"]\nreferrers = true\nskip-existing = true'
    )
    (entry,) = SyncPlan.parse(text).entries
    assert (str(entry.source), str(entry.target)) == ("docker://example.com/a", "docker://mirror.example.com/b")
    assert [str(one) for one in entry.platforms or ()] == ["linux/arm64"]
    assert entry.choice.chosen(["1.0", "2.0"]) == ["latest", "1.0"]
    assert (entry.referrers, entry.mirror, entry.skip_existing) == (True, False, True)
    signature, built = "sha256-" + "0" * 64 + ".sig", "main-" + "0" * 40
    everything = SyncPlan.parse(ENTRY).entries[0].choice
    assert everything.chosen(["a", signature, built]) == ["a", built]
    assert [everything.covers(tag) for tag in (signature, built)] == [False, True]
    tagged = SyncPlan.parse(ENTRY.replace("example.com/a", "example.com/a:3")).entries[0]
    assert (tagged.choice.listed, str(tagged.source)) == (("3",), "docker://example.com/a")


def test_a_state_outlives_torn_lines_and_is_shortened(tmp_path: Path):
    path = tmp_path / "state"
    known = Known("all", "sha256:a", "sha256:b", {"sha256:b": "c"})
    with SyncState.opened(lambda: state_at(path)) as state:
        for number in range(3000):
            state.keep("x", "1", Known("all", f"sha256:{number}", "sha256:b"))
        state.keep("x", "1", known)
        state.keep("x", "2", known)
        state.forget("x", "2")
    with path.open("ab") as file:
        file.write(b'{"sync": "x", "tag": "1", "how"')
    with SyncState.opened(lambda: state_at(path)) as state:
        assert state.known("x", "1") == known
        assert state.known("x", "2") is None
        state.keep("x", "3", known)
        with pytest.raises(errors.Conflict), SyncState.opened(lambda: state_at(path)):
            pass
    with SyncState.opened(lambda: state_at(path)) as state:
        assert [state.known("x", tag) for tag in "123"] == [known, None, known]
    assert len(path.read_bytes().splitlines()) < 10
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_state_that_cannot_be_kept_hinders_nobody(tmp_path: Path):
    with SyncState.opened(lambda: state_at(tmp_path / "none" / "state")) as state:
        state.keep("x", "1", Known("all", "a", "b"))
        assert state.known("x", "1") is not None
