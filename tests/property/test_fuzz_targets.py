"""The fuzz targets still work: each holds for its seeds, and for a few changes of each."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from types import ModuleType

FUZZ: Final = Path(__file__).resolve().parents[2] / "fuzz"
TARGETS: Final = sorted(path.stem.removeprefix("fuzz_") for path in FUZZ.glob("fuzz_*.py"))
SEEDS: Final = [(name, path.name) for name in TARGETS for path in sorted((FUZZ / "seeds" / name).iterdir())]
REFUSED: Final = {"cut.tar"}


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FUZZ / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_target_has_seeds():
    assert TARGETS
    assert set(TARGETS) == {name for name, _ in SEEDS}


@pytest.mark.parametrize(("target", "seed"), SEEDS)
def test_seeds_are_what_they_are_meant_to_be(target: str, seed: str):
    assert loaded(f"fuzz_{target}").check((FUZZ / "seeds" / target / seed).read_bytes()) == (seed not in REFUSED)


@pytest.mark.parametrize(("target", "seed"), SEEDS)
def test_targets_hold_for_changed_seeds(target: str, seed: str):
    module = loaded(f"fuzz_{target}")
    data = (FUZZ / "seeds" / target / seed).read_bytes()
    chance = random.Random(seed)
    for _ in range(60):
        changed = bytearray(data)
        for _ in range(chance.randint(1, 4) if data else 0):
            changed[chance.randrange(len(changed))] = chance.choice(b"\0 07x\x80\xff")
        del changed[chance.randint(0, len(changed)) if chance.random() < 0.2 else len(changed) :]
        module.check(bytes(changed))
        module.check(module.mutate(bytes(changed)))


def test_a_target_fails_where_the_readers_disagree(monkeypatch: pytest.MonkeyPatch):
    module = loaded("fuzz_tar")
    monkeypatch.setattr(module, "TarReader", lambda _: iter(()))
    with pytest.raises(AssertionError, match="scanner"):
        module.check((FUZZ / "seeds/tar/ustar.tar").read_bytes())


def test_the_seeds_of_tars_are_those_of_their_script():
    made = loaded("make_seeds").seeds()
    assert {f"{name}.tar": data for name, data in made.items()} == {
        path.name: path.read_bytes() for path in (FUZZ / "seeds/tar").iterdir()
    }
