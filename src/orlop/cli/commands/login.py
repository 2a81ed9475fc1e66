"""``orlop login`` and ``orlop logout``."""

from __future__ import annotations

import os
import sys

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.show import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from orlop.cli.session import Session
    from orlop.model.reference import Reference

_HUB: Final = "docker.io"
_LONGEST: Final = 1 << 16
_FILE: Final = "The file of credentials. Default: the first one that knows the registry, else docker's config.json."


@command(epilog="Example: pass show registry | orlop login -u me --password-stdin registry.example.com")
@option("-u", "--username", metavar="NAME", help="The user name. Default: ask for it.")
@option("--password-stdin", is_flag=True, help="Read the password from standard input. Default: ask for it.")
@option("--authfile", metavar="FILE", help=_FILE)
@argument("registry", metavar="[REGISTRY]", required=False, default=_HUB)
def login(session: Session, username: str | None, password_stdin: bool, authfile: str | None, registry: str) -> None:  # noqa: FBT001
    """Log in to a registry, and store the credentials.

    The user name and password are checked first. docker, podman and skopeo find them in the same place. REGISTRY
    defaults to Docker Hub.
    """
    from orlop.cli import network  # noqa: PLC0415 - help needs none of it
    from orlop.registry.credentials import Credentials, GivenKeys  # noqa: PLC0415 - as above
    from orlop.registry.logins import LoginFile  # noqa: PLC0415 - as above

    session.log()
    name = _host(registry)
    network.hosts(os.environ).to_log_in(name)
    user, password = _asked(username, is_piped=password_stdin)
    credentials = Credentials(user=user, password=password, source="this login")
    helpers = network.helpers(os.environ)
    files = [LoginFile(path, helpers) for path in network.credential_files(os.environ, authfile)]
    usual = files[0] if authfile or os.environ.get("REGISTRY_AUTH_FILE") else files[-2]
    chosen = next((file for file in files if file.knows(name.domain)), usual)
    with network.registries(os.environ, keychain=GivenKeys(name.domain, credentials)) as registries:
        was_asked = registries.log_in(name)
    where = chosen.keep(name.domain, credentials)
    if not was_asked:
        output.complain(f"Warning: {name.domain} did not ask who you are, so that nothing was checked")
    output.write(f"Login Succeeded: kept in {where}\n")


@command(epilog="Example: orlop logout registry.example.com")
@option("--authfile", metavar="FILE", help="Remove them from FILE only. Default: from all files that are searched.")
@argument("registry", metavar="[REGISTRY]", required=False, default=_HUB)
def logout(session: Session, authfile: str | None, registry: str) -> None:
    """Remove the stored credentials for a registry.

    REGISTRY defaults to Docker Hub.
    """
    from orlop.cli import network  # noqa: PLC0415 - as above
    from orlop.registry.logins import LoginFile  # noqa: PLC0415 - as above

    session.log()
    name, helpers = _host(registry), network.helpers(os.environ)
    files = [LoginFile(path, helpers) for path in network.credential_files(os.environ, authfile)]
    dropped = [file.drop(name.domain) for file in files]
    words = "Removing login credentials for" if any(dropped) else "Not logged in to"
    output.write(f"{words} {name.domain}\n")


def _host(registry: str) -> Reference:
    """Return a name on a registry, which may be written as a URL."""
    from orlop.errors import InvalidReference  # noqa: PLC0415 - as above
    from orlop.model.reference import Reference  # noqa: PLC0415 - as above
    from orlop.registry.credentials import host_of_key  # noqa: PLC0415 - as above

    if any(mark in registry for mark in "@?#"):
        # What follows or precedes these may be a secret.
        raise InvalidReference("a registry to log in to is named by HOST[:PORT] alone, without a user or a query")
    host = host_of_key(registry)
    found = Reference.parse(f"{host}/login/check")
    if found.domain != host:
        raise InvalidReference(f"{registry!r} is not a registry: expected HOST[:PORT], with a dot or a port in it")
    return found


def _asked(username: str | None, *, is_piped: bool) -> tuple[str, str]:
    from orlop.errors import InvalidInput  # noqa: PLC0415 - as above

    if is_piped:
        if not username:
            raise WrongUsage("--password-stdin needs --username")
        try:
            password = sys.stdin.buffer.read(_LONGEST).decode().rstrip("\r\n")
        except UnicodeDecodeError:
            # The error of Python shows the password.
            raise InvalidInput("the password is not valid UTF-8") from None
    else:
        if not sys.stdin.isatty():
            raise WrongUsage("cannot prompt without a terminal; use --username and --password-stdin")
        import getpass  # noqa: PLC0415 - as above

        username = username or input("Username: ").strip()
        password = getpass.getpass("Password: ")
    if any("\ud800" <= one <= "\udfff" for one in f"{username}{password}"):
        raise InvalidInput("the name and the password must be valid UTF-8")
    if not username or not password or ":" in username:
        raise InvalidInput("logging in needs a user name without a colon, and a password")
    return username, password
