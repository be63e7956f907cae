"""The messages of C libraries become records of Python's logging."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

import pytest

from fluxvision.imaging import vips_warnings

WARNING, CRITICAL, INFO = 1 << 4, 1 << 3, 1 << 6


@pytest.fixture
def records(monkeypatch):
    """Collect what is logged, as (domain, severity)."""
    found = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append((record.domain, record.severity))
    monkeypatch.setattr(vips_warnings, "_last", {})
    vips_warnings.LOGGER.addHandler(handler)
    yield found
    vips_warnings.LOGGER.removeHandler(handler)


@pytest.mark.parametrize(
    ("domain", "level", "record"),
    [
        (b"GLib-GObject", WARNING, ("GLib-GObject", "warning")),
        (b"GLib", CRITICAL, ("GLib", "critical")),
        (b"VIPS", CRITICAL, ("VIPS", "critical")),
        (b"n\xdf", WARNING, ("n\ufffd", "warning")),
        (None, WARNING, ("", "warning")),
        (b"GLib", INFO, None),
        (b"VIPS", WARNING, None),
    ],
)
def test_a_message_is_a_record_and_never_a_line(domain, level, record, records, capfd):
    """A warning or worse is one record, again only after a minute; nothing is printed, whatever its bytes are."""
    for _ in range(3):
        vips_warnings._library.g_log(domain, level, b"\xdf /a/path")
    assert records == ([] if record is None else [record])
    assert capfd.readouterr() == ("", "")


def test_a_message_may_come_from_any_thread(records):
    """A thread that C started, or Python, may send one."""
    thread = threading.Thread(target=lambda: vips_warnings._library.g_log(b"GLib", WARNING, b"a"))
    thread.start()
    thread.join()
    assert records == [("GLib", "warning")]


@pytest.mark.usefixtures("records")
def test_a_handler_that_fails_stays_inside(capfd):
    """An error in a handler reaches neither the library nor standard error."""
    broken = logging.Handler()
    broken.emit = lambda _record: 1 / 0
    vips_warnings.LOGGER.addHandler(broken)
    try:
        vips_warnings._library.g_log(b"GLib", WARNING, b"a")
    finally:
        vips_warnings.LOGGER.removeHandler(broken)
    assert capfd.readouterr() == ("", "")


def test_silent_by_itself_and_loud_at_the_end():
    """A process without a handler prints no warning; the message that ends a process is printed."""
    send = (
        "from fluxvision.imaging import vips_warnings; send = vips_warnings._library.g_log; send(b'GLib', 16, b'quiet')"
    )
    quiet = subprocess.run([sys.executable, "-c", send], capture_output=True, check=True)
    assert quiet.stdout + quiet.stderr == b""
    fatal = subprocess.run(
        [sys.executable, "-c", f"{send}; send(b'GLib', 4, b'the end')"], capture_output=True, check=False
    )
    assert fatal.returncode < 0
    assert b"the end" in fatal.stderr
    assert b"Traceback" not in fatal.stderr
