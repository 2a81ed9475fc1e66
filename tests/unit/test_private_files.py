"""Files with secrets, which are judged as they were opened: their paths may lead elsewhere a moment later."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from orlop.api.registry.guard.configuration import _secret
from orlop.cli.commands.serve import _token
from orlop.errors import OrlopError
from orlop.model.store_url import StoreURL
from orlop.store.remote import variables_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _configured(path: str) -> object:
    url = StoreURL.parse(f"postgresql://db/images?blobs=s3://bucket&config={path}")
    return variables_of(url).get("PGPASSWORD")


@pytest.mark.parametrize("read", [_configured, _secret, _token])
def test_what_is_read_is_what_was_found_private(
    read: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "secret", tmp_path / "other"
    for each, mode in ((path, 0o600), (other, 0o644)):
        each.write_text(f'PGPASSWORD="{each.name}-{"x" * 40}"\n')
        each.chmod(mode)
    real = os.stat

    def stat(asked: Any, **how: Any) -> os.stat_result:
        found = real(asked, **how)
        if asked == str(path) and other.exists():
            other.replace(path)
        return found

    monkeypatch.setattr(os, "stat", stat)
    content = None
    with suppress(OrlopError):
        content = read(str(path))
    assert "other-" not in str(content)


@pytest.mark.parametrize("read", [_configured, _secret, _token])
def test_what_others_may_read_is_refused(read: Callable[[str], object], tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f'PGPASSWORD="{"x" * 40}"\n')
    path.chmod(0o644)
    with pytest.raises(OrlopError, match=f"chmod 600 {path}"):
        read(str(path))
