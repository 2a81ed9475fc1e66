"""The URL of a store: what is read from it, and that no secret in it is ever shown."""

from __future__ import annotations

import pytest

from orlop.errors import InvalidInput
from orlop.model.store_url import StoreURL, is_store_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "postgresql://ci@db.example:5433/images?blobs=s3://bucket/team/a",
            StoreURL("db.example", 5433, "ci", "images", "bucket", "team/a"),
        ),
        ("postgres://db/images?blobs=s3://bucket", StoreURL("db", None, "", "images", "bucket")),
        ("postgresql://db/images?blobs=s3://bucket/", StoreURL("db", None, "", "images", "bucket")),
        (
            "postgresql://u%40x@[::1]:1/i%2Fo?blobs=s3%3A%2F%2Fb%2Fp&config=/etc/or%20lop.toml",
            None,  # a database has no slash in its name here
        ),
        (
            "postgresql://u%40x@[::1]:1/i%20o?blobs=s3%3A%2F%2Fb%2Fp&config=/etc/or%20lop.toml",
            StoreURL("::1", 1, "u@x", "i o", "b", "p", "/etc/or lop.toml"),
        ),
        (
            "postgresql://%2Frun%2FPostgreSQL:5433/images?blobs=s3://bucket",
            StoreURL("/run/PostgreSQL", 5433, "", "images", "bucket"),
        ),
        ("postgresql://u@DB1,db2/i?blobs=s3://b", StoreURL("db1,db2", None, "u", "i", "b")),
        ("postgresql://a:5433,[::1],[::2]:1/i?blobs=s3://b", StoreURL("a:5433,[::1],[::2]:1", None, "", "i", "b")),
        ("postgresql://%2FRun%2Fa,%2Frun%2Fb:1/i?blobs=s3://b", StoreURL("/Run/a,/run/b:1", None, "", "i", "b")),
    ],
)
def test_a_url_is_read_and_written_again(text: str, expected: StoreURL | None) -> None:
    if expected is None:
        with pytest.raises(InvalidInput, match="names one database"):
            StoreURL.parse(text)
        return
    found = StoreURL.parse(text, {"PGPASSWORD": "secret"})
    assert found == expected
    assert StoreURL.parse(str(found)) == expected
    assert found.variables == {"PGPASSWORD": "secret"}
    assert "secret" not in f"{found!r} {found}"


def test_several_servers_have_ports_of_their_own() -> None:
    url = StoreURL.parse("postgresql://a:5433,[::1],[::2]:1/i?blobs=s3://b")
    assert url.servers() == [("a", 5433), ("::1", None), ("::2", 1)]
    assert StoreURL.parse("postgresql://[::1]:5/i?blobs=s3://b").servers() == [("::1", 5)]
    assert StoreURL.parse("postgresql://%2Fr%2Fa,b/i?blobs=s3://b").servers() == [("/r/a", None), ("b", None)]


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:hunter2@a,b/images?blobs=s3://b",
        "postgresql://u:hunter2@db/images?blobs=s3://b",
        "postgresql://u:hun/ter2@db/images?blobs=s3://b",
        "postgresql://u:hun#ter2@db/images?blobs=s3://b",
        "postgresql://:hunter2@db/images?blobs=s3://b",
        "postgresql://u:@db/images?blobs=s3://b",
        "postgresql://u@db/images?blobs=s3://b&password=hunter2",
    ],
)
def test_a_password_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        StoreURL.parse(text)
    assert str(caught.value) == (
        "the URL of a store must not hold a password; set PGPASSWORD, or write it to ~/.pgpass"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("postgresql://db/images", "needs blobs=s3://BUCKET"),
        ("postgresql://db/images?blobs=", "needs blobs=s3://BUCKET"),
        ("postgresql://db/images?blobs=gs://bucket", "needs blobs=s3://BUCKET"),
        ("postgresql://db/images?blobs=s3://", "needs blobs=s3://BUCKET"),
        ("postgresql://db/images?blobs=s3://key:secret@bucket", "needs blobs=s3://BUCKET"),
        ("postgresql://db/images?blobs=s3://bucket/a//b", "needs blobs=s3://BUCKET"),
        ("postgresql:///images?blobs=s3://b", "names the host of PostgreSQL"),
        ("postgresql://db?blobs=s3://b", "names one database"),
        ("postgresql://db/a/b?blobs=s3://b", "names one database"),
        ("postgresql://db/images?blobs=s3://b#x", "names one database"),
        ("postgresql://db:0/images?blobs=s3://b", "is a number from 1 to 65535"),
        ("postgresql://db:99999/images?blobs=s3://b", "is a number from 1 to 65535"),
        ("postgresql://a,,b/images?blobs=s3://b", "names the host of PostgreSQL"),
        ("postgresql://%2Frun%2Fa%2Cb:1/images?blobs=s3://b", "cannot have a comma"),
        ("postgresql://%2Frun%2Fa%3A1/images?blobs=s3://b", "or a colon"),
        ("postgresql://%2Frun%2Fa%3A1,b/images?blobs=s3://b", "or a colon"),
        ("postgresql://[::1/images?blobs=s3://b", "in brackets"),
        ("postgresql://[db]/images?blobs=s3://b", "in brackets"),
        ("postgresql://a,[db]/images?blobs=s3://b", "in brackets"),
        ("postgresql://a[::1]/images?blobs=s3://b", "in brackets"),
        ("postgresql://[::1]a:1/images?blobs=s3://b", "in brackets"),
        ("postgresql://a,b:0/images?blobs=s3://b", "is a number from 1 to 65535"),
        ("postgresql://a,b:x/images?blobs=s3://b", "is a number from 1 to 65535"),
        ("postgresql://db/images?blobs=s3://b&sslmode=require", "no parameter 'sslmode'"),
        ("postgresql://db/images?blobs=s3://b&blobs=s3://c", "given twice"),
        ("postgresql://db/images?blobs", "not readable"),
        ("mysql://db/images?blobs=s3://b", "not the URL of a store"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        StoreURL.parse(text)
    assert "secret" not in str(caught.value)


def test_a_directory_is_not_a_url() -> None:
    assert is_store_url("postgresql://db/images")
    # Nobody means a directory of such a name.
    assert all(map(is_store_url, ("http://db/images", "mysql://db", "s3://bucket", "file:///srv", "postgresql+x://a")))
    assert not is_store_url("/srv/images")
    assert not is_store_url("/srv/a://b")
    assert not is_store_url("./postgresql://db")
    assert not is_store_url(None)
