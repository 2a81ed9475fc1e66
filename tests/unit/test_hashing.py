"""Digests of short texts: the same ones, whoever computes them, and by OpenSSL once there is much to hash."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from orlop.model.hashing import sha256_hex

_LATER = """
import sys
from orlop.model.hashing import sha256_hex
short, long = b"a" * 1000, b"b" * 100_000
for data in (short, long, short):
    print(sha256_hex(data), "hashlib" in sys.modules)
"""
_WITHOUT = """
import sys
sys.modules["_sha2"] = sys.modules["_sha256"] = None
from orlop.model.hashing import sha256_hex
print(sha256_hex(b"a"), "hashlib" in sys.modules)
"""


def printed(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60, text=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("size", [0, 1, 55, 64, 5000, 70_000])
def test_a_digest_is_that_of_hashlib(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert sha256_hex(data) == hashlib.sha256(data).hexdigest()


def test_a_process_that_hashes_little_does_without_openssl() -> None:
    short, long = (hashlib.sha256(data).hexdigest() for data in (b"a" * 1000, b"b" * 100_000))
    assert printed(_LATER) == [f"{short} False", f"{long} True", f"{short} True"]


def test_a_python_without_its_own_algorithm_takes_that_of_openssl() -> None:
    assert printed(_WITHOUT) == [f"{hashlib.sha256(b'a').hexdigest()} True"]


@pytest.mark.parametrize("refusal", ["None", "types.SimpleNamespace()", "types.SimpleNamespace(openssl_sha256=refuse)"])
def test_a_python_whose_openssl_refuses_takes_what_hashlib_finds(refusal: str) -> None:
    code = f"""
import hashlib, sys, types
def refuse(*_, **__):
    raise ValueError("disabled for FIPS")
sys.modules["_hashlib"] = {refusal}
from orlop.model.hashing import sha256
one = sha256()
one.update(b"a")
print(one.hexdigest())
"""
    assert printed(code) == [hashlib.sha256(b"a").hexdigest()]
