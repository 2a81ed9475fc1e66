"""Stores beyond one machine over real engines: PostgreSQL and SeaweedFS, as processes of this test process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from orlop.model.store_url import StoreURL
from orlop.store.remote import init_store
from tests.postgres import database
from tests.seaweed import CREDENTIALS, the_server

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

BUCKET = "images"


def variables() -> dict[str, str]:
    """Return what a URL does not say."""
    return {
        "AWS_ENDPOINT_URL": the_server().endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": CREDENTIALS.access_key,
        "AWS_SECRET_ACCESS_KEY": CREDENTIALS.secret_key,
    }


def new_url(*, prepared: bool = True) -> str:
    """Return the URL of a new store; one that is not prepared has an empty database and an empty prefix."""
    the_server().bucket(BUCKET).make()
    info = conninfo_to_dict(database(empty=True))
    prefix = os.urandom(8).hex()
    place = quote(str(info["host"]), safe="")
    url = f"postgresql://{info['user']}@{place}/{info['dbname']}?blobs=s3://{BUCKET}/{prefix}"
    if prepared:
        init_store(StoreURL.parse(url, variables())).close()
    return url


def placed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    """Return the URL of a new store that a test opens, with what it keeps of uploads in a folder."""
    install(monkeypatch)
    monkeypatch.setenv("ORLOP_SPOOL", str(folder / "scratch"))
    return new_url()


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what commands of a test need to find the engines, as a user's environment would."""
    for name, value in variables().items():
        monkeypatch.setenv(name, value)
