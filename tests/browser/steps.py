"""What a person does on the playground, as functions."""

from __future__ import annotations

import base64
import re

LABELS = {"n": "Versions (n)"}
CHANGED = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  await frame();  // the page hears of the theme
  await frame();  // and has it
  const ending = document.getAnimations().filter((one) => Number.isFinite(one.effect.getComputedTiming().endTime));
  await Promise.allSettled(ending.map((one) => one.finished));
}"""
ARRIVES = """([bytes, name, kind]) => {
  const raw = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([raw], name, { type: 'image/png' }));
  const event = kind === 'paste'
    ? new ClipboardEvent('paste', { clipboardData: carried, bubbles: true, cancelable: true })
    : new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
}"""


def resize(page, width, height):
    """Give the window another size, and wait until the page is laid out for it."""
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_function("width => innerWidth === width", arg=width)
    page.evaluate(CHANGED)


def arrive(page, path, kind):
    """Let a file come from the clipboard (paste) or from another window (dragenter, drop)."""
    page.evaluate(ARRIVES, [base64.b64encode(path.read_bytes()).decode(), path.name, kind])


def choose(page, path):
    """Choose a file and wait for its price."""
    page.get_by_label("Model", exact=True).wait_for()
    page.locator("input[type=file]").first.set_input_files(path)
    price(page).wait_for()


def price(page):
    """Return where the price stands."""
    return page.locator(".cost")


def upscale(page):
    """Ask for the result and wait until it shows."""
    page.get_by_role("button", name="Upscale", exact=True).click()
    divider(page).wait_for()


def begin_long(page):
    """Ask for work that takes much longer than a test looks at it, and wait until it runs."""
    page.get_by_role("button", name="A cat").click()
    price(page).wait_for()
    change(page, scale_factor=4, n=10)
    page.get_by_role("button", name="Upscale", exact=True).click()
    page.get_by_role("progressbar").wait_for()


def divider(page):
    """Return the slider between before and after."""
    return page.get_by_role("slider", name="Divider between before and after")


def change(page, **values):
    """Type numbers into the fields beside sliders, by the fields' names with spaces as underscores."""
    for name, value in values.items():
        exact = page.get_by_label(f"{LABELS.get(name, name.capitalize().replace('_', ' '))}, exact")
        exact.fill(str(value))
        exact.blur()


def key_form(page):
    """Open the form of the key and return it."""
    page.get_by_role("button", name=re.compile("^Key")).click()
    form = page.get_by_role("dialog", name="Key")
    form.wait_for()
    return form


def enter_key(page, key, *, opened=False):
    """Enter a key in the form of the header."""
    form = page.get_by_role("dialog", name="Key") if opened else key_form(page)
    form.get_by_label("Key", exact=True).fill(key)
    form.get_by_role("button", name="Use it").click()


def tab(page, name):
    """Open a tab."""
    page.get_by_role("tab", name=name).click()


def advanced(page):
    """Open the section of rarely used settings."""
    page.get_by_text("Advanced", exact=True).click()


def use_theme(page, theme):
    """Change the theme of the system, and wait until every colour has changed."""
    page.emulate_media(color_scheme=theme)
    page.evaluate(CHANGED)


def sideways(page) -> int:
    """Return by how many pixels the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
