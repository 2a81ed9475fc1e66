"""What the config and the history of an image tell an audit, and whether the directories of programs fit them.

Steps of the history are texts that anyone may write, and builders write them in different ways: ``/bin/sh -c #(nop) ADD
…``, ``ADD … # buildkit``, ``RUN …``, ``|1 NAME=value /bin/sh -c …``. So a rule about steps looks for words that are
alike in all of them, and its findings are facts, nothing more.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import PathNotFound
from orlop.inside.finding import AuditFinding, fingerprint_of, secret_finding
from orlop.inside.masked import Mask, is_secret_variable
from orlop.inside.merge import clean
from orlop.inside.secrets import secrets_of
from orlop.streams.tar_header import TYPE_DIR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.inside.view import ImageFiles
    from orlop.model.container import ContainerConfig

__all__ = ["config_findings", "step_findings", "writable_paths"]

_SHELLS: Final = frozenset(("sh", "ash", "bash", "dash", "ksh", "zsh"))
_KERNEL: Final = ("dev", "proc", "sys")
_SYSTEM: Final = frozenset(("", "bin", "boot", "etc", "lib", "lib64", "sbin", "usr", "usr/bin", "usr/lib", "usr/sbin"))
_SOCKET: Final = "docker.sock"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where engines look for programs if the config does not say it."""
_MOST_PLACES: Final = 100

_URL: Final = (re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+:[^\s]+\Z"), "a URL")
_LABELS: Final = {
    "created": (
        re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)\Z", re.ASCII),
        "a date and time as in RFC 3339",
    ),
    "url": _URL,
    "source": _URL,
    "documentation": _URL,
    "licenses": (
        re.compile(r"\(*[A-Za-z0-9.:+-]+\)*(?: (?:AND|OR|WITH) \(*[A-Za-z0-9.:+-]+\)*)*\Z"),
        "an expression of SPDX",
    ),
    "base.digest": (re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[A-Za-z0-9=_-]+\Z"), "a digest"),
}
_OCI: Final = "org.opencontainers.image."

_STEPS: Final = {
    "step-adds-url": (
        re.compile(r"(?:\A|#\(nop\)\s{0,9})ADD (?:--(?!checksum)\S+ )*+https?://"),
        None,
        "a step adds what a server sends, without a checksum",
    ),
    "step-sudo": (re.compile(r"(?:-c|[;&|(\n])[ \t]*+sudo[ \t]"), None, "a step uses sudo, though builds run as root"),
    "step-upgrades": (
        re.compile(r"\bapt(?:-get)?(?:[ \t]++-\S++)*+[ \t]++(?:dist-upgrade|full-upgrade)\b"),
        None,
        "a step upgrades the distribution: other builds of it give other images",
    ),
    "step-updates-alone": (
        re.compile(r"\b(?:apt(?:-get)?|apk)(?:[ \t]++-\S++)*+[ \t]++update\b"),
        re.compile(r"install|upgrade|build-dep|download|source|apk(?:[ \t]++-\S++)*+[ \t]++(?:add|fix|fetch)\b"),
        "a step updates lists of packages and installs none: a cached step keeps old lists",
    ),
}
"""Of each rule what a step has, what it must not have besides, and what to say of it."""


def config_findings(files: ImageFiles) -> Iterator[AuditFinding]:
    """Yield what the config tells, and secrets in it or in the history."""
    config = files.config.config
    user = "" if config is None else config.user
    if user.partition(":")[0] in {"", "0", "root"}:
        yield AuditFinding("root-user", "fact", "low", "processes run as root")
    if config is None or config.healthcheck is None:
        yield AuditFinding("no-health-check", "fact", "info", "it has no health check")
    texts = [] if config is None else [*(config.env or ()), *(config.labels or {}).values()]
    texts += [step.created_by for step in files.config.history]
    for secret in secrets_of(f"{text}\n".encode("utf-8", "surrogateescape") for text in texts):
        yield secret_finding(secret, " is in the config or history")
    if config is not None:
        yield from _declared(config)


def _declared(config: ContainerConfig) -> Iterator[AuditFinding]:
    for variable in config.env or ():
        name, _, value = variable.partition("=")
        if is_secret_variable(name, value):
            text = f"the variable {name} may hold a secret ({len(value)} characters)"
            yield AuditFinding("secret-variable", "secret", "medium", text, fingerprint=fingerprint_of("env", name))
    for volume in sorted(config.volumes or ()):
        place = clean(volume)
        if place.split("/", 1)[0] in _KERNEL or place in _SYSTEM or place.endswith(_SOCKET):
            text = f"a volume takes the place of /{place}, which belongs to the system"
            mark = fingerprint_of("volume", place)
            yield AuditFinding("system-volume", "risk", "medium", text, fingerprint=mark)
    entrypoint = config.entrypoint or ()
    if entrypoint[1:2] == ("-c",) and entrypoint[0].rpartition("/")[2] in _SHELLS:
        text = "the entry point is run by a shell, which does not pass signals on, and takes no arguments"
        yield AuditFinding("shell-entrypoint", "fact", "info", text)
    if config.on_build:
        text = f"images that are built on it run {len(config.on_build)} more steps (ONBUILD)"
        yield AuditFinding("on-build", "fact", "info", text)
    for key, value in sorted((config.labels or {}).items()):
        pattern, form = _LABELS.get(key.removeprefix(_OCI), (None, "")) if key.startswith(_OCI) else (None, "")
        if pattern is not None and value and not pattern.match(value):
            text, mark = f"the label {key} is not {form}", fingerprint_of("label", key)
            yield AuditFinding("label-format", "fact", "info", text, fingerprint=mark)


def step_findings(files: ImageFiles) -> Iterator[AuditFinding]:
    """Yield what the steps of the history tell. The fingerprint is that of the step, without the secrets in it."""
    history = files.config.history
    told = sum(not step.empty_layer for step in history) == len(files.config.rootfs.diff_ids)
    number, masked = 0, None
    for step in history:
        number += not step.empty_layer
        for rule, (has, has_not, text) in _STEPS.items():
            if has.search(step.created_by) and not (has_not is not None and has_not.search(step.created_by)):
                masked = masked or Mask(files.config)
                layer = number if told and not step.empty_layer else 0
                mark = fingerprint_of(rule, masked(step.created_by))
                yield AuditFinding(rule, "fact", "info", text, layer, fingerprint=mark)


def writable_paths(files: ImageFiles) -> Iterator[AuditFinding]:
    """Yield the directories that are searched for programs and into which anyone may put one."""
    config = files.config.config
    variables = [] if config is None else [one[5:] for one in config.env or () if one.startswith("PATH=")]
    places = dict.fromkeys((variables[-1] if variables else _PATH).split(":", _MOST_PLACES)[:_MOST_PLACES])
    for place in places:
        if not place.startswith("/"):
            text = "PATH has an entry that depends on the working directory"
            yield AuditFinding("writable-path", "risk", "medium", text, fingerprint=fingerprint_of("path", place))
            continue
        writable = _writable(files, place)
        if writable is not None:
            path, layer = writable
            text = f"anyone may put programs into {clean(place) and '/' + clean(place)}, which PATH names"
            yield AuditFinding("writable-path", "risk", "medium", text, layer, path)


def _writable(files: ImageFiles, place: str) -> tuple[str, int] | None:
    """Return by which directory anyone may put something at a path, and its layer; None if by none."""
    parts = clean(place).split("/")
    node = files.node("/")
    for count in range(len(parts) + 1):
        following = None
        if count < len(parts):
            with suppress(PathNotFound):
                following = files.node("/" + "/".join(parts[: count + 1]))
        # In a sticky directory, anyone may make what is not there yet.
        if node.type == TYPE_DIR and node.mode & 0o002 and (following is None or not node.mode & 0o1000):
            return files.real_path("/" + "/".join(parts[:count])), node.layer + 1
        if following is None:
            return None
        node = following
    return None
