"""Pushes: what a registry gets, how often it is asked, and what a push that broke off leaves."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors
from orlop.model.progress import LayerDone, LayerExists, LayerProgress
from orlop.registry.credentials import Credentials
from orlop.registry.hosts import Hosts, Rule
from tests.unit.layouts import Layout, named
from tests.unit.pushed import again, large, placed, reached, simple, top_digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.model.progress import ProgressEvent
    from tests.unit.pushed import Place

MIB = 1 << 20


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with placed(tmp_path / "root") as found:
        yield found


def test_a_manifest_goes_out_as_it_came(place: Place):
    layout = simple(place.name("team/app:1.0"), "a", "b")
    place.load(layout)

    (tag,) = place.push("team/app:1.0").tags

    there = place.there.repository("team/app")
    assert there.tags == {"1.0": top_digest(layout)} == {"1.0": str(tag.digest)}
    assert tag.is_new
    raw = layout.files["blobs/" + top_digest(layout).replace(":", "/")]
    assert there.manifests[top_digest(layout)][1] == raw
    assert tag.size == len(raw)


def test_what_is_made_is_what_a_layout_would_have(place: Place, tmp_path: Path):
    archive = tmp_path / "docker.tar"
    place.load(simple(place.name("team/app:1.0"), "a", "b"))
    place.images.save([place.name("team/app:1.0")], archive)
    with placed(tmp_path / "other") as other:
        other.images.load(archive)
        other.images.tag(place.name("team/app:1.0"), other.name("team/app:1.0"))
        other.images.save([other.name("team/app:1.0")], tmp_path / "layout", format="oci-dir")
        (tag,) = other.push("team/app:1.0").tags
        assert str(tag.digest) in (tmp_path / "layout" / "index.json").read_text()


@pytest.mark.parametrize("layers", [0, 1, 5])
def test_a_first_push_asks_three_times_for_each_blob(place: Place, layers: int):
    place.load(simple(place.name("app:1"), *(f"file{number}" for number in range(layers))))
    place.push("app:1")
    assert len(place.asked()) <= 3 * (layers + 1) + 2


def test_a_first_push_opens_four_connections(place: Place):
    place.load(simple(place.name("app:1"), *(f"file{number}" for number in range(12))))
    place.push("app:1")
    assert place.there.registry.connections <= 4 + 1  # and one that tried TLS first


def test_a_push_of_what_is_there_asks_once(place: Place):
    place.load(simple(place.name("app:1"), "a", "b"))
    place.push("app:1")
    place.asked()
    (tag,) = place.push("app:1").tags
    assert not tag.is_new
    assert place.asked() == ["HEAD /v2/app/manifests/1"]


def test_blobs_that_are_there_are_not_sent(place: Place):
    layout = simple(place.name("app:1"), "a", "b")
    place.load(layout)
    place.push("app:1")
    place.images.tag(place.name("app:1"), place.name("app:2"))
    place.asked()
    events: list[ProgressEvent] = []
    place.push("app:2", progress=events.append)
    assert not [one for one in place.asked() if one.startswith(("POST", "PATCH"))]
    assert all(isinstance(one, LayerExists) and not one.mounted_from for one in events)
    assert len(events) == 2


def test_layers_are_shared_with_a_repository_that_is_known_to_have_them(place: Place):
    place.load(simple(place.name("team/app:1"), "a", "b"))
    place.push("team/app:1")
    place.images.tag(place.name("team/app:1"), place.name("other/app:1"))
    place.asked()
    events: list[ProgressEvent] = []
    place.push("other/app:1", progress=events.append)
    asked = place.asked()
    assert not [one for one in asked if one.startswith(("PATCH", "PUT /v2/other/app/blobs"))]
    assert {one.mounted_from for one in events if isinstance(one, LayerExists)} == {"team/app"}
    assert place.there.repository("other/app").tags == place.there.repository("team/app").tags


@pytest.mark.sampled(2)
@pytest.mark.parametrize("status", [202, 400, 401, 404, 405, 500])
def test_a_registry_that_shares_nothing_is_sent_all(place: Place, status: int):
    place.load(simple(place.name("team/app:1"), "a", "b"))
    place.push("team/app:1")
    place.images.tag(place.name("team/app:1"), place.name("other/app:1"))
    place.quirks(mount=status)
    place.push("other/app:1")
    assert place.there.repository("other/app").tags == place.there.repository("team/app").tags


def test_a_layer_that_an_image_has_twice_is_sent_once(place: Place):
    place.load(simple(place.name("app:1"), "a", "b", "a"))
    place.push("app:1")
    asked = [one.split()[0] for one in place.asked()]
    assert (asked.count("POST"), asked.count("PUT")) == (3, 4)  # two layers, the config, and the manifest
    assert len(place.there.repository("app").blobs) == 3


def test_a_layer_of_another_registry_is_not_mounted(place: Place, tmp_path: Path):
    with placed(tmp_path / "second") as other:
        place.load(simple(place.name("team/app:1"), "a"))
        place.push("team/app:1")
        place.images.tag(place.name("team/app:1"), other.name("app:1"))
        place.images.push([other.name("app:1")], place.registries)
        assert not [one for one in other.there.requests if "mount" in one.target]


def test_tags_of_one_repository_look_for_layers_once(place: Place):
    layout = Layout()
    layout.top(*(layout.image("same", f"f{n}", **named(place.name(f"app:{n}"))) for n in range(3)))
    place.load(layout)
    report = place.push("app", all_tags=True)
    assert [one.reference.tag for one in report.tags] == ["0", "1", "2"]
    looks = [one for one in place.asked() if one.startswith("HEAD /v2/app/blobs")]
    assert len(looks) == len(set(looks)) == 1 + 3 + 3  # layers and configs


def test_names_without_a_tag_mean_latest(place: Place):
    place.load(simple(place.name("app:latest"), "a"))
    place.push("app")
    assert list(place.there.repository("app").tags) == ["latest"]


@pytest.mark.parametrize(
    ("name", "options", "error"),
    [
        ("app:2", {}, errors.ReferenceNotFound),
        ("other", {"all_tags": True}, errors.ReferenceNotFound),
        ("app:1", {"all_tags": True}, errors.InvalidInput),
        (f"app@sha256:{'0' * 64}", {}, errors.InvalidInput),
    ],
)
def test_what_cannot_be_pushed_sends_nothing(
    place: Place, name: str, options: dict[str, bool], error: type[errors.OrlopError]
):
    place.load(simple(place.name("app:1"), "a"))
    with pytest.raises(error):
        place.push("app:1" if not options else name, name, **options)
    assert place.asked() == []


def test_an_index_goes_with_all_its_platforms(place: Place):
    layout = Layout()
    children = [layout.image(name, architecture=name, platform=True) for name in ("amd64", "arm64")]
    layout.top(layout.index(*children, **named(place.name("app:1"))))
    place.load(layout)
    (tag,) = place.push("app:1", platform="all").tags
    there = place.there.repository("app")
    assert str(tag.digest) == top_digest(layout) == there.tags["1"]
    assert set(there.manifests) == {top_digest(layout), *(one["digest"] for one in children)}
    place.asked()
    assert not place.push("app:1", platform="all").tags[0].is_new
    assert len(place.asked()) == 1


def sparse(place: Place) -> tuple[Layout, list[dict[str, object]]]:
    """An index in the store, whose second platform it lacks."""
    layout = Layout()
    children = [layout.image(name, architecture=name, platform=True) for name in ("amd64", "arm64")]
    layout.top(layout.index(*children, **named(place.name("app:1"))))
    place.images.load(__import__("io").BytesIO(layout.pack()), platform="linux/amd64")
    return layout, children


def test_one_platform_goes_alone_where_nobody_has_the_others(place: Place):
    _, children = sparse(place)
    report = place.push("app:1")
    assert [(str(one.digest), one.alone) for one in report.tags] == [(children[0]["digest"], True)]
    assert "alone" in report.messages()[0]
    assert place.there.repository("app").tags["1"] == children[0]["digest"]


def test_an_index_goes_where_the_registry_has_the_rest(place: Place):
    layout, children = sparse(place)
    digest = str(children[1]["digest"])
    raw = layout.files["blobs/" + digest.replace(":", "/")]
    place.there.add_manifest("app", raw, "application/vnd.oci.image.manifest.v1+json")
    (tag,) = place.push("app:1").tags
    assert str(tag.digest) == top_digest(layout)
    assert not tag.alone


def test_layers_are_compressed_as_wished(place: Place):
    place.load(simple(place.name("app:1"), "a", compress=False))
    first = place.push("app:1", compress="gzip").tags[0].digest
    assert place.push("app:1", compress="gzip:6").tags[0].digest == first
    kinds = [layer for kind, layer in place.there.repository("app").manifests.values()]
    assert all(b"layer.v1.tar+gzip" in raw for raw in kinds)


def test_a_push_is_told_by_layers(place: Place):
    place.load(simple(place.name("app:1"), "a", "b"))
    events: list[ProgressEvent] = []
    place.push("app:1", progress=events.append)
    assert len([one for one in events if isinstance(one, LayerDone)]) == 2
    assert all(one.current <= (one.total or 0) for one in events if isinstance(one, LayerProgress))


def test_the_store_knows_by_which_digest_a_registry_has_an_image(place: Place):
    layout = simple(place.name("app:1"), "a")
    place.load(layout)
    place.push("app:1")
    digests = [str(one.digest) for one in place.images.inspect(place.name("app:1")).references if one.digest]
    assert top_digest(layout) in digests
    last = place.images.events()[-1]
    name = place.name("app:1")
    assert (last.action, last.actor, last.attributes) == ("push", name, {"name": name.removesuffix(":1")})


def test_a_registry_that_lost_a_blob_which_it_has_gets_it_again(place: Place):
    place.load(simple(place.name("app:1"), "a", "b"))
    place.quirks(missing_blob_once=True)
    place.push("app:1")
    assert list(place.there.repository("app").tags) == ["1"]


def test_a_damaged_layer_is_named_as_what_it_is(place: Place, tmp_path: Path):
    place.load(simple(place.name("app:1"), "a"))
    for path in (tmp_path / "root" / "blobs" / "sha256").iterdir():
        path.chmod(0o600)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    with pytest.raises(errors.DigestMismatch, match="damaged"):
        place.push("app:1")
    assert place.there.repository("app").tags == {}


# What breaks off.


def sent(place: Place) -> int:
    """How many bytes of blobs the registry got since it was last asked."""
    found = sum(one.received for one in place.there.requests if "/uploads/" in one.path)
    place.there.requests.clear()
    return found


class Stop(Exception):
    pass


def break_off(place: Place, size: int) -> None:
    """Begin a push of a layer of a size, and end it in the middle."""

    def stop(event: ProgressEvent) -> None:
        if isinstance(event, LayerProgress) and event.current > size // 2:
            raise Stop

    with pytest.raises(Stop):
        place.push("app:1", progress=stop)


@pytest.mark.sampled(2)
def test_an_upload_goes_on_in_another_push(place: Place, tmp_path: Path):
    size = 40 * MIB
    place.load(large(place.name("app:1"), size))
    break_off(place, size)
    assert place.there.repository("app").tags == {}
    (kept,) = (tmp_path / "root" / "uploads").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert place.images.gc().garbage == ()
    assert not orlop.stores.check(tmp_path / "root").problems
    sent(place)

    place.push("app:1")

    assert list(place.there.repository("app").tags) == ["1"]
    assert sent(place) <= again(size)
    assert list((tmp_path / "root" / "uploads").iterdir()) == []


@pytest.mark.sampled(4)
@pytest.mark.parametrize("content", [b"", b"{", b"[]\n", b'{"location": 1}\n', b'{"location":"/v2/x","offset":-1}\n'])
def test_a_kept_upload_that_cannot_be_read_begins_anew(place: Place, tmp_path: Path, content: bytes):
    size = 36 * MIB
    place.load(large(place.name("app:1"), size))
    break_off(place, size)
    (kept,) = (tmp_path / "root" / "uploads").iterdir()
    kept.write_bytes(content)
    place.push("app:1")
    assert list(place.there.repository("app").tags) == ["1"]


@pytest.mark.sampled(3)
def test_an_upload_that_the_registry_forgot_begins_anew(place: Place, tmp_path: Path):
    size = 36 * MIB
    place.load(large(place.name("app:1"), size))
    place.quirks(upload_cut=size // 2)
    place.push("app:1")
    assert list(place.there.repository("app").tags) == ["1"]


@pytest.mark.sampled(3)
def test_a_kept_upload_that_holds_other_bytes_is_sent_anew(place: Place, tmp_path: Path):
    size = 44 * MIB
    place.load(large(place.name("app:1"), size))
    break_off(place, size)
    (session,) = place.there.sessions()
    session.received[0] ^= 1

    place.push("app:1")

    assert list(place.there.repository("app").tags) == ["1"]
    assert list((tmp_path / "root" / "uploads").iterdir()) == []


def test_a_repository_that_is_blocked_does_not_hinder_its_neighbours(place: Place):
    place.load(simple(place.name("secret:1"), "shared"))
    place.push("secret:1")
    place.images.tag(place.name("secret:1"), place.name("open:1"))
    rules = [Rule(prefix=place.name("secret"), blocked=True)]
    with reached(hosts=Hosts(rules)) as registries:
        place.images.push([place.name("open:1")], registries)
    assert list(place.there.repository("open").tags) == ["1"]


@pytest.mark.sampled(3)
def test_a_kept_upload_on_another_host_gets_no_credentials(tmp_path: Path):
    class Keys:
        def find(self, name: object) -> Credentials:
            return Credentials(user="me", password="secret", source="the test")

        def forget(self) -> None:
            pass

    with (
        placed(tmp_path / "root", users={"me": "secret"}, keychain=Keys(), auth="basic") as place,
        placed(tmp_path / "other") as stranger,
    ):
        size = 36 * MIB
        place.load(large(place.name("app:1"), size))

        def stop(event: ProgressEvent) -> None:
            if isinstance(event, LayerProgress) and event.current > size // 2:
                raise Stop

        with pytest.raises(Stop):
            place.push("app:1", progress=stop)
        (kept,) = (tmp_path / "root" / "uploads").iterdir()
        kept.write_text(f'{{"location": "http://{stranger.there.authority}/v2/x/blobs/uploads/0a", "offset": 9}}\n')
        place.push("app:1")
        assert list(place.there.repository("app").tags) == ["1"]
        assert stranger.there.requests
        assert not [one for one in stranger.there.requests if "authorization" in one.headers]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("location", ["relative", "absolute", "store", "bare"])
@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_credentials_go_to_the_registry_alone(tmp_path: Path, location: str, auth: str):
    class Keys:
        def find(self, name: object) -> Credentials:
            return Credentials(user="me", password="secret", source="the test")

        def forget(self) -> None:
            pass

    with placed(tmp_path / "root", users={"me": "secret"}, keychain=Keys(), auth=auth, location=location) as place:
        place.load(simple(place.name("app:1"), "a", "b"))
        place.push("app:1")
        assert list(place.there.repository("app").tags) == ["1"]
        shown = {one.site for one in place.there.requests if "authorization" in one.headers}
        assert shown <= ({"registry"} if auth == "basic" else {"registry", "auth"})


@pytest.mark.sampled(3)
@pytest.mark.parametrize("cut", [0, 1, 100, 5000, MIB])
@pytest.mark.parametrize("kept", [True, False])
def test_a_connection_that_breaks_at_any_byte_is_made_up_for(place: Place, cut: int, *, kept: bool):
    place.load(large(place.name("app:1"), 3 * MIB))
    place.quirks(upload_cut=cut, upload_kept=kept)
    place.push("app:1")
    assert list(place.there.repository("app").tags) == ["1"]


@pytest.mark.sampled(16)
@pytest.mark.parametrize(
    "quirks",
    [
        {"patch": 201},
        {"patch": 204, "patch_range": "missing"},
        {"patch_range": "stuck", "patch": 201},
        {"patch_range": "minus"},
        {"chunk_limit": 4 * MIB},
        {"chunks": 405},
        {"body_limit": 8 * MIB},
        {"chunk_least": 4 * MIB},
        {"chunk_most": MIB // 2},
        {"takes": 1000},
        {"commit_cut": True},
        {"head": 405},
        {"head_length": False},
        {"digest_header": "missing"},
        {"html_errors": True},
        {"location_query": "?_state=a%3Db"},
    ],
)
def test_registries_differ(place: Place, quirks: dict[str, object]):
    place.load(large(place.name("app:1"), 36 * MIB))
    place.quirks(**quirks)
    place.push("app:1")
    assert list(place.there.repository("app").tags) == ["1"]
    assert not place.push("app:1").tags[0].is_new


def test_an_error_in_one_thread_ends_the_others(place: Place):
    place.load(simple(place.name("app:1"), *(f"file{number}" for number in range(8))))
    seen: set[str] = set()

    def fail(event: ProgressEvent) -> None:
        seen.add(threading.current_thread().name)
        raise Stop

    with pytest.raises(Stop):
        place.push("app:1", progress=fail)
    assert place.there.repository("app").tags == {}
    assert not [one for one in threading.enumerate() if one.name in seen]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_has_the_place_of_the_uploads_is_left_alone(place: Place, tmp_path: Path, kind: str):
    (tmp_path / "elsewhere").mkdir()
    uploads = tmp_path / "root" / "uploads"
    if kind == "link":
        uploads.symlink_to(tmp_path / "elsewhere")
    else:
        uploads.write_bytes(b"")
    place.load(large(place.name("app:1"), 36 * MIB))
    place.push("app:1")
    assert list(place.there.repository("app").tags) == ["1"]
    assert list((tmp_path / "elsewhere").iterdir()) == []
