"""The file of access: what it may say, and which line of it is wrong."""

from __future__ import annotations

import ipaddress
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orlop.api.registry.guard.configuration import read_settings
from orlop.api.registry.guard.rights import ANONYMOUS, RepositoryPattern
from orlop.api.registry.routes import Need
from orlop.errors import FileNotThere, InvalidFilter, InvalidInput, PermissionDenied
from orlop.service.sync.plan import SyncPlan
from tests.unit.guarded import RULES, TOKENS, write_access

HOOK = """
[[webhook]]
url = "https://ci.test/hook"
secret = "hook.secret"
queue = "hooks"
"""


def test_the_file_says_who_may_do_what(tmp_path):
    settings = read_settings(str(write_access(tmp_path, RULES)))
    assert sorted(settings.passwords or ()) == ["anna", "ben"]
    rights = settings.rights
    assert rights.allows("anna", "delete", "team/app")
    assert not rights.allows("ben", "pull", "team/app")
    assert rights.allowed("ben", "registry", "catalog", ["*", "pull"]) == {"*"}
    assert rights.allowed("anna", "repository", "team/app", ["*"]) == {"pull", "push", "delete"}
    assert rights.allows(ANONYMOUS, "pull", "public/app")
    assert not settings.is_open
    assert "$2b$" not in repr(settings)


def test_everything_else_that_the_file_may_say(tmp_path):
    (tmp_path / "hook.secret").write_text("s" * 40)
    (tmp_path / "hook.secret").chmod(0o600)
    top = 'read-only = true\naudit = "log/audit"\ntrusted-proxies = ["127.0.0.1", "10.0.0.0/8"]\n'
    limits = '[limits]\nrate = 50\nburst = 7\nupload = "20GB"\nmanifest = "1MiB"\n'
    settings = read_settings(str(write_access(tmp_path, top + RULES + TOKENS + limits + HOOK)))
    assert settings.read_only
    assert settings.audit == str(tmp_path / "log/audit")
    assert settings.proxies == (ipaddress.ip_network("127.0.0.1"), ipaddress.ip_network("10.0.0.0/8"))
    assert (settings.limits.rate, settings.limits.burst) == (50, 7)
    assert (settings.limits.upload, settings.limits.manifest) == (20_000_000_000, 1 << 20)
    assert settings.tokens is not None
    assert settings.tokens.issuer is not None
    assert settings.tokens.issuer.lifetime == 300
    (hook,) = settings.webhooks
    assert (hook.name, hook.secret, hook.queue) == ("ci.test", b"s" * 40, str(tmp_path / "hooks"))
    assert hook.actions == {"push", "delete"}
    assert "ssss" not in repr(settings)
    assert (tmp_path / "token.key").read_text().strip() not in repr(settings)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("x = \n", "x", "TOML"),
        ("[[allow]]\nx\n", "x", "TOML"),
        ("a" * 10 + " = 1", "aaa", "there is no 'aaaaaaaaaa'"),
        ('htpasswd = "users"', "htpasswd", "nobody may do anything"),
        ("htpasswd = 5", "htpasswd", "htpasswd must be a text"),
        ('\n\nread-only = "yes"', "read-only", "read-only must be true or false"),
        ('[[allow]]\nusers = ["a"]\nrepositories = ["**"]\nactions = ["pull"]', "[[allow]]", "need their passwords"),
        (RULES.replace('"catalog"', '"everything"'), 'actions = ["everything"', "actions must be some of"),
        (RULES.replace('groups = ["team"]', 'groups = ["crew"]'), 'groups = ["crew"', "no group 'crew'"),
        (RULES.replace("anonymous = true", "anonymus = true"), "[[allow]]", "name users or groups"),
        (RULES.replace("anonymous = true", 'users = ["*"]\nextra = 1'), "extra", "[allow] has no 'extra'"),
        (RULES.replace('"public/**"', '"public/**x"'), "repositories", "** and {user} must be whole parts"),
        (RULES.replace('"public/**"', '"public//x"'), "repositories", "a part of it is empty"),
        (RULES.replace('"public/**"', '"public/[a"'), "repositories", "not a valid pattern"),
        (RULES.replace('repositories = ["public/**"]', ""), "[[allow]]", "need patterns of repositories"),
        (RULES.replace('["public/**"]', '"public/**"'), "repositories", "repositories must be a list"),
        (RULES.replace('["public/**"]', "[1]"), "repositories", "a list of texts"),
        ("[groups]\nteam = 5\n", "team", "team must be a list"),
        ("allow = 5", "allow", "allow must be a list"),
        ("allow = [5]", "allow", "[[allow]]"),
        (f"{RULES}[limits]\nrate = 0", "rate", "at least 1"),
        (f"{RULES}[limits]\nrate = true", "rate", "rate must be a whole number"),
        (f"{RULES}[limits]\nburst = 0", "burst", "at least 1"),
        (f'{RULES}[limits]\n\nupload = "huge"', "upload", "not a size"),
        (f'{RULES}[limits]\nuploads = "1g"', "uploads", "[limits] has no 'uploads'"),
        (f'trusted-proxies = ["proxy"]\n{RULES}', "trusted-proxies", "addresses or networks"),
        (RULES + TOKENS.replace("realm", "realms"), "[tokens]", "realm is missing"),
        (RULES + TOKENS.replace("http://registry.test", "registry.test"), "realm", "must be a URL"),
        (RULES + TOKENS.replace("registry.test", "[registry"), "realm", "must be a URL"),
        (RULES + TOKENS.replace("registry.test", "[registry]"), "realm", "must be a URL"),
        (RULES + TOKENS.replace("http://", "http://me:pw@"), "realm", "neither a user"),
        (
            RULES + TOKENS.replace("test/token", "test/v2/token"),
            "realm",
            "outside /v2/",
        ),
        (RULES + TOKENS.replace("test/token", "test"), "realm", "outside /v2/"),
        (RULES + TOKENS.replace("key =", "keyy ="), "[tokens]", "give either key"),
        (RULES + TOKENS + 'lifetime = "5"', "lifetime", "not a duration"),
        (RULES + TOKENS + 'lifetime = "5s"', "lifetime", "at least"),
        (RULES + TOKENS + 'service-name = "x"', "service-name", "[tokens] has no 'service-name'"),
        (RULES + HOOK.replace('queue = "hooks"', ""), "[[webhook]]", "queue is missing"),
        (RULES + HOOK.replace("https", "ftp"), "url", "must be a URL"),
        (RULES + HOOK.replace('secret = "hook.secret"', 'actions = ["catalog"]'), "actions", "actions must be some of"),
        (RULES + HOOK.replace('secret = "hook.secret"', "limit = 0"), "limit", "at least 1"),
        (TOKENS, "key", "need passwords"),
        (RULES + TOKENS.replace("key = ", "authorities = "), "[tokens]", "issuer is missing"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, text, line, words):
    path = write_access(tmp_path, text)
    with pytest.raises(InvalidInput) as caught:
        read_settings(str(path))
    message = str(caught.value)
    assert message.startswith(str(path))
    number = int(re.findall(r"line (\d+)", message)[0])
    assert text.splitlines()[number - 1].startswith(line)
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("anna", "with a colon between"),
        (":x", "with a colon between"),
        ("anna:secret", "htpasswd -B"),
        ("anna:$apr1$abcdefgh$0123456789012345678901", "htpasswd -B"),
        ("anna:{SHA}0000000000000000000000000000", "htpasswd -B"),
        ("anna:$2y$31$" + "a" * 53, "cost of 4 to 17"),
        ("anna:$2y$04$" + "a" * 52, "htpasswd -B"),
        ("ben:$2y$04$" + "a" * 53, "twice"),
    ],
)
def test_a_line_of_passwords_that_is_wrong_is_named(tmp_path, line, words):
    path = write_access(tmp_path, RULES)
    users = tmp_path / "users"
    users.write_text(f"# ours\n\nben:$2y$05${'a' * 53}\n{line}\n")
    with pytest.raises(InvalidInput, match="line 4") as caught:
        read_settings(str(path))
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000], ids=["digits", "brackets"])
def test_values_that_the_parser_cannot_hold_are_told(tmp_path, value):
    (tmp_path / "access.toml").write_text(f"x = {value}\n")
    with pytest.raises(InvalidInput, match="TOML"):
        read_settings(str(tmp_path / "access.toml"))
    with pytest.raises(InvalidInput):
        SyncPlan.parse(f"x = {value}\n")


def test_files_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(FileNotThere):
        read_settings(str(tmp_path / "missing.toml"))
    path = write_access(tmp_path, RULES + TOKENS)
    (tmp_path / "token.key").write_text("k" * 40)
    (tmp_path / "token.key").chmod(0o640)
    with pytest.raises(PermissionDenied, match="chmod 600"):
        read_settings(str(path))
    (tmp_path / "token.key").chmod(0o600)
    (tmp_path / "token.key").write_text("short\n")
    with pytest.raises(InvalidInput, match="shorter than 32"):
        read_settings(str(path))
    path.write_bytes(b"\xff")
    with pytest.raises(InvalidInput, match="UTF-8"):
        read_settings(str(path))


@pytest.mark.parametrize("file", ["access.toml", "users", "token.key"])
def test_a_file_that_is_half_written_allows_nobody_more(tmp_path, file):
    path = write_access(tmp_path, f"read-only = true\n{RULES}{TOKENS}")
    whole = read_settings(str(path))
    needs = [
        Need(kind, name, (action,))
        for kind, name, actions in (
            ("registry", "catalog", ["*"]),
            *(
                ("repository", one, ["pull", "push", "delete"])
                for one in ("team/a", "shared/a", "home/ben/a", "public/a", "x")
            ),
        )
        for action in actions
    ]
    target, taken = tmp_path / file, 0
    content = target.read_bytes()
    for cut in range(len(content)):
        target.write_bytes(content[:cut])
        try:
            half = read_settings(str(path))
        except InvalidInput:
            continue
        taken += 1
        assert not half.is_open
        assert half.read_only
        assert set(half.passwords or ()) <= set(whole.passwords or ())
        for user in ("anna", "ben", ANONYMOUS):
            assert all(whole.rights.meets(user, need) for need in needs if half.rights.meets(user, need))
    # Some parts are files of their own, and others are none.
    assert 0 < taken < len(content)


def test_servers_that_begin_at_once_make_one_key_of_tokens(tmp_path):
    path = str(write_access(tmp_path, RULES + TOKENS))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read_settings, [path] * 32))
    tokens = [one.tokens for one in found if one.tokens is not None and one.tokens.issuer is not None]
    signed = {one.issuer.key.sign({"a": 1}) for one in tokens if one.issuer is not None}
    assert (len(tokens), len(signed)) == (32, 1)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["access.toml", "token.key", "users"]


def test_with_the_keys_of_another_issuer_there_are_no_rules_here(tmp_path):
    other = '[tokens]\nrealm = "https://a.test/t"\nservice = "s"\nissuer = "i"\nkeys = "keys"\n'
    (tmp_path / "keys").write_text('{"keys": []}')
    with pytest.raises(InvalidInput, match="has no key that can be used"):
        read_settings(str(write_access(tmp_path, other)))
    key = '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'
    (tmp_path / "keys").write_text(f'{{"keys": [{key}]}}')
    tokens = read_settings(str(write_access(tmp_path, other))).tokens
    assert tokens is not None
    assert tokens.issuer is None
    for more in (RULES, 'htpasswd = "users"\n'):
        with pytest.raises(InvalidInput, match="that issuer decides"):
            read_settings(str(write_access(tmp_path, more + other)))
    for wrong in ("{", "[]", "{}", '{"keys": [{"kty":"RSA"}]}', '{"keys": [{"kty":"RSA","n":"AQAB","e":"AQAB"}]}'):
        (tmp_path / "keys").write_text(wrong)
        with pytest.raises(InvalidInput, match="keys"):
            read_settings(str(write_access(tmp_path, other)))


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("**", ["a", "a/b", "a/b/c"], []),
        ("a/**", ["a", "a/b", "a/b/c"], ["b", "ab", "b/a"]),
        ("**/a", ["a", "b/a", "c/b/a"], ["a/b", "ba"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["a", "z", "a/b"]),
        ("a/*", ["a/b"], ["a", "a/b/c", "b/a"]),
        ("*", ["a", "b.c"], ["a/b"]),
        ("a*/b?", ["a/bc", "ab/bc"], ["a/b", "b/bc", "a/b/c"]),
        ("[ab]/c", ["a/c", "b/c"], ["c/c"]),
        ("{user}/**", ["anna", "anna/x"], ["ben/x", "user/x", "annax"]),
        ("**/**/**", ["a", "a/b"], []),
    ],
)
def test_patterns_match_part_by_part(pattern, yes, no):
    found = RepositoryPattern.parse(pattern)
    assert [one for one in yes + no if found.matches(one, "anna")] == yes


def test_nobody_has_the_repositories_of_a_user_without_a_name():
    pattern = RepositoryPattern.parse("{user}/**")
    assert not any(pattern.matches(name, user) for name in ("", "*", "x", "/x") for user in ("", "*"))


def test_the_work_of_a_match_grows_with_its_length():
    steps = []
    original = RepositoryPattern._after

    def after(self, at, part, user):
        steps.append(at)
        return original(self, at, part, user)

    def work(size):
        steps.clear()
        pattern = RepositoryPattern.parse("/".join(["**", "a"] * 8 + ["b"]))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RepositoryPattern, "_after", after)
            assert not pattern.matches("/".join(["a"] * size), "anna")
        return len(steps)

    assert work(120) < 2.5 * work(60)


def test_a_pattern_that_is_not_valid_is_refused():
    for text in ("", "/", "a/", "a/**b", "{name}", "a{user}"):
        with pytest.raises(InvalidFilter):
            RepositoryPattern.parse(text)


def test_the_examples_of_the_guide_are_valid(tmp_path):
    guide = (Path(__file__).parents[2] / "docs" / "howto" / "registry-access.md").read_text()
    rules, own, other, limits, hook = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "hook.secret").write_text("s" * 40)
    (tmp_path / "hook.secret").chmod(0o600)
    first, _, rest = limits.partition("[limits]")
    settings = read_settings(str(write_access(tmp_path, f"{first}{rules}{own}[limits]{rest}{hook}")))
    assert settings.rights.allows("ben", "push", "team/app")
    assert not settings.rights.allows("ben", "delete", "team/app")
    assert settings.rights.allows(ANONYMOUS, "pull", "public/app")
    key = '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'
    (tmp_path / "keys.json").write_text(f'{{"keys": [{key}]}}')
    assert read_settings(str(write_access(tmp_path, other))).tokens is not None
