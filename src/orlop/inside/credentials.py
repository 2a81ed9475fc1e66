"""Files in which programs keep credentials, by their names and by what is in them.

A password has no form by which it could be found anywhere, but `.netrc` says which of its words one is. What is only
meant to be filled in, such as ``${TOKEN}`` or ``<password>``, is none. How many there are is told, never what they are:
a few characters of a password, or a fingerprint of it, would be too much.
"""

from __future__ import annotations

import re
from base64 import b64decode
from itertools import islice
from typing import TYPE_CHECKING, Final

from orlop.model.tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Keeper", "is_to_fill_in", "keeper_of"]

_LARGEST: Final = 1 << 20
_MOST: Final = 1000
_TO_FILL_IN: Final = re.compile(
    rb"[$<%{*]|x+\Z|(?:your|my)[-_ ]|example|change-?me|password(?:_here)?\Z|put your unique|secret\Z|token\Z|none\Z",
    re.IGNORECASE,
)


def is_to_fill_in(value: bytes) -> bool:
    """Return whether a password is only one that somebody is to fill in."""
    return _TO_FILL_IN.match(value) is not None


def _is_login(found: bytes) -> bool:
    """Return whether a field of JSON is a user and a password in base64, or a token that is in place of them."""
    name, value = found.split(b'"')[::2]
    if name != b"auth":
        return not _TO_FILL_IN.match(value)
    try:
        user, _, password = b64decode(value, validate=True).partition(b":")
    except ValueError:
        return False
    return bool(user and password) and not _TO_FILL_IN.match(password)


class _Kind(NamedTuple):
    """A kind of file: what is kept there, how its path ends, and what in it is a credential, in the first group.

    ``folders`` are directories whose files are all of this kind.
    """

    text: str
    endings: tuple[str, ...]
    pattern: re.Pattern[bytes]
    check: Callable[[bytes], bool] = lambda value: not _TO_FILL_IN.match(value)
    rule: str = "stored-credentials"
    folders: tuple[str, ...] = ()


class Keeper:
    """A file that may keep credentials.

    ``rule`` is the name of what it would be reported as, ``text`` what is kept there, ``count`` how many there are in
    the first MiB that was looked into, 1000 at most.
    """

    def __init__(self, kind: _Kind) -> None:
        self.rule = kind.rule
        self.text = kind.text
        self.count = 0
        self._kind = kind

    def look_into(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the chunks of its content, and count what is in them."""
        content = bytearray()
        for chunk in chunks:
            content += chunk[: _LARGEST - len(content)]
            yield chunk
        found = (match[match.lastindex or 0] for match in self._kind.pattern.finditer(content))
        self.count = sum(1 for _ in islice(filter(self._kind.check, found), _MOST))


_IN_URL: Final = re.compile(rb"https?://[^/\s:@]{1,200}:([^/\s@]{1,200})@")
_PASSWORD: Final = re.compile(rb"^[ \t]*password[ \t]*[=:][ \t]*[\"']?([^\s\"']{1,200})", re.MULTILINE)

_KINDS: Final = (
    _Kind(
        "passwords of registries",
        (
            *("/.docker/config.json", "/.dockercfg", "/.dockerconfigjson", "/kaniko/config.json"),
            *("/containers/auth.json", "/containers/0/auth.json", "/helm/registry/config.json"),
        ),
        re.compile(
            rb'"(auth"\s{0,20}:\s{0,20}"[A-Za-z0-9+/=]{4,8192}|'
            rb'(?:identity|registry)token"\s{0,20}:\s{0,20}"[A-Za-z0-9+/=._-]{4,16384}|'
            rb'password"\s{0,20}:\s{0,20}"[^"\s]{1,200})"'
        ),
        _is_login,
    ),
    _Kind(
        "passwords of servers",
        ("/.netrc", "/_netrc", "/etc/apt/auth.conf"),
        re.compile(rb"^(?:[^#\n]*?[ \t])??password[ \t\r\n]{1,20}(\S{1,200})", re.MULTILINE),
        folders=("/etc/apt/auth.conf.d/",),
    ),
    _Kind(
        "passwords of PostgreSQL",
        ("/.pgpass",),
        re.compile(
            rb"^(?!#)(?:[^:\\\n]|\\.){1,200}(?::(?:[^:\\\n]|\\.){1,200}){3}:((?:[^\s:\\]|\\[\\:]){1,200})\r?$",
            re.MULTILINE,
        ),
    ),
    _Kind("a password of MySQL", ("/.my.cnf",), _PASSWORD),
    _Kind(
        "passwords of Git servers",
        ("/.git-credentials", "/.git/config", "/.gitconfig", "/git/config", "/etc/gitconfig"),
        _IN_URL,
    ),
    _Kind(
        "a password of a package index",
        (
            *("/pip.conf", "/pip.ini", "/uv/uv.toml", "/etc/apt/sources.list", "/etc/apk/repositories", "/go/env"),
            *("/.condarc", "/.gemrc", "/.config/composer/config.json"),
        ),
        _IN_URL,
        folders=("/etc/apt/sources.list.d/", "/etc/apt/apt.conf.d/"),
    ),
    _Kind(
        "a password of a package index",
        ("/etc/yum.conf", "/etc/dnf/dnf.conf"),
        re.compile(_IN_URL.pattern + rb"|^[ \t]*(?:proxy_)?password[ \t]*=[ \t]*(\S{1,200})", re.MULTILINE),
        folders=("/etc/yum.repos.d/", "/etc/zypp/credentials.d/"),
    ),
    _Kind(
        "a password of a package index",
        ("/.bundle/config",),
        re.compile(
            rb"^BUNDLE_[A-Z0-9_]{1,200}: [\"']?[^\s:\"']{1,200}:([^\s:/\"']{1,200})[\"']?[ \t]*\r?$", re.MULTILINE
        ),
    ),
    _Kind(
        "a password of a database and keys of WordPress",
        ("/wp-config.php",),
        re.compile(
            rb"^\s{0,20}define\(\s{0,5}[\"'](?:DB_PASSWORD|(?:(?:SECURE_|LOGGED_IN_)?AUTH|LOGGED_IN|NONCE)_KEY)[\"']"
            rb"\s{0,5},\s{0,5}([\"'])((?:(?!\1)[^\r\n]){1,200})\1",
            re.MULTILINE,
        ),
    ),
    _Kind(
        "the key to the credentials of Rails",
        ("/config/master.key",),
        re.compile(rb"\A\s{0,5}([0-9a-f]{32})\s{0,5}\Z"),
    ),
    _Kind("the token of Vault", ("/.vault-token",), re.compile(rb"\A\s{0,5}((?:hvs|s|hvb|b)\.\S{20,4096})\s{0,5}\Z")),
    _Kind("a password of a file share", ("/.smbcredentials", "/.cifs", "/.davfs2/secrets"), _PASSWORD),
    _Kind(
        "a password of a mail server",
        ("/.msmtprc", "/etc/msmtprc", "/etc/ssmtp/ssmtp.conf", "/etc/postfix/sasl_passwd"),
        re.compile(
            rb"^[ \t]*(?:password[ \t]{1,9}|AuthPass[ \t]*=[ \t]*"
            rb"|\[[^\]\s]{1,200}\]\S{0,9}[ \t]{1,9}[^\s:]{1,200}:)[\"']?([^\s\"']{1,200})",
            re.MULTILINE,
        ),
    ),
    _Kind("a password of a package index", ("/.pypirc", "/pypoetry/auth.toml"), _PASSWORD),
    _Kind(
        "a token of a package registry",
        ("/.npmrc", "/etc/npmrc"),
        re.compile(
            rb"^(?![ \t]*[;#])[^\n=]{0,500}?(?:_authToken|_password|_auth)[ \t]*=[ \t]*[\"']?([^\s\"']{4,4096})",
            re.MULTILINE,
        ),
    ),
    _Kind(
        "a token of a package registry",
        ("/.yarnrc.yml",),
        re.compile(rb"^[ \t]*npmAuth(?:Token|Ident):[ \t]*[\"']?([^\s\"']{4,4096})", re.MULTILINE),
    ),
    _Kind(
        "a token of a package registry",
        ("/.cargo/credentials", "/cargo/credentials.toml", "/.cargo/credentials.toml"),
        re.compile(rb"^[ \t]*token[ \t]*=[ \t]*\"([^\s\"]{4,4096})\"", re.MULTILINE),
    ),
    _Kind(
        "a password of a package index",
        ("/.m2/settings.xml",),
        re.compile(rb"<(?:password|passphrase)>\s{0,20}([^<\s]{1,200})"),
    ),
    _Kind(
        "a password of a package index",
        ("/.composer/auth.json", "/composer/auth.json"),
        re.compile(rb'"password"\s{0,20}:\s{0,20}"([^"\s]{1,200})"'),
    ),
    _Kind(
        "keys of a cloud",
        ("/.aws/credentials",),
        re.compile(rb"^[ \t]*aws_secret_access_key[ \t]*=[ \t]*(\S{16,200})", re.MULTILINE),
        lambda value: b"EXAMPLE" not in value and not _TO_FILL_IN.match(value),
    ),
    _Kind(
        "keys of a cloud",
        ("/application_default_credentials.json", "/adc.json", "/msal_token_cache.json", "/accessTokens.json"),
        re.compile(rb'"(?:refresh_?[tT]oken|secret)"\s{0,20}:\s{0,20}"([^"\s]{10,4096})"'),
    ),
    _Kind("keys of a cloud", ("/.s3cfg",), re.compile(rb"^secret_key[ \t]*=[ \t]*(\S{16,200})", re.MULTILINE)),
    _Kind(
        "passwords of storages",
        ("/rclone.conf",),
        re.compile(rb"^(?:pass|password|secret_access_key|token)[ \t]*=[ \t]*(\S{4,4096})", re.MULTILINE),
    ),
    _Kind(
        "tokens of Terraform",
        ("/.terraformrc", "/credentials.tfrc.json"),
        re.compile(rb'\btoken"?\s{0,20}[=:]\s{0,20}"([^"\s]{10,4096})"'),
    ),
    _Kind(
        "a password of a package index",
        ("/NuGet.Config", "/nuget.config"),
        re.compile(rb'"(?:ClearText)?Password"\s{1,20}value="([^"\s]{1,400})"'),
    ),
    _Kind(
        "keys of a cluster",
        (
            *("/.kube/config", "/kubeconfig", "/kubelet.conf", "/k3s.yaml"),
            *("/kubernetes/admin.conf", "/kubernetes/super-admin.conf"),
        ),
        re.compile(
            rb"\b(?:(?:client-key-data|token)[\"']?:[ \t]*[\"']?(?=[A-Za-z0-9+/=._-]{20})|password[\"']?:[ \t]*[\"']?)"
            rb"([^\s\"',}]{1,16384})"
        ),
    ),
    _Kind(
        "accounts without a password",
        ("/etc/shadow",),
        re.compile(rb"^([^:\n]{1,64})::", re.MULTILINE),
        lambda _: True,
        "empty-password",
    ),
    _Kind(
        "accounts without a password",
        ("/etc/passwd",),
        re.compile(rb"^([^:\n]{1,64})::[0-9]{1,10}:[0-9]{0,10}:", re.MULTILINE),
        lambda _: True,
        "empty-password",
    ),
)
_ENDINGS: Final = tuple(ending for kind in _KINDS for ending in kind.endings)
_FOLDERS: Final = tuple(folder for kind in _KINDS for folder in kind.folders)


def keeper_of(path: str) -> Keeper | None:
    """Return what a file with a path, from the root, may keep; None for most."""
    if not (path.endswith(_ENDINGS) or path.startswith(_FOLDERS)):
        return None
    return Keeper(next(one for one in _KINDS if path.endswith(one.endings) or path.startswith(one.folders)))
