from __future__ import annotations

import hashlib
import io

import pytest

from orlop.errors import DigestMismatch, IntegrityError, InvalidDigest, SizeMismatch
from orlop.model.digest import DiffID, Digest
from orlop.streams.verify import HashingReader, VerifyingReader

CONTENT = bytes(range(256)) * 20
RIGHT = Digest.of(CONTENT)
WRONG = Digest.of(b"something else")


def collect(reader: VerifyingReader, size: int) -> tuple[bytes, IntegrityError | None]:
    """Read until the end or an error; return what came out before it."""
    got = b""
    try:
        while piece := reader.read(size):
            assert len(piece) <= size
            got += piece
    except IntegrityError as error:
        return got, error
    return got, None


def test_a_hashing_reader_knows_what_it_read() -> None:
    reader = HashingReader(io.BytesIO(CONTENT))
    assert (reader.size, reader.digest) == (0, Digest.of(b""))
    assert reader.read(100) == CONTENT[:100]
    assert (reader.size, reader.digest) == (100, Digest.of(CONTENT[:100]))
    assert reader.read() == CONTENT[100:]
    assert reader.read() == b""
    assert (reader.size, reader.digest) == (len(CONTENT), RIGHT)


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_all_algorithms_of_digests(algorithm: str) -> None:
    digest = Digest(algorithm, hashlib.new(algorithm, CONTENT).hexdigest())
    hashing = HashingReader(io.BytesIO(CONTENT), algorithm=algorithm)
    hashing.read()
    assert hashing.digest == digest
    assert collect(VerifyingReader(io.BytesIO(CONTENT), digest=digest, size=None), 1000) == (CONTENT, None)


def test_other_algorithms_are_refused() -> None:
    with pytest.raises(InvalidDigest):
        HashingReader(io.BytesIO(), algorithm="md5")
    for text in ("md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:abc", "x"):
        with pytest.raises(InvalidDigest):
            VerifyingReader(io.BytesIO(), digest=Digest.unchecked(text), size=None)


@pytest.mark.parametrize("size", [1, 7, 100, len(CONTENT) - 1, len(CONTENT), len(CONTENT) + 1, 1 << 20])
@pytest.mark.parametrize("expected", [None, len(CONTENT)])
def test_right_content_comes_out_whole(size: int, expected: int | None) -> None:
    reader = VerifyingReader(io.BytesIO(CONTENT), digest=DiffID.wrap(RIGHT), size=expected)
    assert collect(reader, size) == (CONTENT, None)
    assert reader.read(size) == b""
    assert b"".join(VerifyingReader(io.BytesIO(CONTENT), digest=RIGHT, size=expected).chunks(size)) == CONTENT


@pytest.mark.parametrize("size", [1, 7, 100, len(CONTENT) - 1, len(CONTENT), len(CONTENT) + 1, 1 << 20])
@pytest.mark.parametrize("expected", [None, len(CONTENT)])
def test_wrong_content_fails_before_its_last_byte_and_stays_failed(size: int, expected: int | None) -> None:
    reader = VerifyingReader(io.BytesIO(CONTENT), digest=WRONG, size=expected)
    got, error = collect(reader, size)
    assert isinstance(error, DigestMismatch)
    assert len(got) < len(CONTENT)
    assert str(WRONG) in str(error)
    assert str(RIGHT) in str(error)
    with pytest.raises(DigestMismatch):
        reader.read(size)


@pytest.mark.parametrize("size", [1, 100, 1 << 20])
@pytest.mark.parametrize("expected", [0, 1, len(CONTENT) - 1, len(CONTENT) + 1, 1 << 40])
def test_a_wrong_size_fails_before_the_last_byte_that_should_be(size: int, expected: int) -> None:
    reader = VerifyingReader(io.BytesIO(CONTENT), digest=RIGHT, size=expected)
    got, error = collect(reader, size)
    assert isinstance(error, SizeMismatch)
    assert len(got) < max(1, min(expected, len(CONTENT)))


def test_content_that_is_too_long_is_not_read_to_its_end() -> None:
    class Endless:
        count = 0

        def read(self, size: int, /) -> bytes:
            self.count += size
            return bytes(size)

    source = Endless()
    with pytest.raises(SizeMismatch, match="more"):
        list(VerifyingReader(source, digest=RIGHT, size=1000).chunks(100))
    assert source.count <= 1100


def test_empty_content() -> None:
    assert VerifyingReader(io.BytesIO(), digest=Digest.of(b""), size=0).read(1) == b""
    with pytest.raises(DigestMismatch):
        VerifyingReader(io.BytesIO(), digest=RIGHT, size=0).read(1)
    assert VerifyingReader(io.BytesIO(b"x"), digest=WRONG, size=None).read(0) == b""


def test_changing_sizes() -> None:
    reader = VerifyingReader(io.BytesIO(CONTENT), digest=RIGHT, size=None)
    got = b""
    for size in (1000, 1, 3, 2000, 5, 1 << 20, 7, 1 << 20):
        piece = reader.read(size)
        assert len(piece) <= size
        got += piece
    assert got + b"".join(reader.chunks(11)) == CONTENT


def test_errors_of_the_source_pass_through() -> None:
    class Failing:
        def read(self, size: int, /) -> bytes:
            raise OSError(5, f"cannot read {size}")

    with pytest.raises(OSError, match="cannot read"):
        VerifyingReader(Failing(), digest=RIGHT, size=None).read(5)
