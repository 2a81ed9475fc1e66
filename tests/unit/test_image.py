"""Image configs."""

from __future__ import annotations

import hashlib

import pytest

from orlop.errors import InvalidImage
from orlop.model.dialect import Dialect
from orlop.model.digest import ChainID, DiffID, ImageID
from orlop.model.image import TYPE_LAYERS, History, Image, RootFS, V1Image, check_history
from orlop.model.timestamp import ZERO, Timestamp

A = DiffID("sha256", "1" * 64)


def test_the_id_is_the_digest_of_the_exact_bytes():
    raw = b' {"rootfs" : {"type":"layers"}}\n'
    image = Image.from_json(raw)
    assert image.raw_json == raw
    assert image.image_id == "sha256:" + hashlib.sha256(raw).hexdigest()
    assert image.with_parent(ImageID("sha256", "2" * 64)).id == image.id


def test_every_field_is_read():
    image = Image.from_json(
        b'{"id":"i","parent":"sha256:p","comment":"c","created":"2020-01-02T03:04:05.000000001Z","container":"k",'
        b'"container_config":{"User":"u"},"docker_version":"v","author":"a","config":{"User":"w"},"architecture":"arm64",'
        b'"variant":"v8","os":"linux","Size":7,"rootfs":{"type":"layers","diff_ids":["%s"]},"history":[{"created":'
        b'"2020-01-02T03:04:05Z","author":"ha","created_by":"hb","comment":"hc","empty_layer":true}],"os.version":"1",'
        b'"os.features":["f"]}' % str(A).encode()
    )
    assert image.parent == ImageID.unchecked("sha256:p")
    assert (image.v1.id, image.v1.parent) == ("i", "")
    assert image.created.nanosecond == 1
    assert (image.comment, image.container, image.author, image.docker_version) == ("c", "k", "a", "v")
    assert (image.os, image.architecture, image.variant, image.size) == ("linux", "arm64", "v8", 7)
    assert image.container_config.user == "u"
    assert image.config is image.run_config
    assert image.config is not None
    assert image.config.user == "w"
    assert image.rootfs == RootFS(TYPE_LAYERS, (A,))
    assert image.rootfs.chain_id() == ChainID.wrap(A)
    assert image.history == (History(Timestamp.parse("2020-01-02T03:04:05Z"), "ha", "hb", "hc", empty_layer=True),)
    assert (image.os_version, image.os_features) == ("1", ("f",))


def test_an_image_without_a_time_has_the_zero_time_and_engine_29_writes_null():
    image = Image.from_json(b'{"rootfs":{},"history":[{}]}')
    assert image.created is not None
    assert image.created == ZERO
    assert b'"created":"0001-01-01T00:00:00Z","history":[{"created":"0001-01-01T00:00:00Z"}]' in image.to_json()
    assert b'"created":null,"history":[{}]' in image.to_json(Dialect.ENGINE_29)


def test_a_variant_is_written_by_later_engines_only():
    image = Image.from_json(b'{"rootfs":{},"variant":"v8"}')
    assert image.variant == "v8"
    assert b"variant" not in image.to_json()
    assert b'"variant":"v8"' in image.to_json(Dialect.ENGINE_20_10)
    assert Image.from_json(b'{"rootfs":{},"variant":5}').variant == ""


def test_history_is_written_in_the_order_of_the_engine():
    entry = History(Timestamp(0), "a", "b", "c", empty_layer=True)
    rest = b',"comment":"c","empty_layer":true}'
    start = b'{"created":"1970-01-01T00:00:00Z",'
    assert entry.to_json() == start + b'"author":"a","created_by":"b"' + rest
    assert entry.to_json(Dialect.ENGINE_29) == start + b'"created_by":"b","author":"a"' + rest


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"{}",
        b"[]",
        b'{"rootfs":null}',
        b'{"rootfs":{"type":5}}',
        b'{"rootfs":{"diff_ids":{}}}',
        b'{"rootfs":{"diff_ids":[1]}}',
        b'{"rootfs":{}} x',
        b'{"rootfs":{},"created":5}',
        b'{"rootfs":{},"created":"yesterday"}',
        b'{"rootfs":{},"history":{}}',
        b'{"rootfs":{},"history":[1]}',
        b'{"rootfs":{},"Size":1.0}',
        b'{"rootfs":{},"parent":1}',
    ],
)
def test_what_engines_refuse_is_refused(raw):
    with pytest.raises(InvalidImage):
        Image.from_json(raw)


def test_a_later_null_takes_the_root_file_system_away():
    with pytest.raises(InvalidImage):
        Image.from_json(b'{"rootfs":{"type":"layers"},"RootFS":null}')
    assert Image.from_json(b'{"rootfs":{"type":"a"},"rootfs":null,"rootfs":{}}').rootfs.type == ""


def test_more_history_than_layers_is_an_error_and_less_is_not():
    filled, empty = b'{"created_by":"x"}', b'{"empty_layer":true}'
    rootfs = b'"rootfs":{"type":"layers","diff_ids":["%s"]}' % str(A).encode()
    for entries in ([], [empty, empty], [filled, empty]):
        check_history(Image.from_json(b'{%s,"history":[%s]}' % (rootfs, b",".join(entries))))
    with pytest.raises(InvalidImage):
        check_history(Image.from_json(b'{%s,"history":[%s,%s]}' % (rootfs, filled, filled)))


def test_layers_are_added_on_top():
    rootfs = RootFS().append(A).append(A)
    assert rootfs.diff_ids == (A, A)
    assert rootfs.to_json() == b'{"type":"layers","diff_ids":["%s","%s"]}' % (str(A).encode(), str(A).encode())
    assert RootFS().chain_id() is None
    assert RootFS().to_json() == b'{"type":"layers"}'


def test_a_new_image_is_written_and_read_again():
    image = Image(v1=V1Image(os="linux", created=Timestamp(5)), rootfs=RootFS().append(A))
    again = Image.from_json(image.to_json())
    assert (again.v1, again.rootfs) == (image.v1, image.rootfs)
    assert again.to_json() == image.to_json()


@pytest.mark.parametrize(
    "more",
    [
        b',"Config":{"User":"root"}',
        b',"config":{"User":"1000"}',
        b',"os":"linux","OS":"plan9"',
        b',"rootfs":{"type":"layers"}',
        b',"history":[{"created_by":"a","Created_By":"b"}]',
        b',"container_config":{"Env":[],"env":["A=1"]}',
        b',"architecture":"1","Architecture":null',
    ],
)
def test_a_field_with_two_values_is_refused_where_it_is_asked(more: bytes):
    document = b'{"rootfs":{"type":"layers"},"config":{"User":"1000","Labels":{"a":"1","A":"2"}}' + more + b"}"
    assert Image.from_json(document).rootfs.type == "layers"
    with pytest.raises(InvalidImage, match="more than once"):
        Image.from_json(document, once=True)


def test_a_field_that_says_the_same_twice_is_no_matter():
    document = b'{"rootfs":{"type":"layers","Type":"layers"},"os":"linux","OS":"linux","more":1,"More":2}'
    assert Image.from_json(document, once=True).os == "linux"
