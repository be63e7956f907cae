"""Takes README's picture of the playground anew: the real page, a real result. Needs playwright and Chromium.

python docs/screenshot.py
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import sync_playwright

TARGET = Path(__file__).parent / "playground.jpg"
WINDOW = {"width": 1280, "height": 800}
PATIENCE = 60.0


def main() -> int:
    """Serve, upscale an example four times, photograph."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        print("There is no Chromium on this machine.")
        return 1
    with TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        settings = {"FLUXVISION_PORT": port, "FLUXVISION_DATA_DIR": folder}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLUXVISION_", "FAL_"))}
        server = subprocess.Popen([sys.executable, "-m", "fluxvision", "serve"], env={**kept, **settings})
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(f"{address}/readyz")
            picture = _photographed(chromium, address)
        finally:
            server.terminate()
            server.wait()
    Image.open(io.BytesIO(picture)).convert("RGB").save(TARGET, quality=88, optimize=True, progressive=True)
    print(f"{TARGET.name} written")
    return 0


def _wait(address: str) -> None:
    ends = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(address, timeout=1).close()  # noqa: S310, our own server
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.1)
        else:
            return


def _photographed(chromium: str, address: str) -> bytes:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=WINDOW)
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(address)
        page.get_by_role("button", name="A cat").click()
        exact = page.get_by_label("Scale factor, exact")
        exact.fill("4")
        exact.blur()
        page.get_by_role("button", name="Upscale", exact=True).click()
        page.get_by_role("slider", name="Divider between before and after").wait_for()
        page.wait_for_timeout(1000)  # until the last fade has ended
        return page.screenshot()


if __name__ == "__main__":
    sys.exit(main())
