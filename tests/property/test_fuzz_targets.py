"""The fuzz targets still work: each holds for its seeds, and for a few changes of each."""

from __future__ import annotations

import importlib
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from types import ModuleType

FUZZ: Final = Path(__file__).resolve().parents[2] / "fuzz"
TARGETS: Final = sorted(path.stem.removeprefix("fuzz_") for path in FUZZ.glob("fuzz_*.py"))
SEEDS: Final = [(name, path.name) for name in TARGETS for path in sorted((FUZZ / "seeds" / name).iterdir())]
# Seeds that are there to be refused; of names, what is another thing.
REFUSED: Final = {
    ("tar", "cut.tar"),
    ("archive", "cut.tar"),
    ("archive", "empty.tar"),
    ("json", "cut.json"),
    ("reference", "id"),
    ("tarsplit", "cut.gz"),
    ("tarsplit", "empty.gz"),
    ("bolt", "circle.db"),
    ("bolt", "cut.db"),
    ("bolt", "empty.db"),
    ("paths", "cut.paths"),
    ("paths", "endless.paths"),
}


CHANGES: Final = {"tar": 60, "archive": 15, "json": 40, "reference": 60, "tarsplit": 60, "bolt": 100, "paths": 60}
PIECES: Final = {
    "tar": b"\0 07x\x80\xff",
    "archive": b'\0 07x"{[:,/.\x80\xff',
    "json": b'\0 01e-.{}[]:,"\\aA\x80\xff\xed',
    "reference": b"\0 aA0:/@.-_[]\xff\n",
    "tarsplit": b'\0 019{}:,"\\=/\xff\n',
    "bolt": b"\0\1\2\x10\x20\x80\xff",
    "paths": b"\0\1\x28\x50\xb5\x80\xff",
}


def loaded(name: str) -> ModuleType:
    sys.path.insert(0, str(FUZZ))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(FUZZ))


def test_every_target_has_seeds():
    assert TARGETS
    assert set(TARGETS) == {name for name, _ in SEEDS}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("target", "seed"), SEEDS)
def test_seeds_are_what_they_are_meant_to_be(target: str, seed: str):
    assert loaded(f"fuzz_{target}").check((FUZZ / "seeds" / target / seed).read_bytes()) == (
        (target, seed) not in REFUSED
    )


@pytest.mark.sampled(8)
@pytest.mark.parametrize(("target", "seed"), SEEDS)
def test_targets_hold_for_changed_seeds(target: str, seed: str):
    module = loaded(f"fuzz_{target}")
    data = (FUZZ / "seeds" / target / seed).read_bytes()
    chance = random.Random(seed)
    for _ in range(CHANGES[target]):
        changed = bytearray(data)
        for _ in range(chance.randint(1, 4) if data else 0):
            changed[chance.randrange(len(changed))] = chance.choice(PIECES[target])
        if len(data) and chance.random() < 0.2:
            start = chance.randrange(len(changed))
            changed[start:start] = changed[start : start + chance.randint(1, 600)]
        del changed[chance.randint(0, len(changed)) if chance.random() < 0.2 else len(changed) :]
        module.check(bytes(changed))
        module.check(module.mutate(bytes(changed)))


def test_a_target_fails_where_the_readers_disagree(monkeypatch: pytest.MonkeyPatch):
    module = loaded("fuzz_tar")
    monkeypatch.setattr(module, "TarReader", lambda _: iter(()))
    with pytest.raises(AssertionError, match="scanner"):
        module.check((FUZZ / "seeds/tar/ustar.tar").read_bytes())


def test_the_seeds_are_those_of_their_script():
    made = loaded("make_seeds").seeds()
    kept = {f"{target}/{seed}": (FUZZ / "seeds" / target / seed).read_bytes() for target, seed in SEEDS}
    assert made.keys() == kept.keys()
    # Other versions of zstd compress to other bytes.
    assert {name: data for name, data in made.items() if not name.startswith("paths/")} == {
        name: data for name, data in kept.items() if not name.startswith("paths/")
    }
