"""The media store in a bucket: copies on this machine, sweeps by the hour, and what happens without the bucket."""

from __future__ import annotations

import asyncio
import re
import threading

import pytest

from fakes.server import free_port
from fluxvision.core.errors import Unavailable
from fluxvision.storage.bucket import Bucket
from fluxvision.storage.data_dir import open_data_dir
from fluxvision.storage.media_folder import MediaFolder
from fluxvision.storage.object_media import COPY_SECONDS, ObjectMediaStore, _key, open_store

NOW = 1_796_000_399.0
"""A second before an hour begins."""
HOUR = 3600.0


@pytest.fixture
def data_dir(tmp_path):
    found = open_data_dir(str(tmp_path / "data"))
    yield found
    found.close()


@pytest.fixture
def store(bucket_url, data_dir):
    """A store whose links work for ten minutes."""
    return open_store(bucket_url, 600, data_dir)


@pytest.fixture
def result(tmp_path):
    path = tmp_path / "data" / "result"
    path.write_bytes(b"pixels")
    return path


async def test_the_key_begins_with_the_hour_of_its_end(store, result, s3, bucket_url):
    """An object is named after the first full hour in which nobody may use it any more."""
    await store.put(result, "image/png", NOW)
    [key] = [key for key in s3.keys(bucket_url) if key != "media.key"]
    assert re.fullmatch(r"results/2026113002/[\w-]{32}\.png", key)


async def test_a_copy_is_not_downloaded_again(store, result, monkeypatch):
    """While this machine has a copy the object is not read, and each use keeps the copy for longer."""

    async def refuse(*_):
        raise AssertionError

    name = await store.put(result, "image/png", NOW, 2 * HOUR)
    monkeypatch.setattr(store.bucket, "download", refuse)
    for now in (NOW, NOW + COPY_SECONDS - 1, NOW + 2 * COPY_SECONDS - 2):
        await store.sweep(now)
        assert (await store.fetch(name, now)).read_bytes() == b"pixels"


async def test_a_missing_copy_is_downloaded_once(store, result, monkeypatch):
    """All who want a file at the same time wait for one request, also where the first of them goes away."""
    asked = []
    store_name = await store.put(result, "image/png", NOW, 2 * HOUR)
    await store.sweep(NOW + COPY_SECONDS)
    for name in ("exists", "download"):
        original = getattr(store.bucket, name)

        def ask(*given, name=name, original=original):
            asked.append(name)
            return original(*given)

        monkeypatch.setattr(store.bucket, name, ask)
    first, *others = [asyncio.create_task(store.fetch(store_name, NOW)) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    assert [path.read_bytes() for path in await asyncio.gather(*others)] == [b"pixels"] * 2
    assert asked == ["download"]
    assert store._downloads == {}


async def test_a_cancelled_download_waits_for_its_thread(store, result):
    """When a download is cancelled while a thread writes, it ends after the thread: nothing writes to the file then."""
    begins, goes_on, written = threading.Event(), threading.Event(), []

    class SlowPath:
        def open(self, _mode):
            return self

        def __enter__(self):
            return self

        def __exit__(self, *_):
            written.append("closed")

        def write(self, _piece):
            begins.set()
            goes_on.wait(30)
            written.append("written")

    name = await store.put(result, "image/png", NOW, 2 * HOUR)
    task = asyncio.create_task(store.bucket.download(_key(name), SlowPath()))
    assert await asyncio.to_thread(begins.wait, 30)
    task.cancel()
    await asyncio.sleep(0.05)
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert written == ["written", "closed"]


async def test_a_copy_that_nobody_uses_is_deleted_and_the_object_stays(store, result):
    """A sweep deletes a copy after its time; the next one who needs the file gets it from the bucket."""
    name = await store.put(result, "image/png", NOW, 2 * HOUR)
    assert await store.sweep(NOW + COPY_SECONDS) == 1
    assert not store.files.path(name).exists()
    assert (await store.fetch(name, NOW + COPY_SECONDS)).read_bytes() == b"pixels"


async def test_a_sweep_deletes_results_alone(store, s3, bucket_url):
    """Objects of others in the bucket stay, also such as lie between the results."""
    others = ["results/notes.txt", "results/!/a.png", "results/january/a.png", "other/2026010100/a.png"]
    for key in (*others, "results/2026010100/a.png"):
        s3.put(bucket_url, key)
    assert await store.sweep(NOW) == 1
    assert sorted(s3.keys(bucket_url)) == sorted([*others, "media.key"])


async def test_the_bucket_is_listed_once_in_an_hour(store, monkeypatch):
    """Sweeps every half a minute ask the bucket only when an hour has begun, and again after a failure."""
    asked = []

    async def folders(prefix):
        asked.append(prefix)
        if len(asked) == 2:
            raise Unavailable("no")
        return []

    monkeypatch.setattr(store.bucket, "folders", folders)
    for seconds, times in ((0, 1), (0.5, 1), (1, 2), (30, 3), (60, 3)):
        try:
            await store.sweep(NOW + seconds)
        except Unavailable:
            assert times == 2
        assert len(asked) == times


async def test_a_link_ends_with_its_object(store, result, monkeypatch):
    """The bucket signs for the time of links, at most until the object is deleted."""
    asked = []

    async def sign(_key, seconds):
        asked.append(seconds)

    name = await store.put(result, "image/png", NOW)
    monkeypatch.setattr(store.bucket, "sign", sign)
    for now in (NOW, store.expiry(name) - 10):
        await store.link(name, now)
    assert asked == [600, 10]


async def test_without_the_bucket_the_error_tells_nothing_of_it(s3, monkeypatch, data_dir, result):
    """A bucket that cannot be reached is a 503 that names neither bucket, key nor endpoint."""
    for name, value in {**s3.environment, "AWS_ENDPOINT": f"http://127.0.0.1:{free_port()}"}.items():
        monkeypatch.setenv(name, value)
    bucket = Bucket("s3://someones/prefix")
    store = ObjectMediaStore(bucket, MediaFolder(data_dir.media, 60), data_dir.run, 600, b"s" * 32)
    name = f"2026113002-{'A' * 32}.png"
    calls = [store.put(result, "image/png", NOW), store.exists(name), store.fetch(name, NOW), store.delete(name)]
    for call in (*calls, store.sweep(NOW), bucket.download("key", data_dir.run / "x")):
        with pytest.raises(Unavailable) as error:
            await call
        assert error.value.retry_after
        assert not re.search(r"someones|prefix|127\.0\.0\.1|AAAA|someid|results", str(error.value))
    assert result.exists()


async def test_a_full_disk_here_does_not_undo_what_is_stored(store, result, monkeypatch):
    """Where no copy can be kept the file is in the bucket all the same."""

    def fail(*_):
        raise Unavailable("The disk is full.")

    monkeypatch.setattr(store.files, "add", fail)
    assert await store.exists(await store.put(result, "image/png", NOW))
