"""``orlop audit`` beside an earlier report, and of what a container sees alone: output, SARIF and exit status."""

from __future__ import annotations

import json
import tarfile
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft4Validator, Draft202012Validator

from orlop.cli.main import run
from tests.unit.images_made import image, layer
from tests.unit.secrets_made import PLANTED
from tests.unit.test_page_html import data_of

if TYPE_CHECKING:
    from collections.abc import Callable

    Call = Callable[..., tuple[int, bytes, str]]

DATA = Path(__file__).parents[1] / "data"
SARIF = Draft4Validator(json.loads((DATA / "sarif" / "sarif-2.1.0-rtm.5.json").read_text()))
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "audit.json").read_text())
USER: dict[str, object] = {"User": "a", "Healthcheck": {"Test": ["CMD", "true"]}}
TOKEN = PLANTED["gitlab-token"].encode()
OTHER = TOKEN[:-4] + b"zzzz"
KEY = PLANTED["private-key"].encode()


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Call:
    monkeypatch.setenv("ORLOP_ROOT", str(tmp_path / "root"))
    monkeypatch.chdir(tmp_path)

    def called(*arguments: object) -> tuple[int, bytes, str]:
        status = run([str(argument) for argument in arguments])
        out, err = capsysbinary.readouterr()
        return status, out, err.decode()

    return called


def make(call: Call, tag: str, *layers: bytes, config: dict[str, object] = USER, steps: Any = ()) -> None:
    Path("made.tar").write_bytes(image(*layers, tag=tag, config=config, steps=steps))
    assert call("load", "-q", "-i", "made.tar")[0] == 0


def audited(call: Call, *words: object) -> dict[str, Any]:
    status, out, _ = call("audit", "--format", "json", *words)
    assert status == 0
    found: dict[str, Any] = json.loads(out)
    Draft202012Validator(SCHEMA).validate(found)
    return found


def rules(findings: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["Rule"], one["Path"]) for one in findings]


def report(call: Call, form: str, *words: object) -> Path:
    """Write a report, and return where it is."""
    status, out, _ = call("audit", *(("--format", "json") if form == "json" else ("--sarif",)), *words)
    assert status == 0
    path = Path(f"report.{form}")
    path.write_bytes(out)
    return path


@pytest.mark.parametrize("form", ["json", "sarif"])
def test_only_what_is_new_counts_beside_a_baseline(call: Call, form: str) -> None:
    odd = "caf\udce9 b%41"
    make(call, "app:1", layer(("a", TOKEN), ("gone", OTHER), (odd, TOKEN)))
    before = report(call, form, "app:1")
    # The same secrets in another layer, of an image with another name.
    make(call, "app:2", layer(("etc/x", b"1")), layer(("a", TOKEN), (odd, TOKEN)))
    assert call("audit", "--fail-on", "secret", "app:2")[0] == 8
    assert call("audit", "--fail-on", "secret", "--fail-on", "info", "--baseline", before, "app:2")[0] == 0
    found = audited(call, "--baseline", before, "app:2")
    assert rules(found["Findings"]) == []
    assert rules(found["Known"]) == [("gitlab-token", "/a"), ("gitlab-token", "/caf\ufffd b%41")]
    assert rules(found["Gone"]) == [("gitlab-token", "/gone")]
    make(call, "app:3", layer(("a", TOKEN), (odd, TOKEN), ("new", TOKEN), ("gone", TOKEN)))
    status, out, _ = call("audit", "--fail-on", "secret", "--baseline", before, "app:3")
    assert status == 8
    lines = [line.split(": ")[:3] for line in out.decode("utf-8", "surrogateescape").splitlines()]
    assert [line for line in lines if line[0] in {"high", "known", "gone"}] == [
        ["high", "gitlab-token", "/gone (layer 1)"],  # another secret than before
        ["high", "gitlab-token", "/new (layer 1)"],  # the same secret at another place
        ["known", "2 findings of the baseline"],
        ["gone", "high", "gitlab-token"],
    ]
    assert TOKEN not in out
    assert OTHER not in before.read_bytes()


@pytest.mark.parametrize("form", ["json", "sarif"])
def test_a_report_made_beside_a_baseline_is_a_baseline(call: Call, form: str) -> None:
    make(call, "app:1", layer(("a", TOKEN), ("b", TOKEN)))
    first = report(call, form, "app:1").rename("first")
    make(call, "app:2", layer(("a", TOKEN), ("c", TOKEN)))
    second = report(call, form, "--baseline", first, "app:2").rename("second")
    found = audited(call, "--baseline", second, "app:2")
    # What was new and what was known then is known now; what was gone then is forgotten.
    assert (rules(found["Findings"]), rules(found["Gone"])) == ([], [])
    make(call, "app:3", layer(("a", TOKEN), ("b", TOKEN), ("c", TOKEN)))
    assert rules(audited(call, "--baseline", second, "app:3")["Findings"]) == [("gitlab-token", "/b")]


@pytest.mark.parametrize("form", ["json", "sarif"])
def test_a_report_with_a_text_that_is_not_utf8_is_a_baseline(call: Call, form: str) -> None:
    make(call, "a:1", layer(("etc/passwd", b"root:x:0:0:::\nad\xffmin:x:0:0:::\n")))
    report(call, form, "a:1").read_text("utf-8")
    found = audited(call, "a:1", "--baseline", f"report.{form}")
    assert rules(found["Known"]) == [("second-root", "/etc/passwd")]
    assert found["Known"][0]["Text"].endswith("ad\ufffdmin")
    assert found["Findings"] == []


def test_options_that_hide_findings_do_not_let_them_be_gone(call: Call) -> None:
    make(
        call, "app:1", layer(("a", TOKEN), ("b", OTHER), (".netrc", b"machine a login b password c\n")), layer(".wh.b")
    )
    before = report(call, "json", "app:1")
    assert len(json.loads(before.read_bytes())["Findings"]) == 3
    for words in (["--allow", "gitlab-token"], ["--visible-only"], ["--no-content"]):
        found = audited(call, "--baseline", before, *words, "app:1")
        assert (found["Findings"], found["Gone"]) == ([], []), words


def test_a_finding_that_became_more_severe_or_more_frequent_is_new(call: Call) -> None:
    make(call, "app:1", layer(("a", TOKEN)))
    before = json.loads(report(call, "json", "app:1").read_bytes())
    before["Findings"][0]["Severity"] = "low"  # as of a file that a package had shipped
    Path("low").write_text(json.dumps(before))
    assert rules(audited(call, "--baseline", "low", "app:1")["Findings"]) == [("gitlab-token", "/a")]
    make(call, "app:2", layer(("a", TOKEN)), layer(("a", TOKEN)))
    found = audited(call, "--baseline", "report.json", "app:2")
    assert (len(found["Known"]), len(found["Findings"])) == (1, 1)


def test_whole_layers_are_known_by_their_steps(call: Call) -> None:
    large = [layer(("a", b"1" * (1 << 20))), layer(("a", b"2" * (1 << 20))), layer(("a", b"3"))]
    make(call, "app:1", *large, steps=["RUN one", "RUN two", "RUN three"])
    before = report(call, "sarif", "app:1")
    first, second = (one["Fingerprint"] for one in audited(call, "app:1")["Findings"])
    assert first != second
    assert audited(call, "--baseline", before, "app:1")["Findings"] == []
    make(call, "app:2", *large, steps=["RUN one", "RUN too", "RUN three"])
    found = audited(call, "--baseline", before, "app:2")
    assert ([one["Layer"] for one in found["Known"]], [one["Layer"] for one in found["Findings"]]) == ([1], [2])


@pytest.mark.sampled(2)
def test_several_images_have_a_baseline_each(call: Call) -> None:
    for tag, content in (("host:5000/a:1", TOKEN), ("b:1", OTHER), ("c:1", b"1")):
        make(call, tag, layer(("x", content)))
    before = report(call, "json", "host:5000/a:1", "b:1")
    for form in ("json", "sarif"):
        before = report(call, form, "host:5000/a:1", "b:1")
        for tag, known, image_of in (("host:5000/a:2", TOKEN, 1), ("b:2", OTHER, 1), ("b:3", TOKEN, 0)):
            make(call, tag, layer(("x", known)))
            assert len(audited(call, "--baseline", before, tag)["Known"]) == image_of, tag
        make(call, "c:1", layer(("x", TOKEN)))
        status, _, error = call("audit", "--baseline", before, "--fail-on", "secret", "c:1", "b:1")
        assert (status, error) == (8, "Warning: the baseline has no report of 'c:1', whose findings are all new\n")
    # A single one is for every image: what an image adds to its base, for example.
    single = report(call, "json", "b:1")
    make(call, "app:1", layer(("x", OTHER)), layer(("y", TOKEN)))
    assert rules(audited(call, "--baseline", single, "app:1")["Findings"]) == [("gitlab-token", "/y")]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it holds no report"),
        (b"{}", "it has no 'Format'"),
        (b"[]", "an object is expected"),
        (b"{", "Expecting"),
        (b"\xff\xfe{}", "codec can't decode"),
        (b'{"runs": []}', "it holds no report"),
        (
            b'{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "other"}}, "results": []}]}',
            "it has no 'properties'",
        ),
        (b'{"Format": 2, "Image": "a"}', "the format 2, which only a newer version of orlop reads"),
        (b'{"Format": true, "Image": "a", "Findings": [], "Known": []}', "'Format' is not a number"),
        (b'{"runs": [{"properties": {"format": 7, "images": []}}]}', "the format 7, which only a newer version"),
        (b'{"Format": 1, "Image": 7, "Findings": [], "Known": []}', "'Image' is not a text"),
        (b'{"Format": 1, "Image": "a", "Findings": [{}], "Known": []}', "it has no 'Rule'"),
        (b'{"Format": 1, "Image": "a", "Findings": [], "Known": null}', "'Known' is not a list"),
        (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, "recursion"),
        (b'{"Format": ' + b"1" * 10_000 + b"}", "digits"),
    ],
    ids=range(15),
)
def test_what_is_no_report_is_refused(call: Call, content: bytes, said: str) -> None:
    make(call, "app:1", layer("a"))
    Path("bad").write_bytes(content)
    status, out, error = call("audit", "--baseline", "bad", "app:1")
    assert (status, out) == (3, b"")
    assert "cannot use the baseline 'bad'" in error
    assert said in error
    assert len(error) < 400


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Severity", "worst"),
        ("Kind", ""),
        ("Layer", "1"),
        ("Seen", 1),
        ("PathBytes", "%%"),
        ("Path", None),
        ("Text", "\ud800"),
    ],
)
def test_a_report_with_a_field_that_cannot_be_is_refused(call: Call, field: str, value: object) -> None:
    make(call, "app:1", layer(("a", TOKEN)))
    document = json.loads(report(call, "json", "app:1").read_bytes())
    document["Findings"][0][field] = value
    Path("bad").write_text(json.dumps(document))
    assert call("audit", "--baseline", "bad", "app:1")[0] == 3
    del document["Findings"][0][field]
    Path("bad").write_text(json.dumps(document))
    assert call("audit", "--baseline", "bad", "app:1")[0] == 3


def test_a_baseline_that_cannot_be_read_is_an_error_of_usage(call: Call) -> None:
    for name in ("none", "."):
        status, out, error = call("audit", "--baseline", name, "app:1")
        assert (status, out) == (2, b"")
        assert f"cannot read '{name}'" in error


def test_what_only_lower_layers_have_can_be_left_out(call: Call) -> None:
    big = b"1" * (1 << 20)
    make(
        call,
        "app:1",
        layer(("hidden", TOKEN), ("shown", TOKEN), ("over", TOKEN), ("etc/shadow", b"root::1\n"), ("big", big)),
        layer(".wh.hidden", ("over", b"1"), ("etc/shadow", b"root:*:1\n"), ("big", big)),
    )
    every, visible = audited(call, "app:1"), audited(call, "--visible-only", "app:1")
    assert rules(visible["Findings"]) == [("gitlab-token", "/shown"), ("sent-again", "")]
    left_out = [one for one in every["Findings"] if not one["Seen"]]
    assert rules(left_out) == [
        ("empty-password", "/etc/shadow"),
        ("gitlab-token", "/hidden"),
        ("gitlab-token", "/over"),
        ("hidden-bytes", ""),
    ]
    # Bytes are counted as ever.
    sums = ("Size", "Hidden", "Overwritten", "Unchanged", "Removed", "Twice", "Layers")
    assert [visible[key] for key in sums] == [every[key] for key in sums]
    assert call("audit", "--fail-on", "secret", "--visible-only", "app:1")[0] == 8
    allowed = ("--allow", "gitlab-token:/shown")
    assert call("audit", "--fail-on", "secret", *allowed, "--visible-only", "app:1")[0] == 0
    assert call("audit", "--fail-on", "secret", *allowed, "app:1")[0] == 8


def test_sarif_fits_its_schema_and_tells_about_images(call: Call) -> None:
    step = f"RUN login --token {TOKEN.decode()}"
    make(call, "app:1", layer(("a b", TOKEN), ("config", KEY)), steps=[step], config={"User": "0"})
    make(call, "other/b:2", layer(("caf\udce9", TOKEN)))
    report(call, "json", "app:1")
    make(call, "app:2", layer(("config", TOKEN)), steps=[step])
    for words in (["app:1"], ["app:1", "other/b:2"], ["--baseline", "report.json", "app:2"], ["--no-content", "app:2"]):
        status, out, _ = call("audit", "--sarif", *words)
        assert status == 0
        assert TOKEN not in out
        document = json.loads(out)
        assert [error.message for error in SARIF.iter_errors(document)] == []
    (run_,) = json.loads(call("audit", "--sarif", "app:1")[1])["runs"]
    facts = json.loads(call("inspect", "app:1")[1])[0]
    assert {key: value for key, value in run_["properties"].items() if key not in {"format", "images"}} == {
        "imageName": "app:1",
        "imageID": facts["Id"],
        "repoTags": ["app:1"],
        "repoDigests": facts["RepoDigests"] or [],
        "platform": "linux/amd64",
    }
    places = {one["ruleId"]: one["locations"][0]["physicalLocation"]["artifactLocation"] for one in run_["results"]}
    assert places["private-key"] == {"uri": "config", "uriBaseId": "ROOTPATH"}
    assert places["root-user"] == {"uri": "config", "uriBaseId": "IMAGE"}
    assert {*run_["originalUriBaseIds"]} == {"ROOTPATH", "IMAGE"}
    steps = {one["properties"]["step"] for one in run_["results"] if one["properties"]["layer"]}
    assert steps == {f"RUN login --token {TOKEN[:4].decode()}…({len(TOKEN)} characters)"}
    (run_,) = json.loads(call("audit", "--sarif", "app:1", "other/b:2")[1])["runs"]
    assert {*run_["properties"]} == {"format", "images"}
    assert [one["imageName"] for one in run_["properties"]["images"]] == ["app:1", "other/b:2"]
    more = [one["properties"] for one in run_["results"] if one["properties"]["image"] == "other/b:2"]
    assert b64decode(more[0]["pathBytes"]) == b"/caf\xe9"


def test_sarif_tells_what_became_of_findings(call: Call) -> None:
    make(call, "app:1", layer(("a", TOKEN), ("b", TOKEN)))
    make(call, "app:2", layer(("a", TOKEN), ("c", TOKEN)))
    report(call, "sarif", "app:1")
    (run_,) = json.loads(call("audit", "--sarif", "--baseline", "report.sarif", "app:2")[1])["runs"]
    states = {one["properties"]["path"]: one["baselineState"] for one in run_["results"]}
    assert states == {"/a": "unchanged", "/b": "absent", "/c": "new"}
    assert "baselineState" not in json.dumps(json.loads(call("audit", "--sarif", "app:2")[1]))


def test_a_page_tells_what_became_of_findings(call: Call) -> None:
    make(call, "app:1", layer(("a", TOKEN), ("b", TOKEN)))
    make(call, "app:2", layer(("a", TOKEN), ("c", TOKEN)))
    report(call, "json", "app:1")
    status, out, _ = call("audit", "--html", "-", "--baseline", "report.json", "--fail-on", "secret", "app:2")
    assert status == 8
    found = data_of(out)["image"]["findings"]
    assert [(one["path"], one["state"]) for one in found] == [("/c", ""), ("/a", "known"), ("/b", "gone")]


@pytest.mark.sampled(2)
def test_a_flood_of_one_rule_hides_no_other(call: Call) -> None:
    members = []
    for number in range(1200):
        member = tarfile.TarInfo(f"a/{number:04}")
        member.mode = 0o4755
        members.append(member)
    last = tarfile.TarInfo("z")
    last.mode = 0o666
    make(call, "app:1", layer(*members, last))
    found = audited(call, "app:1")
    assert rules(found["Findings"])[0] == ("world-writable", "/z")
    setuid = [one for one in found["Findings"] if one["Rule"] == "setuid"]
    assert len(setuid) == 1001
    assert [one["Text"] for one in setuid if not one["Path"]] == ["it is setuid; so it is with 200 more"]


def test_accounts_devices_and_keys_are_reported(call: Call) -> None:
    device, null = tarfile.TarInfo("dev/sda"), tarfile.TarInfo("odd")
    device.type, device.devmajor, device.devminor = tarfile.BLKTYPE, 8, 0
    null.type = tarfile.CHRTYPE
    theirs, alike = tarfile.TarInfo("theirs"), tarfile.TarInfo("ours")
    theirs.uid, theirs.gid = 1001, 7
    alike.uid, alike.gid = 1000, 100
    accounts = (
        ("etc/passwd", b"root:x:0:0:root:/:/bin/sh\nbad line\ntoor:x:0:0::/:/bin/sh\nme:x:1000:100::/:\nx:x:-1:0:\n"),
        ("etc/group", b"root:x:0:\nusers:x:100:me\n"),
    )
    keys = ("root/.ssh/authorized_keys", b"ssh-ed25519 AAAA me\n")
    make(call, "app:1", layer(device, null, theirs, alike, *accounts, keys, ("home/.ssh/authorized_keys", b"")))
    found = audited(call, "app:1")["Findings"]
    assert {(one["Rule"], one["Path"]) for one in found} == {
        ("second-root", "/etc/passwd"),
        ("authorized-keys", "/root/.ssh/authorized_keys"),
        ("device", "/dev/sda"),
        ("unknown-owner", ""),
        ("layer-whiteout-device", "/odd"),
    }
    texts = {one["Rule"]: one["Text"] for one in found}
    assert texts["second-root"] == "accounts beside root have its user ID: toor"
    assert texts["unknown-owner"] == "paths (1) belong to users or groups without an account: group 7, user 1001"
    report(call, "json", "app:1")
    assert audited(call, "--no-content", "--baseline", "report.json", "app:1")["Gone"] == []
    # An image without accounts, or with odd ones, has none to compare with.
    make(call, "app:2", layer(theirs, "etc/passwd/", "etc/group->group"))
    assert audited(call, "app:2")["Findings"] == []


@pytest.mark.parametrize(
    "limit",
    ["efficiency=nan", "efficiency=-0.1", "efficiency=1.1", "efficiency=inf", "waste=nan%", "waste=-1%", "waste=101%"],
)
def test_a_limit_that_never_or_always_holds_is_refused(call: Call, limit: str) -> None:
    make(call, "app:1", layer(("a", b"1")))
    status, _, error = call("audit", "--fail-on", limit, "app:1")
    assert status == 2
    assert "is not a valid limit; use a s" in error


def test_an_efficiency_may_be_a_percentage(call: Call) -> None:
    make(call, "app:1", layer(("a", b"1" * 85), ("b", b"2" * 15)), layer(".wh.b"))
    assert [call("audit", "--fail-on", f"efficiency={limit}", "app:1")[0] for limit in ("85%", "0.85", "86%")] == [
        0,
        0,
        8,
    ]


def test_what_is_misspelt_is_not_allowed_in_silence(call: Call) -> None:
    make(call, "app:1", layer(("a", b"1")))
    right = ("setuid", "github-token:/a/**", "layer-twice", "0123456789abcdef", "step-sudo")
    words = [word for one in right for word in ("--allow", one)]
    assert call("audit", *words, "app:1")[::2] == (0, "")
    Path("allowed").write_text("# of last year\nset-uid:/bin/x # why\n")
    status, _, error = call("audit", "--allow", "root_user", "--allow", "@allowed", "app:1")
    assert status == 0
    assert error.count("Warning: --allow ") == 2
    assert "'root_user' allows nothing" in error


@pytest.mark.parametrize("word", ["root-user:", ":", "", ":/etc", "private-key:"])
def test_what_allows_nothing_is_a_wrong_command_line(call: Call, word: str) -> None:
    status, out, error = call("audit", "--allow", word, "made:1")
    assert (status, out) == (2, b"")
    assert "--allow" in error
