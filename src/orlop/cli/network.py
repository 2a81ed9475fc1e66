"""What the environment says of registries: proxies, credentials, certificates and mirrors. Only here is it asked."""

from __future__ import annotations

import os
from contextlib import contextmanager

from orlop.cli.declared import WrongUsage
from orlop.model.proxies import Proxies
from orlop.registry.authfiles import AuthFiles, search_order
from orlop.registry.certificates import HostTrust, directories
from orlop.registry.helpers import Helpers
from orlop.registry.hostfiles import rules_in, rules_of_containers
from orlop.registry.hosts import Hosts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Final

    from orlop.registry.credentials import Keychain
    from orlop.registry.hosts import Rule
    from orlop.registry.registries import Registries
    from orlop.streams.directory import Directory

_OWN: Final = "registries.toml"


def credential_files(environment: Mapping[str, str], authfile: str | None) -> tuple[str, ...]:
    """Return the files of credentials, in the order in which they are asked.

    Raises:
        WrongUsage: the user named a file whose name is empty.
    """
    if authfile == "":
        raise WrongUsage("a file is needed", "--authfile")
    return search_order(environment, home=_home(environment), user=os.geteuid(), authfile=authfile)


def helpers(environment: Mapping[str, str]) -> Helpers:
    """Return what runs credential helpers."""
    return Helpers(environment.get("PATH", "").split(os.pathsep), environment)


def hosts(environment: Mapping[str, str], given: Sequence[Rule] = ()) -> Hosts:
    """Return the mirrors and rewrites: those of our own files, and then those of podman and skopeo.

    Args:
        environment: the variables of this process.
        given: rules that come before those of files.

    Raises:
        InvalidSettings: a file cannot be used.
    """
    home = _home(environment)
    config = environment.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    named = environment.get("ORLOP_REGISTRIES")
    ours = (named,) if named else (os.path.join(config, "orlop", _OWN), os.path.join("/etc/orlop", _OWN))
    rules: list[Rule] = [*given, *(rule for path in ours for rule in rules_in(path))]
    named = environment.get("CONTAINERS_REGISTRIES_CONF")
    places = (os.path.join(config, "containers", "registries.conf"), "/etc/containers/registries.conf")
    theirs = named or next((path for path in places if os.path.exists(path)), None)
    if theirs is not None:
        rules += [rule for path in _with_parts(theirs) for rule in rules_of_containers(path)]
    return Hosts(rules)


@contextmanager
def registries(
    environment: Mapping[str, str],
    *,
    authfile: str | None = None,
    keychain: Keychain | None = None,
    rules: Sequence[Rule] = (),
) -> Iterator[Registries]:
    """Open what speaks to registries for a block.

    Args:
        environment: the variables of this process.
        authfile: the one file of credentials that the user named.
        keychain: what is asked for credentials instead of files.
        rules: for hosts, before those of files.

    Raises:
        InvalidSettings: a file cannot be used.
    """
    from orlop.registry.registries import Registries  # noqa: PLC0415 - ssl takes its time
    from orlop.registry.transport import HttpTransport  # noqa: PLC0415 - as above

    trust = HostTrust(directories(_home(environment), os.geteuid()))
    found = keychain or AuthFiles(
        credential_files(environment, authfile),
        helpers(environment),
        given=None if authfile else environment.get("DOCKER_AUTH_CONFIG"),
    )
    transport = HttpTransport(trust, proxies=Proxies.from_variables(environment))
    try:
        yield Registries(transport, keychain=found, hosts=hosts(environment, rules))
    finally:
        transport.close()


def state_folder(environment: Mapping[str, str], name: str) -> Directory:
    """Return a folder of this user for what commands remember that need no store; it is made where it is not there."""
    from orlop.streams.directory import Directory  # noqa: PLC0415 - few commands remember anything
    from orlop.streams.files import make_directories  # noqa: PLC0415 - as above

    state = environment.get("XDG_STATE_HOME") or os.path.join(_home(environment), ".local", "state")
    path = os.path.join(state, "orlop", name)
    make_directories(path, 0o700)
    return Directory(path)


def _home(environment: Mapping[str, str]) -> str:
    return environment.get("HOME") or os.path.expanduser("~")


def _with_parts(path: str) -> list[str]:
    """Return a file, and those of the directory beside it that add to it."""
    folder = f"{path}.d"
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".conf"))
    except OSError:
        names = []
    return [path, *(os.path.join(folder, name) for name in names)]
