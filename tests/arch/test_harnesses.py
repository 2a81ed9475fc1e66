"""What a harness of `tests/crash` imports: many tests start one, and each is forked for every moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

TOP: Final = Path(__file__).parents[2]
HARNESSES: Final = sorted(
    path.stem for path in (TOP / "tests" / "crash").glob("*.py") if not path.stem.startswith(("test_", "__"))
)
_LOADED: Final = """
import sys
from importlib import import_module
for name in sys.argv[1:]:
    import_module(f"tests.crash.{name}")
print(*sys.modules)
"""


def test_harnesses_start_without_pytest() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, *HARNESSES], cwd=TOP, capture_output=True, check=True, text=True
    )
    loaded = set(done.stdout.split())
    assert {f"tests.crash.{name}" for name in ("failures", "kills", "losses", "pushes")} <= loaded
    assert not loaded & {"pytest", "_pytest", "hypothesis"}
