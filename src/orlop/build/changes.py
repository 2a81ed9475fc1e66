"""Changes to a container config, given as Dockerfile instructions: docker's ``--change``."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from orlop.build.expansion import expand, expand_words, split_words
from orlop.errors import InvalidInstruction, InvalidJSON
from orlop.model import gojson
from orlop.model.container import HealthConfig
from orlop.model.durations import parse_duration
from orlop.model.given import given_texts
from orlop.model.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from orlop.model.container import ContainerConfig

_CONTINUED: Final = re.compile(r"\\[ \t]*\Z")
_DIRECTIVE: Final = re.compile(r"#[ \t]*(?:syntax[ \t]*=|escape[ \t]*=[ \t]*(?P<escape>\S))", re.IGNORECASE)
_FLAG: Final = re.compile(r"--(?P<name>[^\s=]*)(?:=(?P<value>\S*))?(?:\s+|\Z)")
_SHELL: Final = ("/bin/sh", "-c")
_MILLISECOND: Final = 1_000_000
_MAX_PORT: Final = 65_535
_LARGEST: Final = 4 << 20
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


class _Draft:
    """A config that is being changed. What instructions add to is kept apart, since there may be very many of them."""

    def __init__(self, config: ContainerConfig) -> None:
        self.config = config
        """All else of it."""
        pairs = (text.partition("=") for text in config.env or ())
        self.env = {name: value for name, _, value in pairs}
        self.labels = dict(config.labels or {})
        self.ports = set(config.exposed_ports or ())
        self.volumes = set(config.volumes or ())
        self.triggers = list(config.on_build or ())
        self._room = _LARGEST

    def set(self, **fields: object) -> None:
        """Set fields that hold one thing each."""
        self.config = replace(self.config, **fields)  # type: ignore[arg-type]

    def add(self, change: _Change, size: int) -> None:
        """Note so many characters that an instruction adds: variables and ranges stand for very many in few."""
        self._room -= size
        if self._room < 0:
            _refuse(change, f"the config would have more than {_LARGEST} bytes")

    def expanded(self, change: _Change, text: str) -> str:
        """Return a text of an instruction with the values of variables."""
        found = expand(text, self.env)
        self.add(change, len(found))
        return found

    def finished(self) -> ContainerConfig:
        """Return the config as the instructions have changed it."""
        before = self.config
        env = tuple(f"{name}={value}" for name, value in self.env.items())
        return replace(
            before,
            env=env or before.env,
            labels=self.labels or before.labels,
            exposed_ports=frozenset(self.ports) or before.exposed_ports,
            volumes=frozenset(self.volumes) or before.volumes,
            on_build=tuple(self.triggers) or before.on_build,
        )


def apply_changes(config: ContainerConfig, changes: Sequence[str]) -> ContainerConfig:
    """Return a config as docker's ``import`` and ``commit`` change it.

    Args:
        config: what to change.
        changes: instructions (CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, USER, VOLUME, WORKDIR, and
            STOPSIGNAL and SHELL, which docker refuses here); each may hold several lines.

    Raises:
        InvalidInstruction: one is none of them, or is not as it should be.
    """
    changes = given_texts(changes, "changes")
    if not changes:
        return config
    read = list(_instructions("\n".join(changes)))
    if not read:
        msg = "a change has no instruction; give one such as 'ENV NAME=value'"
        raise InvalidInstruction(msg)
    draft = _Draft(config)
    for change in read:
        apply = _WORDS.get(change.word)
        if apply is None:
            known = ", ".join(sorted(_WORDS))
            msg = f"{change.word[:32]} is not an instruction that changes a config; there are {known}"
            raise InvalidInstruction(msg)
        if change.flags and change.word != "HEALTHCHECK":
            _refuse(change, f"there is no flag --{change.flags[0][0]}")
        apply(draft, change)
    return draft.finished()


def _instructions(text: str) -> Iterator[_Change]:
    parts: list[str] = []
    may_direct = True
    for part in text.split("\n"):
        directive = _DIRECTIVE.match(part) if may_direct else None
        may_direct = directive is not None
        if directive is not None and directive["escape"] not in {None, "\\"}:
            msg = f"a backslash escapes in changes, and nothing else; leave {part.strip()[:200]!r} out"
            raise InvalidInstruction(msg)
        # An instruction that goes on does so behind comments and empty lines.
        if part.lstrip().startswith("#") or (parts and not part.strip()):
            continue
        whole = _CONTINUED.sub("", part)
        parts.append(whole)
        if whole == part:
            yield from _whole("".join(parts))
            parts.clear()
    yield from _whole("".join(parts))


def _whole(line: str) -> Iterator[_Change]:
    """Read the instruction of a line, if there is one."""
    if line := line.strip():
        yield _change(line)


def _change(line: str) -> _Change:
    word, *rest = re.split(r"[\t\v\f\r ]+", line, maxsplit=1)
    text = rest[0].strip() if rest else ""
    flags: list[tuple[str, str | None]] = []
    start = 0
    while (flag := _FLAG.match(text, start)) is not None:
        start = flag.end()
        if not flag["name"]:
            break
        flags.append((flag["name"], flag["value"]))
    return _Change(word.upper(), tuple(flags), text[start:])


def _refuse(change: _Change, why: str) -> NoReturn:
    msg = f"{change.word} {change.rest[:200]}".rstrip() + f": {why}"
    raise InvalidInstruction(msg)


def _json_words(change: _Change, text: str) -> list[str] | None:
    """Return the texts of a JSON array, or nothing where it is none."""
    if not text.startswith("["):
        return None
    try:
        words = gojson.loads(gojson.bounded(text.encode()), allow_trailing=True)
    except InvalidJSON:
        return None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        _refuse(change, "a JSON array may contain only strings")
    return words


def _command(draft: _Draft, change: _Change) -> tuple[str, ...]:
    words = _json_words(change, change.rest)
    if words is not None:
        return tuple(words)
    return (*(draft.config.shell or _SHELL), *([change.rest] if change.rest else []))


def _cmd(draft: _Draft, change: _Change) -> None:
    draft.set(cmd=_command(draft, change))


def _entrypoint(draft: _Draft, change: _Change) -> None:
    words = _json_words(change, change.rest)
    if words == [] or not change.rest:
        draft.set(entrypoint=None)
    else:
        draft.set(entrypoint=_command(draft, change))


def _shell(draft: _Draft, change: _Change) -> None:
    words = _json_words(change, change.rest)
    if not words:
        _refuse(change, "it takes a JSON array with at least one string")
    draft.set(shell=tuple(words))


def _pairs(change: _Change) -> list[tuple[str, str]]:
    """Return the pairs of ``name=value …``, or the one of ``name value``, as they stand there."""
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


def _expanded_pairs(draft: _Draft, change: _Change) -> list[tuple[str, str]]:
    expanded = [(draft.expanded(change, name), draft.expanded(change, value)) for name, value in _pairs(change)]
    if not all(name for name, _ in expanded):
        _refuse(change, "a name is empty")
    return expanded


def _env(draft: _Draft, change: _Change) -> None:
    draft.env.update(_expanded_pairs(draft, change))


def _label(draft: _Draft, change: _Change) -> None:
    draft.labels.update(_expanded_pairs(draft, change))


def _expose(draft: _Draft, change: _Change) -> None:
    if not change.rest:
        _refuse(change, "it needs at least one port")
    for word in change.rest.split():
        for spec in expand_words(word, draft.env):
            draft.add(change, len(spec))
            for port in _ports(change, spec):
                draft.add(change, len(port))
                draft.ports.add(port)


def _ports(change: _Change, spec: str) -> Iterator[str]:
    """Yield the ports of ``[[address:]port:]port[-port][/protocol]``, as the config names them."""
    numbers, _, protocol = spec.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        _refuse(change, f"{protocol!r} is not a protocol; there are tcp, udp and sctp")
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
        _refuse(change, f"{text!r} is not a port or range of ports, such as 80 or 8000-8010")
    return first, last


def _single(draft: _Draft, change: _Change) -> str:
    if not change.rest:
        _refuse(change, "it needs an argument")
    return draft.expanded(change, change.rest)


def _user(draft: _Draft, change: _Change) -> None:
    draft.set(user=_single(draft, change))


def _volume(draft: _Draft, change: _Change) -> None:
    words = _json_words(change, change.rest)
    paths = [draft.expanded(change, word).strip() for word in (change.rest.split() if words is None else words)]
    if not paths or not all(paths):
        _refuse(change, "it needs at least one path, and none may be empty")
    draft.volumes.update(paths)


def _workdir(draft: _Draft, change: _Change) -> None:
    path = _single(draft, change)
    if not path:
        _refuse(change, "the path is empty")
    if not path.startswith("/"):
        path = posixpath.normpath(f"/{draft.config.working_dir}/{path}")
        # Two leading slashes mean something else in POSIX than one, three do not.
        path = "/" + path.lstrip("/")
        draft.add(change, len(path))
    draft.set(working_dir=path)


def _stop_signal(draft: _Draft, change: _Change) -> None:
    name = _single(draft, change)
    if name.isdecimal() and name.isascii():
        known = 0 < int(name[:4]) <= _MAX_SIGNAL
    else:
        found = _SIGNAL.fullmatch(name.upper())
        known = found is not None and (found[1].startswith("RTM") or _is_signal(found[1]))
    if not known:
        _refuse(change, f"{name!r} is not a signal, such as SIGTERM or 15")
    draft.set(stop_signal=name)


def _is_signal(name: str) -> bool:
    from signal import Signals  # noqa: PLC0415 - few changes name a signal

    return f"SIG{name}" in Signals.__members__


def _on_build(draft: _Draft, change: _Change) -> None:
    if not change.rest:
        _refuse(change, "it needs an instruction")
    trigger = _change(change.rest)
    if trigger.word in {"ONBUILD", "FROM", "MAINTAINER"}:
        _refuse(change, f"{trigger.word} cannot be triggered")
    if trigger.word in {"ENV", "LABEL"}:
        _pairs(trigger)
    draft.triggers.append(change.rest)


def _healthcheck(draft: _Draft, change: _Change) -> None:
    kind, *rest = re.split(r"\s+", change.rest, maxsplit=1)
    kind = kind.upper()
    if kind == "NONE":
        if rest:
            _refuse(change, "NONE takes no arguments")
        draft.set(healthcheck=HealthConfig(test=("NONE",)))
        return
    if kind != "CMD":
        _refuse(change, "it is followed by NONE, or by CMD and a command")
    text = rest[0] if rest else ""
    words = _json_words(change, text)
    if not (words or (words is None and text)):
        _refuse(change, "a command is missing after CMD")
    test = ("CMD", *words) if words else ("CMD-SHELL", text)
    draft.set(healthcheck=_health_flags(change, HealthConfig(test=test)))


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


_WORDS: Final[dict[str, Callable[[_Draft, _Change], None]]] = {
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
