"""Rules for secrets find the same by what is in the middle of their tokens as by their whole patterns."""

from __future__ import annotations

import random
from typing import Final

import pytest

from orlop.inside.secrets import RULES, secrets_of
from tests.unit.secrets_made import PLANTED

CORED: Final = [name for name, rule in RULES.items() if rule.core is not None]


@pytest.mark.parametrize("name", CORED)
def test_tokens_are_found_by_what_is_in_the_middle_of_them(name: str) -> None:
    rule, chance = RULES[name], random.Random(name)
    token = PLANTED[name].encode()
    found = 0
    for _ in range(300):
        parts = [token, token[: chance.randrange(len(token))], token[chance.randrange(len(token)) :]]
        text = b"".join(chance.choice([b"", b" ", b"\\n", b"%3D", b"-", b".", b"x", b":"]) + part for part in parts * 2)
        spans = [match.span() for match in rule.pattern.finditer(text)]
        assert [match.span() for match in rule.matches(text)] == spans
        found += len(spans)
    assert found > 100


@pytest.mark.parametrize(
    "form", ["Key: (private-key (ecc (curve Ed25519)(d #{}#)))", "(11:private-key(3:ecc(1:d32:{})))"]
)
def test_private_keys_of_gnupg_have_fingerprints_of_their_own(form: str) -> None:
    found = [[*secrets_of([form.format(digit * 32).encode()])] for digit in "AB"]
    assert [[one.rule for one in secrets] for secrets in found] == [["pgp-key"]] * 2
    assert found[0][0].fingerprint != found[1][0].fingerprint
