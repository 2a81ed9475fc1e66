"""The accounts of an image: what ``/etc/passwd`` and ``/etc/group`` say, and whether it fits the owners of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.errors import PathNotFound, WrongFileType
from orlop.inside.finding import AuditFinding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.inside.view import ImageFiles

__all__ = ["accounts_in"]

_LARGEST: Final = 1 << 20
_SHOWN: Final = 5


def accounts_in(files: ImageFiles) -> Iterator[AuditFinding]:
    """Yield accounts that are root under another name or share an ID, and files whose owners have none.

    Nothing is yielded of an image without these files: programs need no names of users.
    """
    users = _ids(files, "/etc/passwd")
    groups = _ids(files, "/etc/group")
    roots = [name for name, number in users if number == 0 and name != "root"]
    if roots:
        text = f"accounts beside root have its user ID: {_some(roots)}"
        yield AuditFinding("second-root", "risk", "medium", text, files.node("/etc/passwd").origin + 1, "/etc/passwd")
    for path, accounts, what in (("/etc/passwd", users, "user"), ("/etc/group", groups, "group")):
        names: dict[int, list[str]] = {}
        for name, number in accounts:
            names.setdefault(number, []).append(name)
        same = [f"{number}: {_some(shared)}" for number, shared in names.items() if number and len(set(shared)) > 1]
        if same:
            text = f"accounts share a {what} ID: {_some(same)}"
            yield AuditFinding("shared-id", "fact", "info", text, files.node(path).origin + 1, path)
    known_users, known_groups = {number for _, number in users}, {number for _, number in groups}
    count, size, unknown = 0, 0, set()
    for _, node in files.below():
        facts = node.attributes
        user = known_users and facts.uid not in known_users
        group = known_groups and facts.gid not in known_groups
        if user or group:
            count, size = count + 1, size + node.size
            unknown |= {f"user {facts.uid}"} if user else set()
            unknown |= {f"group {facts.gid}"} if group else set()
    if count:
        text = f"paths ({count:,}) belong to users or groups without an account: {_some(sorted(unknown))}"
        yield AuditFinding("unknown-owner", "fact", "info", text, size=size)


def _ids(files: ImageFiles, path: str) -> list[tuple[str, int]]:
    """Return the names and numbers of a file of accounts; an empty list if it is missing."""
    try:
        with files.open(path) as file:
            data = file.read(_LARGEST)
    except (PathNotFound, WrongFileType):
        return []
    found = []
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isascii() and fields[2].isdecimal() and len(fields[2]) <= 10:
            found.append((fields[0], int(fields[2])))
    return found


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:80] for name in names[:_SHOWN]) + more
