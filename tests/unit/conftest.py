"""What several modules of unit tests ask for."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.unit.damage import fill

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with something of every kind, of which copies are damaged; it stays as it is."""
    root = tmp_path_factory.mktemp("whole") / "root"
    fill(root, data)
    return root


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that any user may reach and write to; each run of pytest shuts those above `tmp_path` for others."""
    with tempfile.TemporaryDirectory(prefix="orlop-public-") as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)
