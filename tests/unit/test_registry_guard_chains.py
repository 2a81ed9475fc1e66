"""Tokens that bring the certificate of their issuer (`x5c`), by chains that openssl makes."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from orlop.api.registry.guard.configuration import read_settings
from orlop.errors import InvalidInput
from tests.needs import need
from tests.unit.guarded import basic, guarded

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """
[tokens]
realm = "https://auth.test/token"
service = "registry.test"
issuer = "auth.test"
authorities = "authorities.pem"
"""
CA = "basicConstraints=critical,CA:true"
LEAF = "basicConstraints=CA:false"
NOW = 1_800_000_000
"""Where the clock of the guard stands: in January 2027."""


class Authority:
    """Makes certificates in a folder; ``NAME.key`` and ``NAME.pem`` are there after `issue`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def issue(
        self,
        name: str,
        *extensions: str,
        by: str | None = None,
        key: str = "ec:P-256",
        dates: tuple[str, str] = ("20250101000000Z", "20350101000000Z"),
        digest: str = "sha256",
    ) -> None:
        """Make a key and its certificate, which ``by`` issues, or itself."""
        kind, _, size = key.partition(":")
        option = f"ec_paramgen_curve:{size}" if kind == "ec" else f"rsa_keygen_bits:{size}"
        self._run("genpkey", "-algorithm", kind.upper(), "-pkeyopt", option, "-out", f"{name}.key")
        self._run("req", "-new", "-key", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr")
        (self.folder / "ca.cnf").write_text(
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nnew_certs_dir=.\nrand_serial=yes\npolicy=p\n"
            "unique_subject=no\n[p]\ncommonName=supplied\n[e]\n" + "\n".join(extensions) + "\n"
        )
        (self.folder / "index").write_text("")
        signer = by or name
        issued = ["-selfsign"] if by is None else ["-cert", f"{signer}.pem"]
        self._run(
            *("ca", "-batch", "-notext", "-config", "ca.cnf", "-extensions", "e", "-md", digest, *issued),
            *("-keyfile", f"{signer}.key", "-startdate", dates[0], "-enddate", dates[1]),
            *("-in", f"{name}.csr", "-out", f"{name}.pem"),
        )

    def _run(self, *words: str) -> None:
        subprocess.run([need("openssl"), *words], cwd=self.folder, check=True, capture_output=True, timeout=60)

    def chain(self, *names: str) -> list[str]:
        """Return certificates as a token brings them."""
        loaded = [x509.load_pem_x509_certificate((self.folder / f"{one}.pem").read_bytes()) for one in names]
        return [base64.b64encode(one.public_bytes(serialization.Encoding.DER)).decode() for one in loaded]

    def trust(self, *names: str) -> None:
        """Name authorities to the registry."""
        content = "".join((self.folder / f"{one}.pem").read_text() for one in names)
        (self.folder / "authorities.pem").write_text(content)

    def token(self, name: str, chain: object, **more: Any) -> str:
        """Return a token that a key has signed, with some certificates."""
        key = serialization.load_pem_private_key((self.folder / f"{name}.key").read_bytes(), None)
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        access = [{"type": "repository", "name": "team/app", "actions": ["pull"]}]
        claims = {"iss": "auth.test", "sub": "carla", "aud": "registry.test", "exp": NOW + 300, "access": access}
        text = f"{part({'alg': algorithm, 'x5c': chain} | more)}.{part(claims)}"
        return f"Bearer {text}.{encoded(sign(key, text.encode()))}"


def part(document: object) -> str:
    return encoded(json.dumps(document).encode())


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def sign(key: object, text: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(text, padding.PKCS1v15(), hashes.SHA256())
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    numbers = utils.decode_dss_signature(key.sign(text, ec.ECDSA(hashes.SHA256())))
    return b"".join(one.to_bytes(key.key_size // 8, "big") for one in numbers)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path)
    made.issue("root", CA, "keyUsage=critical,keyCertSign,cRLSign")
    made.issue("middle", CA, by="root")
    made.issue("leaf", LEAF, "keyUsage=critical,digitalSignature", by="middle")
    made.trust("root")
    return made


def status(folder: Path, token: str) -> int:
    with guarded(folder, SETTINGS) as door:
        answer = door.ask("GET", "/v2/team/app/tags/list", token)
        assert bool(door.registry.seen) == (answer.status == 200)
        return answer.status


def test_a_token_is_good_by_a_chain_that_leads_to_an_authority(authority, tmp_path):
    for chain in (["leaf", "middle"], ["leaf", "middle", "root"]):
        with guarded(tmp_path, SETTINGS) as door:
            token = authority.token("leaf", authority.chain(*chain), kid="any")
            assert door.ask("GET", "/v2/team/app/tags/list", token).status == 200
            assert door.registry.seen[-1]["orlop.user"] == "carla"
            # The token still decides what it allows.
            assert door.ask("PUT", "/v2/team/app/manifests/latest", token).status == 401
            assert door.ask("GET", "/v2/", basic("anna")).status == 401


def test_an_authority_may_be_in_the_middle_or_the_certificate_itself(authority, tmp_path):
    authority.trust("middle")
    assert status(tmp_path, authority.token("leaf", authority.chain("leaf"))) == 200
    assert status(tmp_path, authority.token("leaf", authority.chain("leaf", "middle", "root"))) == 200
    authority.trust("leaf")
    assert status(tmp_path, authority.token("leaf", authority.chain("leaf"))) == 200


@pytest.mark.sampled(2)
def test_a_key_of_rsa_signs_too(authority, tmp_path):
    authority.issue("rsa", LEAF, by="middle", key="rsa:2048")
    assert status(tmp_path, authority.token("rsa", authority.chain("rsa", "middle"))) == 200


def test_a_chain_that_does_not_lead_to_an_authority_is_refused(authority, tmp_path):
    # The same names, and other keys.
    other = tmp_path / "other"
    other.mkdir()
    evil = Authority(other)
    evil.issue("root", CA)
    evil.issue("middle", CA, by="root")
    evil.issue("leaf", LEAF, by="middle")
    for chain in (["leaf"], ["leaf", "middle"], ["leaf", "middle", "root"], ["leaf", "root", "middle"]):
        assert status(tmp_path, evil.token("leaf", evil.chain(*chain))) == 401
    good = authority.chain("leaf", "middle", "root")
    assert status(tmp_path, evil.token("leaf", [*evil.chain("leaf"), *good[1:]])) == 401
    # Somebody else's chain, and an own signature.
    assert status(tmp_path, evil.token("leaf", good)) == 401
    assert status(tmp_path, authority.token("leaf", good[:1])) == 401
    assert status(tmp_path, authority.token("leaf", [good[1], good[0]])) == 401


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("name", "extensions", "more"),
    [
        ("expired", [LEAF], {"dates": ("20250101000000Z", "20261231000000Z")}),
        ("early", [LEAF], {"dates": ("20280101000000Z", "20350101000000Z")}),
        ("encrypting", [LEAF, "keyUsage=critical,keyEncipherment"], {}),
        ("demanding", [LEAF, "1.2.3.4=critical,ASN1:NULL"], {}),
        ("short", [LEAF], {"key": "rsa:1024"}),
        ("weak", [LEAF], {"digest": "sha1"}),
        ("curve", [LEAF], {"key": "ec:P-384"}),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_certificate_that_is_not_good_for_tokens_is_refused(authority, tmp_path, name, extensions, more):
    authority.issue(name, *extensions, by="middle", **more)
    assert status(tmp_path, authority.token(name, authority.chain(name, "middle"))) == 401


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("extensions", "more"),
    [
        ([LEAF], {}),
        ([], {}),
        ([CA, "keyUsage=critical,digitalSignature"], {}),
        ([CA], {"dates": ("20250101000000Z", "20261231000000Z")}),
        ([CA, "nameConstraints=critical,permitted;DNS:example.com"], {}),
        ([CA], {"key": "rsa:1024"}),
        ([CA], {"digest": "sha1"}),
    ],
    ids=["no CA", "nothing", "may not issue", "expired", "names", "short key", "weak hash"],
)
def test_a_certificate_that_must_not_issue_others_makes_none_good(authority, tmp_path, extensions, more):
    authority.issue("bad", *extensions, by="root", **more)
    authority.issue("below", LEAF, by="bad")
    assert status(tmp_path, authority.token("below", authority.chain("below", "bad"))) == 401


def test_a_chain_may_be_as_long_as_each_authority_in_it_allows(authority, tmp_path):
    authority.issue("last", f"{CA},pathlen:0", by="root")
    authority.issue("direct", LEAF, by="last")
    assert status(tmp_path, authority.token("direct", authority.chain("direct", "last"))) == 200
    authority.issue("further", CA, by="last")
    authority.issue("deep", LEAF, by="further")
    assert status(tmp_path, authority.token("deep", authority.chain("deep", "further", "last"))) == 401


def test_an_authority_that_has_expired_is_none_and_a_renewed_one_is(authority, tmp_path):
    authority.issue("old", CA, dates=("20250101000000Z", "20261231000000Z"))
    authority.issue("own", LEAF, by="old")
    authority.trust("old")
    token = authority.token("own", authority.chain("own"))
    assert status(tmp_path, token) == 401
    # The same name and key with another end.
    old = (tmp_path / "old.pem").read_text()
    key = (tmp_path / "old.key").read_bytes()
    loaded = serialization.load_pem_private_key(key, None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    found = x509.load_pem_x509_certificate(old.encode())
    builder = x509.CertificateBuilder(found.issuer, found.subject, found.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(found.not_valid_before_utc)
    builder = builder.not_valid_after(found.not_valid_after_utc.replace(year=2035))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    new = builder.sign(loaded, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    (tmp_path / "authorities.pem").write_text(old + new)
    assert status(tmp_path, token) == 200


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "chain",
    [None, [], {}, "x", [1], ["!"], ["AAAA"], [None], [["x"]], ["é"], ["MAA="], ["AAAA"] * 100],
    ids=str,
)
def test_what_is_not_a_chain_is_refused(authority, tmp_path, chain):
    assert status(tmp_path, authority.token("leaf", chain)) == 401


def test_a_certificate_of_an_unknown_version_is_refused(authority, tmp_path):
    (whole,) = authority.chain("leaf")
    version = bytes.fromhex("a003020102")
    other = base64.b64decode(whole).replace(version, version[:-1] + b"\x07", 1)
    assert status(tmp_path, authority.token("leaf", [base64.b64encode(other).decode()])) == 401
    text = f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(other).decode()}-----END CERTIFICATE-----\n"
    (tmp_path / "authorities.pem").write_text(text)
    with pytest.raises(InvalidInput, match="does not hold certificates"):
        read_settings(str(tmp_path / "access.toml"))


def test_authorities_and_keys_may_stand_together(authority, tmp_path):
    public = serialization.load_pem_private_key((tmp_path / "root.key").read_bytes(), None).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "keys").write_bytes(public.public_bytes(serialization.Encoding.PEM, form))
    with guarded(tmp_path, f'{SETTINGS}keys = "keys"\n') as door:
        for token, wanted in (
            (authority.token("leaf", authority.chain("leaf", "middle")), 200),
            # Without a chain a known key must have signed it, and with one a known key does not help.
            (remade(authority, "root"), 200),
            (remade(authority, "leaf"), 401),
            (authority.token("root", []), 401),
        ):
            assert door.ask("GET", "/v2/team/app/tags/list", token).status == wanted


def test_a_file_without_authorities_is_told(tmp_path):
    for content in ("", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        (tmp_path / "authorities.pem").write_text(content)
        (tmp_path / "access.toml").write_text(SETTINGS)
        with pytest.raises(InvalidInput, match="does not hold certificates in PEM"):
            read_settings(str(tmp_path / "access.toml"))


def test_a_key_of_a_kind_that_nobody_knows_is_told(authority, tmp_path):
    # The object identifier of keys on elliptic curves, with its last part changed.
    key = serialization.load_pem_private_key((tmp_path / "leaf.key").read_bytes(), None).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    content = key.public_bytes(serialization.Encoding.DER, form).replace(
        bytes.fromhex("2a8648ce3d0201"), b"*\x86H\xce=\x02c"
    )
    text = base64.encodebytes(content).decode()
    (tmp_path / "keys").write_text(f"-----BEGIN PUBLIC KEY-----\n{text}-----END PUBLIC KEY-----\n")
    (tmp_path / "access.toml").write_text(SETTINGS.replace('authorities = "authorities.pem"', 'keys = "keys"'))
    # Which of the two is said depends on the release of cryptography.
    with pytest.raises(InvalidInput, match=r"has a key that cannot be used|neither a public key nor a certificate"):
        read_settings(str(tmp_path / "access.toml"))


def remade(authority: Authority, name: str) -> str:
    """Return a token without certificates."""
    head, body, _ = authority.token(name, []).removeprefix("Bearer ").split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "==="))
    del header["x5c"]
    key = serialization.load_pem_private_key((authority.folder / f"{name}.key").read_bytes(), None)
    text = f"{part(header)}.{body}"
    return f"Bearer {text}.{encoded(sign(key, text.encode()))}"
