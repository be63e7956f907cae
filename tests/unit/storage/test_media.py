"""Which media store the settings open, and what is said of one that cannot be used."""

from __future__ import annotations

import importlib.util

import pytest

from fakes.server import free_port
from fluxvision.core.errors import ConfigError
from fluxvision.core.load_settings import load_settings
from fluxvision.storage.data_dir import open_data_dir
from fluxvision.storage.file_media import FileMediaStore
from fluxvision.storage.media import open_media_store


@pytest.fixture
def data_dir(tmp_path):
    found = open_data_dir(str(tmp_path / "data"))
    yield found
    found.close()


@pytest.mark.parametrize("address", ["", "s3://b", "s3://b/a/prefix", "gs://b/", "az://c/x"])
def test_addresses_of_stores(address):
    """A store is a bucket and a prefix, or nothing."""
    assert load_settings({"FLUXVISION_MEDIA_URL": address}).media_url == address


@pytest.mark.parametrize("address", ["s3://", "bucket", "ftp://b", "s3://key:secret@b", "s3://b?x=1", "file:///tmp"])
def test_what_is_no_address_of_a_store(address):
    """Another address is refused when the settings are read, with the name of the setting."""
    with pytest.raises(ConfigError, match="media_url must be one of s3://BUCKET/PREFIX"):
        load_settings({"FLUXVISION_MEDIA_URL": address})


def test_without_an_address_results_are_files(data_dir):
    """The default is the folder of the data folder."""
    store = open_media_store("", 60, data_dir)
    assert isinstance(store, FileMediaStore)
    assert (store.files.folder, store.bucket) == (data_dir.media, None)


def test_a_missing_extra_is_named(data_dir, monkeypatch):
    """Without obstore the error says what to install."""
    monkeypatch.setattr("fluxvision.storage.media.find_spec", lambda _name: None)
    assert importlib.util.find_spec("obstore")
    with pytest.raises(ConfigError, match=r"pip install 'fluxvision\[s3\]'"):
        open_media_store("s3://b", 60, data_dir)


def test_links_of_a_bucket_work_for_a_week_at_most(data_dir):
    """A longer media_ttl than the stores sign for is refused."""
    with pytest.raises(ConfigError, match="media_ttl: links of an object store work for at most 604800 seconds"):
        open_media_store("s3://b", 604_801, data_dir)


def test_a_bucket_that_cannot_be_reached_is_said_at_the_start(s3, data_dir, monkeypatch):
    """The error is one sentence with the setting, without address or credentials."""
    for name, value in {**s3.environment, "AWS_ENDPOINT": f"http://127.0.0.1:{free_port()}"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as error:
        open_media_store("s3://b", 60, data_dir)
    assert str(error.value) == (
        "media_url: the object store cannot be reached, or credentials are missing in the environment"
    )


@pytest.mark.usefixtures("bucket_url")
def test_a_bucket_that_is_not_there_is_said_at_the_start(data_dir):
    """The server does not make the bucket."""
    with pytest.raises(ConfigError, match="media_url: the object store has no such bucket"):
        open_media_store("s3://missing", 60, data_dir)


def test_all_servers_have_one_secret(bucket_url, tmp_path):
    """Whichever server starts first makes the secret of the links; the others have the same."""
    workspaces = [open_data_dir(str(tmp_path / name)) for name in ("one", "two")]
    stores = [open_media_store(bucket_url, 60, each) for each in workspaces]
    assert stores[0].sign("x", 1.0) == stores[1].sign("x", 1.0)
    for each in workspaces:
        each.close()
