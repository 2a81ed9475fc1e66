"""A device that cannot be read for a moment: each command says so, loses nothing, and works again afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.crash.harness import UNSUPPORTED, run
from tests.crash.pace import LONG
from tests.crash.reads import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(UNSUPPORTED, reason="the numbers of this machine's system calls are not known")


@pytest.mark.sampled(48, daily=False)
@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_read_that_fails_is_told_in_one_sentence_and_loses_nothing(
    command: str, record_property: Callable[[str, object], None], *, lasting: bool
) -> None:
    ((_, count),) = run("reads", f"{'every read' if lasting else 'read'} {command}", tell=record_property)
    assert count["failed"] > 3


@pytest.mark.sampled(2)
@pytest.mark.parametrize("command", [name for name in COMMANDS if LONG or name in {"images", "fsck"}])
def test_a_database_that_could_not_be_read_for_a_moment_is_not_called_damaged(
    command: str, record_property: Callable[[str, object], None]
) -> None:
    ((_, count),) = run("reads", f"database {command}", tell=record_property)
    assert count["failed"] > 4
