"""The data folder goes away under a running server."""

from __future__ import annotations

import shutil
import threading
import time

import pytest

from fakes.gateway import png
from fakes.server import Server

EDIT = (("model", "flux-vision-upscaler"), ("image", png(64, 48), "a"), ("response_format", "url"))
SECONDS = 1.0


def delete(path, *, replace):
    """Delete a folder, and put a file in its place for a moment."""
    shutil.rmtree(path, ignore_errors=True)
    if replace:
        try:
            path.touch(exist_ok=False)
        except OSError:  # the server was faster
            return
        time.sleep(0.02)
        path.unlink()


@pytest.mark.parametrize("replace", [False, True], ids=["deleted", "a file"])
@pytest.mark.parametrize("lost", ["", "media", "uploads"], ids=["all", "media", "uploads"])
@pytest.mark.parametrize("more", [(), (("stream", "true"),)], ids=["plain", "stream"])
def test_a_folder_that_is_deleted_is_one_clear_answer(tmp_path, lost, replace, more):
    """Requests work or get 503, never 500; afterwards everything works."""
    answers = []
    with Server(tmp_path / "data", {"workers": "4"}) as server:
        until = time.monotonic() + SECONDS

        def ask():
            while time.monotonic() < until:
                answers.append(server.edit(*EDIT, *more))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        while time.monotonic() < until:
            delete(server.folder / lost, replace=replace)
            time.sleep(0.01)
        for thread in threads:
            thread.join()
        assert {answer.status for answer in answers} <= {200, 503}
        bad = [answer for answer in answers if answer.status == 503 or b"event: error" in answer.body]
        assert all(b"data folder was removed" in answer.body for answer in bad)
        assert server.edit(*EDIT).status == 200
        assert '"unexpected"' not in server.log
