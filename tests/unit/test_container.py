"""Container configs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from orlop.errors import InvalidImage
from orlop.model.container import HealthConfig
from orlop.model.dialect import Dialect
from orlop.model.image import Image

if TYPE_CHECKING:
    from orlop.model.container import ContainerConfig


def read(config: str, dialect: Dialect = Dialect.REFERENCE) -> ContainerConfig:
    image = Image.from_json(b'{"rootfs":{},"config":' + config.encode() + b"}", dialect=dialect)
    assert image.config is not None
    return image.config


def test_nil_and_empty_are_told_apart():
    nil = read('{"Env":null,"Volumes":null,"Labels":null,"Cmd":null}')
    empty = read('{"Env":[],"Volumes":{},"Labels":{},"Cmd":[]}')
    assert (nil.env, nil.volumes, nil.labels, nil.cmd) == (None, None, None, None)
    assert (empty.env, empty.volumes, empty.labels, empty.cmd) == ((), frozenset(), {}, ())
    assert b'"Env":null,"Cmd":null' in nil.to_json()
    assert b'"Env":[],"Cmd":[]' in empty.to_json()


def test_commands_may_be_one_string_but_not_in_engine_29():
    config = '{"Cmd":"a b","Entrypoint":["x",null],"Shell":""}'
    assert read(config).cmd == ("a b",)
    assert read(config).entrypoint == ("x", "")
    assert read(config).shell == ("",)
    with pytest.raises(InvalidImage):
        read(config, Dialect.ENGINE_29)


def test_arrays_and_maps_that_are_repeated_merge_as_go_merges_them():
    config = read(
        '{"Env":["a","b","c"],"Env":["x"],"Env":[null,null,"z"],"Labels":{"a":"1"},"labels":{"b":null},'
        '"Volumes":{"/a":{}},"VOLUMES":{"/b":null},"Cmd":["a"],"Cmd":[null,"b"],"OnBuild":["a"],"OnBuild":[],"OnBuild":[null]}'
    )
    assert config.env == ("x", "b", "z")
    assert config.labels == {"a": "1", "b": ""}
    assert config.volumes == frozenset({"/a", "/b"})
    assert config.cmd == ("", "b")
    assert config.on_build == ("",)


def test_pointers_are_written_where_they_point_to_nothing_much():
    config = read('{"StopTimeout":0,"Healthcheck":{}}')
    assert config.stop_timeout == 0
    assert config.healthcheck == HealthConfig()
    assert b'"Healthcheck":{}' in config.to_json()
    assert config.to_json().endswith(b'"StopTimeout":0}')
    assert read('{"StopTimeout":5,"StopTimeout":null}').stop_timeout is None


def test_ports_are_normalised_by_engine_29_alone():
    config = '{"ExposedPorts":{"80":{},"053/UDP":{},"":{}}}'
    assert read(config).exposed_ports == frozenset({"80", "053/UDP", ""})
    assert read(config, Dialect.ENGINE_29).exposed_ports == frozenset({"80/tcp", "53/udp", ""})
    assert b'"ExposedPorts":{"":{},"53/udp":{},"80/tcp":{}}' in read(config).to_json(Dialect.ENGINE_29)
    for port in ("x", "-1", "65536", "80-90", "1" * 100, "+80", "/tcp"):
        with pytest.raises(InvalidImage):
            read(json.dumps({"ExposedPorts": {port: {}}}), Dialect.ENGINE_29)
        assert read(json.dumps({"ExposedPorts": {port: {}}})).exposed_ports == frozenset({port})


def test_what_only_another_dialect_knows_is_kept_but_not_written():
    config = read('{"MacAddress":"02:42","Healthcheck":{"StartInterval":5}}', Dialect.ENGINE_29)
    assert config.mac_address == "02:42"
    assert b"MacAddress" not in config.to_json(Dialect.ENGINE_29)
    assert b"MacAddress" in config.to_json(Dialect.ENGINE_20_10)
    assert b'{"StartInterval":5}' in config.to_json(Dialect.ENGINE_29)
    assert b'"Healthcheck":{}' in config.to_json(Dialect.ENGINE_20_10)
    assert read('{"MacAddress":5}', Dialect.ENGINE_29).mac_address == ""
    with pytest.raises(InvalidImage):
        read('{"MacAddress":5}')


@pytest.mark.parametrize(
    "config",
    [
        "[]",
        "1",
        '{"Hostname":5}',
        '{"Tty":"true"}',
        '{"Tty":1}',
        '{"Env":{}}',
        '{"Env":"a"}',
        '{"Env":[1]}',
        '{"Cmd":[1]}',
        '{"Cmd":5}',
        '{"Volumes":[]}',
        '{"Volumes":{"a":1}}',
        '{"Labels":{"a":1}}',
        '{"Labels":[]}',
        '{"StopTimeout":1.0}',
        '{"StopTimeout":"1"}',
        '{"Healthcheck":[]}',
        '{"Healthcheck":{"Interval":1e9}}',
        '{"Healthcheck":{"Interval":9223372036854775808}}',
    ],
)
def test_values_of_another_kind_are_refused(config):
    with pytest.raises(InvalidImage):
        read(config)
