"""How much of a body waits for the thread that reads it."""

from __future__ import annotations

import asyncio

import pytest

from orlop.api.flow import PIECE, Upload
from orlop.service.hosted.uploads import AT_ONCE

SENT = 64 << 10


async def taken_before_anybody_reads(piece: int) -> int:
    upload = Upload(piece)
    taken = 0
    while taken < 64 * PIECE:
        putting = asyncio.ensure_future(upload.put(b"x" * SENT))
        await asyncio.sleep(0)
        taken += SENT
        if not putting.done():
            upload.close()
            await putting
            return taken
    raise AssertionError("it never waits")


@pytest.mark.parametrize("piece", [PIECE, AT_ONCE, SENT])
def test_a_body_waits_in_four_pieces_at_most(piece):
    assert asyncio.run(taken_before_anybody_reads(piece)) == 4 * piece


@pytest.mark.parametrize("piece", [PIECE, AT_ONCE, SENT])
def test_all_of_a_body_goes_through_whatever_its_pieces(piece):
    content = bytes(range(256)) * 40_000

    async def through() -> bytes:
        upload = Upload(piece)

        def read() -> bytes:
            return b"".join(iter(lambda: upload.read(piece), b""))

        reading = asyncio.create_task(asyncio.to_thread(read))
        for start in range(0, len(content), 100_000):
            await upload.put(content[start : start + 100_000])
        upload.end()
        return await reading

    assert asyncio.run(through()) == content
