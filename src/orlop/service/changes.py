"""Changes to a container config, given as Dockerfile instructions: docker's ``--change``."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from orlop.errors import InvalidInstruction, InvalidJSON
from orlop.model import gojson
from orlop.model.container import HealthConfig
from orlop.service.durations import parse_duration
from orlop.service.expansion import expand, expand_words, split_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from orlop.model.container import ContainerConfig

_CONTINUED: Final = re.compile(r"\\[ \t]*$")
_FLAG: Final = re.compile(r"--(?P<name>[^\s=]*)(?:=(?P<value>\S*))?(?:\s+|$)")
_SHELL: Final = ("/bin/sh", "-c")
_MILLISECOND: Final = 1_000_000
_MAX_PORT: Final = 65_535
_PORTS: Final = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)
_PROTOCOLS: Final = frozenset({"tcp", "udp", "sctp"})
_SIGNAL: Final = re.compile(r"(?:SIG)?(RTM(?:IN|AX)(?:[+-]\d{1,2})?|[A-Z][A-Z0-9]+)", re.ASCII)
_MAX_SIGNAL: Final = 64
_HEALTH_FLAGS: Final = {"interval": "interval", "timeout": "timeout", "start-period": "start_period"}


class _Change(NamedTuple):
    """One instruction: its word in upper case, its flags, and the rest."""

    word: str
    flags: tuple[tuple[str, str | None], ...]
    rest: str


def apply_changes(config: ContainerConfig, changes: Sequence[str]) -> ContainerConfig:
    """Give a config as docker's ``import`` and ``commit`` change it.

    Args:
        config: what to change.
        changes: instructions (CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, USER, VOLUME, WORKDIR, and
            STOPSIGNAL and SHELL, which docker refuses here); each may hold several lines.

    Raises:
        InvalidInstruction: one is none of them, or is not as it should be.
    """
    if not changes:
        return config
    read = list(_instructions("\n".join(changes)))
    if not read:
        msg = "a change has no instruction; give one such as 'ENV NAME=value'"
        raise InvalidInstruction(msg)
    for change in read:
        apply = _WORDS.get(change.word)
        if apply is None:
            known = ", ".join(sorted(_WORDS))
            msg = f"{change.word[:32]} is no instruction that changes a config; there are {known}"
            raise InvalidInstruction(msg)
        if change.flags and change.word != "HEALTHCHECK":
            _refuse(change, f"there is no flag --{change.flags[0][0]}")
        config = apply(config, change)
    return config


def _instructions(text: str) -> Iterator[_Change]:
    line = ""
    for part in text.split("\n"):
        if part.lstrip().startswith("#"):
            continue
        line += part
        if _CONTINUED.search(line):
            line = _CONTINUED.sub("", line)
            continue
        if line.strip():
            yield _change(line.strip())
        line = ""
    if line.strip():
        yield _change(line.strip())


def _change(line: str) -> _Change:
    word, *rest = re.split(r"[\t\v\f\r ]+", line, maxsplit=1)
    text = rest[0].strip() if rest else ""
    flags: list[tuple[str, str | None]] = []
    while (flag := _FLAG.match(text)) is not None:
        text = text[flag.end() :]
        if not flag["name"]:
            break
        flags.append((flag["name"], flag["value"]))
    return _Change(word.upper(), tuple(flags), text)


def _refuse(change: _Change, why: str) -> NoReturn:
    msg = f"{change.word} {change.rest[:200]}".rstrip() + f": {why}"
    raise InvalidInstruction(msg)


def _values(config: ContainerConfig) -> dict[str, str]:
    pairs = (text.partition("=") for text in config.env or ())
    return {name: value for name, _, value in pairs}


def _json_words(change: _Change, text: str) -> list[str] | None:
    """Give the texts of a JSON array, or nothing where it is none."""
    if not text.startswith("["):
        return None
    try:
        words = gojson.loads(text.encode(), allow_trailing=True)
    except InvalidJSON:
        return None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        _refuse(change, "an array in JSON may hold texts only")
    return words


def _command(config: ContainerConfig, change: _Change) -> tuple[str, ...]:
    words = _json_words(change, change.rest)
    if words is not None:
        return tuple(words)
    return (*(config.shell or _SHELL), *([change.rest] if change.rest else []))


def _cmd(config: ContainerConfig, change: _Change) -> ContainerConfig:
    return replace(config, cmd=_command(config, change))


def _entrypoint(config: ContainerConfig, change: _Change) -> ContainerConfig:
    words = _json_words(change, change.rest)
    if words == [] or not change.rest:
        return replace(config, entrypoint=None)
    return replace(config, entrypoint=_command(config, change))


def _shell(config: ContainerConfig, change: _Change) -> ContainerConfig:
    words = _json_words(change, change.rest)
    if not words:
        _refuse(change, "it takes an array in JSON with at least one text")
    return replace(config, shell=tuple(words))


def _pairs(change: _Change) -> list[tuple[str, str]]:
    """Give the pairs of ``name=value …``, or the one of ``name value``, as they stand there."""
    if not change.rest:
        _refuse(change, "it needs at least one argument")
    words = split_words(change.rest)
    if "=" not in words[0]:
        name, *value = re.split(r"\s+", change.rest, maxsplit=1)
        if not value:
            _refuse(change, "it needs a name and a value, such as NAME=value")
        return [(name, value[0])]
    pairs = [word.partition("=") for word in words]
    for name, equals, _ in pairs:
        if not equals:
            _refuse(change, f"{name!r} has no =; quote values with spaces, such as NAME='two words'")
        if not name:
            _refuse(change, "a name is empty")
    return [(name, value) for name, _, value in pairs]


def _expanded_pairs(config: ContainerConfig, change: _Change) -> list[tuple[str, str]]:
    values = _values(config)
    expanded = [(expand(name, values), expand(value, values)) for name, value in _pairs(change)]
    if not all(name for name, _ in expanded):
        _refuse(change, "a name is empty")
    return expanded


def _env(config: ContainerConfig, change: _Change) -> ContainerConfig:
    env = list(config.env or ())
    for name, value in _expanded_pairs(config, change):
        places = [number for number, text in enumerate(env) if text.partition("=")[0] == name]
        if places:
            env[places[0]] = f"{name}={value}"
        else:
            env.append(f"{name}={value}")
    return replace(config, env=tuple(env))


def _label(config: ContainerConfig, change: _Change) -> ContainerConfig:
    return replace(config, labels={**(config.labels or {}), **dict(_expanded_pairs(config, change))})


def _expose(config: ContainerConfig, change: _Change) -> ContainerConfig:
    if not change.rest:
        _refuse(change, "it needs at least one port")
    values = _values(config)
    specs = [spec for word in change.rest.split() for spec in expand_words(word, values)]
    ports = {port for spec in specs for port in _ports(change, spec)}
    return replace(config, exposed_ports=(config.exposed_ports or frozenset()) | ports)


def _ports(change: _Change, spec: str) -> Iterator[str]:
    """Give the ports of ``[[address:]port:]port[-port][/protocol]``, as the config names them."""
    numbers, _, protocol = spec.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        _refuse(change, f"{protocol!r} is no protocol; there are tcp, udp and sctp")
    *outside, inside = numbers.rsplit(":", 2)
    first, last = _port_range(change, inside)
    if outside and outside[-1]:
        start, end = _port_range(change, outside[-1])
        if end - start != last - first and first != last:
            _refuse(change, f"{spec!r} has ranges of different lengths")
    return (f"{port}/{protocol}" for port in range(first, last + 1))


def _port_range(change: _Change, text: str) -> tuple[int, int]:
    found = _PORTS.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if not first <= last <= _MAX_PORT:
        _refuse(change, f"{text!r} is no port or range of ports, such as 80 or 8000-8010")
    return first, last


def _single(config: ContainerConfig, change: _Change) -> str:
    if not change.rest:
        _refuse(change, "it needs an argument")
    return expand(change.rest, _values(config))


def _user(config: ContainerConfig, change: _Change) -> ContainerConfig:
    return replace(config, user=_single(config, change))


def _volume(config: ContainerConfig, change: _Change) -> ContainerConfig:
    words = _json_words(change, change.rest)
    values = _values(config)
    paths = [expand(word, values).strip() for word in (change.rest.split() if words is None else words)]
    if not paths or not all(paths):
        _refuse(change, "it needs at least one path, and none may be empty")
    return replace(config, volumes=(config.volumes or frozenset()) | set(paths))


def _workdir(config: ContainerConfig, change: _Change) -> ContainerConfig:
    path = _single(config, change)
    if not path:
        _refuse(change, "the path is empty")
    if not path.startswith("/"):
        path = posixpath.normpath(f"/{config.working_dir}/{path}")
        # Two leading slashes mean something else in POSIX than one, three do not.
        path = "/" + path.lstrip("/")
    return replace(config, working_dir=path)


def _stop_signal(config: ContainerConfig, change: _Change) -> ContainerConfig:
    name = _single(config, change)
    if name.isdecimal() and name.isascii():
        known = 0 < int(name[:4]) <= _MAX_SIGNAL
    else:
        found = _SIGNAL.fullmatch(name.upper())
        known = found is not None and (found[1].startswith("RTM") or _is_signal(found[1]))
    if not known:
        _refuse(change, f"{name!r} is no signal, such as SIGTERM or 15")
    return replace(config, stop_signal=name)


def _is_signal(name: str) -> bool:
    from signal import Signals  # noqa: PLC0415 - few changes name a signal

    return f"SIG{name}" in Signals.__members__


def _on_build(config: ContainerConfig, change: _Change) -> ContainerConfig:
    if not change.rest:
        _refuse(change, "it needs an instruction")
    trigger = _change(change.rest)
    if trigger.word in {"ONBUILD", "FROM", "MAINTAINER"}:
        _refuse(change, f"{trigger.word} cannot be triggered")
    if trigger.word in {"ENV", "LABEL"}:
        _pairs(trigger)
    return replace(config, on_build=(*(config.on_build or ()), change.rest))


def _healthcheck(config: ContainerConfig, change: _Change) -> ContainerConfig:
    kind, *rest = re.split(r"\s+", change.rest, maxsplit=1)
    kind = kind.upper()
    if kind == "NONE":
        if rest:
            _refuse(change, "NONE takes no arguments")
        return replace(config, healthcheck=HealthConfig(test=("NONE",)))
    if kind != "CMD":
        _refuse(change, "it is followed by NONE, or by CMD and a command")
    text = rest[0] if rest else ""
    words = _json_words(change, text)
    if not (words or (words is None and text)):
        _refuse(change, "a command is missing after CMD")
    test = ("CMD", *words) if words else ("CMD-SHELL", text)
    return replace(config, healthcheck=_health_flags(change, HealthConfig(test=test)))


def _health_flags(change: _Change, health: HealthConfig) -> HealthConfig:
    seen: set[str] = set()
    for name, value in change.flags:
        if name in seen:
            _refuse(change, f"--{name} is given twice")
        seen.add(name)
        if name != "retries" and name not in _HEALTH_FLAGS:
            _refuse(change, f"there is no flag --{name}; there are --interval, --timeout, --start-period and --retries")
        if value is None:
            _refuse(change, f"--{name} needs a value, such as --{name}=3")
        if name == "retries":
            health = replace(health, retries=_retries(change, value))
        else:
            health = _timed(change, health, name, value)
    return health


def _timed(change: _Change, health: HealthConfig, name: str, value: str) -> HealthConfig:
    if not value:
        return health
    try:
        nanoseconds = parse_duration(value)
    except ValueError as error:
        _refuse(change, str(error))
    if nanoseconds < _MILLISECOND:
        _refuse(change, f"--{name} is at least 1ms")
    if name == "interval":
        return replace(health, interval=nanoseconds)
    if name == "timeout":
        return replace(health, timeout=nanoseconds)
    return replace(health, start_period=nanoseconds)


def _retries(change: _Change, value: str) -> int:
    if not value:
        return 0
    if re.fullmatch(r"\+?0*[1-9]\d{0,8}", value, re.ASCII) is None:
        _refuse(change, "--retries is a number, at least 1")
    return int(value)


_WORDS: Final[dict[str, Callable[[ContainerConfig, _Change], ContainerConfig]]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _on_build,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
