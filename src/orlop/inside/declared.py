"""What the config and the history of an image tell an audit, and whether the directories of programs fit them.

Steps of the history are texts that anyone may write, and builders write them in different ways: ``/bin/sh -c #(nop) ADD
…``, ``ADD … # buildkit``, ``RUN …``, ``|1 NAME=value /bin/sh -c …``. So a rule about steps looks for words that are
alike in all of them, and its findings are facts, nothing more.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orlop.inside.finding import AuditFinding, fingerprint_of, secret_finding
from orlop.inside.masked import Mask, is_secret_variable, texts_of
from orlop.inside.merge import clean
from orlop.inside.secrets import secrets_of
from orlop.inside.trail import Allowance, Trail
from orlop.inside.walk import NO_NAMES
from orlop.streams.tar_entry import TYPE_DIR, TYPE_SYMLINK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orlop.inside.node import Node
    from orlop.inside.view import ImageFiles
    from orlop.model.container import ContainerConfig

__all__ = ["config_findings", "step_findings", "writable_paths"]

_SHELLS: Final = frozenset(("sh", "ash", "bash", "dash", "ksh", "zsh"))
_EXEC: Final = re.compile(r"(?:\A|[;&|\n])\s*+exec\s")
"""A script that makes room for a program."""
_WITH_VALUE: Final = re.compile(r"-[a-z]*[oO]")
"""Options of a shell that have a value of their own."""
_STARTERS: Final = frozenset(("env", "busybox"))
"""Programs that are given a shell to run."""
_KERNEL: Final = ("dev", "proc", "sys")
_SYSTEM: Final = frozenset(
    ("", "bin", "boot", "etc", "lib", "lib64", "sbin", "usr", "usr/bin", "usr/lib", "usr/lib64", "usr/sbin")
)
_SOCKETS: Final = frozenset(("docker.sock", "containerd.sock", "podman.sock", "crio.sock", "buildkitd.sock"))
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where engines look for programs if the config does not say it."""
_MOST_PLACES: Final = 100
_SETS: Final = re.compile(r"(?:RUN )?\|([0-9]{1,2}) |(?:/bin/sh -c #\(nop\)\s{1,9})?(?:ENV|ARG) ")
"""How a step begins that has values of variables, and how many: those of a build, or those that it sets."""

_URL: Final = (re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+:[^\s]+\Z"), "a URL")
_LABELS: Final = {
    "created": (
        re.compile(
            r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])[Tt ](?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?"
            r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)\Z",
            re.ASCII,
        ),
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
_OF_OCI: Final = frozenset(
    (
        *("created", "authors", "url", "documentation", "source", "version", "revision", "vendor", "licenses"),
        *("ref.name", "title", "description", "base.digest", "base.name"),
        *("os", "architecture", "variant", "author", "stopSignal", "exposedPorts"),
    )
)
"""The keys that the specification has: those for images, and those that stand for what is in a config."""

_OPTIONS: Final = r"(?:[ \t]++-[ctoO][ \t]++[^\s-]\S*+|[ \t]++-\S++)*+[ \t]++"
"""Options of a package manager before what it is to do; some have a value of their own."""

_STEPS: Final = {
    "step-adds-url": (
        re.compile(
            r"(?:\A|#\(nop\)\s{0,9})ADD (?:--(?!checksum)\S++ )*(?:(?!https?://|#|--)\S++ ){0,50}?"
            r"https?://(?!\S*[#?](?:checksum=|[0-9a-f]{40}\b))\S"
        ),
        None,
        "a step adds what a server sends, without a checksum",
    ),
    "step-sudo": (
        re.compile(
            r"(?:\ARUN[ \t]++(?:--\S++[ \t]++)*+|-[a-z]*c[ \t]++[\"']?|[;&|(\n{!]|\b(?:then|do|else)[ \t])"
            r"[ \t]*+sudo[ \t]"
        ),
        None,
        "a step uses sudo, though builds run as root",
    ),
    "step-upgrades": (
        re.compile(
            rf"\b(?:apt(?:-get|itude)?{_OPTIONS}(?:dist|full)-upgrade"
            rf"|zypper{_OPTIONS}(?:dup|dist-upgrade)|(?:dnf|yum){_OPTIONS}distro-sync)\b"
        ),
        None,
        "a step upgrades the distribution: other builds of it give other images",
    ),
    "step-updates-alone": (
        re.compile(rf"\b(?:apt(?:-get|itude)?|apk){_OPTIONS}update\b"),
        re.compile(rf"install|upgrade|build-dep|download|source|apk{_OPTIONS}(?:add|fix|fetch)\b"),
        "a step updates lists of packages and installs none: a cached step keeps old lists",
    ),
}
"""Of each rule what a step has, what it must not have besides, and what to say of it."""


def config_findings(files: ImageFiles) -> Iterator[AuditFinding]:
    """Yield what the config tells, and secrets in it or in the history."""
    config = files.config.config
    user = ("" if config is None else config.user).partition(":")[0]
    if user in {"", "root"} or not user.strip("0"):
        yield AuditFinding("root-user", "fact", "low", "processes run as root")
    check = None if config is None or config.healthcheck is None else config.healthcheck.test
    if not check or check[0] == "NONE":
        yield AuditFinding("no-health-check", "fact", "info", "it has no health check")
    for secret in secrets_of(f"{text}\n".encode("utf-8", "surrogateescape") for text in texts_of(files.config)):
        yield secret_finding(secret, " is in the config or history")
    yield from _arguments(files)
    if config is not None:
        yield from _declared(config)


def _arguments(files: ImageFiles) -> Iterator[AuditFinding]:
    """Yield arguments of the build, and variables that a later step has unset, that are named like secrets."""
    config = files.config.config
    known = {one.partition("=")[0] for one in (config.env if config is not None else None) or ()}
    for step, layer in _steps(files):
        match = _SETS.match(step)
        if match is None:
            continue
        most = int(match[1] or _MOST_PLACES)
        for word in step[match.end() :].split(" ", most)[:most]:
            name, _, value = word.partition("=")
            size = len(value.strip("\"'"))
            if name not in known and is_secret_variable(name, value.strip("\"'")):
                known.add(name)
                text = f"the history has the variable {name}, which may hold a secret ({size} characters)"
                mark = fingerprint_of("argument", name)
                yield AuditFinding("secret-variable", "secret", "medium", text, layer, fingerprint=mark)


def _declared(config: ContainerConfig) -> Iterator[AuditFinding]:
    for variable in config.env or ():
        name, _, value = variable.partition("=")
        if is_secret_variable(name, value):
            text = f"the variable {name} may hold a secret ({len(value)} characters)"
            yield AuditFinding("secret-variable", "secret", "medium", text, fingerprint=fingerprint_of("env", name))
    for volume in sorted(config.volumes or ()):
        place = clean(volume)
        if place.split("/", 1)[0] in _KERNEL or place in _SYSTEM or place.rpartition("/")[2] in _SOCKETS:
            text = f"a volume takes the place of /{place}, which belongs to the system"
            mark = fingerprint_of("volume", place)
            yield AuditFinding("system-volume", "risk", "medium", text, fingerprint=mark)
    if _is_in_shell(config.entrypoint or ()):
        text = "the entry point is run by a shell, which does not pass signals on, and takes no arguments"
        yield AuditFinding("shell-entrypoint", "fact", "info", text)
    if config.on_build:
        steps = "one more step" if len(config.on_build) == 1 else f"{len(config.on_build)} more steps"
        yield AuditFinding("on-build", "fact", "info", f"images that are built on it run {steps} (ONBUILD)")
    yield from _labels(config.labels or {})


def _labels(labels: Mapping[str, str]) -> Iterator[AuditFinding]:
    for key, value in sorted(labels.items()):
        if not key.startswith(_OCI):
            continue
        name = key.removeprefix(_OCI)
        pattern, form = _LABELS.get(name, (None, ""))
        text = ""
        if name not in _OF_OCI:
            text = f"the label {key} is none that the specification has, which reserves {_OCI.rstrip('.')}"
        elif pattern is not None and value and not pattern.match(value):
            text = f"the label {key} is not {form}"
        if text:
            yield AuditFinding("label-format", "fact", "info", text, fingerprint=fingerprint_of("label", key))


def _is_in_shell(entrypoint: Sequence[str]) -> bool:
    """Return whether a command is run by a shell that stays beside it."""
    words = [*entrypoint]
    while words and words[0].rpartition("/")[2] in _STARTERS:
        del words[0]
    if not words or words.pop(0).rpartition("/")[2] not in _SHELLS:
        return False
    for place, word in enumerate(words):
        if word.startswith("-") and not word.startswith("--"):
            if "c" in word:
                return not any(_EXEC.search(script) for script in words[place + 1 : place + 2])
        elif not word.startswith("-") and not (place and _WITH_VALUE.fullmatch(words[place - 1])):
            break
    return False


def _steps(files: ImageFiles) -> Iterator[tuple[str, int]]:
    """Yield the steps of the history, each with the number of its layer, 0 if it has none or nobody can tell."""
    history = files.config.history
    told = sum(not step.empty_layer for step in history) == len(files.config.rootfs.diff_ids)
    number = 0
    for step in history:
        number += not step.empty_layer
        yield step.created_by, number if told and not step.empty_layer else 0


def step_findings(files: ImageFiles) -> Iterator[AuditFinding]:
    """Yield what the steps of the history tell. The fingerprint is that of the step, without the secrets in it."""
    masked = None
    for step, layer in _steps(files):
        for rule, (has, has_not, text) in _STEPS.items():
            if has.search(step) and not (has_not is not None and has_not.search(step)):
                masked = masked or Mask(files.config)
                mark = fingerprint_of(rule, masked(step))
                yield AuditFinding(rule, "fact", "info", text, layer, fingerprint=mark)


def writable_paths(files: ImageFiles) -> Iterator[AuditFinding]:
    """Yield the directories that are searched for programs and into which anyone may put one."""
    config = files.config.config
    variables = [] if config is None else [one[5:] for one in config.env or () if one.startswith("PATH=")]
    places = dict.fromkeys((variables[-1] if variables else _PATH).split(":", _MOST_PLACES)[:_MOST_PLACES])
    root, allowance = files.node("/"), Allowance()
    for place in places:
        if not place.startswith("/"):
            text = "PATH has an entry that depends on the working directory"
            yield AuditFinding("writable-path", "risk", "medium", text, fingerprint=fingerprint_of("path", place))
            continue
        writable = _writable(root, place, allowance)
        if writable is not None:
            path, layer = writable
            text = f"anyone may put programs into /{clean(place)}, which PATH names"
            yield AuditFinding("writable-path", "risk", "medium", text, layer, path)


def _writable(root: Node, place: str, allowance: Allowance) -> tuple[str, int] | None:
    """Return by which directory anyone may put something at a path, and its layer; None if by none.

    All directories count that lead there, those behind links as well: whoever may replace a link says where it leads.
    """
    stack, parts, trail = [("", root)], place.split("/")[::-1], Trail(allowance)
    while True:
        part = parts.pop() if parts else ""
        if part == ".." and len(stack) > 1:
            stack.pop()
        if part in NO_NAMES and parts:
            continue
        node = stack[-1][1]
        child = None if node.children is None or part in NO_NAMES else node.children.get(part)
        # In a sticky directory, anyone may make what is not there yet.
        if node.type == TYPE_DIR and node.mode & 0o002 and (child is None or not node.mode & 0o1000):
            return "/" + "/".join(name for name, _ in stack[1:]), node.layer + 1
        if child is None:
            return None
        if child.type != TYPE_SYMLINK:
            stack.append((part, child))
            continue
        names = trail.names(child.content.linkname)
        if names is None:
            return None
        if child.content.linkname.startswith("/"):
            del stack[1:]
        parts += names
