"""Parameters, streams and documents of the Engine API, each as the daemon has it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orlop
from orlop.api.engine.form import Form
from orlop.api.engine.shapes.encoding import body
from orlop.api.engine.shapes.event import event, event_line, is_wanted
from orlop.api.engine.shapes.fault import Verb, fault
from orlop.api.engine.shapes.filters import list_filters, parse_filters, prune_filters
from orlop.api.engine.shapes.load import loaded_lines
from orlop.api.engine.shapes.platform import parse_platform
from orlop.api.engine.shapes.progress import LayerLines, bar, error_line, status_line
from orlop.api.engine.shapes.system import State, info_document, version_document
from orlop.api.engine.shapes.target import import_target, tag_target
from orlop.api.engine.shapes.usage import is_verbose, usage, usage_types
from orlop.api.engine.versions import MAXIMUM, MINIMUM, V1_41, V1_42, V1_51, V1_52, ApiVersion
from orlop.errors import (
    AmbiguousID,
    DatabaseDamaged,
    ImageInUse,
    ImageNotFound,
    InvalidFilter,
    InvalidInput,
    InvalidPlatform,
    InvalidReference,
    OrlopError,
)
from orlop.intake.report import LoadedImage, LoadReport
from orlop.model import gojson
from orlop.model.digest import ImageID
from orlop.model.platform import Platform
from orlop.model.progress import LayerDone, LayerExists, LayerProgress
from orlop.service.host import this_host
from orlop.service.listing.listed import ImageUsage
from orlop.store.rows.metadata import Event

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

V1_40 = ApiVersion(1, 40)
SELF = ImageID.of(b"")
TAGGED = Event(7, 1_795_521_466_238_499_109, "image", "tag", str(SELF), {"name": "host:5000/a:1", "b": "<c>"})


@given(st.dictionaries(st.text(), st.lists(st.one_of(st.text(), st.integers(), st.booleans(), st.none()))))
def test_a_body_is_written_as_go_writes_it(document: dict[str, object]):
    assert body(document) == gojson.dumps(document, escape_html=False) + b"\n"


def test_separators_and_lone_surrogates_are_written_as_go_writes_them():
    document = {"a": "\u2028<&>\u2029", "b": "\ud800", "c": "\x00\b\f\n\x7f"}
    assert body(document) == gojson.dumps(document, escape_html=False) + b"\n"
    assert body({"a": "\u2028<"}) == rb'{"a":"\u2028<"}' + b"\n"


def test_labels_come_and_go_with_their_image(data: Path, tmp_path: Path):
    archive = data / "dockerd-20.10-overlay2" / "multi.tar"
    with orlop.open(tmp_path / "store") as images:
        for _ in range(2):
            images.load(archive)
            labels = {image.summary.repo_tags[0].familiar: image.labels for image in images.listed_images()}
            assert labels["example/imported:latest"] == {"x": "y"}
            assert len(labels["example/tiny:1.0"] or ()) == 3
            images.remove("example/imported")
            assert [image.labels for image in images.listed_images(filters=["label=x"])] == []


@pytest.mark.parametrize("kept", ["{", "[]", '{"a":1}', ""])
def test_labels_that_are_damaged_are_not_shown_and_fsck_finds_them(kept: str, data: Path, tmp_path: Path):
    with orlop.open(tmp_path / "store") as images:
        images.load(data / "dockerd-20.10-overlay2" / "multi.tar")
    with closing(sqlite3.connect(tmp_path / "store" / "metadata.db")) as database, database:
        database.execute("UPDATE image_labels SET labels = ? WHERE labels LIKE '%\"x\"%'", (kept,))
    with orlop.open(tmp_path / "store") as images, pytest.raises(DatabaseDamaged, match="fsck --repair"):
        list(images.listed_images())
    assert [problem.kind for problem in orlop.stores.fsck(tmp_path / "store").damage] == ["image-wrong"]


class TestFilters:
    @pytest.mark.parametrize("text", [None, "", "null", "{}"])
    def test_no_filters_are_none(self, text: str | None):
        assert parse_filters(text) == {}

    @pytest.mark.parametrize(
        ("text", "values"),
        [
            ('{"label":{"a":true,"b":false,"c":null}}', ("a", "b", "c")),
            ('{"label":["a","b","a"]}', ("a", "b")),
            ('{"label":[null]}', ("",)),
            ('{"label":{}}', ()),
            ('{"label":null}', ()),
            ('{"label":["snow\u2603=\u00e9"]}', ("snow\u2603=\u00e9",)),
        ],
    )
    def test_both_forms_that_clients_send_are_read(self, text: str, values: tuple[str, ...]):
        assert parse_filters(text) == {"label": values}

    @pytest.mark.parametrize(
        "text",
        [
            "{",
            "[]",
            '"x"',
            "1",
            '{"label":"x"}',
            '{"label":[1]}',
            '{"a":["x"],"b":{"y":true}}',
            "{} x",
            '{"a":{"b":1}}',
        ],
    )
    def test_other_forms_are_the_client_s_mistake(self, text: str):
        with pytest.raises(InvalidFilter):
            parse_filters(text)

    @given(st.text())
    def test_anything_is_read_or_refused(self, text: str):
        try:
            values = parse_filters(text)
            list_filters(values, MAXIMUM)
            prune_filters(values, MAXIMUM)
        except InvalidFilter:
            pass

    def test_what_dangles_is_asked_for_by_one_word(self):
        assert list_filters({"dangling": ("1",)}, MAXIMUM) == ["dangling=true"]
        assert list_filters({"dangling": ("0", "false")}, MAXIMUM) == ["dangling=false"]
        assert list_filters({"dangling": ("false", "true")}, V1_41) == ["dangling=true"]
        with pytest.raises(InvalidFilter, match=r"^invalid filter 'dangling=\[false true\]'$"):
            list_filters({"dangling": ("true", "false")}, V1_42)

    def test_the_older_name_of_a_pattern_is_known_to_older_versions(self):
        assert list_filters({}, V1_40, "a*") == ["reference=a*"]
        assert list_filters({"reference": ("b",)}, V1_40, "a*") == ["reference=b"]
        assert list_filters({}, V1_41, "a*") == []

    def test_a_pruning_takes_what_dangles_unless_it_is_told_otherwise(self):
        assert prune_filters({}, MAXIMUM) == ([], False)
        assert prune_filters({"dangling": ("true",), "label!": ("x",)}, MAXIMUM) == (["label!=x"], False)
        assert prune_filters({"dangling": ("false",), "until": ("1h",)}, MAXIMUM) == (["until=1h"], True)
        with pytest.raises(InvalidFilter):
            prune_filters({"reference": ("a",)}, MAXIMUM)


class TestEvents:
    def test_older_versions_have_two_fields_twice(self):
        assert list(event(TAGGED, V1_52)) == ["Type", "Action", "Actor", "scope", "time", "timeNano"]
        shown = event(TAGGED, V1_51)
        assert list(shown)[:2] == ["status", "id"]
        assert (shown["status"], shown["id"], shown["time"]) == ("tag", str(SELF), 1_795_521_466)

    def test_a_prune_has_no_id(self):
        shown = event(Event(1, 1, "image", "prune", "", {"reclaimed": "0"}), V1_41)
        assert (shown["status"], "id" in shown, shown["Actor"]["ID"]) == ("prune", False, "")

    def test_a_line_is_escaped_as_the_daemon_does_it(self):
        line = event_line(TAGGED, V1_52)
        assert line.endswith(b"}\n")
        assert rb'"b":"\u003cc\u003e"' in line
        assert body({"b": "<c>"}) == b'{"b":"<c>"}\n'

    @pytest.mark.parametrize(
        "filters",
        [
            {},
            {"type": ("image",)},
            {"event": ("tag", "load")},
            {"image": ("host:5000/a:1",)},
            {"image": ("host:5000/a",)},
            {"image": (str(SELF),)},
            {"label": ("b",)},
            {"label": ("b=<c>", "name")},
            {"scope": ("local",)},
            {"nosuch": ("x",)},
        ],
    )
    def test_filters_choose_events(self, filters: dict[str, tuple[str, ...]]):
        assert is_wanted(TAGGED, filters)

    @pytest.mark.parametrize(
        "filters",
        [
            {"type": ("container",)},
            {"event": ("ta",)},
            {"image": ("host",)},
            {"label": ("b=c",)},
            {"container": ("x",)},
            {"scope": ("swarm",)},
        ],
    )
    def test_filters_leave_events_out(self, filters: dict[str, tuple[str, ...]]):
        assert not is_wanted(TAGGED, filters)

    def test_an_action_with_more_behind_it_is_found_by_its_beginning(self):
        checked = Event(1, 1, "container", "health_status: healthy", "x", {})
        assert is_wanted(checked, {"event": ("health_status",)})
        assert not is_wanted(checked, {"event": ("health",)})


class TestProgress:
    def test_lines_are_those_of_the_daemon(self, data: Path):
        folder = data / "dockerd-20.10-overlay2"
        recorded = json.loads((folder / "exchanges.jsonl").read_text().splitlines()[0])["answer"].encode()
        layers = LayerLines(V1_41)
        lines = []
        for line in recorded.splitlines(keepends=True)[:10:2]:
            said = json.loads(line)
            size = said["progressDetail"]["total"]
            lines += [layers.line(LayerProgress(said["id"], size, size)), layers.line(LayerDone(said["id"]))]
        assert b"".join(filter(None, lines)) == b"".join(recorded.splitlines(keepends=True)[:10])

    def test_nothing_is_said_of_a_layer_that_is_there(self):
        assert LayerLines(V1_41).line(LayerExists("a")) is None

    def test_later_versions_have_numbers_only(self):
        line = LayerLines(V1_52).line(LayerProgress("a", 1, 2))
        assert line == b'{"status":"Loading layer","progressDetail":{"current":1,"total":2},"id":"a"}\r\n'

    @pytest.mark.parametrize(
        ("current", "total", "text"),
        [
            (0, None, ""),
            (0, 0, ""),
            (1500, None, "   1.5kB"),
            (0, 10, "[" + ">" + " " * 50 + "]       0B/10B"),
            (1, 3, "[" + "=" * 16 + ">" + " " * 34 + "]       1B/3B"),
            (20, 10, "[" + "=" * 50 + ">]      20B"),
        ],
    )
    def test_bars_are_those_of_the_daemon(self, current: int, total: int | None, text: str):
        assert bar(current, total) == text

    def test_ends(self):
        assert error_line("no <tar>") == (
            rb'{"errorDetail":{"message":"no \u003ctar\u003e"},"error":"no \u003ctar\u003e"}' + b"\r\n"
        )
        assert status_line("sha256:1") == b'{"status":"sha256:1"}\r\n'
        assert loaded_lines(LoadReport((), ())) == [b"{}\r\n"]

    def test_images_without_a_name_come_in_one_line(self):
        report = LoadReport(tuple(LoadedImage(ImageID.of(raw), (), created=True) for raw in (b"a", b"b")), ())
        [line] = loaded_lines(report)
        assert json.loads(line)["stream"].count("Loaded image ID: sha256:") == 2


class TestNames:
    @pytest.mark.parametrize(
        ("repo", "tag", "name"),
        [
            ("a", None, "a:latest"),
            ("a", "", "a:latest"),
            ("a:1", None, "a:1"),
            ("a:1", "2", "a:2"),
            ("docker.io/library/a", "1", "a:1"),
            ("host:5000/a/b", "1", "host:5000/a/b:1"),
        ],
    )
    def test_a_repository_and_a_tag_are_a_name(self, repo: str, tag: str | None, name: str):
        target = tag_target(repo, tag, MAXIMUM)
        assert target == import_target(repo, tag, MAXIMUM)
        assert target.familiar == name

    def test_only_an_import_may_leave_the_name_out(self):
        assert import_target(None, "1", MAXIMUM) is import_target("", None, MAXIMUM) is None
        with pytest.raises(InvalidReference):
            tag_target("", None, MAXIMUM)

    @pytest.mark.parametrize(
        ("repo", "tag", "words"),
        [
            ("user/APP", None, "invalid reference format: repository name (user/APP) must be lowercase"),
            ("APP", None, "invalid reference format: repository name (library/APP) must be lowercase"),
            ("a", "-", "invalid tag format"),
            ("a:", None, "invalid reference format"),
            ("a" * 64, None, f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings"),
            (f"a@{SELF}", None, "cannot import digest reference"),
            ("sha256:1", None, "refusing to create an ambiguous tag using digest algorithm as name"),
        ],
    )
    def test_what_is_no_name_is_refused_in_the_words_of_the_engine(self, repo: str, tag: str | None, words: str):
        with pytest.raises(InvalidInput) as refused:
            tag_target(repo, tag, MAXIMUM)
        assert str(refused.value) == words

    @pytest.mark.parametrize(
        ("error", "verb", "name", "status", "words"),
        [
            (ImageNotFound("No such image: a:1"), Verb.INSPECT, "a:1", 404, "No such image: a:1"),
            (AmbiguousID("two"), Verb.OTHER, "ab", 404, "No such image: ab:latest"),
            (ImageInUse("conflict: x"), Verb.OTHER, "a", 409, "conflict: x"),
            (InvalidReference("bad"), Verb.SAVE, "A", 400, "invalid reference format: repository name (library/A)"),
            (InvalidReference("bad"), Verb.OTHER, "REG/A", 400, "invalid reference format: repository name (A) must"),
            (InvalidReference("bad"), Verb.OTHER, "x" * 256, 400, "repository name must not be more than 255"),
            (OrlopError("oh"), Verb.OTHER, None, 500, "oh"),
        ],
    )
    def test_failures_have_the_status_and_the_words_of_engine_29(
        self, error: OrlopError, verb: Verb, name: str | None, status: int, words: str
    ):
        answer = fault(error, MAXIMUM, verb, name)
        assert answer.status == status
        assert answer.document["message"].startswith(words)


class TestParameters:
    @pytest.mark.parametrize("text", ["", "0", "no", "false", "none", " FALSE "])
    def test_words_for_false(self, text: str):
        assert not Form({"x": [text]}).boolean("x", default=True)

    @pytest.mark.parametrize("text", ["1", "true", "yes", "maybe"])
    def test_all_other_words_are_true(self, text: str):
        assert Form({"x": [text, ""]}).boolean("x")
        assert Form({}).boolean("x", default=True)

    def test_a_platform_is_a_json_object(self):
        text = '{"os":"linux","architecture":"arm64","variant":"v8","os.features":["x"],"OS.version":"1"}'
        assert parse_platform(text) == Platform("linux", "arm64", "v8", "1", ("x",))

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "linux/amd64",
            "[]",
            "{}",
            '{"os":"linux"}',
            '{"os":1}',
            '{"os":"a","architecture":"b","os.features":"c"}',
        ],
    )
    def test_anything_else_is_no_platform(self, text: str):
        with pytest.raises(InvalidPlatform):
            parse_platform(text)

    def test_kinds_of_objects_are_named(self):
        assert usage_types(["image", "volume"], MAXIMUM) == {"image", "volume"}
        assert usage_types(["nosuch"], V1_41) == usage_types([], MAXIMUM)
        with pytest.raises(InvalidInput, match="unknown object type: nosuch"):
            usage_types(["nosuch"], V1_42)

    def test_verbose_is_a_boolean_of_go_s(self):
        assert is_verbose("T", V1_52) is True
        assert is_verbose("0", V1_52) is False
        assert is_verbose("1", V1_51) is is_verbose(None, MAXIMUM) is None
        with pytest.raises(InvalidInput):
            is_verbose("yes", V1_52)


class TestUsage:
    EMPTY = ImageUsage((), 0)

    def test_what_is_not_asked_for_is_null_or_absent(self):
        kinds = usage_types(["container"], V1_42)
        assert usage(None, V1_42, kinds) == {
            "LayersSize": 0,
            "Images": None,
            "Containers": [],
            "Volumes": None,
            "BuildCache": None,
        }
        assert usage(None, V1_52, kinds) == {"Containers": [], "ContainerUsage": {}}

    def test_verbose_leaves_the_older_lists_out(self):
        kinds = usage_types(["image"], MAXIMUM)
        assert usage(self.EMPTY, MAXIMUM, kinds, verbose=False) == {"ImageUsage": {}}
        assert usage(self.EMPTY, MAXIMUM, kinds) == {"Images": [], "ImageUsage": {}}

    def test_objects_are_in_the_sums_unless_they_are_not_wanted(self, data: Path, tmp_path: Path):
        with orlop.open(tmp_path / "store") as images:
            images.load(data / "dockerd-20.10-overlay2" / "dup.tar")
            found = images.image_usage()
        kinds = usage_types(["image"], MAXIMUM)
        sums = {"Reclaimable": 16, "TotalCount": 1, "TotalSize": 16}
        assert usage(found, MAXIMUM, kinds, verbose=False) == {"ImageUsage": sums}
        detailed = usage(found, MAXIMUM, kinds, verbose=True)["ImageUsage"]
        assert [image["RepoTags"] for image in detailed.pop("Items")] == [["example/dup:v1"]]
        assert detailed == sums


class TestSystem:
    STATE = State("/store", 3, "2026-11-24T11:58:03Z", read_only=True)

    def test_the_version_names_orlop_and_what_it_speaks(self):
        shown = version_document(this_host(), MAXIMUM)
        assert shown["ApiVersion"] == str(MAXIMUM)
        assert shown["MinAPIVersion"] == str(MINIMUM)
        assert [part["Name"] for part in shown["Components"]] == ["orlop"]
        assert shown["Version"] == shown["Components"][0]["Version"] == orlop.__version__

    @pytest.mark.parametrize(
        ("version", "document"), [(V1_41, version_document), (MAXIMUM, version_document)], ids=["20.10", "29"]
    )
    def test_the_version_has_the_members_of_the_engine_s(
        self, version: ApiVersion, document: Callable[..., dict[str, Any]], data: Path
    ):
        folder = "dockerd-20.10-overlay2" if version == V1_41 else "dockerd-29-overlay2"
        recorded = json.loads((data / folder / "api" / "version.json").read_text())
        # Nothing was built: orlop is what it is written as.
        recorded.pop("BuildTime")
        assert list(document(this_host(), version)) == list(recorded)

    def test_the_host_is_described(self):
        host = this_host()
        shown = info_document(host, self.STATE, MAXIMUM)
        assert (shown["Images"], shown["Driver"], shown["DockerRootDir"]) == (3, "orlop", "/store")
        assert shown["OSType"] == "linux"
        assert shown["NCPU"] >= 1
        assert shown["MemTotal"] > 1 << 20
        assert ["Read-only", "true"] in shown["DriverStatus"]
        assert this_host().id == host.id

    def test_the_members_come_in_the_engine_s_order(self):
        ordered = """
            ID Containers ContainersRunning ContainersPaused ContainersStopped Images Driver DriverStatus Plugins
            MemoryLimit SwapLimit CpuCfsPeriod CpuCfsQuota CPUShares CPUSet PidsLimit IPv4Forwarding BridgeNfIptables
            BridgeNfIp6tables Debug NFd OomKillDisable NGoroutines SystemTime LoggingDriver CgroupDriver NEventsListener
            KernelVersion OperatingSystem OSVersion OSType Architecture IndexServerAddress RegistryConfig NCPU MemTotal
            GenericResources DockerRootDir HttpProxy HttpsProxy NoProxy Name Labels ExperimentalBuild ServerVersion
            Runtimes DefaultRuntime Swarm LiveRestoreEnabled Isolation InitBinary ContainerdCommit RuncCommit InitCommit
            SecurityOptions Warnings"""
        shown = info_document(this_host(), self.STATE, V1_41)
        assert list(shown) == ordered.split()
        assert next(iter(shown["RegistryConfig"])) == "AllowNondistributableArtifactsCIDRs"

    def test_nothing_claims_that_containers_run(self):
        shown = info_document(this_host(), self.STATE, V1_41)
        assert {shown[key] for key in shown if key.startswith("Containers")} == {0}
        assert shown["MemoryLimit"] is False
        assert shown["Warnings"] == ["NOTE: orlop keeps images; it runs no containers"]
