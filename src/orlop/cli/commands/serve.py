"""``orlop serve``."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing, contextmanager, nullcontext
from typing import TypedDict

import click

from orlop.cli.declared import WrongUsage, command, option
from orlop.cli.limits import archive_limit_option, read_number
from orlop.cli.show import output
from orlop.errors import InvalidInput, NotSupported, PermissionDenied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Final

    from orlop.api.engine.app import Page
    from orlop.api.listeners import Activation, Address
    from orlop.api.log import AccessLog
    from orlop.api.registry.guard.access import Access
    from orlop.api.server import Door
    from orlop.api.tls import Certificates
    from orlop.cli.session import Session
    from orlop.service.hosted.registry import HostedRegistry
    from orlop.service.hosted.repository import Hosts
    from orlop.service.image_service import ImageService
    from orlop.service.proxied.budget import Rate
    from orlop.service.proxied.pull_through import PullThrough

_REGISTRY: Final = "tcp://127.0.0.1:5000"
_DIGITS: Final = 9
_FILES: Final = 16_384
_OWN_FILES: Final = 256
"""Files that a server may have open beside its connections: databases, blobs."""
_FEWEST: Final = 8
_NEEDED: Final = "orlop serve needs packages that are not installed; install them with: pip install 'orlop[serve]'"


def _read_size(text: str) -> int:
    size = read_number(text, is_size=True)
    if size is None:
        raise WrongUsage(f"{text!r} is not a size, such as 500m or 20g")
    return size


@command(epilog="Example: orlop serve -H unix:///run/user/1000/orlop.sock")
@option(
    "-H",
    "--host",
    "hosts",
    metavar="ADDRESS",
    multiple=True,
    help="Listen at unix:///path, tcp://host:port or fd:// (a socket from systemd). May be repeated.",
)
@option("-G", "--group", metavar="GROUP", help="Allow members of this group to use the Unix sockets.")
@option("--tls", is_flag=True, help="Use TLS for TCP connections.")
@option("--tlsverify", is_flag=True, help="Use TLS and require a client certificate.")
@option("--tlscacert", metavar="FILE", help="Trust client certificates signed by this CA. Default: ~/.docker/ca.pem.")
@option("--tlscert", metavar="FILE", help="Use this server certificate. Default: ~/.docker/cert.pem.")
@option("--tlskey", metavar="FILE", help="Use this private key. Default: ~/.docker/key.pem.")
@option(
    "--token-file",
    metavar="FILE",
    help="Require the token in this file from TCP clients. The file is created with a new token if missing.",
)
@option("--allow-anonymous", is_flag=True, help="Accept any TCP client. Anyone who can connect can do everything.")
@option("--registry", is_flag=True, help="Serve the store as a registry (OCI distribution) instead of the Engine API.")
@option("--engine", is_flag=True, help="With --registry, serve the Engine API as well, at the same addresses.")
@option(
    "--registry-host",
    "registry_hosts",
    metavar="NAME",
    multiple=True,
    help="Name images of the registry after this host, such as registry.example.com. May be repeated.",
)
@option(
    "--registry-compress",
    metavar="FORM",
    default="gzip",
    show_default=True,
    help="Compress plain layers like this when they are pulled: gzip, zstd, gzip:LEVEL, zstd:LEVEL or none.",
)
@option(
    "--registry-redirect",
    metavar="SIZE",
    read=_read_size,
    help="Redirect pulls of blobs of at least this size to the object store. Default: never.",
)
@option(
    "--registry-access",
    metavar="FILE",
    help="Control access to the registry by this TOML file: users, rights, tokens, limits, webhooks.",
)
@option(
    "--proxy",
    "proxied",
    metavar="HOST[=URL]",
    multiple=True,
    help="With --registry, fetch what the store does not have from this registry, such as docker.io, and keep it."
    " May be repeated; clients that do not name a registry get the first.",
)
@option(
    "--proxy-fresh",
    metavar="TIME",
    default="5m",
    show_default=True,
    help="Ask whether a tag has changed when the last answer is older than this.",
)
@option("--proxy-quota", metavar="SIZE", read=_read_size, help="Keep at most this much for --proxy. Default: no limit.")
@option(
    "--proxy-rate",
    "proxy_rates",
    metavar="HOST=N/TIME",
    multiple=True,
    help="Send the registry of a --proxy at most N requests in this time, as in docker.io=100/6h. May be repeated.",
)
@option("--read-only", is_flag=True, help="Refuse requests that change the store.")
@option("--ui", "with_page", is_flag=True, help="Also show the store to web browsers, read-only, at /ui/.")
@option("--access-log", metavar="FILE", help='Log each request to this file; "-" is standard error.')
@option("--max-body", metavar="SIZE", read=_read_size, help="Refuse larger uploads. Default: no limit.")
@archive_limit_option
@option(
    "--max-requests",
    metavar="N",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Handle at most N requests at once.",
)
@option(
    "--max-transfers",
    metavar="N",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Run at most N loads and saves at once; others wait.",
)
@option(
    "--max-followers",
    metavar="N",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Allow at most N clients to follow events, besides requests.",
)
@option(
    "--max-connections",
    metavar="N",
    type=click.IntRange(8),
    default=1000,
    show_default=True,
    help="Keep at most N connections per address; new connections replace idle ones.",
)
@option(
    "--patience",
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    default=600.0,
    show_default=True,
    help="Disconnect a client that sends or receives nothing for this long.",
)
@option(
    "--min-rate",
    metavar="SIZE",
    read=_read_size,
    default="1k",
    show_default=True,
    help="Treat a slower transfer, in bytes per second, as idle.",
)
@option(
    "--grace",
    metavar="SECONDS",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="On shutdown, wait this long for running requests, then cancel them.",
)
def serve(
    session: Session,
    *,
    hosts: tuple[str, ...],
    group: str | None,
    tls: bool,
    tlsverify: bool,
    tlscacert: str | None,
    tlscert: str | None,
    tlskey: str | None,
    token_file: str | None,
    allow_anonymous: bool,
    registry: bool,
    engine: bool,
    registry_hosts: tuple[str, ...],
    registry_compress: str,
    registry_redirect: int | None,
    registry_access: str | None,
    proxied: tuple[str, ...],
    proxy_fresh: str,
    proxy_quota: int | None,
    proxy_rates: tuple[str, ...],
    read_only: bool,
    with_page: bool,
    access_log: str | None,
    max_body: int | None,
    max_requests: int,
    max_transfers: int,
    max_followers: int,
    max_connections: int,
    patience: float,
    min_rate: int,
    grace: float,
) -> None:
    """Serve the image part of the Docker Engine API over HTTP.

    Docker's clients (docker, docker-py and others) can use it: set DOCKER_HOST to the address. Containers are not
    supported.

    The default address is fd:// when systemd starts the server, otherwise unix://$XDG_RUNTIME_DIR/orlop.sock, or
    unix:///run/orlop.sock for root. Stop the server with Ctrl-C or SIGTERM.

    With --registry, docker, podman, skopeo and others push images to the store and pull them from it. The default
    address is then tcp://127.0.0.1:5000.
    """
    from orlop.cli import network  # noqa: PLC0415 - as below

    try:
        from orlop.api.doors import Security, doors  # noqa: PLC0415 - only this command serves
        from orlop.api.engine.call import Bounds  # noqa: PLC0415 - as above
        from orlop.api.server import Options, Serves, run  # noqa: PLC0415 - as above
        from orlop.service.stores import group_number  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        raise NotSupported(_NEEDED) from error
    if not registry and (engine or registry_hosts or proxied or registry_redirect is not None):
        raise WrongUsage("--engine, --registry-host, --registry-redirect and --proxy need --registry")
    if with_page and registry and not engine:
        raise WrongUsage("--ui needs the Engine API; with --registry, add --engine")
    if registry_access is not None and (not registry or engine or token_file is not None):
        raise WrongUsage("--registry-access needs --registry, and cannot be used with --engine or --token-file")
    serves = Serves.REGISTRY if registry else Serves.ENGINE
    security = Security(
        _certificates(tlscert, tlskey, tlscacert, verify=tlsverify) if tls or tlsverify else None,
        None if token_file is None else _token(token_file),
        # The file of access says who may come.
        anonymous=allow_anonymous or registry_access is not None,
        read_only=read_only,
        group=None if group is None else group_number(group),
        hosts=registry_hosts,
    )
    activation = _activation()

    with (
        session.open(downloads=True) as images,
        network.registries(os.environ) as registries,
        _log(access_log) as log,
        _access(registry_access) as access,
        _cache(images, proxied, proxy_fresh, proxy_quota, proxy_rates) as cache,
    ):
        images.network = lambda keychain: nullcontext(registries.as_user(keychain))
        places = _addresses(hosts or ((_REGISTRY,) if registry and not activation.count else ()), activation)
        opened = doors(places, security, activation, serves | Serves.ENGINE if engine else serves)
        bounds = Bounds(max_body, max_requests, patience, min_rate, max_followers)
        connections = min(max_connections, _connections(len(opened)))
        called = _called(opened, registry_hosts)
        how: _How = {"most": max_body, "compress": registry_compress, "redirect": registry_redirect}
        hosted = _registry(images, called, cache, how) if registry else None
        listeners = () if access is None else access.listeners
        page = _page() if with_page else None
        options = Options(bounds, max_transfers, connections, grace, log, hosted, listeners, access, page)
        # The event loop is told of signals, and need not be woken for them.
        signal.setitimer(signal.ITIMER_REAL, 0)
        if not run(images, opened, options, ready=lambda: _announce(opened)):
            # A thread that is stuck would keep the process for ever.
            sys.stderr.flush()
            os._exit(0)


@contextmanager
def _access(path: str | None) -> Iterator[Access | None]:
    if path is None:
        yield None
        return
    from orlop.api.registry.guard.access import Access  # noqa: PLC0415 - as above

    with Access(path) as access:
        yield access


def _called(opened: list[Door], names: tuple[str, ...]) -> Hosts:
    """Return what the registry is called: after where it listens if it has no other name."""
    from orlop.api.listeners import Address  # noqa: PLC0415 - as above
    from orlop.service.hosted.repository import LOCAL, Hosts  # noqa: PLC0415 - as above

    places = [Address.parse(place) for door in opened for place in door.listener.places()]
    ports = [one.port for one in places if one.kind == "tcp"]
    return Hosts(names or (f"{LOCAL}:{ports[0]}" if ports else LOCAL,))


class _How(TypedDict):
    most: int | None
    compress: str
    redirect: int | None


def _registry(images: ImageService, hosts: Hosts, cache: PullThrough | None, how: _How) -> HostedRegistry:
    from orlop.service.hosted.registry import HostedRegistry  # noqa: PLC0415 - as above

    if cache is None:
        return HostedRegistry(images.store, hosts, **how)
    from orlop.service.proxied.registry import ProxiedRegistry  # noqa: PLC0415 - few registries stand for others

    return ProxiedRegistry(images.store, cache, hosts, **how)


@contextmanager
def _cache(
    images: ImageService, proxied: tuple[str, ...], fresh: str, quota: int | None, rates: tuple[str, ...]
) -> Iterator[PullThrough | None]:
    """Return, for a block, the cache of other registries, if there is to be one."""
    if not proxied:
        if rates:
            raise WrongUsage("--proxy-rate needs --proxy")
        yield None
        return
    from orlop.cli import network  # noqa: PLC0415 - few registries stand for others
    from orlop.model.durations import parse_duration  # noqa: PLC0415 - as above
    from orlop.service.proxied.pull_through import PullThrough, Rules  # noqa: PLC0415 - as above
    from orlop.service.proxied.upstream import Upstream  # noqa: PLC0415 - as above

    try:
        rules = Rules(fresh=parse_duration(fresh) / 1e9)
    except ValueError as error:
        raise WrongUsage(str(error), "--proxy-fresh") from error
    upstreams = [Upstream.parse(text) for text in proxied]
    with network.registries(os.environ, rules=[one.rule for one in upstreams]) as registries:
        hosts = {one.host: rules for one in upstreams}
        with closing(PullThrough(images.store, registries, hosts, quota=quota, rates=_rates(rates, hosts))) as cache:
            yield cache


def _rates(texts: tuple[str, ...], hosts: Collection[str]) -> dict[str, Rate]:
    """Return how often upstreams may be asked, by their hosts."""
    from orlop.service.proxied.budget import Rate  # noqa: PLC0415 - as above

    found: dict[str, Rate] = {}
    for text in texts:
        host, _, rate = text.rpartition("=")
        if host not in hosts:
            raise WrongUsage(f"{text[:80]!r} names no registry of a --proxy; write HOST=N/TIME, as in docker.io=100/6h")
        found[host] = Rate.parse(rate)
    return found


def _page() -> Page:
    from orlop.api.engine.app import Page  # noqa: PLC0415 - as above
    from orlop.api.web.headers import HEADERS, is_page  # noqa: PLC0415 - few servers show it
    from orlop.api.web.site import ENDPOINTS, PARTS  # noqa: PLC0415 - as above

    return Page(ENDPOINTS, is_page, PARTS, HEADERS)


def _addresses(hosts: tuple[str, ...], activation: Activation) -> list[Address]:
    from orlop.api.listeners import Address  # noqa: PLC0415 - as above

    if hosts:
        return [Address.parse(host) for host in dict.fromkeys(hosts)]
    if activation.count:
        return [Address("fd", "")]
    folder = os.environ.get("XDG_RUNTIME_DIR") or ("/run" if os.geteuid() == 0 else None)
    if folder is None:
        raise WrongUsage("there is no $XDG_RUNTIME_DIR for a socket; name an address with --host")
    return [Address.parse(f"unix://{os.path.abspath(folder)}/orlop.sock")]


def _activation() -> Activation:
    """Return what systemd hands over, if it does so to this process."""
    from orlop.api.listeners import Activation  # noqa: PLC0415 - as above

    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return Activation()
    count = os.environ.get("LISTEN_FDS", "")
    names = tuple(os.environ.get("LISTEN_FDNAMES", "").split(":"))
    return Activation(int(count) if count.isdecimal() and len(count) <= _DIGITS else 0, names)


def _certificates(certificate: str | None, key: str | None, authority: str | None, *, verify: bool) -> Certificates:
    from orlop.api.tls import Certificates  # noqa: PLC0415 - as above

    folder = os.environ.get("DOCKER_CERT_PATH") or os.path.expanduser("~/.docker")
    return Certificates(
        certificate or os.path.join(folder, "cert.pem"),
        key or os.path.join(folder, "key.pem"),
        (authority or os.path.join(folder, "ca.pem")) if verify else None,
    )


def _token(path: str) -> str:
    """Return the token in a file, or make both."""
    import secrets  # noqa: PLC0415 - few servers have one

    from orlop.streams.files import explaining  # noqa: PLC0415 - as above

    with explaining("read", path):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            pass
        else:
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(f"{secrets.token_urlsafe(32)}\n")
        with open(path, encoding="ascii", errors="replace") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                msg = f"others may read the token in {path}; make it private with: chmod 600 {path}"
                raise PermissionDenied(msg)
            token = file.read().strip()
    if not token or not token.isprintable() or " " in token:
        msg = f"{path} holds no token; put a long random word there, or remove it to get one"
        raise InvalidInput(msg)
    return token


@contextmanager
def _log(path: str | None) -> Iterator[AccessLog | None]:
    if path is None:
        yield None
        return
    from orlop.api.log import AccessLog  # noqa: PLC0415 - as above
    from orlop.streams.files import explaining  # noqa: PLC0415 - as above

    if path == "-":
        yield AccessLog(sys.stderr)
        return
    with explaining("write", path):
        file = open(path, "a", encoding="ascii")  # noqa: SIM115 - closed below
    with closing(AccessLog(file)) as log:
        yield log


def _connections(listeners: int) -> int:
    """Return how many connections each listener may have by what the system allows, which is asked for."""
    import resource  # noqa: PLC0415 - only a server has so many

    # The usual limit is for programs that know no better way.
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = max(allowed, min(most, _FILES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    return max(_FEWEST, (allowed - _OWN_FILES) // max(1, listeners))


def _announce(opened: list[Door]) -> None:
    for door in opened:
        for place in door.listener.places():
            output.complain(f"Listening on {place}")
    _notify(os.environ.get("NOTIFY_SOCKET"))


def _notify(path: str | None) -> None:
    """Notify systemd that the server is ready, where it asked for that."""
    if not path:
        return
    import socket  # noqa: PLC0415 - few servers are started so

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notice:
        notice.connect(f"\0{path[1:]}" if path.startswith("@") else path)
        notice.sendall(b"READY=1")
