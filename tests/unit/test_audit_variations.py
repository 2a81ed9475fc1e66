"""Rules of audits fire on other ways to write the same thing, and not on what only looks like it."""

from __future__ import annotations

import json
import tarfile
import time
from typing import TYPE_CHECKING, Final

import pytest

import orlop
from orlop.inside.baseline import compared
from orlop.inside.credentials import keeper_of
from orlop.inside.declared import step_findings, writable_paths
from orlop.inside.strays import sensitive_at
from tests.growing import growth, spent
from tests.unit.images_made import image, layer
from tests.unit.secrets_made import word
from tests.unit.test_audit_rules import MIB, elf, found_in, member, told

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.inside.finding import AuditFinding

LARGE: Final = b"\1" * MIB
HALF: Final = b"\1" * (MIB // 2)
TOKEN: Final = f"glpat-{word(24)}"


# Configs.


@pytest.mark.parametrize("user", ["00", "000:5", "0:0", "root:x"])
def test_root_is_root_however_it_is_written(user: str, tmp_path: Path) -> None:
    assert told(found_in(tmp_path, config={"User": user}), "root-user")


@pytest.mark.parametrize("user", ["1000", "app", "10:0", "0x"])
def test_others_are_not_root(user: str, tmp_path: Path) -> None:
    assert not told(found_in(tmp_path, config={"User": user}), "root-user")


@pytest.mark.parametrize(
    ("check", "is_one"),
    [({"Test": ["CMD", "true"]}, True), ({"Test": ["NONE"]}, False), ({"Test": []}, False), ({"Interval": 5}, False)],
)
def test_a_health_check_that_is_switched_off_is_none(check: dict[str, object], *, is_one: bool, tmp_path: Path) -> None:
    assert bool(told(found_in(tmp_path, config={"Healthcheck": check}), "no-health-check")) is not is_one


@pytest.mark.parametrize(
    "config",
    [
        {"Cmd": ["app", "--token", TOKEN]},
        {"Entrypoint": ["app", TOKEN]},
        {"Labels": {TOKEN: "x"}},
        {"OnBuild": [f"RUN login {TOKEN}"]},
        {"Healthcheck": {"Test": ["CMD", "curl", TOKEN]}},
    ],
    ids=lambda config: next(iter(config)),
)
def test_a_secret_is_found_wherever_a_config_has_it(config: dict[str, object], tmp_path: Path) -> None:
    found = found_in(tmp_path, config=config)
    assert [one.layer for one in found if one.rule == "gitlab-token"] == [0]
    assert TOKEN not in str(found)


@pytest.mark.parametrize(
    "name",
    [
        *("API_KEY", "AWS_SECRET_ACCESS_KEY", "DB_PASS", "spring.datasource.password", "S3_ACCESS_KEY", "my-token"),
        *("PGPASSWORD", "dbPassword", "SSHPASS", "apiKey", "authToken"),
    ],
)
def test_variables_that_are_named_like_secrets_are_told(name: str, tmp_path: Path) -> None:
    found = found_in(tmp_path, config={"Env": [f"{name}=hunter2hunter2"]})
    assert name in told(found, "secret-variable")[0]
    assert "unter2" not in str(found)


@pytest.mark.parametrize(
    "value",
    [
        *("postgres://me:hunter2@db/app", "redis://:hunter2@cache:6379", "mongodb+srv://me:hunter2@a.example/b?c=d"),
        *("http://me:hunter2@proxy:3128", "https://me:hunter2@index.example/simple"),
        *("AccountName=a;AccountKey=hunter2hunter2==;EndpointSuffix=b", "Server=a;User Id=b;password = hunter2;"),
    ],
)
def test_variables_that_say_how_to_connect_are_told_where_they_have_a_password(value: str, tmp_path: Path) -> None:
    for variables in ({"config": {"Env": [f"PLACE={value}"]}}, {"steps": [f"ENV PLACE={value}"]}):
        if " " in value and "steps" in variables:
            continue  # the values of steps are words
        found = found_in(tmp_path, **variables)
        assert "PLACE" in told(found, "secret-variable")[0]
        assert "unter2" not in str(found)


@pytest.mark.parametrize(
    "variable",
    [
        *("GPG_KEY=0123456789ABCDEF", "AWS_ACCESS_KEY_ID=0123456789ABCDEF", "TOKEN_URL=https://login.example/token"),
        *("SSH_PUBLIC_KEY=0123456789", "KEYCLOAK_VERSION=26.0.0-final", "BYPASS=0123456789", "COMPASS=0123456789"),
        *("PLACE=postgres://db:5432/app", "PLACE=https://me@index.example/x", "PLACE=http://a:8080/b@c"),
        *("PLACE=postgres://me:${PASSWORD}@db/app", "PLACE=postgres://user:password@localhost/app"),
        *("PLACE=Server=a;Password=<password>;", "TOKENIZERS_PARALLELISM=falsefalse", "PLACE=password in a text;"),
    ],
)
def test_variables_that_only_look_so_are_not_told(variable: str, tmp_path: Path) -> None:
    assert not told(found_in(tmp_path, config={"Env": [variable]}), "secret-variable")


def test_arguments_of_the_build_that_are_named_like_secrets_are_told_once(tmp_path: Path) -> None:
    steps = [
        "|2 NPM_TOKEN=hunter2hunter2 A=b /bin/sh -c npm ci",
        "RUN |1 NPM_TOKEN=hunter2hunter2 /bin/sh -c npm test # buildkit",
        "/bin/sh -c #(nop)  ENV DB_PASSWORD=hunter2hunter2",
        'ENV MYSQL_PASSWORD="hunter2hunter2"',
        "ARG TOKEN",
        "RUN |1 A=b /bin/sh -c export PASSWORD=$(cat x) OTHER_TOKEN=abcdefghijk",
    ]
    layers = [layer((str(number), b"x")) for number in range(len(steps))]
    found = found_in(tmp_path, *layers, steps=steps, config={"Env": ["MYSQL_PASSWORD=hunter2hunter2"]})
    texts = [(one.layer, one.text.split(" variable ")[1].split()[0]) for one in found if one.rule == "secret-variable"]
    assert sorted(texts) == [(0, "MYSQL_PASSWORD"), (1, "NPM_TOKEN,"), (3, "DB_PASSWORD,")]
    assert "unter2" not in str(found)


@pytest.mark.parametrize(
    "entrypoint",
    [
        *(["/bin/bash", "-lc", "app"], ["sh", "-ec", "a; app"], ["/bin/bash", "-o", "pipefail", "-c", "app"]),
        *(["/usr/bin/env", "bash", "-c", "app"], ["busybox", "sh", "-c", "app"], ["sh", "-eo", "pipefail", "-c", "a"]),
    ],
)
def test_a_shell_is_one_however_it_is_called(entrypoint: list[str], tmp_path: Path) -> None:
    assert told(found_in(tmp_path, config={"Entrypoint": entrypoint}), "shell-entrypoint")


@pytest.mark.parametrize(
    "entrypoint",
    [
        *(["/bin/sh", "-c", "exec app"], ["sh", "-c", 'set -e; exec "$0" "$@"', "app"], ["bash", "--rcfile", "c"]),
        *(["sh", "run.sh", "-c"], ["env", "A=b", "app", "-c", "x"], ["sh"], ["env"]),
    ],
)
def test_a_shell_that_makes_room_is_not_told(entrypoint: list[str], tmp_path: Path) -> None:
    assert not told(found_in(tmp_path, config={"Entrypoint": entrypoint}), "shell-entrypoint")


@pytest.mark.parametrize("volume", ["/run/containerd/containerd.sock", "/run/podman/podman.sock", "/usr/lib64"])
def test_sockets_of_all_engines_belong_to_the_system(volume: str, tmp_path: Path) -> None:
    assert told(found_in(tmp_path, config={"Volumes": {volume: {}, "/srv/mydocker.sock": {}}}), "system-volume") == [
        f"a volume takes the place of {volume}, which belongs to the system"
    ]


def test_labels_that_the_specification_does_not_have_are_told(tmp_path: Path) -> None:
    names = ("org.opencontainers.image.licence", "org.opencontainers.image.Created")
    known = ("org.opencontainers.image.ref.name", "org.opencontainers.image.stopSignal", "org.label-schema.name")
    found = found_in(tmp_path, config={"Labels": dict.fromkeys((*names, *known, "Maintainer"), "x")})
    assert sorted(text.split()[2] for text in told(found, "label-format")) == sorted(names)


@pytest.mark.parametrize("value", ["2026-13-01T00:00:00Z", "2026-01-32T00:00:00Z", "2026-01-01T25:00:00Z"])
def test_a_time_that_cannot_be_is_no_time(value: str, tmp_path: Path) -> None:
    assert told(found_in(tmp_path, config={"Labels": {"org.opencontainers.image.created": value}}), "label-format")


def test_one_step_for_later_builds_is_one(tmp_path: Path) -> None:
    assert told(found_in(tmp_path, config={"OnBuild": ["RUN a"]}), "on-build") == [
        "images that are built on it run one more step (ONBUILD)"
    ]


STEPS: Final = {
    "step-adds-url": (
        ["ADD a.txt https://a.example/x / # buildkit", "ADD https://a.example/x.git#main /x"],
        [
            "ADD https://a.example/x.git#0123456789abcdef0123456789abcdef01234567 /x # buildkit",
            "ADD https://a.example/x.git?checksum=0123456 /x",
            "ADD a b # see https://a.example",
        ],
    ),
    "step-sudo": (
        [
            "RUN sudo make install",
            "RUN --mount=type=cache,target=/x sudo make",
            "RUN /bin/bash -ec sudo make",
            "RUN /bin/bash -o pipefail -c 'sudo make'",
            "RUN /bin/sh -c if a; then sudo make; fi",
        ],
        ["RUN echo sudo make", "RUN /bin/sh -c cp -rsudo x y"],
    ),
    "step-upgrades": (
        [
            "RUN apt-get -o Dpkg::Options::=--force-confold dist-upgrade",
            "RUN /bin/sh -c aptitude -y full-upgrade",
            "RUN zypper -n dup",
            "RUN dnf -y distro-sync",
        ],
        ["RUN apt-get -o x install dist-upgrade-tools", "RUN zypper -n up", "RUN dnf -y upgrade"],
    ),
    "step-updates-alone": (
        ["RUN apt-get -o Acquire::Retries=3 update", "RUN apt-get -qq -o A=b -o C=d update && true"],
        ["RUN apt-get -o A=b update && apt-get install x", "RUN apk update && apk --no-cache -t x add y"],
    ),
}


@pytest.mark.parametrize("rule", STEPS)
def test_steps_are_told_in_other_words(rule: str, tmp_path: Path) -> None:
    right, near = STEPS[rule]
    layers = [layer((str(number), b"x")) for number in range(len(right) + len(near))]
    found = found_in(tmp_path, *layers, steps=[*near, *right])
    assert [one.layer for one in found if one.rule == rule] == [*range(len(near) + 1, len(layers) + 1)]


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "text",
    [
        *("apt -o x " * 100_000, "#(nop) ADD a " * 70_000, "ADD " + "a " * 400_000, "-c \t" * 200_000),
        *("ADD https://" + "#" * 800_000, "RUN " + "--a " * 200_000, "-c" + " " * 800_000, "|9 " + "A=b " * 200_000),
    ],
)
def test_the_time_for_a_step_grows_with_its_length(text: str, tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_bytes(image(layer("a"), steps=[text]))
    with orlop.ArchiveService(tmp_path / "image.tar") as archive, archive.files(None) as files:
        started = time.process_time()
        assert not [*step_findings(files)] or "https" in text
        assert time.process_time() - started < 10


def test_a_directory_behind_a_link_counts_and_deep_ones_take_no_time(tmp_path: Path) -> None:
    made = layer(
        member("opt", kind=tarfile.DIRTYPE, mode=0o755),
        member("opt/open", kind=tarfile.DIRTYPE, mode=0o777),
        member("opt/open/bin", kind=tarfile.DIRTYPE, mode=0o755),
        "safe/",
        "one->opt/open/bin",
        "opt/open/two->/safe",
        "three->opt/open/two",
        "up->/opt/open/../../safe",
        member("deep/" + "d/" * 900, kind=tarfile.DIRTYPE, mode=0o755),
    )
    for place, expected in {"/one": ["/opt/open"], "/three": ["/opt/open"], "/up": [], "/safe/": []}.items():
        found = found_in(tmp_path, made, config={"Env": [f"PATH={place}"]}, contents=False)
        assert told(found, "writable-path") == expected, place
    places = ":".join("/deep/" + "d/" * (900 - number) for number in range(100))
    (tmp_path / "image.tar").write_bytes(image(made, config={"Env": [f"PATH={places}"]}))
    with orlop.ArchiveService(tmp_path / "image.tar") as archive, archive.files(None) as files:
        files.node("/")
        started = time.process_time()
        assert [*writable_paths(files)] == []
        assert time.process_time() - started < 5


def test_the_root_is_named_as_one(tmp_path: Path) -> None:
    found = found_in(tmp_path, layer(member(".", kind=tarfile.DIRTYPE, mode=0o777)), config={"Env": ["PATH=/"]})
    assert [(one.path, one.text) for one in found if one.rule == "writable-path"] == [
        ("/", "anyone may put programs into /, which PATH names")
    ]


# Names.


def test_other_names_of_strays_are_told(tmp_path: Path) -> None:
    strays = (
        *(
            "app/.swp",
            "app/Dockerfile.prod",
            "app/web.dockerfile",
            "app/docker-compose.override.yml",
            "app/compose.a.yml",
        ),
        *("etc/x.apk-new", "etc/x.pacnew", "app/._main.py", "app/.gitlab-ci.yml", "app/Jenkinsfile"),
    )
    sensitive = (
        *("app/prod.env", "app/.env.local", "home/a/.local/share/fish/fish_history", "root/.viminfo", "app/k.ppk"),
        *("root/.history", "root/.irb-history"),
    )
    neither = (
        *("app/.env.production.example", "app/example.env", "app/Dockerfile.j2", "app/composer.json", "app/x._y"),
        *("app/compose.py", "usr/share/x/prod.env", "app/.environment", "app/composed.yml"),
    )
    found = found_in(tmp_path, layer(*((name, b"x") for name in (*strays, *sensitive, *neither))), contents=False)
    assert sorted(told(found, "stray-file")) == sorted(f"/{name}" for name in strays)
    assert sorted(told(found, "sensitive-file")) == sorted(f"/{name}" for name in sensitive)


def test_sensitive_files_are_told_in_all_layers(tmp_path: Path) -> None:
    made = (layer(("app/.env", b"PW=old"), ("b/.env", b"x"), ("usr/lib/x/.env", b"x")), layer("app/.wh..env"))
    found = [one for one in found_in(tmp_path, *made, contents=False) if one.rule == "sensitive-file"]
    assert [(one.path, one.layer, one.seen, one.size) for one in found] == [
        ("/app/.env", 1, False, 6),
        ("/b/.env", 1, True, 1),
    ]
    assert "no container sees" in found[0].text
    assert told(found_in(tmp_path, *made, contents=False, visible_only=True), "sensitive-file") == ["/b/.env"]
    flood = (layer(*((f"{number}/.env", b"x") for number in range(1200))), layer(".wh..wh..opq"))
    assert len(told(found_in(tmp_path, *flood, contents=False), "sensitive-file")) == 1001
    assert not sensitive_at("/app/compose.yml")


def test_the_time_for_a_name_grows_with_its_length(tmp_path: Path) -> None:
    names = ["compose" + ".a-" * 1300, "Dockerfile." + "a" * 4000, ".env" + ".a" * 2000, ".swp" * 1000]
    names += [f"core{'core.' * 800}x", "." * 4000 + "dockerignor", "compose" + "-" * 4000]
    started = time.process_time()
    found_in(tmp_path, layer(*((name, b"x") for name in names)))
    assert time.process_time() - started < 5


def test_empty_keys_of_a_host_are_none_and_second_files_of_keys_are_some(tmp_path: Path) -> None:
    found = found_in(
        tmp_path, layer("etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_x_key/", ("root/.ssh/authorized_keys2", b"x"))
    )
    assert not told(found, "ssh-host-key")
    assert told(found, "authorized-keys") == ["/root/.ssh/authorized_keys2"]


def test_dumps_are_told_whatever_a_kernel_calls_them(tmp_path: Path) -> None:
    dumps = ["core.app.123", "core-app-7", "core_20260101_120000", "coredump.12", "app.core.5", "vmcore", "core.1.host"]
    made = layer(*((f"x/{name}", elf(4)) for name in dumps), ("heap.heapsnapshot", b'{"snapshot":{"meta"'))
    near = layer(("y/core.js", b"var"), ("y/score", elf(4)), ("y/core-utils", elf(2)), ("y/a.heapsnapshot", b"{}"))
    found = found_in(tmp_path, made, near)
    assert sorted(told(found, "core-dump")) == sorted([*(f"/x/{name}" for name in dumps), "/heap.heapsnapshot"])


# Directories.


def test_wheels_that_a_package_came_with_are_no_remains(tmp_path: Path) -> None:
    wheel = "pip-26.0-py3-none-any.whl"
    places = ("usr/lib/python3.13/ensurepip/_bundled", "usr/share/python-wheels", "opt/v/site-packages/seed/embed")
    made = layer(
        *((f"{place}/{wheel}", LARGE) for place in places),
        ("usr/lib/python3/dist-packages/pip-26.0.dist-info/RECORD", b""),
        ("opt/v/site-packages/x/data.zip", LARGE),
        ("opt/v/site-packages/x/data/y", b"y"),
    )
    assert not told(found_in(tmp_path, made, contents=False), "left-over")
    other = layer(("w/zope.interface-7.0-cp313.whl", LARGE), ("v/zope_interface-7.0.dist-info/RECORD", b""))
    assert told(found_in(tmp_path, other, contents=False), "left-over") == ["/w/zope.interface-7.0-cp313.whl"]


def test_byte_code_counts_once_and_outside_beside_its_source(tmp_path: Path) -> None:
    made = layer(
        ("a/m.py", b"x"),
        ("a/__pycache__/m.cpython-313.pyc", HALF),
        "a/__pycache__/m.cpython-313.opt-1.pyc=>a/__pycache__/m.cpython-313.pyc",
        ("b/x.test.py", b"x"),
        ("b/__pycache__/x.test.cpython-313.pyc", HALF),
        ("c/old.py", b"x"),
        ("c/old.pyc", HALF),
        ("c/own.pyc", LARGE),
    )
    (one,) = (one for one in found_in(tmp_path, made, contents=False) if one.rule == "byte-code")
    assert one.size == 3 * MIB // 2
    assert "no source" not in one.text


def test_files_that_are_linked_into_their_place_are_no_cache(tmp_path: Path) -> None:
    linked = layer(
        ("root/.cache/uv/a", LARGE),
        "v/a=>root/.cache/uv/a",
        ("root/.cache/pip/b", LARGE),
        "root/.cache/pip/c=>root/.cache/pip/b",
        ("usr/local/cargo/registry/x", LARGE),
        ("opt/conda/pkgs/y", LARGE),
    )
    found = [one for one in found_in(tmp_path, linked, contents=False) if one.rule == "package-cache"]
    places = ("/opt/conda/pkgs", "/root/.cache/pip", "/usr/local/cargo/registry")
    assert {one.path: one.size for one in found} == dict.fromkeys(places, MIB)


def test_caches_that_a_later_step_removed_are_told_of(tmp_path: Path) -> None:
    first = layer(("var/lib/apt/lists/a", LARGE), ("tmp/x", b"x"), ("app", LARGE))
    (one,) = (one for one in found_in(tmp_path, first, layer("var/.wh.lib", "tmp/.wh.x", ".wh.app")) if one.layer == 1)
    assert one.rule == "hidden-bytes"
    assert f"{2 * MIB + 1:,} bytes of this layer" in one.text
    assert f"; {MIB + 1:,} of them are caches" in one.text
    (one,) = (one for one in found_in(tmp_path, first, layer(".wh.app")) if one.rule == "hidden-bytes")
    assert "caches" not in one.text


def test_keys_in_tests_of_libraries_are_minor(tmp_path: Path) -> None:
    minor = (
        *("usr/local/go/src/crypto/tls/testdata/key.pem", "go/pkg/mod/golang.org/x/crypto@v0.1/ssh/keys_test.go"),
        *("app/node_modules/a/test/fixtures/key.pem", "usr/local/cargo/registry/src/x/ring-1/tests/k.pem"),
        *("usr/local/lib/python3.13/test/certdata/k.pem", "v/lib/python3/site-packages/x/tests/k.pem"),
    )
    other = (
        *(
            "app/tests/key.pem",
            "app/node_modules/a/key.pem",
            "srv/test/node_modules/k",
            "app/testdata/k",
            "go/src/k_test.go",
        ),
        *("app/lib/python3.13/tests.py", "app/node_modules/a/latest/k", "usr/local/lib/python3.13/app/test/k"),
    )
    found = found_in(tmp_path, layer(*((name, TOKEN.encode()) for name in (*minor, *other))), layer("go/.wh.pkg"))
    severities = {one.path: one.severity for one in found if one.rule == "gitlab-token"}
    assert severities == {**{f"/{one}": "low" for one in minor}, **{f"/{one}": "high" for one in other}}
    (hidden,) = (one for one in found if one.rule == "gitlab-token" and not one.seen)
    assert hidden.text.endswith("in a test or an example of a library")


def test_a_flood_of_secrets_is_not_listed_whole_and_fails_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orlop.inside.audit._LISTED_OF_CONTENTS", 5)
    files = [(f"{number}/.netrc", b"machine a login b password hunter2\n") for number in range(8)]
    tokens = [(f"t{number}", f"glpat-{word(17)}{number:03}".encode()) for number in range(7)]
    found = found_in(tmp_path, layer(*files, *tokens), layer(*(f".wh.t{number}" for number in range(7))))
    for rule, more in {"stored-credentials": 3, "gitlab-token": 2}.items():
        listed = [one for one in found if one.rule == rule]
        assert len(listed) == 6
        (rest,) = (one for one in listed if not one.path)
        assert f"so it is with {more} more" in rest.text
        assert (rest.severity, rest.layer, rest.seen) == ("high", 0, True)


def test_what_is_not_listed_is_new_beside_a_baseline_if_any_of_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orlop.inside.audit._LISTED_OF_CONTENTS", 5)
    monkeypatch.setattr("orlop.inside.audit._LISTED", 5)

    def found(tokens: list[int], volumes: list[int]) -> list[AuditFinding]:
        files = [(f"t{number}", f"glpat-{word(17)}{number:03}".encode()) for number in tokens]
        return found_in(tmp_path, layer(*files), config={"Volumes": {f"/dev/{number}": {} for number in volumes}})

    tokens, volumes = [*range(8)], [*range(8)]
    before = found(tokens, volumes)
    assert compared(found(tokens, volumes), before)[0] == []
    for others in ([*range(7), 9], [*range(9)], [*range(5), 9, 6, 7]):
        (new,) = compared(found(others, volumes), before)[0]
        assert (new.rule, new.severity, new.path) == ("gitlab-token", "high", "")
        (new,) = compared(found(tokens, others), before)[0]
        assert (new.rule, new.path) == ("system-volume", "")


# Credentials.

KEPT: Final = {
    "usr/local/etc/npmrc": ("# _authToken=x\n; //r/:_authToken=hunter2\n//r/:_authToken=hunter2\n", 1),
    "root/.yarnrc.yml": ('npmAuthToken: "hunter2"\n', 1),
    "usr/local/cargo/credentials.toml": ('[registry]\ntoken = "hunter2"\n', 1),
    "root/.m2/settings.xml": ("<password>hunter2</password><password>${env.P}</password><password>{x=}</password>", 1),
    "root/.composer/auth.json": ('{"http-basic": {"r": {"username": "a", "password": "hunter2"}}}', 1),
    "root/.aws/credentials": (
        f"[default]\naws_secret_access_key = {'hunter2' * 5}\n[x]\naws_secret_access_key={'a' * 30}EXAMPLEKEY\n",
        1,
    ),
    "etc/apt/auth.conf.d/90pro": ("machine a.example/x login bearer password hunter2\n", 1),
    "etc/apt/sources.list.d/a.list": ("deb https://me:hunter2@apt.example/ stable main\n# https://a:8080/b@c\n", 1),
    "etc/apk/repositories": ("https://me:hunter2@apk.example/v3/main\nhttps://apk.example/v3\n", 1),
    "etc/yum.repos.d/a.repo": ("[a]\nbaseurl=https://me:hunter2@a.example/\nusername=me\npassword=hunter2\n", 2),
    "root/.gitconfig": ('[url "https://oauth2:hunter2@git.example/"]\n  insteadOf = https://git.example/\n', 1),
    "root/.config/helm/registry/config.json": (json.dumps({"auths": {"r": {"auth": "bWU6aHVudGVyMg=="}}}), 1),
    "usr/local/bundle/.bundle/config": ('BUNDLE_PATH: "vendor"\nBUNDLE_GEMS__A__EXAMPLE: "me:hunter2"\n', 1),
    "var/www/html/wp-config.php": (
        """define( 'DB_PASSWORD', 'hunter2' );
define('AUTH_KEY', 'put your unique phrase here');
define("NONCE_KEY", "hunter2 and 'more'");
""",
        2,
    ),
    "app/config/master.key": ("0123456789abcdef0123456789abcdef\n", 1),
    "root/.vault-token": ("s.hunter2hunter2hunter2hun", 1),
    "root/.smbcredentials": ("username=me\npassword=hunter2\n", 1),
    "etc/msmtprc": ("# password x\npassword hunter2\npasswordeval cat x\n", 1),
    "etc/postfix/sasl_passwd": ("#[a]:5 me:x\n[mail.example]:587 me:hunter2\n", 1),
    "root/.azure/msal_token_cache.json": ('{"RefreshToken": {"a": {"secret": "hunter2.hunter2"}}}', 1),
}

NOT_KEPT: Final = {
    "etc/apt/sources.list": "deb http://deb.debian.org/debian bookworm main\ndeb http://a:8080/x@y b\n",
    "etc/apt/apt.conf.d/01proxy": 'Acquire::http::Proxy "http://proxy.example:3128";\n',
    "etc/yum.repos.d/a.repo": "[a]\nbaseurl=https://a.example/\npassword=\n#password=hunter2\n",
    "root/.gitconfig": "[user]\n  email = me@a.example\n[credential]\n  helper = store\n",
    "usr/local/bundle/.bundle/config": 'BUNDLE_PATH: "/usr/local"\nBUNDLE_MIRROR__ALL: "https://a.example"\n',
    "var/www/html/wp-config.php": (
        "define( 'DB_PASSWORD', 'password_here' );\ndefine('DB_PASSWORD', getenv_docker('X', 'example password') );\n"
    ),
    "app/config/master.key": "<%= ENV['RAILS_MASTER_KEY'] %>\n",
    "root/.vault-token": "none\n",
}


@pytest.mark.parametrize("path", NOT_KEPT)
def test_files_of_programs_without_credentials_are_not_told(path: str, tmp_path: Path) -> None:
    assert not told(found_in(tmp_path, layer((path, NOT_KEPT[path].encode()))), "stored-credentials")


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "https://",
            "https://a:",
            "define('",
            "define('DB_PASSWORD', '",
            "BUNDLE_",
            "BUNDLE_A: a:",
            "[a] ",
            "\t",
            "a:",
        ),
        *("password ", "password=", "[" + "a" * 50, "0123456789abcdef", "hvs.", "\n", " ", '"secret":"', "AuthPass ="),
    ],
)
def test_files_of_programs_take_as_long_as_they_are(piece: str) -> None:
    def worked(size: int) -> float:
        data = (piece * size)[:size].encode()
        keepers = [keeper_of(f"/{path}") for path in KEPT]
        return spent(lambda: [[*one.look_into([data])] for one in keepers if one is not None])

    assert growth(worked, 1 << 14, 1 << 17, below=24, least=0.01) < 24


@pytest.mark.parametrize("path", KEPT)
def test_other_programs_keep_credentials_too(path: str, tmp_path: Path) -> None:
    text, count = KEPT[path]
    found = found_in(tmp_path, layer((path, text.encode())))
    (one,) = (one for one in found if one.rule == "stored-credentials")
    assert f"({count})" in one.text
    assert "hunter2" not in str(found)


def test_an_account_without_a_password_is_told_without_a_shadow(tmp_path: Path) -> None:
    near = b"root:x:0:0:root:/:/bin/sh\nb:*:1:1::/:\n+::::::\n"
    assert not told(found_in(tmp_path, layer(("etc/passwd", near))), "empty-password")
    assert told(found_in(tmp_path, layer(("etc/passwd", near + b"me::5:5::/:\n"))), "empty-password")
