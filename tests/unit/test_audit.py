"""Audits: bytes that are known by construction, and secrets that are planted."""

from __future__ import annotations

import io
import json
import tarfile
import time
from typing import TYPE_CHECKING
from zlib import crc32

import pytest

import orlop
from orlop.inside import secrets
from orlop.inside.audit import audit
from orlop.inside.secrets import MOST, secrets_of
from tests.unit.images_made import image, layer

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.inside.audit import Audit

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def checked(prefix: str, body: str) -> str:
    """Return a token with its checksum."""
    number, tail = crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        tail = DIGITS[digit] + tail
    return f"{prefix}_{body}{tail}"


def pem(words: str) -> str:
    return f"-----BEGIN {words}-----\n{'A' * 64}\n{'b' * 32}\n-----END {words}-----\n"


PLANTED = {
    "github-token": checked("ghp", "A" * 30),
    "npm-token": checked("npm", "b" * 30),
    "github-fine-token": f"github_pat_{'a' * 22}_{'B' * 59}",
    "gitlab-token": "glpat-" + "x" * 20,
    "pypi-token": "pypi-AgEIcHlwaS5vcmc" + "a" * 60,
    "aws-access-key": "AKIAABCDEFGH23456777\naws_secret_access_key = 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",
    "slack-token": "xoxb-" + "1234567890-" + "a" * 24,
    "stripe-key": "sk_live_" + "a1" * 12,
    "sendgrid-key": f"SG.{'a' * 22}.{'b' * 43}",
    "docker-hub-token": "dckr_pat_" + "a" * 27,
    "huggingface-token": "hf_" + "a" * 34,
    "age-key": "AGE-SECRET-KEY-1" + "Q" * 58,
    "anthropic-key": f"sk-ant-api03-{'a1-_' * 23}bAA",
    "openai-key": f"sk-proj-{'a1' * 20}T3BlbkFJ{'b2' * 20}",
    "digitalocean-token": "dop_v1_" + "0f" * 32,
    "shopify-token": "shpat_" + "0f" * 16,
    "rubygems-key": "rubygems_" + "0f" * 24,
    "pulumi-token": "pul-" + "0f" * 20,
    "vault-token": "hvs." + "aB-_" * 24,
    "private-key": pem("RSA PRIVATE KEY"),
}
OTHER_FORMS = {
    **{f"{prefix}-{'x' * 20}": "gitlab-token" for prefix in ("glpat", "gldt", "glrt", "glptt")},
    **{f"{prefix}_v1_{'0f' * 32}": "digitalocean-token" for prefix in ("dop", "doo", "dor")},
    **{f"{prefix}_{'0f' * 16}": "shopify-token" for prefix in ("shpat", "shpca", "shppa", "shpss")},
    "pypi-AgENdGVzdC5weXBpLm9yZw" + "a" * 60: "pypi-token",
    f"xapp-1-A0123456789-1234567890123-{'0f' * 32}": "slack-token",
    f"sk-ant-admin01-{'a1-_' * 23}bAA": "anthropic-key",
    f"sk-{'a1' * 10}T3BlbkFJ{'b2' * 10}": "openai-key",
}
HARMLESS = [
    checked("ghp", "A" * 30)[:-1] + "!",
    "ghp_" + "A" * 36,
    "npm_" + "b" * 36,
    "AKIAIOSFODNN7EXAMPLE\n" + "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzKEY",
    "AKIA" + "ABCDEFGH23456777",
    "-----BEGIN RSA PRIVATE KEY-----",
    pem("ENCRYPTED PRIVATE KEY"),
    "\0" + pem("RSA PRIVATE KEY"),
    "xhf_" + "a" * 34,
    "sk_test_" + "a1" * 12,
    f"sk-ant-api03-{'a1-_' * 23}bBB",
    f"T3BlbkFJ{'b2' * 20}",
    "dop_v1_" + "0g" * 32,
    "shpat_" + "0f" * 17,
    "rubygems_" + "0f" * 23,
    "pul-" + "0f" * 21,
    "impul-" + "0f" * 20,
    "hvs." + "aB-_" * 22,
    "password=hunter2",
]


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


def test_each_rule_has_a_planted_secret() -> None:
    assert {*PLANTED} == {*secrets.RULES}


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
    text = b"x" * 20_000 + b" glpat-" + b"a1b2c3d4e5" * 10 + b"\n"
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
        began = time.process_time()
        assert [*secrets_of([data])] == []
        return time.process_time() - began

    assert min(worked(1 << 20) for _ in range(3)) < 20 * max(min(worked(1 << 18) for _ in range(3)), 0.001)


def test_a_flood_of_secrets_is_cut_off() -> None:
    flood = (b" hf_" + "".join(chr(97 + int(digit)) for digit in f"{number:034}").encode() for number in range(5000))
    assert len([*secrets_of([b"".join(flood)])]) == MOST


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
    found = audited(tmp_path, layer("a", "l->d"), layer("b=>a", ".wh.d", "d/", "l/x", "../up"), contents=False)
    rules = {one.rule for one in found.findings}
    assert {"layer-link-to-lower", "layer-directory-made-anew", "layer-below-link", "layer-outside"} <= rules
