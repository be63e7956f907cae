"""The media store in a folder: links that open one file for a while, and nothing else."""

from __future__ import annotations

import os
import re
import stat
from urllib.parse import parse_qs

import pytest

from fluxvision.core.errors import NotFound
from fluxvision.storage.file_media import FileMediaStore
from fluxvision.storage.media_folder import EXTENSIONS, MediaFolder
from fluxvision.storage.steady_clock import SteadyClock

NOW = 1_800_000_000.0


def open_store(tmp_path, ttl=60, secret=b"s" * 32):
    return FileMediaStore(MediaFolder(tmp_path / "media", ttl), ttl, secret)


@pytest.fixture
def store(tmp_path):
    """Make a store whose links work for a minute."""
    return open_store(tmp_path)


@pytest.fixture
async def name(store, tmp_path):
    """Put one file in."""
    path = tmp_path / "result"
    path.write_bytes(b"pixels")
    return await store.put(path, "image/png", NOW)


def query(store, name, now=NOW):
    """Sign and parse."""
    return {key: value[0] for key, value in parse_qs(store.sign(name, now)).items()}


def test_putting_moves_the_file(store, name, tmp_path):
    """A stored file is no longer where it was."""
    assert not (tmp_path / "result").exists()
    assert store.files.path(name).read_bytes() == b"pixels"


@pytest.mark.parametrize(("mime", "extension"), EXTENSIONS.items())
async def test_names_tell_the_format_and_nothing_else(store, tmp_path, mime, extension):
    """A name is 192 random bits and the extension."""
    names = set()
    for _ in range(3):
        path = tmp_path / "result"
        path.touch()
        names.add(await store.put(path, mime, NOW))
    assert len(names) == 3
    assert all(re.fullmatch(rf"[\w-]{{32}}\.{extension}", each) for each in names)


async def test_a_link_works_until_it_expires(store, name):
    """Up to the last second the file is found; then it is not."""
    left = store.verify(name, **query(store, name), now=NOW + 59)
    assert ((await store.fetch(name, NOW)).read_bytes(), left) == (b"pixels", 1.0)
    for late in (60, 61, 10**6):
        with pytest.raises(NotFound):
            store.verify(name, **query(store, name), now=NOW + late)


@pytest.mark.parametrize(
    "change",
    [
        {"expires": str(int(NOW) + 10_000)},
        {"expires": ""},
        {"expires": "9" * 40},
        {"expires": "abc"},
        {"expires": "١٢٣"},
        {"signature": ""},
        {"signature": "0" * 64},
        {"signature": "ü"},
        {"signature": "\ud800"},
        {"name": "A" * 32 + ".png"},
        {"name": "../../media.key"},
        {"name": "a/b"},
        {"name": ""},
        {"name": "x" * 32 + ".exe"},
    ],
)
def test_a_changed_link_does_not_work(store, name, change):
    """A link whose name, time or signature was touched opens nothing."""
    with pytest.raises(NotFound):
        store.verify(**{"name": name, **query(store, name), "now": NOW, **change})


def test_a_signed_name_that_is_no_name_does_not_work(store):
    """Even a right signature opens nothing outside the store."""
    for name in ("../media.key", "..", "/etc/passwd"):
        with pytest.raises(NotFound):
            store.verify(name, **query(store, name), now=NOW)


def test_another_secret_is_another_store(store, name, tmp_path):
    """A link of another server does not work."""
    other = open_store(tmp_path, secret=b"t" * 32)
    with pytest.raises(NotFound):
        store.verify(name, **query(other, name), now=NOW)


async def test_the_sweep_deletes_what_expired(store, name, tmp_path):
    """A sweep removes exactly the files whose time is over."""
    path = tmp_path / "later"
    path.touch()
    later = await store.put(path, "image/webp", NOW + 30)
    assert await store.sweep(NOW + 59) == 0
    assert await store.sweep(NOW + 60) == 1
    assert [each.name for each in store.files.folder.iterdir()] == [later]
    with pytest.raises(NotFound):
        store.verify(name, **query(store, name), now=NOW)


async def test_a_folder_that_was_cleaned_away_is_made_anew(store, tmp_path):
    """Where the folder was deleted a sweep finds nothing, and the next file makes it again, for this user alone."""
    store.files.folder.rmdir()
    assert await store.sweep(NOW) == 0
    path = tmp_path / "result"
    path.write_bytes(b"pixels")
    assert store.files.path(await store.put(path, "image/png", NOW)).read_bytes() == b"pixels"
    assert stat.S_IMODE(store.files.folder.stat().st_mode) == 0o700


async def test_a_shorter_ttl_deletes_nobody_elses_results(store, name, tmp_path):
    """Of two servers on one folder each sweeps by the expiry that a file itself has."""
    other = open_store(tmp_path, ttl=1)
    assert await other.sweep(NOW + 59) == 0
    assert store.verify(name, **query(store, name), now=NOW + 59)
    assert await other.sweep(NOW + 60) == 1


async def test_only_files_of_the_store_are_swept(store, tmp_path):
    """A folder `media` that holds other files keeps them, and one that cannot be deleted does not end the sweep."""
    for other in ("holiday.jpg", "lost+found", "holiday.jpg.tiles"):
        (store.files.folder / other).mkdir()
        os.utime(store.files.folder / other, (NOW - 999, NOW - 999))
    (store.files.folder / f"{'-' * 32}.png").mkdir()
    os.utime(store.files.folder / f"{'-' * 32}.png", (NOW - 999, NOW - 999))
    (tmp_path / "result").touch()
    name = await store.put(tmp_path / "result", "image/png", NOW)
    with pytest.raises(OSError, match=r"directory|permitted"):
        await store.sweep(NOW + 60)
    assert not store.files.path(name).exists()
    assert len(list(store.files.folder.iterdir())) == 4


async def test_results_of_a_clock_that_was_years_ahead_do_not_stay_for_years(store, tmp_path):
    """A file that was stored in the future, as this machine knows now, gets the usual time from the next sweep on."""
    (tmp_path / "result").touch()
    name = await store.put(tmp_path / "result", "image/png", NOW)
    now = store.files.path(name).stat().st_ctime - 1000.0
    link = query(store, name)
    assert await store.sweep(now) == 0
    assert store.verify(name, **link, now=now) == pytest.approx(60, abs=0.01)
    assert await store.sweep(now + 61) == 1


@pytest.mark.parametrize("jump", [-86_400 * 365, -3600, 3600, 86_400 * 365])
async def test_a_wall_clock_that_jumps_does_not_move_expiries(store, name, jump):
    """A result lives as long as its link says, wherever the wall clock is set to meanwhile."""
    times = {"wall": NOW, "counter": 5.0}
    clock = SteadyClock(lambda: times["wall"], lambda: times["counter"])
    link = query(store, name, clock())
    times["wall"] += jump
    times["counter"] += 59
    assert await store.sweep(clock()) == 0
    assert store.verify(name, **link, now=clock()) == 1.0
    times["counter"] += 1
    with pytest.raises(NotFound):
        store.verify(name, **link, now=clock())
    assert await store.sweep(clock()) == 1
