"""Real clients with credentials follow redirects to an object store, and send it none of their credentials."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from psycopg.conninfo import conninfo_to_dict

from orlop.model.store_url import StoreURL
from orlop.store.remote import init_store
from tests.interop.served import serve
from tests.interop.test_registry_access import asks_with, place
from tests.postgres import database
from tests.s3_strict import ACCESS, SECRET, strict_s3
from tests.unit.guarded import RULES, TOKENS, write_access
from tests.unit.layouts import Layout, named, unpacked
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.programs import Docker, Program
    from tests.s3_strict import Asked, StrictS3

pytestmark = pytest.mark.interop


@contextmanager
def redirecting(tmp_path: Path, how: str, seen_at: str) -> Iterator[tuple[StrictS3, str]]:
    """Serve a store beyond this machine with passwords or tokens; clients see its object store at some host."""
    info = conninfo_to_dict(database(empty=True))
    url = f"postgresql://{info['user']}@{quote(str(info['host']), safe='')}/{info['dbname']}?blobs=s3://strict/x"
    (tmp_path / "access").mkdir()
    file = write_access(tmp_path / "access", RULES)
    with strict_s3() as s3:
        env = {
            "AWS_ENDPOINT_URL": s3.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "ORLOP_S3_PUBLIC_ENDPOINT": f"http://{seen_at}:{s3.port}",
        }
        init_store(StoreURL.parse(url, env)).close()
        options = ["--registry", "--registry-redirect", "1", "--registry-access", str(file)]
        with serve(url, *options, tcp=True, env=env) as served:
            if how == "token":
                # The realm has the port, which is known only now.
                file.write_text(RULES + TOKENS.replace("registry.test/token", f"{place(served)}/token"))
                os.kill(served.pid, signal.SIGHUP)
                until(partial(asks_with, served, "Bearer"))
            yield s3, place(served)


def pushed(skopeo: Program, where: str, tmp_path: Path) -> str:
    layout = Layout()
    layout.top(layout.image("x", "layer", **named("docker.io/a/b:1")))
    unpacked(layout.files, tmp_path / "in")
    creds = ["--dest-tls-verify=false", "--dest-creds", "anna:secret-a"]
    skopeo("copy", "-q", "--preserve-digests", *creds, f"oci:{tmp_path}/in", f"docker://{where}/team/app:1")
    return f"{where}/team/app:1"


def by_url(s3: StrictS3) -> list[Asked]:
    """Return the requests with a signed URL since the last call."""
    found = [one for one in s3.asked if "X-Amz-Signature" in one.query]
    s3.asked.clear()
    return found


@pytest.mark.sampled(4, daily=False)
@pytest.mark.parametrize("how", ["password", "token"])
def test_clients_follow_redirects_and_keep_their_credentials(
    docker: Docker, podman: Program, skopeo: Program, tmp_path: Path, how: str
) -> None:
    with redirecting(tmp_path, how, "localhost") as (s3, where):
        name = pushed(skopeo, where, tmp_path)

        def keeps() -> bool:
            found = by_url(s3)
            return bool(found) and not [one for one in found if "authorization" in one.headers]

        s3.asked.clear()
        creds = ["--src-tls-verify=false", "--src-creds", "anna:secret-a"]
        skopeo("copy", "-q", *creds, f"docker://{name}", f"oci:{tmp_path}/out")
        assert keeps()
        podman("pull", "-q", "--tls-verify=false", "--creds", "anna:secret-a", name)
        assert keeps()
        docker("login", "-u", "anna", "-p", "secret-a", where)
        docker("pull", "-q", name)
        assert keeps()
        docker("logout", where)
        docker.wipe()
        assert docker.run("pull", name).returncode != 0
        assert skopeo.run("copy", "-q", *creds[:1], f"docker://{name}", f"oci:{tmp_path}/none").returncode != 0
        assert not by_url(s3)


@pytest.mark.sampled(2)
def test_clients_that_would_send_credentials_on_get_the_bytes_here(
    podman: Program, skopeo: Program, tmp_path: Path
) -> None:
    """Newer libraries of clients send them on to other ports of a host."""
    with redirecting(tmp_path, "password", "127.0.0.1") as (s3, where):
        name = pushed(skopeo, where, tmp_path)
        creds = ["--src-tls-verify=false", "--src-creds", "anna:secret-a"]
        skopeo("copy", "-q", *creds, f"docker://{name}", f"oci:{tmp_path}/out")
        podman("pull", "-q", "--tls-verify=false", "--creds", "anna:secret-a", name)
        assert not by_url(s3)
