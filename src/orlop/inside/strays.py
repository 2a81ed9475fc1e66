"""Files that nobody meant to be in an image, or that often hold secrets: known by their names alone.

Packages ship examples of all of these. So what lies where packages put files is passed over: below ``/usr`` other than
``/usr/local``, and in libraries of Python, Node and other languages.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orlop.inside.finding import AuditFinding
from orlop.streams.tar_header import TYPE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.inside.node import Node

__all__ = ["strays_at"]

_SHIPPED: Final = re.compile(
    r"/usr/(?!local/)|/(?:[^/]++/)*?"
    r"(?:node_modules|site-packages|dist-packages|vendor|gems|\.cargo/registry|go/pkg|\.m2|\.git|testdata)/"
)
_SWAP: Final = re.compile(r"\..*\.sw[a-p]\Z|#.+#\Z|\.#", re.DOTALL)
_BACKUPS: Final = (
    "~",
    ".bak",
    ".orig",
    ".rej",
    ".dpkg-old",
    ".dpkg-dist",
    ".ucf-old",
    ".ucf-dist",
    ".rpmsave",
    ".rpmnew",
)
_OF_DESKTOPS: Final = frozenset((".DS_Store", "Thumbs.db", "desktop.ini", ".directory"))
_OF_BUILDS: Final = frozenset(
    ("Dockerfile", "Containerfile", ".dockerignore", "docker-compose.yml", "docker-compose.yaml", "compose.yaml")
)
_OF_EDITORS: Final = frozenset((".vscode", ".idea", ".git", ".svn", ".hg"))
_HISTORIES: Final = re.compile(
    r"\.(?:bash|zsh|ash|sh|ksh|python|node_repl|irb|mysql|psql|sqlite|rediscli|mongosh?)_?(?:history|hist)\Z"
    r"|\.lesshst\Z"
)
_ENVIRONMENT: Final = re.compile(r"\.env(?:\.(?!(?:example|sample|template|dist|defaults?|test)\b)[\w.-]++)?\Z")
_KEY_STORES: Final = (".kdbx", ".jks", ".p12", ".pfx", ".keystore", ".ovpn")
_STATES: Final = (".tfstate", ".tfstate.backup")
_STARTS: Final = frozenset((".", "#"))
_ENDINGS: Final = (*_BACKUPS, *_KEY_STORES, *_STATES)


def strays_at(path: str, node: Node) -> Iterator[AuditFinding]:
    """Yield what the name of a path of a view tells."""
    name = path[path.rfind("/") + 1 :]
    # Nearly all paths end here.
    if not (name[:1] in _STARTS or name in _OF_BUILDS or name in _OF_DESKTOPS or name.endswith(_ENDINGS)):
        return
    if _SHIPPED.match(path):
        return
    stray = _stray(name, node)
    if stray:
        yield AuditFinding("stray-file", "waste", "info", stray, node.layer + 1, path, size=node.size)
    sensitive = _sensitive(name) if node.type == TYPE_FILE and node.size else ""
    if sensitive:
        yield AuditFinding("sensitive-file", "fact", "info", sensitive, node.layer + 1, path, size=node.size)


def _stray(name: str, node: Node) -> str:
    """Return what a path is that was left behind; nothing for others."""
    if node.children is not None:
        is_work = name in _OF_EDITORS and node.children
        return "a directory of an editor or of version control was copied into the image" if is_work else ""
    if name in _OF_BUILDS:
        return "it says how to build an image, and was copied into it"
    if name in _OF_DESKTOPS:
        return "a desktop made it to show its directory"
    if _SWAP.match(name):
        return "an editor kept what was being edited there"
    return "an editor or package manager kept an earlier or other version there" if name.endswith(_BACKUPS) else ""


def _sensitive(name: str) -> str:
    """Return what a file may hold that is a secret; nothing for others."""
    if _ENVIRONMENT.match(name):
        return "it sets variables, which often hold secrets"
    if _HISTORIES.match(name):
        return "it records what somebody typed, which may hold secrets"
    if name.endswith(_STATES):
        return "it is a state of Terraform, which holds secrets in plain text"
    if name == ".htpasswd":
        return "it has digests of passwords"
    return "keys are kept in files of this kind" if name.endswith(_KEY_STORES) else ""
