"""What is given up although the giving up is interrupted: others may wait for it, for as long as this process lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import pytest

from orlop.intake.taking import Taking
from orlop.model.digest import DiffID, Digest
from orlop.model.limits import NO_LIMITS
from orlop.store.blobs.ingest import IngestedLayer
from orlop.store.blobs.s3.ingest import Upload
from orlop.store.blobs.s3.reclaim import init_bucket
from orlop.store.blobs.s3.store import S3BlobStore
from orlop.store.rows.memory_keys import MemoryKeys
from orlop.store.rows.metadata import BlobRow, DiffRow
from tests.s3_strict import strict_s3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.store.blobs.store import Ingest

_DIGESTS = [Digest.of(bytes([number])) for number in range(6)]


@pytest.fixture
def blobs() -> Iterator[S3BlobStore]:
    with strict_s3() as s3:
        made = S3BlobStore(s3.settings(), MemoryKeys())
        init_bucket(made.bucket, made.keys)
        yield made
        made.close()


def _begun(blobs: S3BlobStore, digest: Digest) -> Ingest:
    content = blobs.resume(digest)
    content.write(b"content")
    content.finish()
    return content


def _interrupt(_: Upload) -> NoReturn:
    raise KeyboardInterrupt


def test_an_upload_claims_nothing_any_more(blobs: S3BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    content = _begun(blobs, _DIGESTS[0])
    monkeypatch.setattr(Upload, "give_up", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        content.discard()
    assert not blobs.keys.is_claimed(str(_DIGESTS[0]))
    assert list(blobs.unfinished()) == []


def test_nor_do_the_others_of_a_pull(blobs: S3BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter(_DIGESTS)

    def take(*_: object) -> IngestedLayer:
        content, table = _begun(blobs, one := next(made)), _begun(blobs, next(made))
        return IngestedLayer(DiffRow(DiffID.wrap(one), 7, 0, 0), BlobRow(one, 7, "none"), content, table)

    with pytest.raises(KeyboardInterrupt), Taking[IngestedLayer](take, NO_LIMITS) as taking:  # noqa: PT012 - its end
        for label in ("one", "two", "three"):
            taking.layer(None, label=label)  # type: ignore[arg-type]
        monkeypatch.setattr(Upload, "give_up", _interrupt)
    assert [one for one in _DIGESTS if blobs.keys.is_claimed(str(one))] == []
    assert list(blobs.unfinished()) == []
