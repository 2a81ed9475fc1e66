"""A server that ends while a thread of it is stuck where nothing ends its wait, as for a disk that does not answer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import orlop
from orlop.api.server import Options
from orlop.service.image_service import ImageService
from tests.unit.served import UnixConnection, serving
from tests.waiting import PATIENCE, until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SAID = "the server ended before all work was undone; the store undoes the rest when it is used again"


def test_a_server_says_that_work_has_not_ended_and_waits_for_it_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun, answers = threading.Event(), threading.Event()

    def stuck(*_: object, **_options: Any) -> list[object]:
        begun.set()
        answers.wait(PATIENCE)
        return []

    def let_answer() -> None:
        until(lambda: SAID in caplog.messages)
        answers.set()

    monkeypatch.setattr(ImageService, "history", stuck)
    monkeypatch.setattr("orlop.api.server._CLEANING", 0.2)
    # What waits for the server to say it is the only one that lets it go on.
    helper = threading.Thread(target=let_answer)
    with orlop.open(tmp_path / "root") as images:
        client = UnixConnection(str(tmp_path / "socket"))
        with serving(images, f"unix://{tmp_path}/socket", options=Options(grace=0)):
            client.request("GET", "/images/a/history")
            assert begun.wait(PATIENCE)
            helper.start()
        client.close()
        helper.join()
    assert caplog.messages.count(SAID) == 1
