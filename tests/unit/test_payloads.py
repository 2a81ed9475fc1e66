"""Tests for orlop.foreign.payloads."""

from __future__ import annotations

import base64
import random
import tarfile

import pytest

from orlop.foreign.payloads import Payloads


def _encoded(*texts: bytes) -> list[bytes]:
    return [base64.b64encode(text) for text in texts]


@pytest.mark.parametrize("padding", [0, 1, 2, 3, 311, 312, 313, 511])
def test_headers_are_decoded_whatever_fills_up_the_content_before_them(padding: int) -> None:
    payloads = Payloads()
    for kind, name, target in (("0", "a/b", ""), ("2", "c" * 90, "d" * 99), ("0", "e/" * 60 + "f", "")):
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind.encode(), target, padding
        for form in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            member.pax_headers = {"SCHILY.xattr.user.x": "ü"} if form == tarfile.PAX_FORMAT else {}
            data = bytes(padding) + member.tobuf(form)
            assert payloads.decoded(_encoded(data, data)) == [data, data]


def test_payloads_of_any_length_are_decoded_one_after_another() -> None:
    chance = random.Random(17)
    payloads = Payloads()
    texts = [chance.randbytes(length) for length in range(1300)]
    assert payloads.decoded(_encoded(*texts)) == texts
    chance.shuffle(texts)
    assert payloads.decoded(_encoded(*texts)) == texts


@pytest.mark.sampled(3)
@pytest.mark.parametrize("wrong", [b"!", b"=", b"A", b"==", b"=A", b"\n", b"\xff"])
@pytest.mark.parametrize("length", [3, 300, 515, 600, 2000])
def test_what_is_not_base64_is_refused_wherever_it_stands(length: int, wrong: bytes) -> None:
    whole = base64.b64encode(bytes(length // 3 * 3))
    good = base64.b64encode(b"another one")
    for position in {0, 1, 2, 3, *range(0, len(whole), 61), len(whole) - 5}:
        for text in (
            whole[:position] + wrong + whole[position:],
            whole[:position] + wrong + whole[position + len(wrong) :],
        ):
            if _is_base64(text):
                continue
            assert Payloads().decoded([good, text, good]) is None


def _is_base64(text: bytes) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return base64.b64encode(base64.b64decode(text)) == text
