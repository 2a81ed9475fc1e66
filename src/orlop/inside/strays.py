"""Files that nobody meant to be in an image, or that often hold secrets: known by their names alone.

Packages ship examples of all of these. So what lies where packages put files is passed over: below ``/usr`` other than
``/usr/local``, and in libraries of Python, Node and other languages.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orlop.inside.finding import AuditFinding
from orlop.streams.tar_entry import TYPE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.inside.node import Node

__all__ = ["sensitive_at", "strays_at"]

_SHIPPED: Final = re.compile(
    r"/usr/(?!local/)|/(?:[^/]++/)*?"
    r"(?:node_modules|site-packages|dist-packages|vendor|gems|\.cargo/registry|go/pkg|\.m2|\.git|testdata)/"
)
_SWAP: Final = re.compile(r"\.(?:.*\.)?sw[a-p]\Z|#.+#\Z|\.#", re.DOTALL)
_BACKUPS: Final = (
    *("~", ".bak", ".orig", ".rej"),
    *(".dpkg-old", ".dpkg-dist", ".dpkg-new", ".dpkg-tmp", ".ucf-old", ".ucf-dist", ".ucf-new"),
    *(".rpmsave", ".rpmnew", ".rpmorig", ".pacnew", ".pacsave", ".apk-new"),
)
_OF_DESKTOPS: Final = frozenset((".DS_Store", "Thumbs.db", "desktop.ini", ".directory"))
_OF_MACS: Final = "._"
_OF_BUILDS: Final = re.compile(
    r"(?:.+\.)?(?:[Dd]ocker|[Cc]ontainer)file\Z"
    r"|(?:Docker|Container)file\.(?!(?:py|js|ts|go|rb|rs|java|md|rst|txt|html|json|j2|tmpl|tpl|erb|vim|lock)\Z)[\w-]+\Z"
    r"|.*\.(?:docker|container)ignore\Z"
    r"|(?:docker-)?compose(?:[.-]\w+)*\.ya?ml\Z|\.gitlab-ci\.yml\Z|\.travis\.yml\Z|Jenkinsfile\Z",
    re.DOTALL,
)
_BUILD_STARTS: Final = ("Dockerfile", "Containerfile", "docker-compose", "compose", "Jenkinsfile")
_BUILD_ENDS: Final = ("ockerfile", "ontainerfile", "ockerignore", "ontainerignore")
_OF_EDITORS: Final = frozenset((".vscode", ".idea", ".git", ".svn", ".hg"))
_HISTORIES: Final = re.compile(
    r"\.(?:bash|zsh|ash|sh|ksh|python|node_repl|irb|pry|php|mysql|psql|sqlite|rediscli|mongosh?)?[_-]?(?:history|hist)\Z"
    r"|\.(?:lesshst|viminfo|dbshell|Rhistory)\Z|fish_history\Z"
)
_WORDS: Final = re.compile(r"[._-]+")
_SAMPLES: Final = frozenset(("example", "sample", "template", "tmpl", "dist", "default", "defaults", "test"))
_KEY_STORES: Final = (".kdbx", ".jks", ".p12", ".pkcs12", ".pfx", ".keystore", ".ppk", ".ovpn")
_VARIABLES: Final = ".env"
_STATES: Final = (".tfstate", ".tfstate.backup")
_STARTS: Final = frozenset((".", "#"))
_ENDINGS: Final = (*_BACKUPS, *_KEY_STORES, *_STATES, *_BUILD_ENDS, _VARIABLES, "fish_history")


def strays_at(path: str, node: Node) -> Iterator[AuditFinding]:
    """Yield what the name of a path of a view tells."""
    name = path[path.rfind("/") + 1 :]
    # Nearly all paths end here.
    if not (
        name[:1] in _STARTS or name in _OF_DESKTOPS or name.endswith(_ENDINGS) or name.startswith(_BUILD_STARTS)
    ) or _SHIPPED.match(path):
        return
    stray = _stray(name, node)
    if stray:
        yield AuditFinding("stray-file", "waste", "info", stray, node.layer + 1, path, size=node.size)
    sensitive = _sensitive(name) if node.type == TYPE_FILE and node.size else ""
    if sensitive:
        yield AuditFinding("sensitive-file", "fact", "info", sensitive, node.layer + 1, path, size=node.size)


def sensitive_at(path: str) -> str:
    """Return what a regular file at a path may hold that is a secret; nothing for others."""
    return "" if _SHIPPED.match(path) else _sensitive(path[path.rfind("/") + 1 :])


def _stray(name: str, node: Node) -> str:
    """Return what a path is that was left behind; nothing for others."""
    if node.children is not None:
        is_work = name in _OF_EDITORS and node.children
        return "a directory of an editor or of version control was copied into the image" if is_work else ""
    if _OF_BUILDS.match(name):
        return "it says how to build an image, and was copied into it"
    if name in _OF_DESKTOPS:
        return "a desktop made it to show its directory"
    if name.startswith(_OF_MACS) and node.size:
        return "macOS keeps there what it knows of another file"
    if _SWAP.match(name):
        return "an editor kept what was being edited there"
    return "an editor or package manager kept an earlier or other version there" if name.endswith(_BACKUPS) else ""


def _sensitive(name: str) -> str:
    """Return what a file may hold that is a secret; nothing for others."""
    if (name.endswith(_VARIABLES) or name.startswith(f"{_VARIABLES}.")) and _SAMPLES.isdisjoint(
        _WORDS.split(name.lower())
    ):
        return "it sets variables, which often hold secrets"
    if _HISTORIES.match(name):
        return "it records what somebody typed, which may hold secrets"
    if name.endswith(_STATES):
        return "it is a state of Terraform, which holds secrets in plain text"
    if name == ".htpasswd":
        return "it has digests of passwords"
    return "keys are kept in files of this kind" if name.endswith(_KEY_STORES) else ""
