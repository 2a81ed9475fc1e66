"""Properties of values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.errors import InvalidImage, InvalidJSON, InvalidReference
from orlop.model import gojson
from orlop.model.dialect import Dialect
from orlop.model.digest import ChainID, DiffID, chain_id, chain_ids
from orlop.model.image import Image
from orlop.model.reference import Reference
from orlop.model.timestamp import Timestamp

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

FEW = settings(max_examples=60)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
plain: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
diff_ids = st.lists(st.binary(max_size=4).map(DiffID.of), max_size=6)
times = st.builds(
    "{}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}{}".format,
    st.integers(0, 9999).map("{:04}".format),
    st.integers(1, 12),
    st.integers(1, 28),
    st.integers(0, 23),
    st.integers(0, 59),
    st.integers(0, 59),
    st.integers(0, 999_999_999),
    st.sampled_from(["Z", "+01:00", "-08:30", "+24:00"]),
)
config = st.fixed_dictionaries(
    {},
    optional={
        "User": texts,
        "Tty": st.booleans(),
        "Env": st.none() | st.lists(texts, max_size=3),
        "Cmd": st.none() | texts | st.lists(texts, max_size=3),
        "Labels": st.none() | st.dictionaries(texts, texts, max_size=3),
        "Volumes": st.none() | st.dictionaries(texts, st.just({}), max_size=3),
        "StopTimeout": st.none() | st.integers(-(2**63), 2**63 - 1),
        "Healthcheck": st.none() | st.fixed_dictionaries({"Test": st.none() | st.lists(texts, max_size=2)}),
    },
)
images = st.fixed_dictionaries(
    {"rootfs": st.fixed_dictionaries({"type": texts, "diff_ids": st.none() | st.lists(texts, max_size=3)})},
    optional={
        "author": texts,
        "created": times,
        "config": st.none() | config,
        "container_config": config,
        "Size": st.integers(-(2**63), 2**63 - 1),
        "history": st.none() | st.lists(st.fixed_dictionaries({"created": times, "comment": texts}), max_size=3),
        "os.features": st.none() | st.lists(texts, max_size=2),
    },
)
components = st.from_regex(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+){0,2}", fullmatch=True).filter(
    lambda text: len(text) < 40
)
names = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "localhost/", "host:5000/", "a.b/", "docker.io/"]),
    st.lists(components, min_size=1, max_size=3).map("/".join),
    st.sampled_from(["", ":latest", ":V1._-", ":" + "t" * 128]),
    st.sampled_from(["", "@sha256:" + "0a" * 32]),
)


@FEW
@given(images, st.sampled_from(Dialect))
def test_written_bytes_are_a_fixed_point(document, dialect):
    """What was read, written and read again is written the same."""
    if dialect is Dialect.ENGINE_29:
        for name in ("config", "container_config"):
            if isinstance((document.get(name) or {}).get("Cmd"), str):
                del document[name]["Cmd"]
    written = Image.from_json(json.dumps(document).encode(), dialect=dialect).to_json(dialect)
    assert Image.from_json(written, dialect=dialect).to_json(dialect) == written


@FEW
@given(images, st.binary(max_size=3), st.integers(0, 400))
def test_damaged_configs_are_read_or_refused_by_name(document, noise, position):
    raw = json.dumps(document).encode()
    damaged = raw[:position] + noise + raw[position + 1 :]
    try:
        image = Image.from_json(damaged)
    except InvalidImage:
        return
    assert image.raw_json == damaged
    assert Image.from_json(image.to_json()).rootfs == image.rootfs


@FEW
@given(plain, st.booleans())
def test_plain_values_survive_writing_and_reading(value, escape_html):
    raw = gojson.dumps(value, escape_html=escape_html)
    assert gojson.loads(raw) == value
    assert json.loads(raw) == value
    assert gojson.compact(json.dumps(value, ensure_ascii=False, indent=1).encode()) == gojson.compact(
        json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    )


@FEW
@given(st.text(alphabet='{}[]",:\\ 01-.eEtrufalsn\n\x00\u00e9', max_size=12))
def test_all_that_is_accepted_python_accepts_too(text):
    """Go's grammar is the strict one of RFC 8259."""
    try:
        value = gojson.loads(text.encode())
    except InvalidJSON:
        return
    assert json.loads(text) == value


@pytest.mark.sampled(2)
@FEW
@given(names)
def test_references_are_read_back_from_their_canonical_text(name):
    try:
        reference = Reference.parse(name)
    except InvalidReference:
        first, slash, _ = name.partition("/")
        # A first part with a dot is a host, and a host has no underscore.
        no_host = bool(slash) and "." in first and "_" in first
        assert no_host or len(name) > 200 or all(part in "0123456789abcdef" for part in name)
        return
    assert Reference.parse(str(reference)) == reference
    assert str(reference).startswith(f"{reference.domain}/{reference.path}")
    assert reference.familiar.endswith(str(reference)[len(reference.name) :])


@FEW
@given(diff_ids)
def test_a_chain_id_hashes_the_chain_below_and_the_last_diff_id(layers):
    """ "ChainID(L0|...|Ln) = Digest(ChainID(L0|...|Ln-1) + " " + DiffID(Ln))" (OCI image spec, "Layer ChainID")."""
    links = chain_ids(layers)
    assert len(links) == len(layers)
    for height, (link, diff_id) in enumerate(zip(links, layers, strict=True)):
        below = chain_id(layers[:height])
        assert link == (ChainID.wrap(diff_id) if below is None else ChainID.of(f"{below} {diff_id}".encode()))


@FEW
@given(times)
def test_times_keep_nine_digits_and_their_offset(text):
    time = Timestamp.parse(text)
    fraction = text[19:29].rstrip("0").rstrip(".")
    assert str(time) == text[:19] + fraction + text[29:]
    assert Timestamp.parse(str(time)) == time
    assert time.unix_ns == time.unix * 10**9 + int(text[20:29])
