"""A store whose database is reached over TLS, with a certificate that an authority of one's own has signed.

The server of the tests speaks no TLS, and a pooler before it does, as many are run.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from orlop.errors import StorageError
from orlop.model.store_url import StoreURL
from orlop.store.remote import init_store, remote_store
from tests import engines
from tests.needs import need
from tests.ports import free_port
from tests.postgres import database, pooler, the_server
from tests.seaweed import the_server as the_bucket
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]


class Encrypted:
    """A database behind TLS: its store's URL at some host, and the files of authorities."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.database = conninfo_to_dict(database(empty=True))["dbname"]
        self.prefix = os.urandom(8).hex()

    def url(self, host: str = "localhost", **variables: str) -> StoreURL:
        place = f"postgresql://orlop@{host}:{self.port}/{self.database}"
        return StoreURL.parse(f"{place}?blobs=s3://{engines.BUCKET}/{self.prefix}", engines.variables() | variables)

    def authority(self, name: str) -> str:
        return str(self.folder / f"{name}.pem")


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run([need("openssl"), *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def authority(folder: Path, name: str) -> None:
    openssl(folder, "req", "-x509", *_CURVE, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[Encrypted]:
    """A pooler that takes TLS only, with a certificate for localhost and no other name."""
    program, server = pooler(), the_server()
    authority(tmp_path, "ours")
    authority(tmp_path, "others")
    openssl(tmp_path, "req", *_CURVE, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=db")
    (tmp_path / "names").write_text("subjectAltName=DNS:localhost\n")
    signing = ["-CA", "ours.pem", "-CAkey", "ours.key", "-CAcreateserial", "-extfile", "names", "-days", "1"]
    openssl(tmp_path, "x509", "-req", "-in", "server.csr", *signing, "-out", "server.pem")
    port = free_port()
    # A user without rights runs it, and cannot enter the folders of pytest.
    folder = server.folder / f"tls-{port}"
    folder.mkdir()
    (folder / "users").write_text('"orlop" ""\n')
    for name in ("server.pem", "server.key"):
        (folder / name).write_bytes((tmp_path / name).read_bytes())
    (folder / "pgbouncer.ini").write_text(
        f"""[databases]
* = host={server.folder}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
client_tls_sslmode = require
client_tls_cert_file = {folder}/server.pem
client_tls_key_file = {folder}/server.key
logfile = {folder}/log
"""
    )
    if server.user:
        for path in (folder, *folder.iterdir()):
            os.chown(path, server.user["user"], server.user["group"])
    process = subprocess.Popen([program, "-q", folder / "pgbouncer.ini"], **server.user)
    found = Encrypted(tmp_path, port)

    def answers() -> bool:
        try:
            psycopg.connect(f"host=127.0.0.1 port={port} user=orlop dbname={found.database} sslmode=require").close()
        except psycopg.OperationalError:
            assert process.poll() is None, (folder / "log").read_text()
            return False
        return True

    until(answers)
    yield found
    process.kill()
    process.wait()


def test_a_database_whose_certificate_is_right_is_used(encrypted: Encrypted) -> None:
    the_bucket().bucket(engines.BUCKET).make()
    sure = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": encrypted.authority("ours")}
    init_store(encrypted.url(**sure)).close()
    with remote_store(encrypted.url(**sure)) as store, store.metadata.read() as rows:
        assert not rows.repositories("docker.io")


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("host", "mode", "ca", "words"),
    [
        ("localhost", "verify-full", "others", "certificate verify failed"),
        ("localhost", "verify-ca", "others", "certificate verify failed"),
        ("127.0.0.1", "verify-full", "ours", "does not match host name"),
        ("localhost", "disable", "ours", "SSL required"),
        ("localhost", "verify-full", "none", "none.pem"),
        ("localhost", "nonsense", "ours", "sslmode"),
    ],
)
def test_a_database_whose_certificate_is_wrong_is_one_error(
    encrypted: Encrypted, host: str, mode: str, ca: str, words: str
) -> None:
    variables = {"PGSSLMODE": mode, "PGSSLROOTCERT": encrypted.authority(ca), "PGPASSWORD": "hunter2"}
    with pytest.raises(StorageError, match=words) as caught:
        remote_store(encrypted.url(host, **variables))
    assert "hunter2" not in str(caught.value)
