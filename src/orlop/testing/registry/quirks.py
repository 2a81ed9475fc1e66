"""Quirks: in what ways a registry differs from what the specification says, a switch for each.

Each was met in a registry, or in what stands before one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that is given once, in place of the right one, to requests of some methods.

    ``path`` is a part of the paths that it is for.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    methods: str = "GET HEAD POST PATCH PUT DELETE"
    path: str = ""
    hang_up: bool = False
    """The connection breaks instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """What a fake registry does otherwise. Without any, it does what the specification says, and asks nobody in.

    Attributes:
        auth: ``none``, ``basic``, ``bearer``, or ``both`` (both challenges).
        catalog_basic: the catalog wants Basic where all else wants a token.
        anonymous: what somebody without credentials gets a token for: ``pull``, or nothing.
        challenge: the text of ``WWW-Authenticate`` instead of the right one; ``{realm}`` stands for the realm.
        challenge_at_root_only: a 401 below ``/v2/`` has no challenge.
        realm: the realm instead of the token server's.
        denied_is_403: a token with too few rights is answered with 403.
        token_get: the status with which the token server refuses GET; 200 for none.
        token_post: the same for POST.
        carrier: ``token``, ``access_token`` or ``both``.
        token_redirect: the token server redirects to this URL.
        expires_in: what it says; None leaves it out.
        token_uses: after so many requests a token has expired.
        first_scope_only: the token server looks at the first scope alone.
        all_or_nothing: it refuses all where one scope is not allowed.
        forbidden: repositories for which nobody gets more than a look.
        commit_expires: a token has expired when an upload is first committed.
        digest_header: ``Docker-Content-Digest`` is ``right``, ``missing`` or ``wrong``.
        head: the status with which HEAD of manifests is refused; 200 for none.
        head_length: HEAD has a ``Content-Length``.
        manifest_type: the ``Content-Type`` of all manifests instead of their own.
        manifest_suffix: what follows it, as parameters do.
        strict_accept: a manifest is not found where ``Accept`` does not name its type.
        encoded_documents: whatever is not a blob is compressed, though nobody asked for that.
        unsized: the status for a POST, PUT or PATCH that does not say how long its body is; 200 for none.
        redirect: the status with which a blob is redirected to the store; 0 for none.
        redirect_expired: so many times the store answers that the link has expired.
        redirect_challenge: the store asks for an anonymous token of its own.
        redirect_loop: the store redirects to itself.
        ranges: ``right``, ``ignored``, ``wrong`` (another range than was asked), ``total`` (of a blob of another
            size), ``unsaid`` (206 without a range), ``multipart`` (in parts, with a colon in the boundary) or
            ``none`` (416, with the length of the blob and less of a body).
        etag: the ``ETag`` of a blob is ``right``, or ``changing`` from answer to answer; ``If-Range`` must be the same.
        cut: after so many bytes of a blob the connection breaks.
        cuts: so many times.
        stall: after so many bytes of a blob nothing more comes.
        drip: a blob comes byte by byte.
        length: blobs have a ``Content-Length``; else they come in chunks.
        longer: bytes that follow a blob.
        corrupt: a blob's first byte is another one.
        encoding: ``none``, ``label`` (blobs are called gzip as they are) or ``real`` (they are compressed).
        location: of uploads: ``relative``, ``absolute``, ``bare`` (no scheme), ``store`` (another host, outside
            ``/v2/``), ``http`` (although it is https), or a URL.
        location_query: what follows it.
        location_moves: each answer has another one, and the one before is forgotten.
        patch: the status for a chunk.
        patch_range: ``right``, ``missing``, ``stuck`` (at the first chunk) or ``minus`` (``0--1`` for nothing).
        takes: of the first chunk, the registry takes so many bytes only.
        takes_each: of each chunk, the registry takes so many bytes only.
        chunk_limit: larger chunks with a range are answered with 416.
        chunks: the status with which chunks with a range are refused; 200 for none.
        later_chunks: the status with which chunks behind the first are refused; 200 for none.
        unranged: the status for a chunk behind the first that has no range; 200 for none.
        body_limit: larger bodies are answered by a proxy with 413 and HTML.
        chunk_least: in ``OCI-Chunk-Min-Length``; smaller chunks but the last are refused.
        chunk_most: in ``OCI-Chunk-Max-Length``; larger chunks are refused.
        upload_cut: after so many bytes of uploads in all the connection breaks, once.
        upload_kept: what came until then is kept; else the session is lost.
        upload_asked: the status for a session that is asked how far it got.
        commit_cut: the connection breaks once when an upload is committed, and the blob is there.
        commit: the status for an upload that is committed: 201, or another success.
        commit_told: its answer names the digest and the place of the blob.
        cancel: the status with which an upload is cancelled.
        blob_head: the status with which a blob that is not there is looked for.
        empty_blob: the status with which a blob without a byte is refused; 200 for none.
        mount: the status for a mount; 201 does it where the blob is there.
        post_digest: the status for a blob in one POST: 201 or 202.
        missing_blob_once: the first push of each manifest is refused, as if its blobs were missing.
        manifest_limit: larger manifests are refused with 413.
        config_types: the only types of configs that are taken; empty for all.
        put_digest: the digest that the answer to a manifest names is ``right``, ``missing`` or ``wrong``.
        page_most: a request for longer pages is refused, as distribution 3 does.
        page_asked: whether the length of a page that is asked for counts; else all is on one.
        tags_null: a list of tags is null where it is empty.
        page: so many tags or repositories at most stand on a page; 0 for all.
        link: how the next page is told: ``relative``, ``absolute``, ``cursor``, ``bare`` (no relation), ``http``,
            ``loop``, ``circle``, or a URL.
        catalog: the status for the catalog.
        search: the status of ``/v1/search``, which few registries have; 200 where it finds something.
        referrers: ``right``, ``none`` (404), ``html`` (200, and a page) or ``unfiltered``.
        subject_tag: a fallback tag of referrers leads to the manifest itself.
        delete_tag: the status for deleting a tag.
        delete: the status for deleting anything else.
        http: the version of HTTP that all three answer, ``1.1`` or ``1.0``.
        html_errors: errors are pages of HTML.
        warning: a ``Warning`` of each answer.
        failures: answers that are given once.
    """

    auth: str = "none"
    catalog_basic: bool = False
    anonymous: str = ""
    challenge: str = ""
    challenge_at_root_only: bool = False
    realm: str = ""
    denied_is_403: bool = False
    token_get: int = 200
    token_post: int = 200
    carrier: str = "both"
    token_redirect: str = ""
    expires_in: int | None = 300
    token_uses: int | None = None
    first_scope_only: bool = False
    all_or_nothing: bool = False
    forbidden: tuple[str, ...] = ()
    commit_expires: bool = False
    digest_header: str = "right"
    head: int = 200
    head_length: bool = True
    manifest_type: str = ""
    manifest_suffix: str = ""
    strict_accept: bool = False
    encoded_documents: bool = False
    unsized: int = 200
    redirect: int = 0
    redirect_expired: int = 0
    redirect_challenge: bool = False
    redirect_loop: bool = False
    ranges: str = "right"
    etag: str = "right"
    cut: int | None = None
    cuts: int = 1
    stall: int | None = None
    drip: bool = False
    length: bool = True
    longer: int = 0
    corrupt: bool = False
    encoding: str = "none"
    location: str = "relative"
    location_query: str = ""
    location_moves: bool = False
    patch: int = 202
    patch_range: str = "right"
    takes: int | None = None
    takes_each: int | None = None
    chunk_limit: int | None = None
    chunks: int = 200
    later_chunks: int = 200
    unranged: int = 200
    body_limit: int | None = None
    chunk_least: int | None = None
    chunk_most: int | None = None
    upload_cut: int | None = None
    upload_kept: bool = False
    upload_asked: int = 204
    commit_cut: bool = False
    commit: int = 201
    commit_told: bool = True
    cancel: int = 204
    blob_head: int = 404
    empty_blob: int = 200
    mount: int = 201
    post_digest: int = 201
    missing_blob_once: bool = False
    manifest_limit: int | None = None
    config_types: tuple[str, ...] = ()
    put_digest: str = "right"
    page_most: int | None = None
    page_asked: bool = True
    tags_null: bool = False
    page: int = 0
    link: str = "relative"
    catalog: int = 200
    search: int = 404
    referrers: str = "right"
    subject_tag: bool = False
    delete_tag: int = 202
    delete: int = 202
    http: str = "1.1"
    html_errors: bool = False
    warning: str = ""
    failures: tuple[Failure, ...] = ()
