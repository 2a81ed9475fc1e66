"""An image as docker's templates see it: the engine's answer, once as typed structures and once as the JSON it was.

A template is filled with the structures; where these have no such field, the names of the JSON serve.
"""

from __future__ import annotations

from orlop.cli.show.template.values import NIL_MAP, NIL_POINTER, NIL_SET, NIL_SLICE, NULL, Duration, Map, Struct, Time
from orlop.errors import InvalidTemplate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from orlop.cli.show.template.fill import Template

_IMAGE: Final = (
    "ID", "RepoTags", "RepoDigests", "Parent", "Comment", "Created", "Container", "ContainerConfig", "DockerVersion",
    "Author", "Config", "Architecture", "Variant", "Os", "OsVersion", "Size", "VirtualSize", "GraphDriver", "RootFS",
    "Metadata",
)  # fmt: skip
_EMPTY: Final = Struct({}, {})


def fill(template: Template, document: dict[str, Any]) -> str:
    """Fill a template with an image, given as `orlop.service.listing.image_document.image_document` gives it.

    Raises:
        InvalidTemplate: it names a field that no image has, or a function does not fit its value.
    """
    try:
        return template.fill(_image(document))
    except InvalidTemplate as error:
        try:
            return template.fill(_raw(document))
        except InvalidTemplate:
            # The structures know the names that there are.
            raise error from None


def _raw(value: object) -> object:
    if isinstance(value, dict):
        return Map({key: _raw(member) for key, member in value.items()}, strict=True)
    if value is None:
        return NULL
    return [_raw(item) for item in value] if isinstance(value, list) else value


def _image(document: dict[str, Any]) -> Struct:
    values = {"ID" if key == "Id" else key: value for key, value in document.items()}
    driver, rootfs, metadata = document["GraphDriver"], document["RootFS"], document["Metadata"]
    values |= {
        "RepoTags": _texts(document["RepoTags"]),
        "RepoDigests": _texts(document["RepoDigests"]),
        "ContainerConfig": _config(document["ContainerConfig"]),
        "Config": _config(document["Config"]),
        "GraphDriver": Struct({"Data": _map(driver["Data"]), "Name": driver["Name"]}, driver),
        "RootFS": Struct({"Type": rootfs["Type"], "Layers": _texts(rootfs.get("Layers")), "BaseLayer": ""}, rootfs),
        "Metadata": Struct({"LastTagTime": _time(metadata["LastTagTime"])}, metadata),
    }
    # What JSON leaves out is an empty text here.
    return Struct({name: values.get(name, "") for name in _IMAGE}, document)


def _time(text: str) -> Time:
    date, _, clock = text.removesuffix("Z").partition("T")
    return Time(f"{date} {clock} +0000 UTC", text)


def _same(value: object) -> object:
    return value


def _texts(value: list[object] | None) -> object:
    return NIL_SLICE if value is None else value


def _map(value: dict[str, object] | None) -> object:
    return NIL_MAP if value is None else Map(value, "")


def _set(value: dict[str, object] | None) -> object:
    return NIL_SET if value is None else Map(dict.fromkeys(value, _EMPTY), _EMPTY)


def _pointer(value: object) -> object:
    return NIL_POINTER if value is None else value


def _health(value: dict[str, Any] | None) -> object:
    if value is None:
        return NIL_POINTER
    times = {name: Duration(value.get(name, 0)) for name in ("Interval", "Timeout", "StartPeriod")}
    return Struct({"Test": _texts(value.get("Test")), **times, "Retries": value.get("Retries", 0)}, value)


# Each field with what stands for it where JSON leaves it out, and how it is read.
_CONFIG: Final[dict[str, tuple[object, Callable[[Any], object]]]] = {
    **dict.fromkeys(("Hostname", "Domainname", "User"), ("", _same)),
    **dict.fromkeys(("AttachStdin", "AttachStdout", "AttachStderr"), (False, _same)),
    "ExposedPorts": (None, _set),
    **dict.fromkeys(("Tty", "OpenStdin", "StdinOnce"), (False, _same)),
    "Env": (None, _texts),
    "Cmd": (None, _texts),
    "Healthcheck": (None, _health),
    "ArgsEscaped": (False, _same),
    "Image": ("", _same),
    "Volumes": (None, _set),
    "WorkingDir": ("", _same),
    "Entrypoint": (None, _texts),
    "NetworkDisabled": (False, _same),
    "MacAddress": ("", _same),
    "OnBuild": (None, _texts),
    "Labels": (None, _map),
    "StopSignal": ("", _same),
    "StopTimeout": (None, _pointer),
    "Shell": (None, _texts),
}


def _config(document: dict[str, Any] | None) -> object:
    if document is None:
        return NIL_POINTER
    return Struct({name: read(document.get(name, empty)) for name, (empty, read) in _CONFIG.items()}, document)
