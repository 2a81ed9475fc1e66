"""The container config inside an image config: how a container of the image is set up."""

from __future__ import annotations

from orlop.errors import InvalidJSON
from orlop.model import gojson
from orlop.model.dialect import Dialect, check_dialect
from orlop.model.gostruct import BOOL, INT, TEXT, Field, Pointer, Set, Slice, Struct, TextMap, Words
from orlop.model.regex import regex
from orlop.model.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from orlop.model.gostruct import Codec, Quote


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """How to check that a container is healthy. Durations are nanoseconds; 0 means "inherit"."""

    test: tuple[str, ...] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """The portable part of a container's set-up, with the fields of the Docker Engine API.

    Where Go distinguishes nil from empty (they are written differently), None is nil. ``stop_timeout`` is in seconds.
    Two configs are equal if all their fields are. Immutable; do not change the mappings.
    """

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: frozenset[str] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    healthcheck: HealthConfig | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: frozenset[str] | None = None
    working_dir: str = ""
    entrypoint: tuple[str, ...] | None = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: tuple[str, ...] | None = None
    labels: Mapping[str, str] | None = None
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: tuple[str, ...] | None = None

    def to_json(self, dialect: Dialect = Dialect.REFERENCE) -> bytes:
        """Write the config as the engine of that dialect does."""
        check_dialect(dialect)
        return CONTAINER[dialect].write(self, QUOTES[dialect]).encode()


def _quote_long(text: str) -> str:
    return gojson.quote(text, short_escapes=False)


QUOTES: Final[Mapping[Dialect, Quote]] = {
    Dialect.REFERENCE: gojson.quote,
    Dialect.ENGINE_20_10: _quote_long,
    Dialect.ENGINE_29: gojson.quote,
}
"""How each engine writes strings: 20.10 was built with a Go older than 1.22."""

_PORT: Final = regex(r"(?s)([0-9]+)(?:/(.*))?")
_MAX_PORT: Final = 65_535
_PORT_DIGITS: Final = 5


def _normal_port(key: str) -> str:
    """Return a port as Engine 29 does: its number and its protocol in lower case, tcp if none is given."""
    match = _PORT.fullmatch(key)
    if not key:
        return key
    digits = match[1].lstrip("0") or "0" if match else ""
    if match is None or len(digits) > _PORT_DIGITS or int(digits) > _MAX_PORT:
        raise InvalidJSON(f"invalid port {key!r}: expected a number up to {_MAX_PORT} and perhaps a protocol")
    return f"{digits}/{(match[2] or 'tcp').lower()}"


def _health_fields(dialect: Dialect) -> tuple[Field, ...]:
    later = dialect is Dialect.ENGINE_29
    return (
        Field("Test", "test", Slice(TEXT), omit_empty=True),
        Field("Interval", "interval", INT, omit_empty=True),
        Field("Timeout", "timeout", INT, omit_empty=True),
        Field("StartPeriod", "start_period", INT, omit_empty=True),
        Field("StartInterval", "start_interval", INT, omit_empty=True, written=later),
        Field("Retries", "retries", INT, omit_empty=True),
    )


def _fields(dialect: Dialect) -> tuple[Field, ...]:
    later = dialect is Dialect.ENGINE_29
    words: Codec = Slice(TEXT) if later else Words(TEXT)
    ports = Set(_normal_port) if later else Set()
    health = Struct(HealthConfig, _health_fields(dialect))
    return (
        Field("Hostname", "hostname", TEXT),
        Field("Domainname", "domainname", TEXT),
        Field("User", "user", TEXT),
        Field("AttachStdin", "attach_stdin", BOOL),
        Field("AttachStdout", "attach_stdout", BOOL),
        Field("AttachStderr", "attach_stderr", BOOL),
        Field("ExposedPorts", "exposed_ports", ports, omit_empty=True),
        Field("Tty", "tty", BOOL),
        Field("OpenStdin", "open_stdin", BOOL),
        Field("StdinOnce", "stdin_once", BOOL),
        Field("Env", "env", Slice(TEXT)),
        Field("Cmd", "cmd", words),
        Field("Healthcheck", "healthcheck", Pointer(health), omit_empty=True),
        Field("ArgsEscaped", "args_escaped", BOOL, omit_empty=True),
        Field("Image", "image", TEXT),
        Field("Volumes", "volumes", Set()),
        Field("WorkingDir", "working_dir", TEXT),
        Field("Entrypoint", "entrypoint", words),
        Field("NetworkDisabled", "network_disabled", BOOL, omit_empty=True),
        Field("MacAddress", "mac_address", TEXT, omit_empty=True, written=not later),
        Field("OnBuild", "on_build", Slice(TEXT), omit_empty=later),
        Field("Labels", "labels", TextMap()),
        Field("StopSignal", "stop_signal", TEXT, omit_empty=True),
        Field("StopTimeout", "stop_timeout", Pointer(INT), omit_empty=True),
        Field("Shell", "shell", words, omit_empty=True),
    )


CONTAINER: Final = {dialect: Struct(ContainerConfig, _fields(dialect)) for dialect in Dialect}
"""How each dialect reads and writes a container config."""
