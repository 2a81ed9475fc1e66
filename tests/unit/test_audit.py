"""Audits: bytes that are known by construction, and secrets that are planted."""

from __future__ import annotations

import io
import json
import re
import tarfile
import tracemalloc
from base64 import b64encode, encodebytes
from hashlib import sha512
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.inside import secrets
from orlop.inside.audit import audit
from orlop.inside.credentials import keeper_of
from orlop.inside.packages import package_sizes
from orlop.inside.secrets import MOST, secrets_of
from tests.growing import growth, spent
from tests.unit.images_made import image, layer
from tests.unit.secrets_made import (
    HARMLESS,
    MINOR,
    NEAR,
    OTHER_FORMS,
    PLANTED,
    checked,
    pem,
    word,
)

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.inside.audit import Audit
    from orlop.inside.secrets import Secret


def audited(tmp_path: Path, *layers: bytes, config: dict[str, object] | None = None, **options: object) -> Audit:
    with orlop.open(tmp_path / "root") as images:
        images.load(io.BytesIO(image(*layers, config=config)))
        with images.files("made:1") as files:
            return audit(files, **options)  # type: ignore[arg-type]


def test_bytes_are_counted_by_layer_and_cause(tmp_path: Path) -> None:
    found = audited(
        tmp_path,
        layer("d/", ("d/a", b"1" * 100), ("d/b", b"2" * 50), "d/h=>d/a", ("same", b"3" * 7)),
        layer(("d/a", b"4" * 10), "d/.wh.b", ("twin", b"3" * 7)),
    )
    assert [(one.size, one.hidden) for one in found.layers] == [(157, 50), (17, 0)]
    # The first content of d/a is still seen, under its other name.
    assert (found.overwritten, found.removed, found.twice) == (0, 50, 7)
    assert found.efficiency == pytest.approx(1 - 50 / 174)
    assert found.folders == {"/": 124, "/d": 110}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"mode": 0o755}, "only their mode changed"),
        ({"uid": 7}, "only their owner changed"),
        ({"gid": 7}, "only their owner changed"),
        ({"mtime": 5}, "only their time changed"),
        ({"pax_headers": {"SCHILY.xattr.user.a": "1"}}, "only their attributes changed"),
        ({"mode": 0o755, "uid": 1}, "only their mode and owner changed"),
        ({}, "nothing of them changed"),
    ],
)
def test_a_file_that_is_sent_again_is_waste(facts: dict[str, object], words: str, tmp_path: Path) -> None:
    size = 1 << 20

    def one(name: str, content: bytes, **facts: object) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1_600_000_000
            for fact, value in facts.items():
                setattr(info, fact, value)
            archive.addfile(info, io.BytesIO(content))
        return out.getvalue()

    changed = one("a", b"y" * size)
    found = audited(tmp_path, one("a", b"x" * size), one("./a", b"x" * size, **facts), changed, one("b", b"y" * size))
    assert (found.overwritten, found.unchanged, found.removed) == (2 * size, size, 0)
    again = [(told.rule, told.kind, told.layer, told.size) for told in found.findings if told.rule == "sent-again"]
    assert again == [("sent-again", "waste", 2, size)]
    assert words in next(told.text for told in found.findings if told.rule == "sent-again")


def test_what_is_removed_between_is_not_sent_again(tmp_path: Path) -> None:
    found = audited(tmp_path, layer(("a", b"x" * 9)), layer(".wh.a"), layer(("a", b"x" * 9)))
    # The first content is at the same path again: it need not have been removed.
    assert (found.hidden, found.unchanged) == (9, 9)


def test_steps_of_buildkit_have_the_bytes_of_their_layers(data: Path, tmp_path: Path) -> None:
    """Beside the image, the archive has an attestation, whose layer is none; steps without a layer count for none."""
    archive = data / "other-tools" / "buildkit-docker-28.tar"
    with tarfile.open(archive) as members:

        def blob(digest: str) -> bytes:
            found = members.extractfile(f"blobs/{digest.replace(':', '/')}")
            assert found is not None
            return found.read()

        (listed,) = json.loads(members.extractfile("index.json").read())["manifests"]  # type: ignore[union-attr]
        described = json.loads(blob(listed["digest"]))["manifests"]
        (manifest,) = [one for one in described if one["platform"]["architecture"] == "amd64"]
        assert len(described) == 2
        document = json.loads(blob(manifest["digest"]))
        steps = [one for one in json.loads(blob(document["config"]["digest"]))["history"] if not one.get("empty_layer")]
        expected = []
        for step, layer_ in zip(steps, document["layers"], strict=True):
            with tarfile.open(fileobj=io.BytesIO(blob(layer_["digest"]))) as tar:
                expected.append((step["created_by"], sum(one.size for one in tar)))
    with orlop.open(tmp_path / "root") as images:
        images.load(archive)
        with images.files("example/built:1.0") as files:
            found = audit(files)
    assert [(one.layer.created_by, one.size) for one in found.layers] == expected
    assert len(expected) == 7
    big = 1491
    assert (found.size, found.overwritten, found.unchanged) == (sum(size for _, size in expected), 2 * big, 2 * big)
    assert [one.hidden for one in found.layers] == [big, big, 0, 0, 0, 0, 0]


def test_bytes_are_counted_by_package(tmp_path: Path) -> None:
    found = audited(
        tmp_path,
        layer(
            *("usr/bin/", "bin->usr/bin", ("usr/bin/ls", b"1" * 100), ("usr/bin/cp", b"2" * 30), "usr/bin/dir->ls"),
            ("var/lib/dpkg/info/coreutils.list", b"/.\n/bin\n/bin/ls\n/usr/bin/cp\n/usr/bin/gone\n"),
            ("var/lib/dpkg/info/links:amd64.list", b"/usr/bin/dir\n/usr/bin/ls\n"),
            ("var/lib/dpkg/info/coreutils.md5sums", b"/usr/bin/cp\n"),
            ("lib/apk/db/installed", b"C:Q1\nP:musl\nF:lib\nR:ld\na:0:0:755\nR:libc\n\nP:none\nF:\nR:top\n"),
            *(("lib/ld", b"3" * 7), "lib/libc=>lib/ld", ("top", b"4")),
        ),
        layer(("usr/bin/cp", b"5" * 40)),
    )
    assert [*found.packages.items()] == [("coreutils", 140), ("musl", 7), ("none", 1), ("links", 0)]


def test_images_without_dpkg_and_those_of_a_new_apk_have_packages_too(tmp_path: Path) -> None:
    digest = "0" * 32
    found = audited(
        tmp_path,
        layer(
            ("var/lib/dpkg/status.d/tzdata", b"Package: tzdata\n"),
            ("var/lib/dpkg/status.d/tzdata.md5sums", f"{digest}  usr/share/zone\nno  line\n{digest}  gone\n".encode()),
            ("usr/share/zone", b"1" * 20),
            ("usr/lib/apk/db/installed", b"P:musl\nF:lib\nR:libc\n"),
            ("lib/libc", b"3" * 7),
        ),
    )
    assert [*found.packages.items()] == [("tzdata", 20), ("musl", 7)]


PAIR = b64encode(b"me:hunter2").decode()
KEPT = {
    "root/.docker/config.json": (f'{{"auths": {{"r": {{"auth": "{PAIR}"}}, "s": {{"auth":"{PAIR}"}}}}}}', 2),
    "home/b/.docker/config.json": ('{"auths": {"r": {"auth": "MDAwMDo=", "identitytoken": "hunter2.hunter2"}}}', 1),
    "root/.netrc": ("machine a login b password hunter2\nmachine c\n  login d\n  password hunter2", 2),
    "home/a/.pgpass": ("#h:p:d:u:no\nh:5432:*:me:hunter2\n", 1),
    "home/b/.pgpass": ("h:5432:*:me:hunter2\\:hunter2\r\n", 1),
    "root/.my.cnf": ("[client]\npassword = 'hunter2'\n", 1),
    "root/.git-credentials": ("https://me:hunter2@git.example\n", 1),
    "srv/app/.git/config": ("[remote]\n\turl = https://me:hunter2@git.example/x.git\n", 1),
    "etc/pip.conf": ("[global]\nindex-url = https://me:hunter2@index.example/simple\n", 1),
    "root/.pypirc": ("[pypi]\nusername: me\npassword: hunter2\n", 1),
    "root/.npmrc": ("//r.example/:_authToken=hunter2\n_password = hunter2\n", 2),
    "root/.kube/config": (f"users:\n- user:\n    client-key-data: {'QUJD' * 20}\n", 1),
    "home/b/.kube/config": (json.dumps({"users": [{"user": {"token": "QUJD" * 8, "password": "hunter2"}}]}), 2),
    "etc/rancher/k3s/k3s.yaml": ("users:\n- user:\n    password: hunter2\n", 1),
    "srv/.dockerconfigjson": ('{"auths": {"r": {"username": "me", "password": "hunter2"}}}', 1),
    "home/c/.pgpass": ("\\:\\:1:5432:*:me:hunter2\n", 1),
    "home/c/.netrc": ("# password of me\nmachine a # b\n  password hunter2\n", 1),
    "root/pip/pip.ini": ("index-url = https://me:hunter2@index.example/simple\r\n", 1),
    "root/.config/pypoetry/auth.toml": ('[http-basic.x]\nusername = "me"\npassword = "hunter2"\n', 1),
    "root/.config/gcloud/application_default_credentials.json": ('{"refresh_token": "1//hunter2hunter2"}', 1),
    "root/.s3cfg": ("[default]\naccess_key = A\nsecret_key = hunter2/hunter2/hunter2\n", 1),
    "root/.config/rclone/rclone.conf": ("[a]\ntype = sftp\npass = hunter2-hidden\n", 1),
    "root/.terraformrc": ('credentials "app.example" {\n  token = "hunter2.hunter2"\n}\n', 1),
    "root/.terraform.d/credentials.tfrc.json": ('{"credentials": {"a": {"token": "hunter2.hunter2"}}}', 1),
    "app/NuGet.Config": ('<add key="Username" value="me" /><add key="ClearTextPassword" value="hunter2" />', 1),
}
NOT_KEPT = {
    "root/.docker/config.json": '{"auths": {"r": {}, "s": {"auth": ""}, "t": {"auth": "bm90aGluZw=="}}}',
    "home/b/.docker/config.json": '{"auths": {"r": {"auth": "MDAwMDo=", "identitytoken": ""}}, "identitytoken": 1}',
    "root/.netrc": "machine a login b password <password>\nmachine passwords",
    "home/a/.pgpass": "# h:p:d:u:secret\nh:5432:*:me:${PASSWORD}\n",
    "root/.my.cnf": "[client]\n#password = hunter2\npassword =\n",
    "root/.git-credentials": "https://me@git.example\nhttps://git.example:8080/a@b\n",
    "etc/pip.conf": "[global]\nindex-url = https://${USER}:${PASSWORD}@index.example/simple\n",
    "root/.pypirc": "[pypi]\nusername: me\npassword: your-password\n",
    "root/.npmrc": "//r.example/:_authToken=${NPM_TOKEN}\nalways-auth=true\n",
    "root/.kube/config": "users:\n- user:\n    token: {{ token }}\n",
    "home/b/.kube/config": "users:\n- user:\n    exec:\n      command: aws\n    client-key: /a/password.key\n",
    "home/c/.netrc": "# machine a login b password hunter2\n",
    "srv/.dockerconfigjson": '{"auths": {"r": {"password": "<password>"}}}',
    "root/.s3cfg": "[default]\nsecret_key =\n",
    "root/.terraformrc": 'credentials "a" { token = "${var.token_of_it}" }',
    "app/NuGet.Config": '<add key="ClearTextPassword" value="%PASSWORD%" />',
    "usr/share/doc/netrc": "machine a login b password hunter2\n",
    "root/.netrc.bak": "machine a login b password hunter2\n",
}


@pytest.mark.parametrize("path", KEPT)
def test_credentials_that_programs_keep_are_counted_and_not_told(tmp_path: Path, path: str) -> None:
    text, count = KEPT[path]
    found = audited(tmp_path, layer((path, text.encode())), layer((path, b"gone")))
    (told,) = (one for one in found.findings if one.rule == "stored-credentials")
    assert (told.kind, told.severity, told.layer, told.path, told.seen) == ("secret", "high", 1, f"/{path}", False)
    assert f"({count})" in told.text
    assert "hunter2" not in str(found)
    assert PAIR not in str(found)


@pytest.mark.parametrize("path", NOT_KEPT)
def test_what_is_to_be_filled_in_is_no_credential(tmp_path: Path, path: str) -> None:
    found = audited(tmp_path, layer((path, NOT_KEPT[path].encode())))
    assert not [one for one in found.findings if one.kind == "secret"]


def test_an_account_without_a_password_is_told(tmp_path: Path) -> None:
    locked = b"root:*:1:0:99999:7:::\ndaemon:!:1::::::\n"
    found = audited(tmp_path, layer(("etc/shadow", locked + b"me::1:0:99999:7:::\n")), layer(("etc/shadow", locked)))
    assert [(one.layer, one.seen) for one in found.findings if one.rule == "empty-password"] == [(1, False)]


def test_credentials_are_looked_for_in_the_first_mebibyte() -> None:
    keeper = keeper_of("/root/.netrc")
    assert keeper is not None
    line = b"password hunter2\n"
    chunks = [line * 2000, b" " * (1 << 20), line]
    assert b"".join(keeper.look_into(chunks)) == b"".join(chunks)
    assert keeper.count == 1000
    late = keeper_of("/root/.netrc")
    assert late is not None
    assert len([*late.look_into([b" " * (1 << 20), line])]) == 2
    assert late.count == 0


def test_libraries_of_python_and_node_are_packages(tmp_path: Path) -> None:
    site, app = "usr/lib/python3/site-packages", "srv/app/node_modules"
    record = '../../../bin/tool,sha256=x,3\r\n"wide/a,b.py",,\r\nwide/__init__.py,,\r\nwide-1.0.dist-info/RECORD,,\r\n'
    found = audited(
        tmp_path,
        layer(
            *((f"{site}/wide/__init__.py", b"1" * 10), (f"{site}/wide/a,b.py", b"2" * 5), ("usr/bin/tool", b"3" * 3)),
            (f"{site}/wide-1.0.dist-info/RECORD", record.encode()),
            (f"{site}/old-2.egg-info/installed-files.txt", b"../old.py\nPKG-INFO\n"),
            *((f"{site}/old-2.egg-info/PKG-INFO", b"4" * 2), (f"{site}/old.py", b"5" * 8), (f"{site}/own.py", b"6")),
            (f"{site}/debian-3.dist-info/RECORD", b"debian.py,,\n"),
            *((f"{site}/debian.py", b"7" * 6), ("var/lib/dpkg/info/deb.list", f"/{site}/debian.py\n".encode())),
            (f"{site}/odd-3.dist-info/RECORD", b"\xff" + b"x" * (1 << 18) + b"\nown.py,,\n"),
            *((f"{site}/far-4.dist-info/RECORD", b"/opt/far,,\n../far,,\n"), ("opt/far", b"8" * 9)),
        ),
        layer(
            *((f"{app}/a/package.json", b"{}"), (f"{app}/a/lib/x.js", b"8" * 20), (f"{app}/.bin/a", b"9" * 100)),
            *((f"{app}/a/node_modules/@s/b/package.json", b"{}"), (f"{app}/a/node_modules/@s/b/y.js", b"0" * 30)),
            *((f"{app}/.pnpm/c@1/node_modules/c/package.json", b"{}"), (f"{app}/no/z.js", b"1" * 70)),
            *((f"{app}/.package-lock.json", b"2" * 50), (f"{app}/@s/package.json", b"3" * 50), (f"{app}/l.js", b"4")),
            f"{app}/d/package.json->../a/package.json",
        ),
        layer((f"{site}/wide/__init__.py", b"changed")),
    )
    assert found.packages == {
        "pypi/wide": 7 + 5 + 3 + len(record),
        "pypi/old": 2 + 8,
        "pypi/far": 9,
        "pypi/odd": 1,
        "pypi/debian": 0,
        "deb": 6,
        "npm/a": 22,
        "npm/@s/b": 32,
        "npm/c": 2,
    }


@pytest.mark.sampled(3)
def test_a_database_cannot_take_all_memory_or_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [*(("d/f", b"1" * 10), ("d/g", b"2" * 20))]
    lists = (
        ("x/a-1.dist-info/RECORD", b"\n" * (1 << 20)),
        ("lib/apk/db/installed", b"P:a\nF:d\nR:f\n" + b"\n" * (1 << 20)),
    )
    with orlop.open(tmp_path / "root") as images:
        (tmp_path / "image.tar").write_bytes(image(layer(*files, *lists)))
        images.load(tmp_path / "image.tar")
        with images.files("made:1") as view:
            view.node("/d")
            tracemalloc.start()
            assert package_sizes(view) == {"a": 10}
            # A list of that many lines takes 8 MiB and more.
            assert tracemalloc.get_traced_memory()[1] < 7 << 20
            tracemalloc.stop()
    monkeypatch.setattr("orlop.inside.packages._MOST", 1)
    found = audited(tmp_path, layer(*files, ("lib/apk/db/installed", b"P:a\nF:d\nR:f\nP:b\nF:d\nR:g\n")))
    assert found.packages == {"a": 10}


def test_oddities_that_are_too_many_to_be_listed_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orlop.inside.merge._FINDINGS", 3)

    def told(*odd: str) -> list[tuple[str, str, str]]:
        found = audited(tmp_path, layer(*((f"{name}/.wh.x", b"") for name in (*"abc", *odd)), (".wh..", b"")))
        return [
            (one.rule, one.path, one.fingerprint)
            for one in found.findings
            if one.rule in {"layer-marker-without-directory", "layer-whiteout-of-nothing"}
        ]

    first, second, third = told("d", "e"), told("d", "f"), told("d", "e")
    assert [(rule, path) for rule, path, _ in first if not path] == [
        ("layer-marker-without-directory", ""),
    ]
    assert first == third
    assert first != second


def test_a_line_that_is_no_path_takes_little_memory(tmp_path: Path) -> None:
    size = 4 << 20
    with orlop.open(tmp_path / "root") as images:
        (tmp_path / "image.tar").write_bytes(
            image(layer(("d/f", b"1" * 10), ("d/a.egg-info/installed-files.txt", b"a/" * (size // 2) + b"\n../f\n")))
        )
        images.load(tmp_path / "image.tar")
        with images.files("made:1") as view:
            view.node("/d")
            tracemalloc.start()
            assert package_sizes(view) == {"pypi/a": 10}
            # The content in chunks and as a whole, and the line; its parts would take 16 bytes each, and more.
            assert tracemalloc.get_traced_memory()[1] < 5 * size
            tracemalloc.stop()


def test_a_list_that_is_too_large_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orlop.inside.packages.LARGEST", 100)
    lists = ("a-1.dist-info/RECORD", b"f,,\n" + b"\n" * 100), ("b-1.dist-info/RECORD", b"f,,\n")
    assert audited(tmp_path, layer(*lists, ("f", b"1" * 7))).packages == {"pypi/b": 7}


def test_an_image_without_a_database_has_no_packages(tmp_path: Path) -> None:
    assert (
        audited(tmp_path, layer("var/lib/dpkg/", "var/lib/dpkg/info->nowhere", "lib/apk/db/installed/")).packages == {}
    )


@pytest.mark.parametrize("rule", PLANTED)
def test_a_planted_secret_is_found_wherever_it_lies_and_never_shown(rule: str, tmp_path: Path) -> None:
    value = PLANTED[rule]
    found = audited(
        tmp_path, layer(("seen", f"k = {value}\n".encode()), ("hidden", f"{value} ".encode())), layer(".wh.hidden")
    )
    planted = [(one.rule, one.path, one.seen) for one in found.findings if one.kind == "secret"]
    assert planted == [(rule, "/hidden", False), (rule, "/seen", True)]
    assert {one.severity for one in found.findings if one.kind == "secret"} == {"low" if rule in MINOR else "high"}
    assert all(value[4:20] not in str(one) for one in found.findings)
    assert len({one.fingerprint for one in found.findings if one.kind == "secret"}) == 1


def test_a_secret_under_the_name_of_a_whiteout_is_found_though_it_counts_for_nothing(tmp_path: Path) -> None:
    value = PLANTED["github-token"].encode()
    found = audited(tmp_path, layer("d/", ("d/.wh.gone", value), (".wh..wh.plnk/1", value)))
    assert [(one.path, one.seen) for one in found.findings if one.kind == "secret"] == [
        ("/.wh..wh.plnk/1", False),
        ("/d/.wh.gone", False),
    ]
    assert found.size == 0


@pytest.mark.parametrize("text", OTHER_FORMS)
def test_all_forms_of_a_secret_are_found(text: str) -> None:
    assert [one.rule for one in secrets_of([f"k: '{text}'\n".encode()])] == [OTHER_FORMS[text]]


def test_each_rule_has_a_planted_secret_and_what_is_nearly_one() -> None:
    assert {*PLANTED} == {*secrets.RULES}
    assert {*NEAR} == {*secrets.RULES, "no rule"}


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_a_secret_is_none(text: str) -> None:
    assert [*secrets_of([text.encode() + b"\n"])] == []


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("slash", ["/", "\\/"])
def test_a_private_key_in_json_is_found(times: int, slash: str) -> None:
    text = pem("PRIVATE KEY").replace("A" * 8, "AAA/AAA+")
    for _ in range(times):
        text = json.dumps({"type": "service_account", "private_key": text})
    assert [one.rule for one in secrets_of([text.replace("/", slash).encode()])] == ["private-key"]
    without = json.dumps({"private_key": "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n"})
    assert [*secrets_of([without.encode()])] == []


KEY = "\n".join(
    (
        "-----BEGIN PRIVATE KEY-----",
        b64encode(b"0\x82\x02\x76" + bytes(range(256)) * 2).decode()[:512],
        "-----END PRIVATE KEY-----\n",
    )
)
CERTIFICATE = f"-----BEGIN CERTIFICATE-----\n{word(64)}\n{word(64)}\n-----END CERTIFICATE-----\n"
KEYS = {
    "in YAML": "key: |\n" + "".join(f"    {line}\n" for line in KEY.splitlines()),
    "in YAML with tabs": "".join(f"\t\t{line}\r\n" for line in KEY.splitlines()),
    "with spaces after lines": KEY.replace("\n", " \n"),
    "joined by spaces": KEY.replace("\n", " "),
    "joined": KEY.replace("\n", ""),
    "with escapes": KEY.replace("\n", "\\n"),
    "with escapes and indentation": KEY.replace("\n", "\\n    "),
    "in XML": KEY.replace("\n", "&#xA;"),
    "in base64": "data:\n  tls.key: " + b64encode(KEY.encode()).decode() + "\n",
    "of RSA in base64": b64encode(KEY.replace("PRIVATE", "RSA PRIVATE").encode()).decode(),
    "in base64 with lines": encodebytes(KEY.encode()).decode(),
    "in base64 with lines in YAML": "".join(f"    {line}\n" for line in encodebytes(KEY.encode()).decode().split()),
    "in base64 with lines in JSON": json.dumps(encodebytes(KEY.encode()).decode()),
    "in base64 behind a certificate": b64encode((CERTIFICATE + KEY).encode()).decode(),
    "in JSON behind a certificate": json.dumps(CERTIFICATE + KEY),
    "in a source": "key = (\n" + "".join(f'    "{line}\\n"\n' for line in KEY.splitlines()) + ")\n",
    "in a source that joins": " +\n".join(f"'{line}\\n'" for line in KEY.splitlines()),
    "in a list": json.dumps(KEY.splitlines(), indent=1),
    "in a comment": "".join(f"# {line}\n" for line in KEY.splitlines()),
}
NO_KEYS = {
    "a sentence": KEY.splitlines()[0] + " the words of a text that goes on " * 9 + KEY.splitlines()[2],
    "a sentence in a form": KEY.splitlines()[0] + "\n  More words of a text " * 9 + KEY.splitlines()[2],
    "to be filled in": pem("PRIVATE KEY").replace("A", "x").replace("b", "x"),
    "one that is cut short in a source": '"-----BEGIN PRIVATE KEY-----\\nMIIEvQ..."\n' * 20,
    "certificates in base64": b64encode(CERTIFICATE.encode() * 9).decode(),
    "a certificate in base64": b64encode(KEY.replace("PRIVATE KEY", "CERTIFICATE").encode()).decode(),
    "encrypted, in base64": b64encode(KEY.replace("PRIVATE", "ENCRYPTED PRIVATE").encode()).decode(),
    "in YAML, encrypted": "".join(f"  {line}\n" for line in pem("OPENSSH PRIVATE KEY").splitlines()),
}


@pytest.mark.parametrize("form", KEYS)
def test_a_private_key_is_found_in_all_forms(form: str) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"):
        for mark in ("\ufeff", ""):
            text = (mark if encoding.startswith("utf-16") else "") + KEYS[form]
            assert [one.rule for one in secrets_of([text.encode(encoding)])] == ["private-key"]


@pytest.mark.parametrize("before", ["\\n", "\\t", "%3D", "%22", "\\u003d", "\\x27", "\x1b[0m", "\x1b[32m", "%3a"])
def test_a_token_begins_behind_an_escape_that_ends_in_a_letter(before: str) -> None:
    for rule, value in PLANTED.items():
        text = value.removeprefix("https://").removeprefix("api.telegram.org/").removeprefix("AccountName=a;")
        found = [one.rule for one in secrets_of([f"a {before}{text}\n".encode()])]
        assert found == [rule], text
    token = PLANTED["huggingface-token"]
    for other in ("n", "3D", "%3", "\\q", "[0m", "\\u003", "\\\\x2"):
        assert [*secrets_of([f"a {other}{token}\n".encode()])] == [], other


@pytest.mark.parametrize("form", NO_KEYS)
def test_what_looks_like_a_private_key_only_is_none(form: str) -> None:
    assert [*secrets_of([NO_KEYS[form].encode()])] == []


@pytest.mark.parametrize(
    "text", [b"LS0tLS1CRUdJTi", b"-----BEGIN PRIVATE KEY----- M ", b"-----BEGIN PRIVATE KEY-----" + b" " * 90]
)
def test_what_only_begins_like_a_private_key_takes_no_time(text: bytes) -> None:
    def worked(size: int) -> float:
        data = text * (size // len(text))
        assert [*secrets_of([data])] == []
        return spent(lambda: [*secrets_of([data])])

    assert growth(worked, 1 << 18, 1 << 20, below=20, least=0.01) < 20


def test_a_content_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []

    class Counting:
        def search(self, data: bytes) -> None:
            searched.append(len(data))

    monkeypatch.setattr(secrets, "_SUSPECTS", (Counting(),))
    assert [*secrets_of([b"x" * 10_000])] == []
    assert sum(searched) == 10_000
    searched.clear()
    assert [*secrets_of([b"x" * (1 << 20)] * 4)] == []
    assert sum(searched) < 4.1 * (1 << 20)


def test_a_secret_may_lie_across_a_border() -> None:
    value = PLANTED["github-token"].encode()
    for cut in range(len(value)):
        assert [one.rule for one in secrets_of([b" " + value[:cut], value[cut:] + b" "])] == ["github-token"]


@pytest.mark.parametrize("cut", [1, 30, 60, 105, 106, 107])
def test_a_token_of_any_length_across_a_border_is_one_secret(cut: int) -> None:
    text = b"x" * 20_000 + b" glpat-" + word(100).encode() + b"\n"
    whole = [*secrets_of([text])]
    assert len(whole) == 1
    assert [*secrets_of([text[: 20_001 + cut], text[20_001 + cut :]])] == whole


def test_a_longer_word_is_not_a_token_because_a_border_cuts_it() -> None:
    word = b" hf_" + b"a" * 40 + b" "
    for cut in range(len(word)):
        assert [*secrets_of([b"." * 20_000 + word[:cut], word[cut:]])] == []


def test_a_key_in_a_program_stays_one_where_a_border_parts_it_from_its_end() -> None:
    key = b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 640 + b"\n-----END PRIVATE KEY-----\n"
    assert [one.rule for one in secrets_of([b"." * 20_000 + key, b"text"])] == ["private-key"]
    assert [*secrets_of([b"." * 20_000 + key, b"\0"])] == []


def test_the_head_of_a_key_and_many_empty_lines_take_no_time() -> None:
    def worked(lines: int) -> float:
        data = b"-----BEGIN PRIVATE KEY-----" + b"\n" * lines
        assert [*secrets_of([data])] == []
        return spent(lambda: [*secrets_of([data])])

    assert growth(worked, 1 << 18, 1 << 20, below=20) < 20


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "text",
    [
        *(b"eyJ", b".eyJ", b"eyJaaaaaaaaaa.", b"Q~", b"abc8Q~", b"dapi", b"dapi0", b"%3DeyJaaaaaaaaaa", rb"\neyJ"),
        *(b'"kty":"RSA"', b'"kty":"RSA', b'"d":"' + b"a" * 40 + b'"', b'"d":"' + b"a" * 40, rb"\"kty\":\"EC\""),
        *(b"-----BEGIN PGP PRIVATE KEY BLOCK-----", b"-----BEGIN PGP PRIVATE KEY BLOCK-----" + b"A\n" * 99),
        *(b"PuTTY-User-Key-File-3: a\nEncryption: none\nComment:", b"PrivateKey =", b"PrivateKey = " + b"A" * 42),
        *(b":AA", b"bot1234567890:AA", b"1234567890", b"M" * 25 + b".", b"abcdef.", b"dp.pt.", b"dp.st.a-", b"Key="),
        *(b"hooks.slack.com/workflows/T", b"discord.com/api/webhooks/", b"(private-keys ", b"LS0tLS1CRUdJTi\n    "),
        *(b"LS0tLS1CRUdJTi" + b"\n" * 99, b"LS0tLS1CRUdJTi" + b"\\n" * 99, b"ops_eyJ", b"sntrys_eyJ", b"pscale_tkn_"),
    ],
)
def test_what_only_begins_like_a_secret_takes_no_time(text: bytes) -> None:
    def worked(size: int) -> float:
        data = text * (size // len(text))
        assert [*secrets_of([data])] == []
        return spent(lambda: [*secrets_of([data])])

    assert growth(worked, 1 << 18, 1 << 20, below=20, least=0.01) < 20


@pytest.mark.parametrize("rule", secrets.RULES)
def test_a_pattern_does_not_try_a_long_token_again_with_fewer_characters(rule: str) -> None:
    """What ends a token is none of its characters, so fewer of them cannot fit where all do not."""
    end = re.escape(rb"(?![A-Za-z0-9_-])")
    pattern = secrets.RULES[rule].pattern.pattern
    assert re.findall(rb"\{\d+,\d+\}(?:%s|[|)])" % end, pattern.replace(b"{0,3}", b"").replace(b"{9,12}", b"")) == []


def token_of(number: int) -> bytes:
    return b" hf_" + bytes(97 + byte % 16 for byte in sha512(number.to_bytes(2)).digest()[:34])


@pytest.mark.sampled(2)
def test_a_flood_of_secrets_is_cut_off_and_what_is_beyond_is_told_apart() -> None:
    def found(flood: bytes, cut: int = 0) -> list[Secret]:
        return [*secrets_of([flood[:cut], flood[cut:]])]

    tokens = [token_of(number) for number in range(5000)]
    *listed, rest = found(b"".join(tokens))
    assert len(listed) == MOST
    assert (rest.rule, rest.shown) == ("huggingface-token", f"{5000 - MOST:,} more in this content")
    for cut in (1000, 100_000, 150_007):
        assert found(b"".join(tokens), cut) == [*listed, rest]
    for place in (MOST, 3000, 4999):
        changed = [*tokens[:place], token_of(7777), *tokens[place + 1 :]]
        assert found(b"".join(changed))[-1].fingerprint != rest.fingerprint


def test_risks_and_facts_are_found_and_can_be_allowed(tmp_path: Path) -> None:
    import tarfile

    members = []
    for name, mode in (("su", 0o4755), ("open", 0o666), ("tmp", 0o1777), ("dev", 0o777)):
        info = tarfile.TarInfo(name)
        info.mode = mode
        info.type = tarfile.DIRTYPE if name in {"tmp", "dev"} else tarfile.REGTYPE
        members.append(info)
    secret = checked("ghp", "Z" * 30)
    config: dict[str, object] = {"Env": ["PATH=/bin", f"GH={secret}", "DB_PASSWORD=hunter2222"]}
    found = audited(tmp_path / "a", layer(*members), config=config)
    assert {(one.rule, one.path) for one in found.findings} == {
        ("github-token", ""),
        ("secret-variable", ""),
        ("setuid", "/su"),
        ("world-writable", "/open"),
        ("world-writable", "/dev"),
        ("root-user", ""),
        ("no-health-check", ""),
    }
    fingerprint = next(one.fingerprint for one in found.findings if one.rule == "github-token")
    allow = [fingerprint, "world-writable:/dev", "setuid"]
    left = audited(tmp_path / "b", layer(*members), config=config, allow=allow)
    assert [one.rule for one in left.findings] == ["secret-variable", "world-writable", "root-user", "no-health-check"]
    assert all(secret not in one.text and "hunter" not in one.text for one in found.findings)


def test_what_programs_disagree_on_is_a_finding(tmp_path: Path) -> None:
    found = audited(tmp_path, layer("a", "l->d", "d/"), layer("b=>a", ".wh.d", "d/", "l/x", "../up"), contents=False)
    rules = {one.rule for one in found.findings}
    assert {"layer-link-to-lower", "layer-directory-made-anew", "layer-below-link", "layer-outside"} <= rules


def test_an_audit_takes_no_second_entry_of_what_is_seen(tmp_path: Path) -> None:
    """An image may have a million files."""
    count = 2000
    with orlop.open(tmp_path / "root") as images:
        images.load(
            io.BytesIO(image(layer(*((f"d/f{number}", b"1") for number in range(count)), ("x", b"1")), layer(".wh.x")))
        )
        with images.files("made:1") as files:
            nodes = {node.content.header_offset: node.content for _, node in files.below("/d") if node.size}
            found = [one for one in files.content_layers[0].entries(nodes) if one.size]
            assert sum(nodes.get(one.header_offset) is one for one in found) == count
            assert [one.name for one in found if one.header_offset not in nodes] == ["x"]
