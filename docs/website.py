"""Builds the documents into the pages that a server shows at /docs/.

Run as `python docs/website.py --write`, or with `--check` to fail when a page is stale. Needs the development tools.
The pages are plain: no inline style or script, nothing from another address.
"""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from posixpath import relpath
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))
import drawing  # noqa: E402, a neighbour

TARGET = ROOT / "src" / "fluxvision" / "http" / "page-docs"
VENDOR = TARGET / "vendor"
"""Files of others, kept as they are."""
REFERENCE, MISSING = "reference", "404"
NAV: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("Start", (("index", "README.md"), ("cli", "docs/cli.md"), ("compatibility", "docs/compatibility.md"))),
    ("API", (("api", "docs/api.md"), (REFERENCE, ""), ("models", "docs/models.md"))),
    (
        "How it works",
        (
            ("normalization", "docs/normalization.md"),
            ("providers", "docs/providers.md"),
            ("prices", "docs/prices.md"),
            ("engine", "docs/engine.md"),
            ("flux", "docs/flux.md"),
        ),
    ),
    (
        "Run it",
        (
            ("configuration", "docs/configuration.md"),
            ("operations", "docs/operations.md"),
            ("cluster", "docs/cluster.md"),
            ("security", "docs/security.md"),
        ),
    ),
    ("Inside", (("architecture", "docs/architecture.md"), ("decisions", ""), ("changelog", "CHANGELOG.md"))),
)
LABELS = {
    "index": "Start here",
    "cli": "Command line",
    REFERENCE: "API reference",
    "flux": "GPU",
    "providers": "Providers",
    "decisions": "Decisions",
}
START_ENDS = "\n## HTTP API"
"""Where the start page leaves the README: what follows has pages of its own."""
BOOK = ROOT / "docs" / "decisions"
COMMENT = re.compile(r"^<!--.*?-->\n?", re.MULTILINE | re.DOTALL)
PICTURES = {".jpg", ".png", ".webp"}
CONTENTS_FROM = 3


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its place below /docs/, the file that it is made of, what it is called, and its text."""

    place: str
    source: Path
    label: str
    text: str


def pages() -> list[Page]:
    """Return every page that is made of Markdown; one whose file is not there is left out."""
    found = [
        _page(place, ROOT / source) for _, rows in NAV for place, source in rows if source and (ROOT / source).is_file()
    ]
    book = [_page(f"decisions/{path.stem}", path) for path in sorted(BOOK.glob("*.md"))]
    listed = "\n".join(f"- [{page.label}](decisions/{page.source.name})" for page in book)
    text = f"# Decisions\n\nWhat was hard to decide, and why it is as it is.\n\n{listed}\n"
    return [*found, Page("decisions", HERE / "decisions.md", "Decisions", text), *book]


def built() -> dict[str, bytes]:
    """Return every file of the site by its name, but for those of others."""
    every = pages()
    names = {page.source: page.place for page in every} | {ROOT / "docs" / "README.md": "index"}
    files = {name: (HERE / "templates" / name).read_bytes() for name in ("style.css", "reference.js", "theme.js")}
    files["icon.svg"] = (ROOT / "web" / "src" / "icon.svg").read_bytes()
    for page in every:
        body, contents, pictures = Writer(page, names).written()
        files[f"{page.place}.html"] = _framed(page.place, page.label, body, contents, every)
        files |= pictures
    heading = (
        '<section aria-label="About"><h1>API reference</h1><p>Made from this server’s own '
        '<a href="../openapi.json">OpenAPI document</a>.</p><h2>Operations</h2></section>'
    )
    files[f"{REFERENCE}.html"] = _framed(
        REFERENCE, "API reference", f'{heading}<div id="reference"></div>', "", every, scripts=True
    )
    nothing = "<h1>Nothing here</h1><p>There is no such page, or the link to this file has expired.</p>"
    files[f"{MISSING}.html"] = _framed(MISSING, "Nothing here", nothing, "", every, absolute=True)
    return files


class Writer:
    """Turns one page's Markdown into HTML. `names` are the places of the files that are pages."""

    def __init__(self, page: Page, names: Mapping[Path, str]) -> None:
        """Begin with the page."""
        self._page = page
        self._names = names
        self._pictures: dict[str, bytes] = {}
        self._markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
        self._markdown.add_render_rule("fence", _fence)

    def written(self) -> tuple[str, str, dict[str, bytes]]:
        """Return the body, the contents, and the pictures by their names."""
        tokens = self._markdown.parse(_uncommented(self._page.text))
        headings = []
        for token, inline in pairwise(tokens):
            if token.type == "heading_open":
                token.attrSet("id", slug(inline.content))
                headings.append((token.tag, slug(inline.content), inline.content))
            for child in inline.children or ():
                self._linked(child)
        body = self._markdown.renderer.render(tokens, self._markdown.options, {})
        body = body.replace("<th></th>", "<td></td>")  # a heading that says nothing is none
        body = body.replace("<table>", '<div class="table" tabindex="0"><table>').replace("</table>", "</table></div>")
        body = re.sub(r'<a class="nowhere">(.*?)</a>', r"\1", body, flags=re.DOTALL)
        body = re.sub(
            r'<p><img src="layers\.svg"[^>]*></p>', f'<figure tabindex="0">{drawing.drawing()}</figure>', body
        )
        contents = [
            f'<li class="{tag}"><a href="#{name}">{html.escape(text.replace("`", ""))}</a></li>'
            for tag, name, text in headings
            if tag in {"h2", "h3"}
        ]
        shown = f"<ul>{''.join(contents)}</ul>" if len(contents) >= CONTENTS_FROM else ""
        return body, shown, self._pictures

    def _linked(self, token: Token) -> None:
        if token.type == "link_open":
            place = self._place(str(token.attrGet("href")))
            token.attrs = {"href": place} if place else {"class": "nowhere"}
        if token.type == "image":
            path = (self._page.source.parent / str(token.attrGet("src"))).resolve()
            if path.suffix in PICTURES:
                self._pictures[f"pictures/{path.name}"] = path.read_bytes()
                token.attrSet("src", _from(self._page.place, f"pictures/{path.name}"))

    def _place(self, target: str) -> str:
        """Return where a link leads on the site; empty for a file that is no page."""
        if target.startswith(("http://", "https://", "#")):
            return target
        name, mark, anchor = target.partition("#")
        place = self._names.get((self._page.source.parent / name).resolve())
        return "" if place is None else _from(self._page.place, place) + mark + anchor


def slug(heading: str) -> str:
    """Return the name of a heading in an address."""
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")


def _page(place: str, path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    if place == "index":
        text = text.partition(START_ENDS)[0] + "\n"
    title = re.sub(r"^\d+\. ", "", text.partition("\n")[0].removeprefix("# "))
    return Page(place, path, LABELS.get(place, title.replace("`", "")), text)


def _uncommented(text: str) -> str:
    """Return Markdown without comments, which mark blocks; those inside code stay."""
    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else COMMENT.sub("", part) for part in parts)


def _from(place: str, target: str) -> str:
    """Return a relative address from one place to another."""
    folder = relpath(Path(target).parent, Path(place).parent)
    name = "" if target == "index" else Path(target).name
    return f"{folder}/{name}" if folder != "." else name or "./"


def _fence(_self: RendererHTML, tokens: Sequence[Token], number: int, _options: Any, _environment: Any) -> str:
    token = tokens[number]
    language = token.info.split()[0] if token.info.split() else "text"
    code = highlight(token.content, get_lexer_by_name(language), HtmlFormatter(nowrap=True))
    return f'<pre tabindex="0"><code class="language-{html.escape(language)}">{code}</code></pre>\n'


def _framed(
    place: str,
    label: str,
    body: str,
    contents: str,
    every: Sequence[Page],
    *,
    scripts: bool = False,
    absolute: bool = False,
) -> bytes:
    known = {page.place: page.label for page in every} | {REFERENCE: LABELS[REFERENCE]}
    inside = place.partition("/")[0]

    def at(target: str) -> str:
        return "/docs/" + target.removesuffix("index") if absolute else _from(place, target)

    groups = []
    for title, rows in NAV:
        links = []
        for name in (name for name, _ in rows if name in known):
            here = " aria-current=page" if name == inside else ""
            links.append(f'<li><a href="{at(name)}"{here}>{html.escape(known[name])}</a></li>')
        groups.append(f"<h2>{title}</h2><ul>{''.join(links)}</ul>")
    home = "/" if absolute else ("../" * (place.count("/") + 1))
    parts = {
        "title": html.escape(label),
        "style": at("style.css"),
        "theme": at("theme.js"),
        "icon": at("icon.svg"),
        "home": home,
        "start": at("index"),
        "nav": "".join(groups),
        "body": body,
        "main": "div" if scripts else "main",
        "aside": f'<aside aria-label="On this page"><h2>On this page</h2>{contents}</aside>' if contents else "",
        "wide": " wide" if scripts else "",
        "head": f'<link rel="stylesheet" href="{at("vendor/swagger-ui.css")}">' if scripts else "",
        "scripts": "".join(
            f'<script src="{at(name)}" defer></script>' for name in ("vendor/swagger-ui-bundle.js", "reference.js")
        )
        if scripts
        else "",
    }
    template = (HERE / "templates" / "page.html").read_text(encoding="utf-8")
    return re.sub(r"{{(\w+)}}", lambda match: parts[match[1]], template).encode()


def main(arguments: Sequence[str]) -> int:
    """Write the site, or check it; return the exit code."""
    if arguments not in (["--write"], ["--check"]):
        print("usage: python docs/website.py --write | --check", file=sys.stderr)
        return 2
    stale = changed()
    for path in stale:
        print(path.relative_to(ROOT), "written" if arguments == ["--write"] else "is stale: run make site")
    if arguments == ["--write"]:
        _write()
    return int(bool(stale) and arguments == ["--check"])


def changed() -> list[Path]:
    """Return the files that are not what the documents say, and those that nothing makes."""
    files = {TARGET / name: content for name, content in built().items()}
    files[drawing.TARGET] = drawing.drawing().encode()
    there = {path for path in TARGET.rglob("*") if path.is_file() and VENDOR not in path.parents}
    differing = [path for path, content in files.items() if not path.is_file() or path.read_bytes() != content]
    return sorted([*differing, *(there - set(files))])


def _write() -> None:
    files = built()
    for path in changed():
        if path == drawing.TARGET:
            path.write_text(drawing.drawing(), encoding="utf-8")
        elif path.relative_to(TARGET).as_posix() in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[path.relative_to(TARGET).as_posix()])
        else:
            path.unlink()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
