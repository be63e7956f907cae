"""The data folder: private, swept after crashes, shared by living processes."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile

import pytest

from fluxvision.core.errors import ConfigError, InvalidRequest, Unavailable
from fluxvision.storage.data_dir import open_data_dir


def test_the_secret_lasts_as_long_as_the_folder(tmp_path):
    """A second start finds the same secret, in a file that nobody else can read."""
    first = open_data_dir(str(tmp_path / "data"))
    first.close()
    second = open_data_dir(str(tmp_path / "data"))
    second.close()
    assert first.secret == second.secret
    assert len(first.secret) == 32
    assert stat.S_IMODE((tmp_path / "data" / "media.key").stat().st_mode) == 0o600


def test_without_a_folder_everything_is_private_and_temporary(tmp_path, monkeypatch):
    """The temporary folder belongs to this user alone, and its secret to this start alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first, second = open_data_dir(""), open_data_dir("")
    assert first.secret != second.secret
    assert stat.S_IMODE(first.root.stat().st_mode) == 0o700
    first.close()
    second.close()


def test_a_temporary_folder_of_somebody_else_is_refused(tmp_path, monkeypatch):
    """A folder that others may write to, or a link, is not used."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    target = tmp_path / f"fluxvision-{os.getuid()}"
    target.mkdir()
    target.chmod(0o777)
    with pytest.raises(ConfigError):
        open_data_dir("")
    target.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError):
        open_data_dir("")


def test_uploads_of_the_dead_are_swept_and_those_of_the_living_stay(tmp_path):
    """Opening removes the uploads of processes that are gone, and touches no other."""
    living = open_data_dir(str(tmp_path))
    (living.run / "picture").touch()
    dead, begun = tmp_path / "uploads" / "run-deaddead", tmp_path / "uploads" / "run-begun_up"
    dead.mkdir()
    begun.mkdir()
    (dead / "picture").touch()
    (dead / "lock").touch()
    second = open_data_dir(str(tmp_path))
    assert not dead.exists()
    assert not begun.exists()
    assert (living.run / "picture").exists()
    living.close()
    second.close()
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == ["lock"]


@pytest.mark.parametrize("name", ["run-2026", "run-uploaded"])
def test_folders_that_no_server_made_stay(tmp_path, name):
    """A folder that only looks like one of a server's is left alone."""
    (tmp_path / "uploads" / name).mkdir(parents=True)
    (tmp_path / "uploads" / name / "photo.jpg").touch()
    open_data_dir(str(tmp_path)).close()
    assert (tmp_path / "uploads" / name / "photo.jpg").exists()


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    """A file where the folder should be is a configuration error."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as caught:
        open_data_dir(str(tmp_path / "file"))
    assert caught.value.param == "data_dir"


def test_a_damaged_secret_is_refused(tmp_path):
    """A short secret is never used."""
    (tmp_path / "media.key").write_bytes(b"short")
    with pytest.raises(ConfigError):
        open_data_dir(str(tmp_path))


def test_without_a_folder_results_end_with_their_server(tmp_path, monkeypatch):
    """Each server has results of its own, which are gone when it ends, and when the next one starts after a crash."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first, second = open_data_dir(""), open_data_dir("")
    for each in (first, second):
        each.media.mkdir()
        (each.media / "picture").touch()
    first.close()
    assert not first.media.exists()
    assert (second.media / "picture").exists()
    os.close(second.lock)  # as the system does with a process that dies
    third = open_data_dir("")
    assert not second.media.exists()
    third.close()


def test_a_request_gets_an_empty_private_folder_of_its_own(tmp_path):
    """No two at once share one; one that is released is emptied and serves again, one that vanished does not."""
    living = open_data_dir(str(tmp_path))
    first, second = living.folder(), living.folder()
    assert first != second
    (first / "picture").write_bytes(b"x")
    (second / "inner").mkdir()
    living.release(first, whole=True)
    living.release(second, whole=True)
    assert list(first.iterdir()) == []
    assert not second.exists()
    assert living.folder() == first
    living.release(first, whole=True)
    first.rmdir()
    third = living.folder()
    assert list(third.iterdir()) == []
    assert stat.S_IMODE(third.stat().st_mode) == 0o700
    living.close()
    assert not third.exists()


def test_the_folder_of_a_request_that_broke_off_is_nobodys_again(tmp_path):
    """It goes, and neither it nor its name is given to another request."""
    living = open_data_dir(str(tmp_path))
    first = living.folder()
    living.release(first, whole=False)
    assert not first.exists()
    assert living.folder() != first
    living.close()


@pytest.mark.parametrize("lost", ["run", "root"])
def test_folders_that_were_cleaned_away_are_made_anew(tmp_path, monkeypatch, lost):
    """Whatever was deleted above a request's folder is made again, private and guarded against other servers."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    living = open_data_dir("")
    shutil.rmtree(getattr(living, lost))
    assert stat.S_IMODE((made := living.folder()).stat().st_mode) == 0o700
    assert stat.S_IMODE(living.root.stat().st_mode) == 0o700
    other = open_data_dir("")
    assert made.is_dir()
    other.close()
    living.close()


def test_a_root_that_somebody_else_made_meanwhile_is_refused(tmp_path, monkeypatch):
    """After the temporary folder was cleaned away, one of somebody else in its place is not used."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    living = open_data_dir("")
    shutil.rmtree(living.root)
    living.root.mkdir()
    living.root.chmod(0o777)
    with pytest.raises(Unavailable):
        living.folder()
    living.close()


def test_the_temporary_folder_has_a_lock(tmp_path, monkeypatch):
    """While a server runs nobody can lock the temporary folder, which is what keeps systemd-tmpfiles away."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    living = open_data_dir("")
    handle = os.open(living.root, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(handle)
    living.close()


def test_what_fails_because_its_folder_is_gone_is_not_the_callers_fault(tmp_path):
    """Whatever an error says, if the request's folder was deleted it is 503; with the folder there it stays."""
    living = open_data_dir(str(tmp_path))
    folder = living.folder()
    with pytest.raises(InvalidRequest), living.watch(folder):
        raise InvalidRequest("damaged")
    with pytest.raises(Unavailable), living.watch(folder):
        (folder / "picture").read_bytes()
    folder.rmdir()
    with pytest.raises(Unavailable), living.watch(folder):
        raise InvalidRequest("damaged")
    living.close()


def test_a_folder_that_was_deleted_gets_its_secret_again(tmp_path):
    """Links that are made after the folder was deleted work after a restart, too."""
    living = open_data_dir(str(tmp_path / "data"))
    shutil.rmtree(tmp_path / "data")
    living.folder()
    second = open_data_dir(str(tmp_path / "data"))
    assert second.secret == living.secret
    second.close()
    living.close()
