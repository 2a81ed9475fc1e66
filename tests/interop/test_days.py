"""The tests that deal with times pass on other days, and in other surroundings than a developer's.

They run in processes of their own. faketime moves the time of day, for them and their children. It
leaves alone the clock that waits are measured with, and the times of files, which the kernel sets.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.needs import need

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.slow

TOP: Final = Path(__file__).parents[2]

DAYS: Final = {
    "in two days": "+2d",
    "in 400 days": "+400d",
    "after 32-bit times": "@2038-01-20 12:00:00",
    "on a leap day": "@2028-02-29 12:00:00",
}

DATED: Final = [f"tests/unit/test_{name}.py" for name in ("cli_units", "timestamp", "cli_listing", "prune")]
"""Files that deal with times, and are quick."""

# Zones are written out, for machines that do not know their names: 14 hours east, eleven and a half west.
SURROUNDINGS: Final = {
    "the C locale, a private umask, far east, an odd folder": (
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TZ": "<+14>-14", "TMPDIR": "ä folder"},
        0o077,
    ),
    "no home, no terminal, narrow, an open umask, far west": (
        {"HOME": None, "TERM": None, "COLUMNS": "20", "TZ": "<-1130>11:30"},
        0o000,
    ),
}


def passes(wrapper: list[str], folder: Path, changed: Mapping[str, str | None], umask: int = 0o022) -> None:
    """Check that the dated tests pass, with variables changed or left out; `TMPDIR` is a name below the folder."""
    temporary = folder / (changed.get("TMPDIR") or "plain")
    temporary.mkdir()
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    wanted = {**own, **changed, "TMPDIR": str(temporary)}
    environment = {name: value for name, value in wanted.items() if value is not None}
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-p", "no:randomly"]
    done = subprocess.run(
        [*wrapper, *pytest_, *DATED],
        cwd=TOP,
        env=environment,
        umask=umask,
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-10_000:]


@pytest.mark.sampled(8, daily=False)
@pytest.mark.parametrize("day", DAYS.values(), ids=DAYS)
def test_what_deals_with_times_passes_on_another_day(day: str, tmp_path: Path) -> None:
    # A moved monotonic clock would be one that locks and the kernel do not know: waits would last for 400 days.
    moved = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "PYTHONPATH": str(TOP / "tests" / "moved")}
    passes([need("faketime"), "-f", day], tmp_path, moved)


@pytest.mark.sampled(8, daily=False)
@pytest.mark.parametrize(("changed", "umask"), SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_what_deals_with_times_passes_in_other_surroundings(
    changed: dict[str, str | None], umask: int, tmp_path: Path
) -> None:
    passes([], tmp_path, changed, umask)
