"""`fluxvision batch`: pictures go to a server and their results come back, once, whatever breaks off in between."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from fakes.cli_process import REAL, run
from fakes.gateway import png
from fakes.server import Server, wait_until


@pytest.fixture
def server(tmp_path):
    """A server with the fake gateway."""
    with Server(tmp_path / "data") as running:
        yield running


@pytest.fixture
def photos(tmp_path):
    """A folder with three pictures, one of them deeper."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png", "deep/a.png")):
        (folder / name).write_bytes(png(8 + number, 6))
    return folder


def batch(server, *arguments):
    return run("batch", *arguments, command=REAL, FLUXVISION_SERVER=server.url)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def batches(server):
    return server.get("/v1/batches").json()["data"]


def test_a_folder_goes_to_the_server_and_back(server, photos, tmp_path):
    """The results are named as those of `upscale`; the same command again makes nothing."""
    out = tmp_path / "large"
    done = batch(server, photos, "--out", out, "--scale", "3")
    assert (done.returncode, files(out)) == (0, ["a@3x.png", "b@3x.png", "deep/a@3x.png"]), done.stderr
    assert b"3 pictures in" in done.stderr
    assert (out / "b@3x.png").read_bytes() == png(27, 18, (0, 30, 60))
    again = batch(server, photos, "--out", out, "--scale", "3")
    assert (again.returncode, len(batches(server))) == (0, 1), again.stderr


def test_what_was_sent_is_not_sent_again(server, photos, tmp_path):
    """A run that broke off after its batch had begun is gone on with: new pictures alone make a new batch."""
    out = tmp_path / "large"
    assert batch(server, photos, "--out", out).returncode == 0
    (begun,) = batches(server)
    asked = {"batches": [{"key": "k", "file_id": "f", "id": begun["id"], "outputs": {}}]}
    names = ["a@2x.png", "b@2x.png", "deep/a@2x.png"]
    asked["batches"][0]["outputs"] = {name: [name] for name in names}
    state = out / ".fluxvision-batch.json"
    fields = json.dumps([server.url, "flux-vision-upscaler", {}, []], sort_keys=True)
    state.write_text(json.dumps({**asked, "asked": sha256(fields.encode()).hexdigest()}))
    for name in names:
        (out / name).unlink()
    (photos / "new.png").write_bytes(png(20, 6))
    done = batch(server, photos, "--out", out)
    assert (done.returncode, files(out)) == (0, [*names, "new@2x.png"]), done.stderr
    assert [row["request_counts"]["total"] for row in batches(server)] == [1, 3]


def test_a_wrong_picture_is_told_and_the_others_are_made(server, photos, tmp_path):
    """A file that is no picture is an error of its own, and the exit code is 1."""
    (photos / "b.png").write_bytes(b"no picture")
    done = batch(server, photos, "--out", tmp_path / "large")
    assert (done.returncode, files(tmp_path / "large")) == (1, ["a@2x.png", "deep/a@2x.png"])
    assert b"Error: b@2x.png: image" in done.stderr


def test_lines_of_a_file_are_sent_as_they_are(server, tmp_path):
    """With a file of JSON Lines the results are named by custom_id, inside the folder."""
    given = {"model": "flux-vision-upscaler", "image": "data:image/png;base64,iVBORw0KGgo="}
    line = {"custom_id": "../x", "method": "POST", "url": "/v1/images/edits", "body": given}
    (tmp_path / "edits.jsonl").write_text(json.dumps(line))
    done = batch(server, tmp_path / "edits.jsonl", "--out", tmp_path / "large")
    assert done.returncode == 1
    assert b"Error: ../x: image" in done.stderr
    assert wait_until(lambda: batches(server)[0]["status"] == "completed")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("gone.png",), b"there is no such file"),
        (("edits.jsonl", "--scale", "3"), b"leave the flags out"),
        (("photos", "--scale", "99"), b"--scale"),
    ],
)
def test_wrong_usage_begins_nothing(server, photos, tmp_path, arguments, said):
    """What cannot be sent is told before anything is."""
    del photos
    done = batch(
        server,
        *(tmp_path / word if "." in word or word == "photos" else word for word in arguments),
        "--out",
        tmp_path / "o",
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert batches(server) == []


def test_a_server_that_refuses_is_told(server, photos, tmp_path):
    """The server's own words are shown."""
    done = batch(server, photos, "--out", tmp_path / "large", "--model", "nothing")
    assert done.returncode == 1
    assert b"There is no model" in done.stderr
