"""TOML: what is read, and what would take all memory or a number that nothing can have."""

from __future__ import annotations

import pytest

from orlop.errors import InvalidSettings
from orlop.model import toml
from orlop.registry.hostfiles import rules_of_containers
from orlop.service.sync.plan import SyncPlan

DEEP = ".".join(["a"] * 100_000)


@pytest.mark.parametrize(
    "text",
    [
        f"{DEEP} = 1",
        f"[{DEEP}]",
        f"[[ {DEEP} ]]",
        f"x = {{ y = 1, {DEEP} = 1 }}",
        "x = 1\n" + " . ".join(["a", '"b"', "'c'", '"\\"."'] * 20_000) + " = 1",
    ],
    ids=["key", "table", "tables", "inline", "quoted"],
)
def test_a_key_of_too_many_parts_is_refused(text: str):
    with pytest.raises(ValueError, match=r"a key in line [12] has more than 100 parts"):
        toml.loads(text)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "text", ["x" * (1 << 20), '"' * (1 << 20), "'a" * (1 << 19), "a." * 99 + "\n", "a-" * (1 << 19), '"\\' * (1 << 19)]
)
def test_a_document_is_looked_through_in_time_that_grows_with_it(text: str):
    with pytest.raises(ValueError):
        toml.loads(text * 2)


def test_other_documents_are_read_as_they_are():
    keys = ".".join(f"k{number}" for number in range(100))
    versions = ", ".join(["'1.2.3'"] * 5000)
    text = f"{keys} = '1.2.3'\nversions = [{versions}]\n"
    assert len(toml.loads(text)["versions"]) == 5000
    assert toml.loads("a.b.'c.d'.\"e\" = 1.5 # a.b.c\n") == {"a": {"b": {"c.d": {"e": 1.5}}}}


@pytest.mark.parametrize(
    ("text", "why"),
    [("x = " + "[" * 100_000, "too deep"), (f"x = {'9' * 5000}", "too many digits"), ("x", "Expected '=' after a key")],
)
def test_what_cannot_be_read_says_why(text: str, why: str):
    with pytest.raises(ValueError, match=why):
        toml.loads(text)


def test_files_of_settings_are_read_so(tmp_path):
    with pytest.raises(InvalidSettings, match="100 parts"):
        SyncPlan.parse(f"{DEEP} = 1")
    (tmp_path / "registries.conf").write_text(f"[{DEEP}]")
    with pytest.raises(InvalidSettings, match="100 parts"):
        rules_of_containers(str(tmp_path / "registries.conf"))
