"""Debian's docker-registry, and a token server for it."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orlop.testing.registry.site import Site
from orlop.testing.registry.tokens import Tokens
from tests.interop.programs import PATIENCE, environment
from tests.needs import missing, need
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.testing.registry.quirks import Quirks
    from orlop.testing.registry.site import Recorded
    from orlop.testing.registry.tokens import Rights

USER, PASSWORD = "me", "s3cret"
_HTPASSWD = "me:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n"


class Keys:
    """A key, and a certificate for this machine that is its own authority."""

    def __init__(self, folder: Path) -> None:
        self.key, self.certificate = folder / "key.pem", folder / "certificate.pem"
        argv = [
            need("openssl"),
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ]
        argv += [
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout",
            str(self.key),
            "-out",
            str(self.certificate),
        ]
        subprocess.run(argv, check=True, capture_output=True)

    def signed(self, text: bytes) -> bytes:
        """Return the signature of a text, by RSA with SHA-256."""
        argv = [need("openssl"), "dgst", "-sha256", "-sign", str(self.key)]
        return subprocess.run(argv, input=text, check=True, capture_output=True).stdout


class JwtTokens(Tokens):
    """A token server whose tokens docker-registry reads."""

    def __init__(self, quirks: Quirks, keys: Keys) -> None:
        super().__init__(quirks, {USER: PASSWORD})
        self._keys = keys

    def mint(self, granted: Rights, user: str) -> str:
        now = int(time.time())
        names = sorted({name for name, _ in granted})
        access = [
            {"type": "registry" if name == "catalog" else "repository", "name": name,
             "actions": sorted(action for one, action in granted if one == name)}
            for name in names
        ]  # fmt: skip
        der = ssl.PEM_cert_to_DER_cert(self._keys.certificate.read_text())
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        claims = {"iss": "orlop-tests", "aud": "tests", "sub": user, "exp": now + 300, "nbf": now - 60, "iat": now,
                  "jti": str(time.monotonic_ns()), "access": access}  # fmt: skip
        text = f"{_encoded(header)}.{_encoded(claims)}"
        signature = base64.urlsafe_b64encode(self._keys.signed(text.encode())).rstrip(b"=").decode()
        return f"{text}.{signature}"


def _encoded(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


@contextmanager
def debian_registry(
    folder: Path, *, keys: Keys | None = None, htpasswd: bool = False, tokens: JwtTokens | None = None
) -> Iterator[str]:
    """Run docker-registry, with TLS where there are keys for it, and yield its host and port."""
    program = need("docker-registry")
    port = free_port()
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "of-the-tests"},
    }
    if keys is not None and tokens is None:
        config["http"]["tls"] = {"certificate": str(keys.certificate), "key": str(keys.key)}
    if htpasswd:
        (folder / "htpasswd").write_text(_HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
    records: list[Recorded] = []
    if tokens is None:
        with _running(program, config, folder, port):
            yield f"127.0.0.1:{port}"
        return
    assert keys is not None
    with Site("auth", tokens.answer, records) as site:
        config["auth"] = {
            "token": {
                "realm": f"{site.url}/token",
                "service": "tests",
                "issuer": "orlop-tests",
                "rootcertbundle": str(keys.certificate),
            }
        }
        with _running(program, config, folder, port):
            yield f"127.0.0.1:{port}"


@contextmanager
def _running(program: str, config: dict[str, Any], folder: Path, port: int) -> Iterator[None]:
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    deadline = time.monotonic() + PATIENCE
    process = _begun(program, folder)
    try:
        while not _listens(process, port):
            if time.monotonic() > deadline or process.poll() is not None:
                missing(f"docker-registry does not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _begun(program: str, folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("wb") as log:
        return subprocess.Popen([program, "serve", folder / "config.yml"], stdout=log, stderr=log, env=environment())


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    """Return whether a process that is at work listens at a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0 and process.poll() is None
