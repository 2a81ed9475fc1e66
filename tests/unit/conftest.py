"""What several modules of unit tests ask for."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orlop
from tests.unit.damage import fill

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.store.rows.postgres.database import PostgresMetadata
    from tests.unit.hosted import RegistryClient


@pytest.fixture(scope="session")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with something of every kind, of which copies are damaged; it stays as it is."""
    root = tmp_path_factory.mktemp("whole") / "root"
    fill(root, data)
    return root


@pytest.fixture
def images(tmp_path: Path) -> Iterator[orlop.ImageService]:
    """An empty store, open."""
    with orlop.open(tmp_path / "root") as service:
        yield service


@pytest.fixture
def url() -> str:
    """How to connect to a new database in PostgreSQL, with an empty store in it."""
    from tests.postgres import database

    return database()


@pytest.fixture
def metadata(url: str) -> Iterator[PostgresMetadata]:
    """The rows of that store."""
    from tests.postgres import opened

    with opened(url) as one:
        yield one


@pytest.fixture
def registry(images: orlop.ImageService, tmp_path: Path) -> Iterator[RegistryClient]:
    """A client of the store `images` as a registry."""
    from tests.unit.hosted import hosting

    with hosting(images, tmp_path) as client:
        yield client


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that any user may reach and write to; each run of pytest shuts those above `tmp_path` for others."""
    with tempfile.TemporaryDirectory(prefix="orlop-public-") as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)


@pytest.fixture(params=["isal", "zlib"])
def each_gzip_reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read gzip by ISA-L, and by zlib, as where ISA-L is not installed."""
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "isal", None)
