"""A command that is killed before any of its steps: the old state or the new; the same command then succeeds."""

from __future__ import annotations

import pytest

from tests.commands import places
from tests.crash.harness import UNSUPPORTED, run
from tests.crash.repairs import REPAIR
from tests.crash.scenarios import scenarios

pytestmark = pytest.mark.skipif(UNSUPPORTED, reason="the numbers of this machine's system calls are not known")

READING = {
    "archive list",
    "archive ls",
    "audit",
    "cat",
    "completion",
    "cp",
    "df",
    "diff",
    "export",
    "find",
    "grep",
    "have",
    "history",
    "images",
    "inspect",
    "login",
    "logout",
    "ls",
    "manifest",
    "stat",
    "store check",
    "store info",
    "tags",
    "tree",
}
"""Commands that write nothing to a store, or only refuse."""

CALLING = {"serve"}
"""Commands that do what others do, when they are asked."""

REMOTE = {"pull"}
"""Commands that need a registry: `tests/unit/test_pull.py` kills them."""

SENDING = {"copy", "push", "sync"}
"""Commands that change what is elsewhere, and the store as a load does; `tests/unit/test_cli_push.py` kills them."""

BYTES_FIRST = """
from orlop.store.blobs.files import FileBlobStore
FileBlobStore._set_aside = lambda self, rows, file, kind: file.unlink()
"""


@pytest.mark.sampled(96, daily=False)
@pytest.mark.parametrize("name", scenarios())
def test_a_command_that_is_killed_leaves_the_old_state_or_the_new(name, record_property):
    ((_, count),) = run("kills", name, tell=record_property)
    assert count["steps"] > 20
    assert 0 < count["old"] <= count["kills"]


def test_every_command_that_writes_is_killed():
    known = places()
    # A repair is killed as well, and judged by other rules.
    interrupted = [*scenarios().values(), REPAIR]
    killed = {place for scenario in interrupted for words, place in known.items() if scenario.is_of(words.split())}
    reading = {place for words, place in known.items() if words in READING | CALLING | REMOTE | SENDING}
    unknown = sorted(words for words, place in known.items() if place not in reading | killed)
    assert not unknown, f"add to READING above, or with a scenario to scenarios.py: {', '.join(unknown)}"


@pytest.mark.sampled(4)
def test_a_kill_shows_bytes_that_go_before_their_rows():
    with pytest.raises(AssertionError, match="its file is not there"):
        run("kills", "rmi", patch=BYTES_FIRST)
