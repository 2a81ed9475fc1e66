"""Whether the device is at fault where SQLite calls a database malformed: how often that is asked of a large one."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from orlop.store.rows.sqlite import device

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Looks:
    """Stands for a long look at a database, which finds damage, and for the clock."""

    def __init__(self) -> None:
        self.count = 0
        self.now = 0.0
        self.seconds = 1.0
        self.begun = threading.Event()

    def look(self, _: str) -> bool:
        self.count += 1
        self.begun.wait(60)
        self.now += self.seconds
        return False

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Looks]:
    found = Looks()
    monkeypatch.setattr(device, "_is_sound", found.look)
    monkeypatch.setattr(device, "time", found)
    device._readable.clear()
    yield found
    device._readable.clear()


@pytest.fixture
def path(tmp_path: Path) -> str:
    found = tmp_path / "metadata.db"
    with closing(sqlite3.connect(found)) as one:
        one.execute("CREATE TABLE a (b)")
    return str(found)


def test_threads_that_meet_the_same_damage_look_once(path: str, looks: Looks):
    threads = [
        threading.Thread(target=device.read_error, args=(path,), kwargs={"is_malformed": True}) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    looks.begun.set()
    for thread in threads:
        thread.join(60)
    assert looks.count == 1


@pytest.mark.parametrize(("seconds", "pause"), [(0.1, 50), (1000, 10_000)])
def test_a_long_look_is_not_soon_repeated(path: str, looks: Looks, seconds: float, pause: float):
    looks.begun.set()
    looks.seconds = seconds
    for is_malformed in (True, False, True):
        assert device.read_error(path, is_malformed=is_malformed) is None
    looks.now += pause
    assert device.read_error(path, is_malformed=True) is None
    assert looks.count == 1
    looks.now += 30 * seconds + 60
    assert device.read_error(path, is_malformed=True) is None
    assert looks.count == 2
