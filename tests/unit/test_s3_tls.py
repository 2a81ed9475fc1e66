"""An object store over TLS, whose certificate an authority of one's own has signed."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from orlop.errors import InvalidInput, PermissionDenied
from orlop.model.store_url import StoreURL
from orlop.store.blobs.s3.bucket import Bucket
from orlop.store.blobs.s3.client import S3Client
from orlop.store.remote import settings_of
from tests.needs import need
from tests.s3_strict import strict_s3

if TYPE_CHECKING:
    from pathlib import Path

_URL = StoreURL.parse("postgresql://h/d?blobs=s3://strict/x")


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    files = ["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=127.0.0.1", "-days", "1"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    name = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [need("openssl"), "req", "-x509", *kind, *files, *name], cwd=tmp_path, check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_an_authority_of_ones_own_is_trusted(tls: ssl.SSLContext, tmp_path: Path, name: str) -> None:
    with strict_s3(tls=tls) as s3:
        ca = settings_of(_URL, {name: str(tmp_path / "cert.pem")}).ca
        client = S3Client(s3.settings(ca=ca, patience=0.0))
        assert not list(Bucket(client).objects("blobs/"))
        client.close()


def test_a_certificate_that_is_not_trusted_is_one_error_at_once(tls: ssl.SSLContext) -> None:
    def slept(_: float) -> None:
        raise AssertionError("the same certificate was asked for again")

    with strict_s3(tls=tls) as s3:
        client = S3Client(s3.settings(), sleep=slept)
        with pytest.raises(PermissionDenied, match="AWS_CA_BUNDLE"):
            list(Bucket(client).objects("blobs/"))
        client.close()
        assert not s3.asked


def test_a_file_of_authorities_that_is_not_there_is_one_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        settings_of(_URL, {"AWS_CA_BUNDLE": str(tmp_path / "none.pem")})


@pytest.mark.parametrize("content", [b"", b"nonsense", bytes(range(256)), b"-----BEGIN CERTIFICATE-----\nMIIB\n"])
def test_a_file_without_certificates_is_one_error_at_once(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(InvalidInput, match="holds no certificates"):
        settings_of(_URL, {"AWS_CA_BUNDLE": str(tmp_path / "ca.pem")})


def test_a_file_of_authorities_is_read_once_until_it_changes(
    tls: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del tls
    read = []

    class Context(ssl.SSLContext):
        def load_verify_locations(self, *args: Any, **options: Any) -> None:
            read.append(args)
            super().load_verify_locations(*args, **options)

    monkeypatch.setattr(ssl, "SSLContext", Context)
    path = tmp_path / "cert.pem"
    for _ in range(3):
        assert settings_of(_URL, {"AWS_CA_BUNDLE": str(path)}).ca == str(path)
    assert len(read) == 1
    path.write_bytes(b"nonsense")
    for _ in range(2):
        with pytest.raises(InvalidInput, match="holds no certificates"):
            settings_of(_URL, {"AWS_CA_BUNDLE": str(path)})
    assert len(read) == 3
