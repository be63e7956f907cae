"""`fluxvision upscale` with a fake gateway."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest
from PIL import Image

from fluxvision.cli.text import TIMES as X
from fluxvision.cli.text import error_sentence


def size(path):
    """Return the size of a picture file."""
    with Image.open(path) as picture:
        return picture.size


def test_a_picture_is_enlarged_beside_itself(line, picture, names):
    """photo.jpg becomes photo@2x.png, one line of facts is said, and nothing else is left."""
    picture()
    assert line("upscale", "photo.jpg") == 0
    assert size("photo@2x.png") == (24, 16)
    assert names() == ["photo.jpg", "photo@2x.png"]
    assert line.err.startswith(f"photo.jpg  12{X}8 → 24{X}16  photo@2x.png  ")
    assert line.err.rstrip().endswith("· span · creativity 0.3 · fidelity 52.3 dB · $0.10")
    assert line.err.count("\n") == 1
    assert line.out == ""
    assert line.gateway.closed


def test_values_reach_the_gateway_as_they_were_typed(line, picture):
    """Flags become public parameters under their own names, and only those that were given."""
    picture()
    code = line("upscale", "photo.jpg", "--creativity", "0.5", "--seed", "7", "--strip-metadata", "--format", "jpg")
    assert code == 0
    expected = {"creativity": 0.5, "seed": 7, "strip_metadata": True, "output_format": "jpeg", "max_cost": 0}
    assert line.gateway.jobs[0].values == expected
    assert Path("photo@2x.jpg").is_file()


def test_provider_is_pinned(line, picture):
    """--provider pins the job; a provider that does not exist is refused before any work."""
    picture()
    assert line("upscale", "photo.jpg", "--provider", "embedded") == 0
    assert line.gateway.jobs[0].pin == "embedded"
    assert line("upscale", "photo.jpg", "--provider", "fax", "--overwrite") == 2
    assert line.err == ("Error: --provider: flux-vision-upscaler is not offered by 'fax'; use embedded.\n")
    assert line("upscale", "photo.jpg", "--provider", "fal", "--overwrite") == 2
    assert line.err.startswith("Error: --provider: fal is not configured here")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--creativity", "2"], "--creativity: 2 is not a number from 0 to 1."),
        (["--size", "big"], "--size: 'big' is not written like 1024x1024, 16:9 or auto."),
        (["--format", "bmp"], "--format: 'bmp' is not one of png"),
        (["--mask", "nope.png"], "--mask: there is no file nope.png."),
        (["--model", "flux-vision-upscale"], "Did you mean flux-vision-upscaler?"),
        (["--size", "99x99", "--scale", "3"], "photo.jpg: --size and --scale ask for different sizes"),
        (["--prompt", "trees", "--strict"], "--prompt cannot be honoured exactly"),
        (["--overwrite", "--resume"], "contradict each other"),
        (["--jobs", "0"], "--jobs: 0 is not a whole number from 1."),
        (["--out", "-", "--json"], "--json writes to standard output too"),
        (["--out", "-", "--n", "2"], "takes one picture"),
        (["--out", "-", "--compare"], "--compare needs a file"),
        (["-"], "Standard input (-) is read alone"),
        (["--nonsense"], "No such option"),
    ],
)
def test_a_wrong_wish_is_refused(line, picture, names, arguments, words):
    """A wish that cannot be fulfilled ends with 2, names the flag, and changes nothing."""
    picture()
    assert line("upscale", "photo.jpg", *arguments) == 2
    assert words in line.err
    assert "Traceback" not in line.err
    assert names() == ["photo.jpg"]


def test_an_existing_result_is_kept(line, picture):
    """Without a word the picture is refused; --resume skips it, --overwrite replaces it."""
    picture()
    Path("photo@2x.png").write_bytes(b"mine")
    assert line("upscale", "photo.jpg") == 2
    assert (
        line.err
        == "Error: photo.jpg: photo@2x.png exists already; --overwrite replaces it, --resume skips what is done.\n"
    )
    assert line("upscale", "photo.jpg", "--resume") == 0
    assert Path("photo@2x.png").read_bytes() == b"mine"
    assert line("upscale", "photo.jpg", "--overwrite") == 0
    assert size("photo@2x.png") == (24, 16)


def test_a_batch_goes_on_after_failures(line, picture, names):
    """Failed pictures are listed at the end with a sentence each, the others are done, and the exit code is 1."""
    for name in ("in/a.png", "in/sub/crash.png", "in/upstream.png", "in/z.png"):
        picture(name)
    Path("in/cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much of a picture")
    assert line("upscale", "in", "nope.png", "--out", "out") == 1
    made = [name for name in names() if not name.startswith("in/")]
    assert made == ["out/a@2x.png", "out/z@2x.png"]
    assert not Path("out/sub").exists()
    summary, *failed = line.err.splitlines()[-6:]
    assert summary.startswith("2 done, 4 failed in ")
    assert failed == [
        "4 of 6 failed:",
        "  nope.png: there is no such file.",
        "  in/cut.jpg: this JPEG file is damaged or truncated.",
        "  in/upstream.png: The provider is down.",
        f"  in/sub/crash.png: {error_sentence(ZeroDivisionError())}",
    ]


def test_a_batch_goes_on_where_it_stopped(line, picture):
    """--resume makes what is missing, counts the rest, and takes no result for a picture."""
    for name in ("in/a.png", "in/b.png"):
        picture(name)
    assert line("upscale", "in") == 0
    picture("in/c.png")
    assert line("upscale", "in", "--resume") == 0
    assert len(line.gateway.jobs) == 3
    assert "1 done, 2 skipped in" in line.err
    assert "2 results of an earlier run left alone" in line.err


@pytest.fixture(params=[True, False], ids=["attributes", "no attributes"])
def attributes(request, monkeypatch):
    """Work on a disk that can note the source of a result, and on one that cannot."""

    def refuse(*_arguments):
        raise OSError(errno.ENOTSUP, "not supported")

    if not request.param:
        monkeypatch.setattr(os, "setxattr", refuse)
    return request.param


@pytest.mark.usefixtures("attributes")
def test_a_result_of_another_picture_is_not_taken_for_done(line, picture, names):
    """After x.png, `x.jpg --resume` makes a result of its own, under a name that holds its extension, once."""
    picture("x.png")
    assert line("upscale", "x.png") == 0
    picture("x.jpg", colour=(1, 2, 3))
    for made in (2, 2):
        assert line("upscale", "x.jpg", "--resume") == 0
        assert len(line.gateway.jobs) == made
        assert names() == ["x.jpg", "x.jpg@2x.png", "x.png", "x@2x.png"]


def test_a_picture_that_comes_later_makes_nothing_twice(line, picture, names):
    """A result keeps counting when a second picture of its stem appears beside its own, or goes away again."""
    picture("in/x.png")
    assert line("upscale", "in") == 0
    later = picture("in/x.jpg", colour=(1, 2, 3))
    assert line("upscale", "in", "--resume") == 0
    assert len(line.gateway.jobs) == 2
    later.unlink()
    Path("in/x.jpg@2x.png").unlink()
    Path("in/x@2x.png").rename("in/x.png@2x.png")
    assert line("upscale", "in", "--resume") == 0
    assert len(line.gateway.jobs) == 2
    assert names() == ["in/x.png", "in/x.png@2x.png"]


@pytest.mark.usefixtures("attributes")
def test_a_picture_that_changed_is_made_again_beside_its_old_result(line, picture, names):
    """--resume neither skips a picture that is another one by now nor replaces a result that is there."""
    path = picture("x.png")
    assert line("upscale", "x.png") == 0
    old = Path("x@2x.png").read_bytes()
    os.utime("x@2x.png", (1, 1))
    picture("x.png", colour=(1, 2, 3))
    assert line("upscale", "x.png", "--resume") == 0
    assert names() == ["x.png", "x.png@2x.png", "x@2x.png"]
    assert Path("x@2x.png").read_bytes() == old
    os.utime("x.png@2x.png", (1, 1))
    picture("x.png", colour=(4, 5, 6))
    assert line("upscale", path.name, "--resume") == 2
    assert line.err.endswith("was not made of this picture as it is now; --overwrite replaces it.\n")


def test_a_renamed_result_counts_for_its_own_picture_alone(line, picture):
    """A result that got the name of another one does not stand for it."""
    picture("a.png")
    picture("b.png", colour=(1, 2, 3))
    assert line("upscale", "a.png") == 0
    Path("a@2x.png").rename("b@2x.png")
    assert line("upscale", "b.png", "--resume") == 0
    assert len(line.gateway.jobs) == 2
    assert Path("b.png@2x.png").is_file()


def test_one_file_as_the_result_of_two_pictures(line, picture):
    """--resume with --out FILE skips only for the picture that the file was made of."""
    picture("a.png")
    picture("b.png", colour=(1, 2, 3))
    assert line("upscale", "a.png", "--out", "big.png") == 0
    assert line("upscale", "a.png", "--out", "big.png", "--resume") == 0
    assert line("upscale", "b.png", "--out", "big.png", "--resume") == 2
    assert line.err.startswith("Error: b.png: big.png exists already and was not made of this picture")


def test_a_result_that_appears_meanwhile_is_not_replaced(line, picture, monkeypatch):
    """What another program wrote while a picture was made stays; the result gets the longer name."""
    picture("x.png")
    make = line.gateway.run

    def run(*arguments):
        Path("x@2x.png").write_bytes(b"mine")
        return make(*arguments)

    picture("x.jpg")
    monkeypatch.setattr(line.gateway, "run", run)
    assert line("upscale", "x.png") == 0
    assert Path("x@2x.png").read_bytes() == b"mine"
    assert size("x.png@2x.png") == (24, 16)


def test_results_of_a_video_size_are_recognised(line, picture, names):
    """photo@1080p.png is a result, which a second run over the folder does not enlarge."""
    picture("in/a.png")
    for _ in range(2):
        assert line("upscale", "in", "--resolution", "1080p", "--resume") == 0
    assert names() == ["in/a.png", "in/a@1080p.png"]


def test_jobs_run_side_by_side(line, picture):
    """--jobs 3 has three pictures at work at once and never more."""
    for number in range(7):
        picture(f"in/{number}.png")
    line.gateway.tile_seconds = 0.01
    assert line("upscale", "in", "--jobs", "3") == 0
    assert line.gateway.most == 3


def test_what_could_not_be_honoured_is_told_once(line, picture):
    """A parameter without effect is one warning for the whole batch, in terms of its flag."""
    for name in ("in/a.png", "in/b.png"):
        picture(name)
    assert line("upscale", "in", "--prompt", "trees") == 0
    warnings = [said for said in line.err.splitlines() if said.startswith("Warning")]
    assert warnings == ["Warning: --prompt: This engine cannot be guided by words: the prompt guided nothing."]


def test_json(line, picture):
    """One line per picture on standard output says everything, failures too."""
    picture()
    assert line("upscale", "photo.jpg", "nope.jpg", "--json", "--seed", "3", "--n", "2") == 1
    failed, done = map(json.loads, line.out.splitlines())
    assert (failed["status"], failed["error"]) == ("failed", "there is no such file.")
    assert done["output"] == ["photo@2x-1.png", "photo@2x-2.png"]
    assert done["source"] == {"width": 12, "height": 8, "format": "jpeg", "bytes": Path("photo.jpg").stat().st_size}
    facts = ("status", "width", "height", "provider", "engine", "seed", "cost", "error")
    assert [done[name] for name in facts] == ["done", 24, 16, "embedded", "span", [7, 8], 0.2, None]
    assert done["fidelity"]["lr_psnr_db"] == 52.34
    assert done["fidelities"] == [done["fidelity"]] * 2
    assert [(tried["provider"], tried["outcome"], tried["cost"]) for tried in done["attempts"]] == [
        ("embedded", "ok", 0)
    ]
    assert done["failures"] == []
    sent = {entry["parameter"]: entry["from"] for entry in done["receipt"] if entry["from"] is not None}
    assert sent == {"image": "picture", "seed": 3, "n": 2, "max_cost": 0}


@pytest.mark.parametrize(("name", "cost", "words"), [("billed", 0.1, "$0.10"), ("unanswered", None, "cost not known")])
def test_what_failed_has_its_price_too(line, picture, name, cost, words):
    """Money that failed tries cost, or may have cost, is said beside the error, in the sum and in JSON."""
    picture(f"{name}.png")
    picture("good.png")
    assert line("upscale", f"{name}.png", "good.png") == 1
    assert f"{name}.png: All of them failed. ({words})" in line.err
    assert f"MP · {'$0.20' if cost else words}" in line.err
    assert line("upscale", f"{name}.png", "--json") == 1
    said = json.loads(line.out)
    assert (said["cost"], [(each["provider"], each["cost"]) for each in said["attempts"]]) == (
        cost,
        [("fal", cost), ("embedded", 0)],
    )


def test_work_that_somebody_else_stopped_has_failed(line, picture):
    """Without a signal from here a job that was cancelled is no interruption: it is told, and the exit status is 1."""
    picture("stopped.png")
    assert line("upscale", "stopped.png") == 1
    assert line.err.splitlines()[-1] == "Error: stopped.png: It was stopped over there. (cost not known)"
    assert line("upscale", "stopped.png", "--json") == 1
    said = json.loads(line.out)
    assert (said["status"], said["cost"], said["attempts"][0]["outcome"]) == ("failed", None, "CANCELLED")


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [
        ((), 0),
        (("--max-cost", "0.5"), 0.5),
        (("--max-cost", ""), 0),
        (("--provider", "embedded"), None),
        (("--provider", "fal", "--model", "fal-ai/topaz/upscale/image"), None),
        (("--model", "topaz"), 0),
        (("--model", "fal-ai/flux-vision-upscaler"), 0),
        (("--model", "FAL-AI/flux-vision-upscaler"), 0),
        (("--model", "fal-ai/topaz/upscale/image"), 0),
        (("--model", "fal-ai/seedvr/upscale/image"), 0),
        (("--model", "clarity-ai/clarity-upscaler"), 0),
        (("--model", "fal/topaz-upscale"), None),
        (("--model", "FAL/fal-ai/topaz/upscale/image"), None),
        (("--model", "fal/topaz-upscale", "--max-cost", "0.5"), 0.5),
    ],
)
def test_nothing_is_spent_without_a_word(line, picture, arguments, limit):
    """Only --max-cost or a named provider let a key that lies in the environment be charged; an alias names none."""
    line.gateway.providers = ("embedded", "fal")
    picture()
    assert line("upscale", "photo.jpg", *arguments) == 0
    assert line.gateway.jobs[0].values.get("max_cost") == limit


def test_quiet(line, picture):
    """--quiet says nothing of what went well."""
    picture("in/a.png")
    picture("in/b.png")
    assert line("upscale", "in", "--quiet", "--prompt", "trees") == 0
    assert (line.out, line.err) == ("", "")


def test_dry_run(line, picture, names):
    """A dry run shows each result with its size and price, calls nobody and writes nothing."""
    picture("in/a.png")
    picture("in/b.png")
    assert line("upscale", "in", "--out", "out", "--dry-run", "--scale", "3", "--n", "2") == 0
    rows = [row.split() for row in line.out.splitlines()]
    assert rows[1] == ["in/a.png", f"12{X}8", "out/a@3x-1.png,", "out/a@3x-2.png", f"36{X}24", "embedded", "$0.20"]
    assert line.out.splitlines()[-1] == "2 pictures would be made for $0.40. Nothing was written."
    assert names() == ["in/a.png", "in/b.png"]
    assert not line.gateway.jobs


def test_dry_run_json(line, picture):
    """A dry run in JSON has the same facts."""
    picture()
    assert line("upscale", "photo.jpg", "--dry-run", "--json") == 0
    body = json.loads(line.out)
    assert [body[name] for name in ("status", "width", "cost")] == ["planned", 24, 0.1]


def test_a_dry_run_looks_into_the_mask(line, picture):
    """What the real run would refuse, a dry run refuses."""
    picture()
    Image.new("RGBA", (12, 8)).save("closed.png")
    assert line("upscale", "photo.jpg", "--mask", "closed.png", "--dry-run") == 2
    assert "nothing of it is transparent" in line.err


def test_a_folder_that_cannot_be_written(line, picture):
    """--out below a file fails with a sentence."""
    picture()
    Path("file").write_text("")
    assert line("upscale", "photo.jpg", "--out", "file/out/") == 1
    assert line.err == "Error: photo.jpg: not a directory: file/out.\n"


def test_results_are_ordinary_files(line, picture):
    """A result has the rights of any new file, whatever those of the folder it was made in."""
    picture()
    Path("other").write_text("")
    line("upscale", "photo.jpg")
    assert stat.S_IMODE(Path("photo@2x.png").stat().st_mode) == stat.S_IMODE(Path("other").stat().st_mode)
