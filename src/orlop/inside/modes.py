"""What the modes, attributes and names of the paths of a view tell an audit, one path after another."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orlop.inside.finding import AuditFinding
from orlop.inside.strays import strays_at
from orlop.streams.tar_entry import TYPE_BLOCK, TYPE_CHAR, TYPE_DIR, TYPE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.inside.node import Node
    from orlop.inside.view import ImageFiles

__all__ = ["view_findings"]

_USUAL: Final = re.compile(
    r"(?:/usr)?/s?bin/(?:su|u?mount|passwd|chsh|chfn|newgrp|gpasswd|expiry|chage|unix_chkpwd|wall|write|bsd-write"
    r"|ssh-agent|crontab|fusermount3?|pam_timestamp_check|new[ug]idmap)\Z"
    r"|(?:/usr)?/lib(?:exec)?/(?:openssh/ssh-keysign|dbus-1(?:\.0)?/dbus-daemon-launch-helper|[a-z_0-9-]+/utempter/utempter)\Z"
)
"""Programs that are setuid or setgid in all distributions that have them."""


_KEYS: Final = ("/.ssh/authorized_keys", "/.ssh/authorized_keys2")
"""Where a server looks for keys of users, unless it is told otherwise."""


def view_findings(files: ImageFiles) -> Iterator[AuditFinding]:
    """Yield what modes, attributes and names of the paths of a view tell."""
    for path, node in files.below():
        layer, mode = node.layer + 1, node.mode
        if node.type == TYPE_FILE and mode & 0o6000:
            bits = " and ".join(word for bit, word in ((0o4000, "setuid"), (0o2000, "setgid")) if mode & bit)
            severity, more = ("info", ", as distributions ship it") if _is_usual(path, node) else ("low", "")
            yield AuditFinding("setuid", "risk", severity, f"it is {bits}{more}", layer, path, size=node.size)
        if "security.capability" in node.xattrs:
            yield AuditFinding("capability", "risk", "low", "it has capabilities", layer, path, size=node.size)
        sticky = node.type == TYPE_DIR and mode & 0o1000
        if mode & 0o002 and node.type in {TYPE_FILE, TYPE_DIR} and not sticky:
            text = "anyone may write to it"
            yield AuditFinding("world-writable", "risk", "medium", text, layer, path, size=node.size)
        if node.type in {TYPE_CHAR, TYPE_BLOCK} and (node.attributes.devmajor or node.attributes.devminor):
            yield AuditFinding("device", "risk", "low", "it is a device", layer, path)
        if path.endswith(_KEYS) and node.size:
            text = "who has a key that it names may log in over SSH"
            yield AuditFinding("authorized-keys", "risk", "medium", text, layer, path, size=node.size)
        if path.startswith("/etc/ssh/ssh_host_") and path.endswith("_key") and node.size:
            text = "all containers of this image have the same host key of SSH"
            yield AuditFinding("ssh-host-key", "secret", "high", text, layer, path, size=node.size)
        yield from strays_at(path, node)


def _is_usual(path: str, node: Node) -> bool:
    """Return whether a program that grants privileges has the place, owner and rights that it has everywhere."""
    return _USUAL.match(path) is not None and not node.attributes.uid and not node.mode & 0o022
