"""The whole program on real pictures: the CPU engine, no network."""

import json
import signal
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fakes.cli_process import PATIENCE, REAL, environment, run, wait_for
from fluxvision import cli, server
from fluxvision.cli.text import TIMES as X
from fluxvision.create_gateway import create_gateway


@pytest.fixture
def photo(folder):
    """Write a real photograph of 96 by 64 pixels, with a colour profile's worth of metadata."""
    exif = Image.Exif()
    exif[0x010E] = "a face"
    Image.fromarray(data.astronaut()[60:124, 180:276]).save(folder / "photo.jpg", quality=95, exif=exif)
    return folder / "photo.jpg"


@pytest.fixture
def here(capsys):
    """Run a command in this process; return its exit code and what it said."""

    def run_here(*arguments):
        dependencies = cli.Dependencies(
            create_gateway=create_gateway,
            check=server.check_exposure,
            serve=server.serve,
            fetch=Path,
            serve_cluster=lambda _host, _port, _replicas: None,
            serve_mcp=lambda _server, _key: None,
            open_database=partial(server.open_database, create=True),
            diagnose=lambda _settings: (),
        )
        return cli.run_cli(arguments, dependencies), *capsys.readouterr()

    return run_here


def test_a_photograph(photo, names):
    """One command makes a larger picture with more detail, which reduced again is the original, and says how close."""
    done = run("upscale", "photo.jpg", "--compare", command=REAL)
    assert done.returncode == 0, done.stderr
    assert names() == ["photo.jpg", "photo@2x-compare.png", "photo@2x.png"]
    assert f"96{X}64 → 192{X}128" in done.stderr.decode()
    assert "fidelity" in done.stderr.decode()
    with Image.open("photo@2x.png") as result, Image.open(photo) as source:
        assert result.size == (192, 128)
        assert result.getexif()[0x010E] == "a face"
        reduced = np.asarray(result.convert("RGB").resize((96, 64), Image.Resampling.BOX), float)
        assert np.abs(reduced - np.asarray(source, float)).mean() < 4


def test_a_network_in_a_file(photo, here, names):
    """`--engine` takes the path of a .param file; the record names the network. Without its weights it is refused."""
    lines = ["7767517", "2 2", "Input data 0 1 data", "Interp up 1 1 data out 0=1 1=2.0 2=2.0", ""]
    Path("twice.param").write_text("\n".join(lines))
    code, _, err = here("upscale", photo.name, "--engine", "twice.param")
    assert (code, err) == (2, "Error: --engine: there is no file twice.bin.\n")
    Path("twice.bin").touch()
    code, out, err = here("upscale", photo.name, "--engine", "twice.param", "--json")
    assert code == 0, err
    assert json.loads(out)["engine"] == "twice"
    assert "photo@2x.png" in names()


def test_a_device_that_is_not_there(photo, here):
    """`--device` is the setting: a GPU that does not exist is one sentence that names it."""
    code, _, err = here("upscale", photo.name, "--device", "gpu:99")
    assert code == 1
    assert err.startswith("Error: photo.jpg: device: there is no gpu:99 with a Vulkan driver on this machine; GPUs")


def test_a_picture_whose_error_text_is_no_utf8_fails_alone(photo, names, here):
    """The pictures after it in a folder are made."""
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photo) as picture:
        picture.save("a.avif", exif=exif)
    Path("a.avif").write_bytes(Path("a.avif").read_bytes().replace(b"irot", b"ir\xdft"))
    code, _, said = here("upscale", "*.avif", "*.jpg", "--creativity", "0")
    assert code == 1
    assert "AVIF file is damaged" in said
    assert "Traceback" not in said
    assert names() == ["a.avif", "photo.jpg", "photo@2x.png"]


def test_a_damaged_profile_is_a_warning(photo, here):
    """It is said to a person, and is in the line of JSON; the picture is made."""
    with Image.open(photo) as picture:
        picture.save("odd.jpg", icc_profile=b"not a profile" * 20)
    code, _, said = here("upscale", "odd.jpg", "--creativity", "0", "--overwrite")
    assert code == 0
    assert "Warning: The picture's colour profile is damaged" in said
    _, line, _ = here("upscale", "odd.jpg", "--creativity", "0", "--overwrite", "--json")
    assert "colour profile" in json.loads(line)["warnings"][0]


def test_a_batch_with_a_damaged_picture(photo, names, here):
    """The good one is made, the damaged one listed, and JSON says the same."""
    whole = photo.read_bytes()
    Path("cut.jpg").write_bytes(whole[: len(whole) // 2])
    Path("notes.jpg").write_text("no picture at all")
    code, out, _ = here("upscale", "*.jpg", "--out", "out", "--json", "--scale", "1.5")
    assert code == 1
    said = {entry["input"]: entry for entry in map(json.loads, out.splitlines())}
    assert said["cut.jpg"]["error"] == "this JPEG file is damaged or truncated."
    assert said["notes.jpg"]["error"].startswith("this file is not a picture format")
    assert (said["photo.jpg"]["width"], said["photo.jpg"]["height"]) == (144, 96)
    assert said["photo.jpg"]["output"] == ["out/photo@1.5x.png"]
    assert names() == ["cut.jpg", "notes.jpg", "out/photo@1.5x.png", "photo.jpg"]


@pytest.mark.parametrize(
    "content",
    [b"", b"no picture", b"\xff\xd8\xff\xe0\0\x10JFIF", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"GIF89a\1\0\1", b"<svg/>"],
)
def test_anything_else(folder, names, here, content):
    """A file that is no picture ends with 2 and one sentence."""
    (folder / "it.png").write_bytes(content)
    code, _, said = here("upscale", "it.png")
    assert code == 2
    assert said.startswith("Error: it.png: ")
    assert said.count("\n") == 1
    assert names() == ["it.png"]


def test_a_pipe(photo):
    """A picture goes in and a picture of the wanted format comes out."""
    done = run("upscale", "-", "--size", "100x100", "--format", "webp", command=REAL, given=photo.read_bytes())
    assert done.returncode == 0
    assert done.stdout[8:12] == b"WEBP"


def test_a_dry_run_tells_what_is_made(photo, names, here):
    """The size of a dry run is the size of the result, and nothing is written."""
    planned = json.loads(here("upscale", "photo.jpg", "--size", "150x150", "--dry-run", "--json")[1])
    assert names() == ["photo.jpg"]
    made = json.loads(here("upscale", "photo.jpg", "--size", "150x150", "--json")[1])
    with Image.open("photo@150x150.png") as result:
        assert (planned["width"], planned["height"]) == (made["width"], made["height"]) == result.size
    assert planned["cost"] == made["cost"]
    assert photo.is_file()


def test_ctrl_c(photo, names):
    """Ctrl-C during the tiles ends with 130 and leaves the folder as it was."""
    with Image.open(photo) as picture:
        picture.resize((1600, 1200)).save("large.png")
    arguments = [*REAL, "upscale", "large.png", "--scale", "4", "--out", "out/sub/"]
    with subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE) as process:
        wait_for(lambda: any(name.endswith(".raw") for name in names()))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert b"Interrupted; 1 picture not made, no half file left." in said
    assert names() == ["large.png", "photo.jpg"]
    assert not Path("out").exists()


def test_models_are_ready(folder, here):
    """The CPU provider is ready on a fresh machine and costs nothing."""
    assert folder
    model = json.loads(here("models", "--json")[1])[0]
    embedded = next(offer for offer in model["offers"] if offer["provider"] == "embedded")
    assert embedded["ready"] is True
    assert embedded["price"]["unit_price"] == 0


@pytest.mark.parametrize("name", ["topaz", "fal-ai/topaz/upscale/image", "FAL-AI/flux-vision-upscaler"])
def test_a_key_that_lies_around_is_not_charged(photo, here, monkeypatch, name):
    """A model's name costs nothing, with a slash or without; one that begins with the provider's own name is a word."""
    assert photo
    monkeypatch.setenv("FAL_KEY", "k")
    code, said, _ = here("upscale", "photo.jpg", "--dry-run", "--json", "--model", name)
    if "topaz" in name:
        assert code == 2
        assert json.loads(said)["error"].startswith("--max-cost: no provider makes this for $0; the least is $0.08")
    else:  # the CPU makes it
        assert (code, json.loads(said)["cost"]) == (0, 0)
    code, said, _ = here("upscale", "photo.jpg", "--dry-run", "--json", "--model", f"fal/{name}")
    assert code == 0
    assert json.loads(said)["cost"] > 0


def test_an_open_server_is_refused(folder, here, monkeypatch):
    """Listening beyond this machine without keys is refused by `config check` and `serve` alike."""
    assert folder
    monkeypatch.setenv("FLUXVISION_HOST", "0.0.0.0")  # noqa: S104, refused
    for command in (("config", "check"), ("serve", "--port", "0")):
        code, _, said = here(*command)
        assert code == 2
        assert said.startswith("Error: host: 0.0.0.0 can be reached from other machines")
