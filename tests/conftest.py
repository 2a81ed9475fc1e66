"""What every test may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

#: Files that real daemons and tools wrote; `tests/data/README.md` says which program wrote what.
DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of test data."""
    return DATA
