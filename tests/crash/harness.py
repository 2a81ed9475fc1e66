"""How tests start a harness: in a process of its own, since it forks, and with what it counted shown at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.crash.calls import supported
from tests.crash.pace import LONG, PACE

if TYPE_CHECKING:
    from collections.abc import Callable

TOP: Final = Path(__file__).parents[2]
IN_CI: Final = bool(os.environ.get("CI"))
# What CI runs on is known; elsewhere only Linux on these machines has been seen.
UNSUPPORTED: Final = not supported() and not IN_CI

# Who takes all moments in place of every eighth may take eight times as long.
_PATIENCE: Final = 600 * max(1, 8 // PACE)


def run(
    module: str, *names: str, tell: Callable[[str, object], None] | None = None, patch: str = ""
) -> list[tuple[str, dict[str, Any]]]:
    """Run a harness for scenarios and return what it counted; an error of it is raised with all that it said.

    Args:
        module: its name in this folder.
        names: of the scenarios.
        tell: pytest's ``record_property``: what is told is shown when all tests have ended.
        patch: Python that is run before, to make the code wrong; then all moments are tried.
    """
    # One that does not end says where it waits.
    patience = _PATIENCE * 8 if patch else _PATIENCE
    watch = "" if LONG else f"import faulthandler\nfaulthandler.dump_traceback_later({patience}, exit=True)"
    script = f"{watch}\n{patch}\nimport sys\nfrom tests.crash import {module}\n{module}.main()"
    done = subprocess.run(
        [sys.executable, "-c", script, *names],
        cwd=TOP,
        env=os.environ | {"PYTHONPATH": str(TOP)} | ({"ORLOP_PACE": "1"} if patch else {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=None if LONG else patience + 60,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    counted = [json.loads(line) for line in done.stdout.splitlines()]
    for name, count in counted:
        text = f"{module}: {name}: " + ", ".join(f"{word} {number}" for word, number in count.items())
        print(text)
        if tell is not None:
            tell("counted", text)
    return [(name, count) for name, count in counted]
