"""Digests and chain IDs."""

from __future__ import annotations

import hashlib

import pytest

from orlop.errors import InvalidDigest
from orlop.model.digest import EMPTY_LAYER, ChainID, DiffID, Digest, ImageID, chain_id, chain_ids

A = DiffID("sha256", "1" * 64)
B = DiffID("sha256", "2" * 64)


@pytest.mark.parametrize(("algorithm", "length"), [("sha256", 64), ("sha384", 96), ("sha512", 128)])
def test_whole_digests_of_the_three_algorithms_are_read(algorithm, length):
    digest = Digest.parse(f"{algorithm}:{'0a' * (length // 2)}")
    assert (digest.algorithm, digest.hex) == (algorithm, "0a" * (length // 2))
    assert str(digest) == f"{algorithm}:{'0a' * (length // 2)}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 64,
        ":" + "a" * 64,
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        "sha256:" + "a" * 64 + "\n",
        "sha256:../" + "a" * 61,
        "sha1:" + "a" * 40,
        "SHA256:" + "a" * 64,
        "sha256:" + "\u0661" * 64,
    ],
)
def test_what_is_no_digest_is_refused(text):
    with pytest.raises(InvalidDigest):
        Digest.parse(text)


@pytest.mark.parametrize("text", ["", "a", ":", ":a", "a:", "sha256:abc", "a:b:c"])
def test_unchecked_text_comes_back_unchanged(text):
    digest = DiffID.unchecked(text)
    assert str(digest) == text
    assert not digest.is_valid


def test_digests_of_different_kinds_are_never_equal():
    text = "sha256:" + "1" * 64
    kinds = [Digest.parse(text), ImageID.parse(text), DiffID.parse(text), ChainID.parse(text)]
    assert len(set(kinds)) == len(kinds)
    assert ImageID.wrap(kinds[2]) == kinds[1]


def test_of_is_the_sha256_and_short_its_first_twelve_digits():
    assert ImageID.of(b"abc") == ImageID("sha256", hashlib.sha256(b"abc").hexdigest())
    assert ImageID.of(b"abc").short == "ba7816bf8f01"


def test_the_empty_layer_is_1024_zero_bytes():
    assert DiffID.of(bytes(1024)) == EMPTY_LAYER


def test_the_chain_of_one_layer_is_its_diff_id():
    assert chain_id([A]) == ChainID.wrap(A)
    assert chain_id([]) is None


def test_each_further_link_hashes_the_one_below_and_its_diff_id():
    links = chain_ids([A, B, A])
    assert links[1] == ChainID.of(f"{A} {B}".encode())
    assert links[2] == ChainID.of(f"{links[1]} {A}".encode())
    assert chain_id([A, B, A]) == links[2]


def test_an_empty_diff_id_counts_as_no_layer_below():
    assert chain_ids([DiffID.unchecked(""), A]) == (ChainID.unchecked(""), ChainID.wrap(A))
