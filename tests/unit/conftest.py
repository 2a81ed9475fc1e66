"""What several modules of unit tests ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.damage import fill

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with something of every kind, of which copies are damaged; it stays as it is."""
    root = tmp_path_factory.mktemp("whole") / "root"
    fill(root, data)
    return root
