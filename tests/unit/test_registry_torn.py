"""Small documents whose answers break off are asked for again; a registry that never sends all of one is given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.errors import RegistryUnreachable
from orlop.model.reference import Reference
from orlop.testing.registry.fake import FakeRegistry
from tests.crash.faulty import Fault, faulty
from tests.unit.pushed import reached
from tests.unit.synced import MANIFEST, add_image, add_index, descriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.model.digest import Digest
    from orlop.registry.client import RegistryClient
    from tests.crash.faulty import FaultyProxy

REPOSITORY = "team/app"
READS: dict[str, Callable[[RegistryClient, Digest], object]] = {
    "manifest": lambda client, digest: client.get_manifest(REPOSITORY, digest).raw,
    "tag": lambda client, digest: client.get_manifest(REPOSITORY, "1").digest == digest,
    "tags": lambda client, _: list(client.tags(REPOSITORY)),
    "pages": lambda client, _: list(client.tags(REPOSITORY, page=1)),
    "catalog": lambda client, _: list(client.catalog()),
    "referrers": lambda client, digest: client.referrers(REPOSITORY, digest),
}


@pytest.fixture
def proxy() -> Iterator[FaultyProxy]:
    with FakeRegistry() as there, faulty(there.authority) as found:
        subject = add_image(there, REPOSITORY, "1", "text")
        add_index(there, REPOSITORY, "2", "amd64", "arm64")
        size = len(there.repository(REPOSITORY).manifests[subject][1])
        add_image(there, REPOSITORY, None, "about", subject=descriptor(MANIFEST, subject, size))
        yield found


def read(proxy: FaultyProxy, what: str, faults: Callable[[int], Fault | None]) -> object:
    with reached() as registries:
        client, repository = registries.to_push(Reference.parse(f"{proxy.authority}/{REPOSITORY}"))
        digest = client.head_manifest(repository, "1").digest
        proxy.begin(faults)
        return READS[what](client, digest)


@pytest.mark.parametrize("how", [Fault.TORN, Fault.HEADLESS])
@pytest.mark.parametrize("what", READS)
def test_a_document_that_breaks_off_is_asked_for_again(what: str, how: Fault, proxy: FaultyProxy):
    whole = read(proxy, what, lambda _: None)
    asked = len(proxy.asked)
    assert whole
    assert read(proxy, what, {1: how, 2: how}.get) == whole
    assert len(proxy.asked) == asked + 2


@pytest.mark.sampled(2)
@pytest.mark.parametrize("what", READS)
def test_a_document_that_always_breaks_off_is_given_up(what: str, proxy: FaultyProxy):
    with pytest.raises(RegistryUnreachable, match="the connection to"):
        read(proxy, what, lambda _: Fault.TORN)
    assert len(proxy.asked) == 5


def test_the_next_page_is_that_of_the_answer_which_came_whole():
    """A tag that came while a page was asked for again would hide the one after it."""
    with FakeRegistry() as there, faulty(there.authority) as proxy:
        for tag in ("2", "3", "4"):
            add_image(there, REPOSITORY, tag, tag)

        def faults(number: int) -> Fault | None:
            if number == 2:
                add_image(there, REPOSITORY, "1", "1")
            return Fault.TORN if number == 1 else None

        with reached() as registries:
            client, repository = registries.to_push(Reference.parse(f"{proxy.authority}/{REPOSITORY}"))
            client.head_manifest(repository, "2")
            proxy.begin(faults)
            assert list(client.tags(repository, page=1)) == ["1", "2", "3", "4"]
