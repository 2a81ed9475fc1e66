"""``GET /version`` and ``GET /info``: what serves, and on what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop._version import __version__
from orlop.api.engine.versions import MAXIMUM, MINIMUM, V1_25, V1_42, V1_44, V1_49, V1_50

if TYPE_CHECKING:
    from orlop.api.engine.shapes.encoding import Document
    from orlop.api.engine.versions import ApiVersion
    from orlop.service.host import Host

_NAME: Final = "orlop"
_NOTE: Final = "NOTE: orlop keeps images; it runs no containers"


@dataclass(frozen=True, slots=True)
class State:
    """What changes while the server runs: its store, and what it does.

    ``time`` is the time of the answer in RFC 3339; ``descriptors`` are open files, ``listeners`` clients that follow
    events. ``read_only`` says that the store is not written.
    """

    root: str
    images: int
    time: str
    read_only: bool = False
    debug: bool = False
    descriptors: int = 0
    listeners: int = 0
    labels: tuple[str, ...] = ()


def version_document(host: Host, version: ApiVersion) -> Document:
    """Return the versions of the server, of its API, and of what it runs on."""
    component: Document = {
        "Name": _NAME,
        "Version": __version__,
        "Details": {
            "ApiVersion": str(MAXIMUM),
            "Arch": host.go_architecture,
            "Experimental": "false",
            "KernelVersion": host.kernel,
            "MinAPIVersion": str(MINIMUM),
            "Os": host.system,
            "PythonVersion": host.python,
        },
    }
    heads: Document = {"Version": __version__, "ApiVersion": str(MAXIMUM), "MinAPIVersion": str(MINIMUM)}
    place: Document = {"Os": host.system, "Arch": host.go_architecture}
    built: Document = {"GitCommit": "", "GoVersion": ""}
    document: Document = {"Platform": {"Name": _NAME}}
    # Engines 20.10 and 29 write the same members in different orders.
    if version < V1_42:
        document |= {"Components": [component], **heads, **built, **place}
    else:
        document |= {**heads, **place, "Components": [component], **built}
    return document | {"KernelVersion": host.kernel}


def info_document(host: Host, state: State, version: ApiVersion) -> Document:
    """Return what the server is and keeps; all that concerns containers is absent, zero or false."""
    document: Document = {
        "ID": host.id,
        "Containers": 0,
        "ContainersRunning": 0,
        "ContainersPaused": 0,
        "ContainersStopped": 0,
        "Images": state.images,
        "Driver": _NAME,
        "DriverStatus": [["Root", state.root], ["Read-only", str(state.read_only).lower()]],
        "Plugins": {"Volume": [], "Network": [], "Authorization": None, "Log": []},
        **dict.fromkeys(_ABILITIES, False),
    }
    if version < V1_50:
        document |= {"BridgeNfIptables": False, "BridgeNfIp6tables": False}
    document |= {
        "Debug": state.debug,
        "NFd": state.descriptors,
        "OomKillDisable": False,
        "NGoroutines": 0,
        "SystemTime": state.time,
        "LoggingDriver": "",
        "CgroupDriver": "none",
        "NEventsListener": state.listeners,
        "KernelVersion": host.kernel,
        "OperatingSystem": host.operating_system,
        "OSVersion": host.os_version,
        "OSType": host.system,
        "Architecture": host.architecture,
        "IndexServerAddress": "",
        "RegistryConfig": _registries(version),
        "NCPU": host.processors,
        "MemTotal": host.memory,
        "GenericResources": None,
        "DockerRootDir": state.root,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": host.name,
        "Labels": list(state.labels),
        "ExperimentalBuild": False,
        "ServerVersion": __version__,
        "Runtimes": {},
        "DefaultRuntime": "",
        "Swarm": _SWARM,
        "LiveRestoreEnabled": False,
        "Isolation": "",
        "InitBinary": "",
        **dict.fromkeys(("ContainerdCommit", "RuncCommit", "InitCommit"), _commit(version)),
        "SecurityOptions": [],
    }
    if version >= V1_44:
        document["CDISpecDirs"] = []
    if version < V1_25:
        document["ExecutionDriver"] = "<not supported>"
    return document | {"Warnings": [_NOTE]}


_ABILITIES: Final = (
    "MemoryLimit",
    "SwapLimit",
    "CpuCfsPeriod",
    "CpuCfsQuota",
    "CPUShares",
    "CPUSet",
    "PidsLimit",
    "IPv4Forwarding",
)
_SWARM: Final = {
    "NodeID": "",
    "NodeAddr": "",
    "LocalNodeState": "inactive",
    "ControlAvailable": False,
    "Error": "",
    "RemoteManagers": None,
}


def _registries(version: ApiVersion) -> Document:
    foreign = ("AllowNondistributableArtifactsCIDRs", "AllowNondistributableArtifactsHostnames")
    document: Document = dict.fromkeys(foreign) if version < V1_49 else {}
    return document | {"InsecureRegistryCIDRs": [], "IndexConfigs": {}, "Mirrors": []}


def _commit(version: ApiVersion) -> Document:
    return {"ID": "", "Expected": ""} if version < V1_49 else {"ID": ""}
