"""The command line as a process: streams, signals, terminals and how long it takes to start."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.cli_process import FAKE, PATIENCE, REAL, environment, run, wait_for


def test_a_pipe(picture, names):
    """- reads standard input and writes a picture to standard output; the facts go to standard error."""
    data = picture().read_bytes()
    done = run("upscale", "-", given=data)
    assert done.returncode == 0
    assert done.stdout.startswith(b"\x89PNG")
    assert b"standard input" in done.stderr
    assert names() == ["photo.jpg"]


def test_one_end_of_a_pipe(picture, names):
    """Standard input can become a file, and a file standard output."""
    data = picture().read_bytes()
    assert run("upscale", "-", "--out", "big.webp", given=data).returncode == 0
    assert run("upscale", "-", "--out", "folder", given=data).returncode == 0
    assert run("upscale", "photo.jpg", "--out", "-", "--format", "jpg").stdout.startswith(b"\xff\xd8\xff")
    assert names() == ["big.webp", "folder/stdin@2x.png", "photo.jpg"]


def test_an_empty_pipe(folder):
    """No picture in the pipe is one sentence."""
    assert folder
    done = run("upscale", "-")
    assert done.returncode == 2
    assert done.stderr == b"Error: standard input: the file is empty.\n"
    assert done.stdout == b""


def test_a_reader_that_leaves(picture):
    """`fluxvision models | head -c1` ends without a traceback."""
    assert picture()
    shell = f"{sys.executable} -m fakes.cli_gateway models flux-vision-upscaler --json | head -c1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, env=environment(), timeout=PATIENCE, check=False)
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


def test_a_signal_tells_what_was_spent(picture, names):
    """Work that a provider had taken may cost something, and the last line says so."""
    picture("taken.jpg")
    slow = environment(FAKE_TILES="1000", FAKE_TILE_SECONDS="0.05")
    with subprocess.Popen([*FAKE, "upscale", "taken.jpg"], env=slow, stderr=subprocess.PIPE) as process:
        wait_for(lambda: any("begun.raw" in name for name in names()))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert said.decode().splitlines()[-1].endswith("no half file left. What was begun: $0.10.")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGHUP, 129)])
def test_a_signal_leaves_no_half_file(picture, names, number, code):
    """Ctrl-C and SIGTERM end with 130, SIGHUP with 129; finished pictures stay, and nothing else does."""
    for name in ("in/a.jpg", "in/b.jpg", "in/c.jpg"):
        picture(name)
    slow = environment(FAKE_TILES="10", FAKE_TILE_SECONDS="0.05")
    with subprocess.Popen([*FAKE, "upscale", "in", "--out", "out"], env=slow, stderr=subprocess.PIPE) as process:
        wait_for(lambda: "out/a@2x.png" in names() and any("begun.raw" in name for name in names()))
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert "Interrupted; 2 pictures not made, no half file left. --resume goes on from here." in said.decode()
    assert names() == ["in/a.jpg", "in/b.jpg", "in/c.jpg", "out/a@2x.png"]


def begin(*arguments):
    """Start a run that takes minutes, and wait until it has begun."""
    slow = environment(FAKE_TILES="1000", FAKE_TILE_SECONDS="0.05")
    before = set(Path.cwd().rglob("begun.raw"))
    process = subprocess.Popen([*FAKE, "upscale", *arguments], env=slow, stderr=subprocess.PIPE)
    wait_for(lambda: set(Path.cwd().rglob("begun.raw")) - before)
    return process


def test_a_later_run_removes_what_a_killed_one_left(picture, names):
    """After kill -9 the next run into that folder removes the hidden folder, and none of a run that lives."""
    picture("a.jpg")
    picture("b.jpg")
    with begin("a.jpg", "--out", "out") as killed:
        killed.kill()
    old = Path("out/.fluxvision-run-00000000")
    foreign = Path("out/.fluxvision-settings")
    old.mkdir()
    foreign.mkdir()
    os.utime(old, (1, 1))
    os.utime(foreign, (1, 1))
    with begin("b.jpg", "--out", "out") as living:
        left = len([name for name in names() if "begun.raw" in name]), old.exists(), foreign.exists()
        again = run("upscale", "a.jpg", "--out", "out").returncode
        lives = len([name for name in names() if "begun.raw" in name])
        living.kill()
    assert (left, again, lives) == ((1, False, True), 0, 1)
    assert run("upscale", "a.jpg", "--out", "out", "--resume").returncode == 0
    assert names() == ["a.jpg", "b.jpg", "out/a@2x.png"]


def test_two_runs_do_not_make_one_picture(picture, names):
    """What another run is making is not made, and paid for, a second time."""
    picture("a.jpg")
    with begin("a.jpg") as first:
        second = run("upscale", "a.jpg", "--resume")
        first.send_signal(signal.SIGTERM)
    assert (second.returncode, second.stderr) == (1, b"Error: a.jpg: a@2x.png is being made by another run.\n")
    assert names() == ["a.jpg"]


def test_nohup_goes_on(picture, names):
    """A run that was started with SIGHUP ignored goes on when its terminal goes away."""
    picture("a.jpg")
    slow = environment(FAKE_TILES="10", FAKE_TILE_SECONDS="0.05")
    with subprocess.Popen(["nohup", *FAKE, "upscale", "a.jpg", "-q"], env=slow, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: any("begun.raw" in name for name in names()))
        process.send_signal(signal.SIGHUP)
        assert process.wait(PATIENCE) == 0
    assert names() == ["a.jpg", "a@2x.png"]


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_terminal_that_is_closed(picture, names):
    """Closing the terminal's window ends the work with 129 and leaves nothing, though nothing can be said there."""
    picture("a.jpg")
    child, terminal = pty.fork()
    if child == 0:
        slow = environment(TERM="xterm-256color", FAKE_TILES="1000", FAKE_TILE_SECONDS="0.05")
        os.execve(sys.executable, [*FAKE, "upscale", "a.jpg"], slow)  # noqa: S606
    wait_for(lambda: any("begun.raw" in name for name in names()))
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 129
    assert names() == ["a.jpg"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGHUP, 129)])
def test_an_interrupted_wait_for_input(folder, number, code):
    """A signal while standard input is silent ends at once and leaves no temporary file."""
    (folder / "tmp").mkdir()
    quiet = environment(TMPDIR=str(folder / "tmp"))
    with subprocess.Popen([*FAKE, "upscale", "-"], env=quiet, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        wait_for(lambda: any((folder / "tmp").glob("*/*")))  # the lock: from here on it is removed
        process.send_signal(number)
        assert process.wait(PATIENCE) == code
    assert not any((folder / "tmp").iterdir())


def in_terminal(*arguments, **more):
    """Run the fake on a terminal and return its exit code and what the terminal saw."""
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, [*FAKE, *arguments], environment(TERM="xterm-256color", **more))  # noqa: S606
    seen = b""
    while True:
        try:
            seen += os.read(terminal, 65_536)
        except OSError:  # the other end is closed
            break
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seen.decode()


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_bars_on_a_terminal(picture):
    """A terminal shows one bar for all and one per picture, then the facts, and gets its cursor back."""
    for name in ("in/a.jpg", "in/b.jpg"):
        picture(name)
    code, seen = in_terminal("upscale", "in", FAKE_TILE_SECONDS="0.1")
    assert code == 0
    assert "0/2 pictures" in seen
    assert "1/2 pictures" in seen
    assert "a.jpg (writing)" in seen or "25%" in seen
    assert "a@2x.png" in seen
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_no_picture_on_a_terminal(picture):
    """A picture is not written to a terminal, nor read from one."""
    picture()
    code, seen = in_terminal("upscale", "photo.jpg", "--out", "-")
    assert code == 2
    assert "A picture is not written to a terminal" in seen
    code, seen = in_terminal("upscale", "-", "--out", "a.png")
    assert code == 2
    assert "Standard input is a terminal" in seen


@pytest.mark.parametrize("arguments", [["--help"], ["upscale", "--help"], ["serve", "--help"], ["--version"]])
def test_help_is_quick(folder, arguments):
    """Help does not wait for pixels, networks or bars."""
    assert folder
    words = f"import sys; sys.argv[1:] = {arguments}; import fluxvision.__main__ as it\ntry: it.main()\n"
    code = words + "finally: print(*sorted(sys.modules), file=sys.stderr)"
    loaded = run("-c", code, command=[sys.executable]).stderr.decode().split()
    heavy = {"numpy", "pyvips", "ncnn", "rich", "asyncio", "granian", "starlette", "aiohttp"}
    assert "click" in loaded
    assert not heavy & {name.partition(".")[0] for name in loaded}


def test_the_module_is_a_command(folder):
    """`python -m fluxvision` calls itself fluxvision."""
    assert folder
    assert run("--help", command=REAL).stdout.startswith(b"Usage: fluxvision [OPTIONS]")
