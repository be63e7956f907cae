"""What every media store does, in a folder and in a bucket: two servers share the files, their links and their end."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import parse_qs

import pytest

from fakes.s3 import open_link
from fluxvision.core.errors import NotFound
from fluxvision.storage.data_dir import open_data_dir
from fluxvision.storage.media import open_media_store
from fluxvision.storage.media_folder import EXTENSIONS, NAME

NOW = 1_800_000_000.0
TTL = 600.0
HOUR = 3600.0


@pytest.fixture(params=["", "s3"])
def url(request):
    """The address of a store, once of each kind."""
    return request.getfixturevalue("bucket_url") if request.param else ""


@pytest.fixture
def stores(url, tmp_path):
    """Two servers' stores: in one folder, or in one bucket without a common folder."""
    workspaces = [open_data_dir(str(tmp_path / name)) for name in ("one", "two")]
    one, two = workspaces
    other = two if url else replace(two, media=one.media, secret=one.secret)
    yield [open_media_store(url, TTL, each) for each in (one, other)]
    for each in workspaces:
        each.close()


@pytest.fixture
def result(tmp_path):
    """Returns a finished file."""

    def make(content=b"pixels"):
        path = tmp_path / "one" / "result"
        path.write_bytes(content)
        return path

    return make


async def test_what_one_server_stores_all_have(stores, result):
    """A stored file is no longer where it was; each server has a path with the same bytes."""
    path = result()
    name = await stores[0].put(path, "image/png", NOW)
    assert not path.exists()
    for store in stores:
        assert await store.exists(name)
        assert (await store.fetch(name, NOW)).read_bytes() == b"pixels"


@pytest.mark.parametrize(("mime", "extension"), EXTENSIONS.items())
async def test_names_tell_the_format_and_are_not_guessed(stores, result, mime, extension):
    """A name ends with 192 random bits and the extension."""
    names = {await stores[0].put(result(), mime, NOW) for _ in range(2)}
    assert len(names) == 2
    assert all(NAME.fullmatch(name) and re.search(rf"[\w-]{{32}}\.{extension}$", name) for name in names)


async def test_a_large_file_comes_back_whole(stores, result):
    """A file of many megabytes, which is sent in parts and received in pieces, is the same at another server."""
    content = bytes(range(256)) * 100_000
    name = await stores[0].put(result(content), "image/png", NOW)
    assert (await stores[1].fetch(name, NOW)).read_bytes() == content


async def test_a_deleted_file_is_gone_everywhere(stores, result):
    """After a deletion no server finds the file, not even one that has sent it; a second deletion is none."""
    name = await stores[0].put(result(), "image/png", NOW)
    await stores[1].fetch(name, NOW)
    for _ in range(2):
        await stores[0].delete(name)
    for store in stores:
        assert not await store.exists(name)
        with pytest.raises(NotFound):
            await store.fetch(name, NOW)


@pytest.mark.parametrize(
    "name", ["A" * 32 + ".png", "2026113008-" + "A" * 32 + ".png", "9" * 10 + "-" + "A" * 32 + ".png"]
)
async def test_what_was_never_stored_is_not_found(stores, name):
    """A name that nobody stored, of this kind of store or the other, is not found, and deleting it does nothing."""
    store = stores[0]
    assert not await store.exists(name)
    with pytest.raises(NotFound):
        await store.fetch(name, NOW)
    with pytest.raises(NotFound):
        store.verify(name, **query(store, name), now=NOW)
    await store.delete(name)


async def test_the_sweep_deletes_what_expired_and_nothing_else(stores, result):
    """A file goes with the first sweep an hour after its time, at the latest; one that stays longer stays."""
    short = await stores[0].put(result(), "image/png", NOW)
    long = await stores[0].put(result(), "image/png", NOW, 5 * HOUR)
    await stores[1].sweep(NOW + TTL - 1)
    assert await stores[0].exists(short)
    await stores[1].sweep(NOW + TTL + HOUR)
    assert [await stores[0].exists(name) for name in (short, long)] == [False, True]
    await stores[1].sweep(NOW + 6 * HOUR)
    assert not await stores[0].exists(long)


def query(store, name, now=NOW):
    """Sign and parse."""
    return {key: value[0] for key, value in parse_qs(store.sign(name, now)).items()}


async def test_a_link_of_one_server_works_at_the_other(stores, result):
    """What one server signs the other opens, until the link expires."""
    name = await stores[0].put(result(), "image/png", NOW)
    assert stores[1].verify(name, **query(stores[0], name), now=NOW + TTL - 1) == 1.0
    with pytest.raises(NotFound):
        stores[1].verify(name, **query(stores[0], name), now=NOW + TTL)


@pytest.mark.parametrize("change", [{"expires": str(int(NOW) + 10_000)}, {"signature": "0" * 64}, {"name": "../x"}])
async def test_a_changed_link_does_not_work(stores, result, change):
    """A link whose name, time or signature was changed opens nothing."""
    name = await stores[0].put(result(), "image/png", NOW)
    with pytest.raises(NotFound):
        stores[0].verify(**{"name": name, **query(stores[0], name), "now": NOW, **change})


async def test_a_link_of_the_store_gives_the_file_with_its_type(stores, result, url):
    """A bucket opens its own links without a key, and no longer once the file is deleted; a folder has none."""
    name = await stores[0].put(result(), "image/webp", NOW)
    link = await stores[1].link(name, NOW)
    assert bool(link) == bool(url)
    if link:
        answer = open_link(link)
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"pixels", "image/webp")
        assert answer.headers["content-disposition"] == 'inline; filename="upscaled.webp"'
        await stores[0].delete(name)
        assert open_link(link).status == 404


async def test_tiles_are_made_by_the_server_that_is_asked(stores, result):
    """A server makes tiles of a file that another one stored, and they go with the file."""
    name = await stores[0].put(result(), "image/png", NOW)
    store = stores[1]
    await store.fetch(name, NOW)
    store.files.add_tiles(name, lambda path, folder: (folder / "copy").write_bytes(path.read_bytes()))
    assert (store.files.tiles(name) / "copy").read_bytes() == b"pixels"
    await store.delete(name)
    assert not store.files.tiles(name).exists()
