"""Networks of one's own in a folder."""

from __future__ import annotations

import pytest

from fluxvision.core.custom_engines import find_networks
from fluxvision.core.errors import ConfigError


@pytest.fixture
def folder(tmp_path):
    """A folder with two networks, one that lacks its weights, and other files."""
    for name in ("4x-mine.param", "4x-mine.bin", "two.param", "two.bin", "alone.param", "notes.txt"):
        (tmp_path / name).touch()
    return tmp_path


def test_each_pair_of_files_is_a_network(folder):
    """What has no weights beside it is none."""
    assert find_networks(str(folder)) == {"4x-mine": folder / "4x-mine.param", "two": folder / "two.param"}


def test_networks_of_pytorch_are_single_files(folder):
    """A name that two files have is refused."""
    (folder / "three.safetensors").touch()
    assert find_networks(str(folder))["three"] == folder / "three.safetensors"
    (folder / "two.pth").touch()
    with pytest.raises(ConfigError, match=r"^models_dir: two is the name of two networks"):
        find_networks(str(folder))


def test_a_file_is_itself_alone(folder):
    """The command line names one."""
    assert list(find_networks(str(folder / "two.param"))) == ["two"]


def test_nothing_is_nothing():
    """The default has no networks."""
    assert find_networks("") == {}


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    """The error names the setting and not the path."""
    with pytest.raises(ConfigError, match=r"^models_dir: the folder cannot be read") as caught:
        find_networks(str(tmp_path / "none"))
    assert str(tmp_path) not in str(caught.value)


def test_a_name_that_no_engine_can_have_is_refused(folder):
    """A caller could not ask for it."""
    for suffix in ("param", "bin"):
        (folder / f"two words.{suffix}").touch()
    with pytest.raises(ConfigError, match=r"^models_dir: 'two words' cannot be an engine's name"):
        find_networks(str(folder))
