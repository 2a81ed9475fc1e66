"""Networks, of which there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.api.engine.versions import V1_48
from orlop.model.digest import Digest
from orlop.model.timestamp import ZERO

if TYPE_CHECKING:
    from orlop.api.engine.shapes.encoding import Document
    from orlop.api.engine.versions import ApiVersion
    from orlop.service.host import Host

NAME: Final = "bridge"


def bridge(host: Host, version: ApiVersion) -> Document:
    """Return the default network of a machine; it has no addresses, and nothing is connected to it."""
    document: Document = {
        "Name": NAME,
        "Id": Digest.of(f"{NAME} {host.id}".encode()).hex,
        "Created": str(ZERO),
        "Scope": "local",
        "Driver": NAME,
    }
    if version >= V1_48:
        document["EnableIPv4"] = True
    return document | {
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": None, "Config": []},
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": {},
        "Labels": {},
    }
