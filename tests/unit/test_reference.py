"""Names of images."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orlop.errors import InvalidReference
from orlop.model import reference
from orlop.model.dialect import Dialect
from orlop.model.digest import Digest
from orlop.model.reference import Reference, parse_any

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("name", "canonical", "familiar"),
    [
        ("alpine", "docker.io/library/alpine", "alpine"),
        ("user/app:1", "docker.io/user/app:1", "user/app:1"),
        ("index.docker.io/user/app", "docker.io/user/app", "user/app"),
        ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/x", "localhost/x", "localhost/x"),
        ("host:5000/Tag:V1".lower(), "host:5000/tag:v1", "host:5000/tag:v1"),
        ("HOST.example/x", "HOST.example/x", "HOST.example/x"),
        ("my_team.dev/app", "my_team.dev/app", "my_team.dev/app"),
        ("my__team.dev/a/b:2", "my__team.dev/a/b:2", "my__team.dev/a/b:2"),
        (f"app:1@{DIGEST}", f"docker.io/library/app:1@{DIGEST}", f"app:1@{DIGEST}"),
        (f"app@{DIGEST}", f"docker.io/library/app@{DIGEST}", f"app@{DIGEST}"),
        ("a" * 64 + ":x", "docker.io/library/" + "a" * 64 + ":x", "a" * 64 + ":x"),
    ],
)
def test_names_are_normalised_and_shortened_again(name, canonical, familiar):
    reference = Reference.parse(name)
    assert str(reference) == canonical
    assert reference.familiar == familiar


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "a:",
        "a:" + "t" * 129,
        "a\n",
        "a" * 64,
        "REG/x",
        "[::1]/x",
        "my_team.dev:5000/app",
        "My_team.dev/app",
        "my___team.dev/app",
        "_team.dev/app",
        "a@sha256:short",
        "a@sha256:" + "A" * 64,
        "a@sha1:" + "a" * 40,
        "n" * 238,
        "a:t\u00e9",
        "x/\u0131",
    ],
)
def test_what_is_no_name_is_refused(name):
    with pytest.raises(InvalidReference):
        Reference.parse(name)


def test_the_longest_name_and_tag_are_accepted():
    reference = Reference.parse("n" * 237 + ":" + "t" * 128)
    assert len(reference.name) == 255


@pytest.mark.parametrize("name", ["REG/x", "[fd00::1]:5000/x", "n" * 247])
def test_engine_29_accepts_more(name):
    assert str(Reference.parse(name, dialect=Dialect.ENGINE_29)).endswith(name)


def test_the_default_tag_is_added_to_bare_names_only():
    assert str(Reference.parse("a").with_default_tag()) == "docker.io/library/a:latest"
    for name in ("a:1", f"a@{DIGEST}"):
        reference = Reference.parse(name)
        assert not reference.is_name_only
        assert reference.with_default_tag() is reference


def test_a_tag_can_be_set_and_the_digest_stays():
    assert Reference.parse(f"a@{DIGEST}").with_tag("2").familiar == f"a:2@{DIGEST}"
    with pytest.raises(InvalidReference):
        Reference.parse("a").with_tag("-x")


def test_references_are_ordered_by_their_text():
    names = ["a:2", "b", "a", f"a@{DIGEST}", "a:1"]
    assert sorted(map(Reference.parse, names)) == sorted(map(Reference.parse, names), key=str)


@pytest.mark.parametrize("text", ["a" * 64, DIGEST])
def test_whole_ids_are_digests_and_all_else_is_a_name(text):
    assert parse_any(text) == Digest.parse(DIGEST)
    assert parse_any("alpine") == Reference.parse("alpine")
    with pytest.raises(InvalidReference):
        parse_any("sha256:" + "a" * 129)


@given(st.text("abZ09.-_:/[] @\n\u00e9", max_size=8), st.text("abZ09.-_:/ @\n\u00e9", max_size=10))
@example("localhost:5000", "a/b-c_d.e:V1")
def test_names_that_are_read_without_the_grammar_are_read_as_by_it(domain, remainder):
    parts = reference._simple_parts(domain, remainder)
    for grammar in (reference._CANONICAL, reference._CANONICAL_29):
        match = grammar.fullmatch(f"{domain}/{remainder}")
        assert parts is None or (match is not None and match.group("domain", "path", "tag", "digest") == parts)


@pytest.mark.parametrize("name", ["alpine", "user/app:1.0", "registry.example.com:5000/team/committed:2.0"])
def test_most_names_are_read_without_the_grammar(name):
    assert reference._simple_parts(*reference.split_domain(name, upper_case_is_domain=False)) is not None


def test_a_first_part_that_no_host_can_have_is_of_the_path():
    for dialect in Dialect:
        name = Reference.parse("my_team.dev/app:1", dialect=dialect)
        assert (name.domain, name.path, name.tag) == ("", "my_team.dev/app", "1")
        with pytest.raises(InvalidReference):
            Reference.parse(f"my_team.dev/{'a' * 244}", dialect=dialect)
