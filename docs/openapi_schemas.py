"""The JSON that `orlop serve` answers in the newest version of the API, as schemas for `docs/openapi.json`."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

Schema: TypeAlias = dict[str, Any]


def ref(name: str) -> Schema:
    """Refer to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def text(description: str = "", **more: Any) -> Schema:
    """Describe a text."""
    return _described({"type": "string", **more}, description)


def number(description: str = "", **more: Any) -> Schema:
    """Describe an integer that is not negative, unless ``minimum`` says otherwise."""
    return _described({"type": "integer", "minimum": 0, **more}, description)


def flag(description: str = "", **more: Any) -> Schema:
    """Describe a boolean."""
    return _described({"type": "boolean", **more}, description)


def array(items: Schema, description: str = "", **more: Any) -> Schema:
    """Describe an array."""
    return _described({"type": "array", "items": items, **more}, description)


def mapping(values: Schema, description: str = "") -> Schema:
    """Describe an object whose keys are open."""
    return _described({"type": "object", "additionalProperties": values}, description)


def nullable(schema: Schema) -> Schema:
    """Allow null, too."""
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def record(properties: Schema, description: str = "", optional: tuple[str, ...] = ()) -> Schema:
    """Describe an object with these members and no others; all but the ``optional`` are always there."""
    required = [name for name in properties if name not in optional]
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = required
    return _described(schema, description)


def _described(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description} if description else schema


DIGEST: Final = r"^[a-z0-9]+:[0-9a-f]{64,128}$"
_TIME: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$"
_EMPTY_OBJECTS: Final = mapping(record({}))


def _digest(description: str = "") -> Schema:
    return text(description, pattern=DIGEST)


def _texts(description: str = "") -> Schema:
    return array(text(), description)


def _all(properties: Schema, description: str) -> Schema:
    """Describe an object whose members are all optional."""
    return record(properties, description, tuple(properties))


_SUMMARY: Final = {
    "Containers": number("How many containers use the image: always 0.", maximum=0),
    "Created": number("When the image was made, in seconds since 1970.", minimum=-(1 << 63)),
    "Id": _digest("The digest of the image's config."),
    "Labels": nullable(mapping(text())),
    "ParentId": text("The image from which this one was made, if it is known.", pattern=rf"^$|{DIGEST}"),
    "Descriptor": ref("Descriptor"),
    "Manifests": array(ref("ManifestSummary"), "If they were asked for.", minItems=1),
    "RepoDigests": _texts("Names by the digest of the manifest or index."),
    "RepoTags": _texts("Names with a tag."),
    "SharedSize": number(
        "Bytes of the files in the layers that other images have too; -1 if not asked for.", minimum=-1
    ),
    "Size": number("Bytes of the files in all layers."),
}

SCHEMAS: Final[dict[str, Schema]] = {
    "Error": record({"message": text("What is wrong, and what to do.")}, "The answer to a request that failed."),
    "Descriptor": record(
        {
            "mediaType": text(),
            "digest": _digest(),
            "size": number(),
            "urls": _texts(),
            "annotations": mapping(text()),
            "platform": ref("Platform"),
            "artifactType": text(),
        },
        "A pointer to content, as the OCI image spec has it.",
        ("urls", "annotations", "platform", "artifactType"),
    ),
    "Platform": record(
        {
            "architecture": text(),
            "os": text(),
            "os.version": text(),
            "os.features": _texts(),
            "variant": text(),
        },
        "What an image runs on, as the OCI image spec has it.",
        ("os.version", "os.features", "variant"),
    ),
    "ManifestSummary": record(
        {
            "ID": _digest("The digest of the manifest."),
            "Descriptor": ref("Descriptor"),
            "Available": flag("Whether what the manifest names is in the store."),
            "Size": record({"Content": number("Bytes as compressed."), "Total": number("With the files in layers.")}),
            "Kind": text(enum=["image", "attestation", "unknown"]),
            "ImageData": record(
                {
                    "Platform": ref("Platform"),
                    "Containers": array(text(), maxItems=0),
                    "Size": record({"Unpacked": number("Bytes of the files in all layers.")}),
                },
                "For the manifest of an image.",
            ),
            "AttestationData": record(
                {"For": text("The digest of the manifest that it describes.")}, "For an attestation."
            ),
        },
        "A manifest that an image's index names, or its only one.",
        ("ImageData", "AttestationData"),
    ),
    "ImageSummary": record(_SUMMARY, "An image in a list.", ("Descriptor", "Manifests")),
    "UsedImage": record(
        {
            **_SUMMARY,
            "RepoDigests": nullable(_texts()),
            "RepoTags": nullable(_texts()),
            "SharedSize": number("Bytes of the files in the layers that other images have too."),
        },
        "An image in a report of disk usage.",
        ("Descriptor", "Manifests"),
    ),
    "Healthcheck": _all(
        {
            "Test": _texts(),
            "Interval": number("Nanoseconds.", minimum=-(1 << 63)),
            "Timeout": number("Nanoseconds.", minimum=-(1 << 63)),
            "StartPeriod": number("Nanoseconds.", minimum=-(1 << 63)),
            "StartInterval": number("Nanoseconds.", minimum=-(1 << 63)),
            "Retries": number(minimum=-(1 << 63)),
        },
        "How the health of a container of the image is checked.",
    ),
    "ImageConfig": _all(
        {
            "User": text(),
            "ExposedPorts": _EMPTY_OBJECTS,
            "Env": _texts(),
            "Entrypoint": _texts(),
            "Cmd": _texts(),
            "Volumes": _EMPTY_OBJECTS,
            "WorkingDir": text(),
            "Labels": mapping(text()),
            "StopSignal": text(),
            "ArgsEscaped": flag(),
            "Healthcheck": ref("Healthcheck"),
            "OnBuild": _texts(),
            "Shell": _texts(),
        },
        "The settings of an image's containers; what is empty is left out.",
    ),
    "Image": record(
        {
            "Id": _digest("The digest of the image's config."),
            "RepoTags": _texts("Names with a tag."),
            "RepoDigests": _texts("Names by the digest of the manifest or index."),
            "Parent": _digest("The image from which this one was made."),
            "Comment": text(),
            "Created": text("When the image was made.", pattern=_TIME),
            "DockerVersion": text("The engine that made it."),
            "Author": text(),
            "Config": nullable(ref("ImageConfig")),
            "Architecture": text(),
            "Variant": text(),
            "Os": text(),
            "OsVersion": text(),
            "Size": number("Bytes of the files in all layers."),
            "RootFS": record(
                {"Type": text(), "Layers": array(_digest(), "Diff IDs, the lowest layer first.")}, "", ("Layers",)
            ),
            "Metadata": record({"LastTagTime": text("When the image last got a name.", pattern=_TIME)}),
            "Descriptor": ref("Descriptor"),
            "Manifests": array(ref("ManifestSummary"), "If they were asked for.", minItems=1),
        },
        "The details of an image. The keys are sorted where there is a `Parent` or a `DockerVersion`.",
        (
            "Parent",
            "Comment",
            "Created",
            "DockerVersion",
            "Author",
            "Variant",
            "OsVersion",
            "Descriptor",
            "Manifests",
        ),
    ),
    "HistoryStep": record(
        {
            "Comment": text(),
            "Created": number("Seconds since 1970.", minimum=-(1 << 63)),
            "CreatedBy": text("The command."),
            "Id": text("The image that the step made, if it is in the store.", pattern=rf"^<missing>$|{DIGEST}"),
            "Size": number("Bytes of the files in the layer."),
            "Tags": nullable(_texts()),
        },
        "A step of an image's build.",
    ),
    "Network": record(
        {
            "Name": text(const="bridge"),
            "Id": text(pattern=r"^[0-9a-f]{64}$"),
            "Created": text(pattern=_TIME),
            "Scope": text(const="local"),
            "Driver": text(const="bridge"),
            "EnableIPv4": flag(),
            "EnableIPv6": flag(),
            "IPAM": record(
                {
                    "Driver": text(),
                    "Options": {"type": "null"},
                    "Config": array(record({}), "Ranges of addresses, of which it has none.", maxItems=0),
                }
            ),
            "Internal": flag(),
            "Attachable": flag(),
            "Ingress": flag(),
            "ConfigFrom": record({"Network": text()}),
            "ConfigOnly": flag(),
            "Containers": _EMPTY_OBJECTS,
            "Options": _EMPTY_OBJECTS,
            "Labels": _EMPTY_OBJECTS,
        },
        "The default network.",
    ),
    "Removed": {
        "oneOf": [
            record({"Untagged": text("A name that was removed.")}),
            record({"Deleted": _digest("The ID of an image, or the chain ID of a layer, that was removed.")}),
        ]
    },
    "Pruned": record(
        {
            "ImagesDeleted": nullable(array(ref("Removed"))),
            "SpaceReclaimed": number("Bytes of the files in the layers that were removed."),
        },
        "What a prune removed.",
    ),
    "Distribution": record(
        {"Descriptor": ref("Descriptor"), "Platforms": array(ref("Platform"))},
        "The manifest or index that an image came with.",
    ),
    "FoundRepository": record(
        {
            "star_count": {"type": "integer"},
            "is_official": flag(),
            "name": text(),
            "is_automated": flag(),
            "description": text(),
        },
        "A repository that a registry found.",
    ),
    "Login": record({"Status": text(), "IdentityToken": text()}, "A registry accepted these credentials."),
    "DiskUsage": _all(
        {
            "LayersSize": number("Bytes of the files in all layers."),
            "Images": array(ref("UsedImage")),
            "Containers": array(text(), maxItems=0),
            "Volumes": array(text(), maxItems=0),
            "BuildCache": array(text(), maxItems=0),
            "ImageUsage": _all(
                {
                    "Items": array(ref("UsedImage")),
                    "Reclaimable": number("Bytes that images share with no other."),
                    "TotalCount": number(),
                    "TotalSize": number("Bytes of the files in all layers."),
                },
                "Sums of the images; what is zero is left out.",
            ),
            "ContainerUsage": record({}),
            "VolumeUsage": record({}),
            "BuildCacheUsage": record({}),
        },
        "Disk usage, for the types of objects that were asked for.",
    ),
    "Version": record(
        {
            "Platform": record({"Name": text(const="orlop")}),
            "Version": text(),
            "ApiVersion": text("The newest version of the API.", const="1.55"),
            "MinAPIVersion": text("The oldest version of the API.", const="1.24"),
            "Os": text(),
            "Arch": text("As Go names it."),
            "Components": array(record({"Name": text(), "Version": text(), "Details": mapping(text())})),
            "GitCommit": text("Empty."),
            "GoVersion": text("Empty."),
            "KernelVersion": text(),
        },
        "The version of the server.",
    ),
    "Info": record(
        {
            "ID": text("Identifies the machine."),
            "Containers": number(maximum=0),
            "ContainersRunning": number(maximum=0),
            "ContainersPaused": number(maximum=0),
            "ContainersStopped": number(maximum=0),
            "Images": number("Includes images that are only parents of others."),
            "Driver": text(const="orlop"),
            "DriverStatus": array(
                array(text(), minItems=2, maxItems=2), "The store, and whether it can be written to."
            ),
            "Plugins": record(
                {
                    "Volume": array(text(), maxItems=0),
                    "Network": array(text(), maxItems=0),
                    "Authorization": {"type": "null"},
                    "Log": array(text(), maxItems=0),
                }
            ),
            "MemoryLimit": flag(const=False),
            "SwapLimit": flag(const=False),
            "CpuCfsPeriod": flag(const=False),
            "CpuCfsQuota": flag(const=False),
            "CPUShares": flag(const=False),
            "CPUSet": flag(const=False),
            "PidsLimit": flag(const=False),
            "IPv4Forwarding": flag(const=False),
            "Debug": flag(),
            "NFd": number("Open files of the server."),
            "OomKillDisable": flag(const=False),
            "NGoroutines": number(maximum=0),
            "SystemTime": text(pattern=_TIME),
            "LoggingDriver": text(),
            "CgroupDriver": text(const="none"),
            "NEventsListener": number("Clients that follow events."),
            "KernelVersion": text(),
            "OperatingSystem": text(),
            "OSVersion": text(),
            "OSType": text(),
            "Architecture": text("As the kernel names it."),
            "IndexServerAddress": text("Empty: no registry is known."),
            "RegistryConfig": record(
                {
                    "InsecureRegistryCIDRs": array(text(), maxItems=0),
                    "IndexConfigs": record({}),
                    "Mirrors": array(text(), maxItems=0),
                }
            ),
            "NCPU": number(minimum=1),
            "MemTotal": number("Bytes."),
            "GenericResources": {"type": "null"},
            "DockerRootDir": text("The directory of the store."),
            "HttpProxy": text(),
            "HttpsProxy": text(),
            "NoProxy": text(),
            "Name": text("The name of the machine."),
            "Labels": _texts(),
            "ExperimentalBuild": flag(const=False),
            "ServerVersion": text(),
            "Runtimes": record({}),
            "DefaultRuntime": text(),
            "Swarm": record(
                {
                    "NodeID": text(),
                    "NodeAddr": text(),
                    "LocalNodeState": text(const="inactive"),
                    "ControlAvailable": flag(const=False),
                    "Error": text(),
                    "RemoteManagers": {"type": "null"},
                }
            ),
            "LiveRestoreEnabled": flag(const=False),
            "Isolation": text(),
            "InitBinary": text(),
            "ContainerdCommit": record({"ID": text()}),
            "RuncCommit": record({"ID": text()}),
            "InitCommit": record({"ID": text()}),
            "SecurityOptions": array(text(), maxItems=0),
            "CDISpecDirs": array(text(), maxItems=0),
            "Warnings": _texts("What clients print: that no containers are run here."),
        },
        "What the server is and keeps.",
    ),
    "Event": record(
        {
            "Type": text(enum=["image"]),
            "Action": text(enum=["delete", "import", "load", "prune", "save", "tag", "untag"]),
            "Actor": record(
                {
                    "ID": text("The image; empty for a pruning.", pattern=rf"^$|{DIGEST}"),
                    "Attributes": mapping(text(), "The image's labels and `name`; `reclaimed` for a pruning."),
                }
            ),
            "scope": text(const="local"),
            "time": number("Seconds since 1970."),
            "timeNano": number("Nanoseconds since 1970."),
        },
        "Something that happened.",
    ),
    "ProgressLine": {
        "description": "A line of a stream, which ends in CRLF.",
        "anyOf": [
            record({}, "Nothing was done."),
            record({"stream": text()}, "What a client prints as it is."),
            record({"status": text()}, "What a client prints as a line: the ID of an image that was imported."),
            record(
                {
                    "status": text(),
                    "progressDetail": _all({"current": number(), "total": number()}, "Bytes."),
                    "id": text("The layer."),
                },
                "A layer on its way.",
            ),
            record(
                {
                    "progressDetail": record({}),
                    "aux": record({"Tag": text(), "Digest": text(), "Size": number("Bytes of the manifest.")}),
                },
                "A tag that was pushed, for programs.",
            ),
            record(
                {"errorDetail": record({"message": text()}), "error": text()},
                "The work failed; the last line. Nothing was changed.",
            ),
        ],
    },
}
