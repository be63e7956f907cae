"""`fluxvision batch`: pictures go to a server and their results come back, once, whatever breaks off in between."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from fakes.cli_process import REAL, run
from fakes.gateway import png
from fakes.server import Server
from fluxvision.cli.batch_run import STATE


class Site:
    """A server, and what it made since a test began."""

    def __init__(self, running):
        """Leave out the batches that are there."""
        self.url, self._running, self._old = running.url, running, set()
        self._old = {row["id"] for row in self.batches()}

    def batches(self):
        """Return the batches of this test, the newest first."""
        rows = self._running.get("/v1/batches?limit=100").json()["data"]
        return [row for row in rows if row["id"] not in self._old]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A server with the fake gateway."""
    with Server(tmp_path_factory.mktemp("served") / "data") as server:
        yield server


@pytest.fixture
def server(running):
    """The same server for each test, without the batches of the others."""
    return Site(running)


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


def test_a_folder_goes_to_the_server_and_back(server, photos, tmp_path):
    """The results are named as those of `upscale`; the same command again makes nothing."""
    out = tmp_path / "large"
    done = batch(server, photos, "--out", out, "--scale", "3")
    assert (done.returncode, files(out)) == (0, ["a@3x.png", "b@3x.png", "deep/a@3x.png"]), done.stderr
    assert b"3 pictures in" in done.stderr
    assert (out / "b@3x.png").read_bytes() == png(27, 18, (0, 30, 60))
    again = batch(server, photos, "--out", out, "--scale", "3")
    assert (again.returncode, len(server.batches())) == (0, 1), again.stderr


def remember(out, server, *batches):
    """Write the state that a run leaves which breaks off: a batch is its id, its file's id and its results' names."""
    rows = [
        {
            "server": f"{server.url}/v1",
            "key": "k",
            "file_id": file,
            "id": name,
            "outputs": {one: [one] for one in names},
        }
        for name, file, names in batches
    ]
    out.mkdir(exist_ok=True)
    (out / STATE).write_text(json.dumps(rows))


def edit(custom_id, **body):
    """Return a line of a file."""
    image = f"data:image/png;base64,{b64encode(png(8, 6)).decode()}"
    body = {"model": "flux-vision-upscaler", "image": image, **body}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/images/edits", "body": body}) + "\n"


def totals(server):
    return [row["request_counts"]["total"] for row in server.batches()]


@pytest.mark.parametrize("flags", [(), ("--scale", "4")])
def test_what_was_sent_is_fetched_by_the_next_run(server, photos, tmp_path, flags):
    """A run that broke off is gone on with, whatever the next one's flags are; only what was not sent is."""
    out = tmp_path / "large"
    assert batch(server, photos, "--out", out).returncode == 0
    (begun,) = server.batches()
    names = files(out)
    remember(out, server, (begun["id"], "f", names))
    for name in names:
        (out / name).unlink()
    (photos / "new.png").write_bytes(png(20, 6))
    done = run("batch", photos, "--out", out, *flags, "--server", f"{server.url}/", command=REAL)
    assert done.returncode == 0, done.stderr
    more = [name.replace("2x", "4x") for name in (*names, "new@2x.png")] if flags else ["new@2x.png"]
    assert (files(out), totals(server)) == (sorted((*names, *more)), [len(more), 3])


def test_a_batch_that_is_refused_is_forgotten(server, photos, tmp_path):
    """The pictures of a batch whose file is gone are sent again by the same run."""
    out = tmp_path / "large"
    remember(out, server, ("", "file-gone", ["a@2x.png", "b@2x.png"]))
    done = batch(server, photos, "--out", out)
    assert (done.returncode, files(out)) == (0, ["a@2x.png", "b@2x.png", "deep/a@2x.png"]), done.stderr


def test_a_refusal_is_told_and_nothing_is_left_behind(photos, tmp_path):
    """Files that a server does not take are an error with its words, and the next run begins anew."""
    out = tmp_path / "large"
    (photos / "b.png").write_bytes(bytes(200_000))
    with Server(tmp_path / "data", {"max_batch_bytes": "100"}) as server:
        for _ in range(2):
            done = batch(server, photos, "--out", out)
            assert (done.returncode, files(out)) == (1, [])
            assert b"Error: " in done.stderr
            assert b"3 failed" in done.stderr


def test_a_batch_that_the_server_does_not_know_is_kept_and_told(server, photos, tmp_path):
    """It may be paid, under another key: the message says how to send its pictures again; the others are fetched."""
    out = tmp_path / "large"
    remember(out, server, ("batch_gone", "f", ["a@2x.png"]))
    done = batch(server, photos, "--out", out)
    assert (done.returncode, files(out)) == (1, [STATE, "b@2x.png", "deep/a@2x.png"])
    assert b"To send its 1 line again, delete " in done.stderr


def test_batches_of_other_servers_are_left_alone(server, photos, tmp_path):
    """They are remembered until the command runs with their server."""
    out = tmp_path / "large"
    remember(out, server, ("batch_x", "f", ["a@2x.png"]))
    text = (out / STATE).read_text().replace(server.url, "http://elsewhere")
    (out / STATE).write_text(text)
    done = batch(server, photos, "--out", out)
    assert (done.returncode, json.loads((out / STATE).read_text())) == (0, json.loads(text)), done.stderr
    assert totals(server) == [3]


def test_names_and_sizes_that_a_server_refuses_stop_no_other_picture(server, photos, tmp_path):
    """A space that is not printable is sent under another name; a picture that fits into no line is told."""
    out = tmp_path / "large"
    (photos / "b.png").rename(photos / "9.00\N{NARROW NO-BREAK SPACE}AM.png")
    with (photos / "large.png").open("wb") as file:
        file.truncate(48_000_000)
    done = batch(server, photos, "--out", out)
    assert (done.returncode, len(files(out))) == (1, 3), done.stderr
    assert (out / "9.00\N{NARROW NO-BREAK SPACE}AM@2x.png").exists()
    assert b"large.png: a batch takes pictures of at most 47.9 MB" in done.stderr


def test_a_wrong_picture_is_told_and_the_others_are_made(server, photos, tmp_path):
    """A file that is no picture is an error of its own, and the exit code is 1."""
    (photos / "b.png").write_bytes(b"no picture")
    done = batch(server, photos, "--out", tmp_path / "large")
    assert (done.returncode, files(tmp_path / "large")) == (1, ["a@2x.png", "deep/a@2x.png"])
    assert b"Error: b@2x.png: image" in done.stderr


def test_lines_of_a_file_are_named_by_custom_id(server, tmp_path):
    """Each has a file of its own inside the folder; the same command again sends new lines alone."""
    given, out = tmp_path / "edits.jsonl", tmp_path / "large"
    lines = [edit("../x"), edit("a/b", output_format="jpeg"), edit("a_b"), edit("A_b"), edit("two", n=2)]
    given.write_text("".join(lines))
    done = batch(server, given, "--out", out)
    made = files(out)
    assert done.returncode == 0, done.stderr
    assert [name for name in made if "a_b" not in name.lower()] == ["_x.png", "two-1.png", "two-2.png"]
    assert [name[:4] for name in made if "a_b" in name.lower()] == ["A_b-", "a_b-", "a_b."]
    given.write_text("".join([*lines, edit("new")]))
    assert batch(server, given, "--out", out).returncode == 0
    assert (files(out), totals(server)) == (sorted([*made, "new.png"]), [1, 5])


def test_a_wrong_line_is_told_under_its_result(server, tmp_path):
    """The error of a line is the server's."""
    (tmp_path / "edits.jsonl").write_text(edit("x", image="data:image/png;base64,iVBORw0KGgo="))
    done = batch(server, tmp_path / "edits.jsonl", "--out", tmp_path / "large")
    assert done.returncode == 1
    assert b"Error: x.png: image" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("gone.png",), b"there is no such file"),
        (("edits.jsonl", "--scale", "3"), b"leave the flags out"),
        (("wrong.jsonl",), b"wrong.jsonl: line 2 is not valid JSON"),
        (("photos", "--scale", "99"), b"--scale"),
    ],
)
def test_wrong_usage_begins_nothing(server, photos, tmp_path, arguments, said):
    """What cannot be sent is told before anything is."""
    del photos
    (tmp_path / "wrong.jsonl").write_text(edit("a") + "{")
    done = batch(
        server,
        *(tmp_path / word if "." in word or word == "photos" else word for word in arguments),
        "--out",
        tmp_path / "o",
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert server.batches() == []


def test_a_server_that_refuses_is_told(server, photos, tmp_path):
    """The server's own words are shown."""
    done = batch(server, photos, "--out", tmp_path / "large", "--model", "nothing")
    assert done.returncode == 1
    assert b"There is no model" in done.stderr
