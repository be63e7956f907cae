"""A folder of small pictures, and the command line run inside it with a fake gateway."""

from dataclasses import dataclass, field

import pytest
from PIL import Image

from fakes.cli_gateway import Gateway, dependencies
from fluxvision.cli import run_cli


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Work in an empty folder, without settings from outside."""
    monkeypatch.chdir(tmp_path)
    for name in ("PORT", "API_KEYS", "HOST", "CONFIG"):
        monkeypatch.delenv(f"FLUXVISION_{name}", raising=False)
    return tmp_path


@pytest.fixture
def picture(folder):
    """Write a small picture and return its path."""

    def write(name="photo.jpg", size=(12, 8), colour=(200, 30, 60)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(path)
        return path

    return write


@dataclass
class Line:
    """The command line with a fake gateway behind it, and what it said last."""

    capture: object
    gateway: Gateway = field(default_factory=Gateway)
    served: list = field(default_factory=list)
    out: str = ""
    err: str = ""

    def __call__(self, *arguments):
        """Run one command and return its exit code."""
        code = run_cli([str(argument) for argument in arguments], dependencies(self.gateway, served=self.served))
        self.out, self.err = self.capture.readouterr()
        return code


@pytest.fixture
def line(folder, capsys):
    """Run commands in the folder."""
    assert folder
    return Line(capsys)


@pytest.fixture
def names(folder):
    """List every file of the folder, hidden ones too."""
    return lambda: sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
