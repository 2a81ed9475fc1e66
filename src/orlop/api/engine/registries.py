"""What a server asks registries for its clients: pushes, logins. Each client shows its own credentials.

A client sends what it knows of a registry with each request (``X-Registry-Auth``). That is shown to the registry of the
request alone, and kept nowhere; credentials of whoever runs the server are never used.
"""

from __future__ import annotations

import binascii
import json
import logging
import threading
from base64 import b64decode
from typing import TYPE_CHECKING, Any, Final

import anyio
from starlette.responses import Response

from orlop.api.engine.call import Endpoint
from orlop.api.engine.platforms import first_platform
from orlop.api.engine.shapes.encoding import body
from orlop.api.engine.shapes.fault import Verb
from orlop.api.engine.shapes.progress import PushLines, error_line, note_line, pushed_lines, status_line
from orlop.api.engine.shapes.target import pushed_target
from orlop.api.engine.versions import V1_46
from orlop.api.streamed import Streamed, chunks, hung_up
from orlop.errors import InvalidInput, InvalidSettings, OrlopError, ReferenceNotFound, RequestAborted, StorageError
from orlop.model.descriptor import platform_to_dict
from orlop.model.digest import Digest
from orlop.model.manifest import Index
from orlop.model.reference import Reference
from orlop.registry.configs import read_image
from orlop.registry.credentials import Credentials, GivenKeys, host_of_key
from orlop.streams.interruption import interrupted_by

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.api.engine.call import Call
    from orlop.api.flow import Download, Upload
    from orlop.model.progress import ProgressEvent

_log = logging.getLogger(__name__)

_HEADER: Final = "x-registry-auth"
_LONGEST: Final = 1 << 16
_SOURCE: Final = "the client"
_OF_LOGINS: Final = ("username", "password", "auth", "email", "serveraddress", "identitytoken", "registrytoken")


def given_keys(call: Call, host: str) -> GivenKeys:
    """Return what a client sent for a registry. What cannot be read counts as nothing, as with engines."""
    text = call.headers.get(_HEADER, "")[:_LONGEST]
    try:
        document = json.loads(b64decode(text.replace("-", "+").replace("_", "/") + "==="))
        return GivenKeys(host, _credentials(document))
    except (ValueError, binascii.Error, RecursionError, InvalidSettings):
        return GivenKeys(host, None)


def _credentials(document: Any) -> Credentials | None:
    if not isinstance(document, dict):
        return None
    user, password, identity, token = (
        value if isinstance(value := document.get(name), str) else ""
        for name in ("username", "password", "identitytoken", "registrytoken")
    )
    packed = document.get("auth")
    if not user and isinstance(packed, str) and packed:
        user, _, password = b64decode(packed).decode().partition(":")
    if not (user or identity or token):
        return None
    return Credentials(user=user, password=password, identity_token=identity, registry_token=token, source=_SOURCE)


async def _push(call: Call) -> Response:
    asked = call.image.asked
    if isinstance(asked, Digest):
        raise InvalidInput("cannot push an image by its ID; give it a name")
    tag = call.parameters.get("tag")
    call.wants(Verb.TAG_TARGET)
    reference = pushed_target(asked, tag, call.version) if tag else asked
    call.wants(Verb.PUSH)
    platform = first_platform(call, V1_46)
    keys = given_keys(call, reference.domain)

    def push(download: Download, _: Upload) -> None:
        lines = PushLines(call.version)

        def tell(event: ProgressEvent) -> None:
            if (line := lines.line(event)) is not None:
                download.offer(line)

        def check() -> None:
            if download.cancelled:
                raise RequestAborted("the client hung up before everything was pushed")

        download.put(status_line(f"The push refers to repository [{reference.name}]"))
        try:
            with call.service.reached(keys) as registries, interrupted_by(check):
                report = call.service.push(
                    [reference], registries, all_tags=reference.tag is None, platform=platform, progress=tell
                )
        except RequestAborted:
            raise
        except ReferenceNotFound:
            # What the command advises means nothing to a client.
            download.put(error_line(f"An image does not exist locally with the tag: {reference.familiar_name}"))
        except OrlopError as error:
            # No status will say it. Registries and images are their client's business, the store is the server's.
            level = logging.WARNING if isinstance(error, StorageError) else logging.DEBUG
            _log.log(level, "a push failed: %s", error)
            download.put(error_line(str(error)))
        else:
            download.put(b"".join((*map(note_line, report.messages()), *pushed_lines(report))))

    context = call.context
    return Streamed(push, context.workers, media_type="application/json")


def distribution_there(call: Call) -> bytes:
    """Return, as JSON, what a registry has under a name: the descriptor of a manifest or an index, and its platforms.

    Raises:
        RegistryError, NotInRegistry: the registry refuses, fails, or has none.
    """
    asked = call.image.asked
    if isinstance(asked, Digest):
        raise InvalidInput("unknown image reference format: an ID is not a name in a registry")
    reference = asked.with_default_tag()
    with call.service.reached(given_keys(call, reference.domain)) as registries:
        client, repository = registries.to_push(reference)
        found = client.get_manifest(repository, reference.digest or reference.tag or "")
        document = found.parsed()
        if isinstance(document, Index):
            platforms = [one.platform for one in document.manifests if one.platform is not None]
        else:
            platforms = [read_image(client, repository, document.config).platform]
    return body({"Descriptor": found.descriptor.to_dict(), "Platforms": [platform_to_dict(one) for one in platforms]})


def has_keys(call: Call) -> bool:
    """Return whether a client says who it is to registries, as docker's does where it wants one to be asked."""
    return _HEADER in call.headers


async def asking(call: Call, ask: Callable[[Call], bytes]) -> Response:
    """Answer with what a function learns from a registry, which may take long to say it.

    It has a turn as transfers have, so that registries that do not answer keep nobody else from the store, and ends
    when the client hangs up or the server ends.
    """
    gone = threading.Event()
    found: list[bytes | Exception] = []

    def check() -> None:
        if gone.is_set():
            raise RequestAborted("the client hung up before the registry answered")

    def asked() -> bytes | Exception:
        try:
            with interrupted_by(check):
                return ask(call)
        except Exception as error:  # noqa: BLE001 - raised below, outside the group
            return error

    workers = call.context.workers
    async with workers.turn(call.scope.get("orlop.client")), anyio.create_task_group() as tasks:

        async def run() -> None:
            found.append(await workers.transfer(asked))
            tasks.cancel_scope.cancel()

        tasks.start_soon(run)
        try:
            await hung_up(call.receive)
        finally:
            # The thread ends at its next look; the group waits for it.
            gone.set()
    (answer,) = found
    if isinstance(answer, Exception):
        raise answer
    return Response(answer, media_type="application/json")


async def _auth(call: Call) -> Response:
    raw = b"".join([chunk async for chunk in chunks(call.receive, most=_LONGEST)])
    document, credentials = _login_of(raw)
    address = document.get("serveraddress")
    host = host_of_key(address if isinstance(address, str) and address else "docker.io")
    name = Reference.parse(f"{host}/login/check")
    if name.domain != host:
        raise InvalidInput(f"{host!r} is not a registry: expected HOST[:PORT], with a dot or a port in it")

    def log_in(call: Call) -> bytes:
        with call.service.reached(GivenKeys(host, credentials)) as registries:
            registries.log_in(name)
        return body({"Status": "Login Succeeded", "IdentityToken": ""})

    return await asking(call, log_in)


def _login_of(raw: bytes) -> tuple[dict[str, Any], Credentials | None]:
    try:
        document = json.loads(raw)
        if not isinstance(document, dict):
            raise InvalidInput("the body of a login is not an object")
        for name in _OF_LOGINS:
            if not isinstance(document.get(name), str | None):
                raise InvalidInput(f"the {name} of a login is not a text")
        return document, _credentials(document)
    except (ValueError, RecursionError) as error:
        if isinstance(error, OrlopError):
            raise
        raise InvalidInput("the body of a login cannot be read as JSON") from None


ENDPOINTS = (
    Endpoint("POST", "/images/{name:path}/push", _push, Verb.PUSH),
    Endpoint("POST", "/auth", _auth, Verb.LOGIN, is_archive=lambda _: True),
)
