"""The documents at /docs/: the project's Markdown, rendered into HTML when a page is first requested.

An installed package holds the Markdown in `documents/`; a checkout has it in its root, in the same places. The pages
have no inline style or script, and load nothing from another address.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it.token import Token

HERE = Path(__file__).parent
INSTALLED = HERE / "documents"
ROOT = INSTALLED if INSTALLED.is_dir() else HERE.parents[2]
DESIGN = HERE / "page-docs"
REFERENCE = "reference"
NAV: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Start",
        (
            ("index", "README.md"),
            ("cli", "docs/cli.md"),
            ("python", "docs/python.md"),
            ("mcp", "docs/mcp.md"),
            ("clients", "docs/clients.md"),
            ("compatibility", "docs/compatibility.md"),
        ),
    ),
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
"""The groups of the navigation: the address of each page below /docs/, and its Markdown file."""
LABELS = {
    "index": "Start here",
    "cli": "Command line",
    REFERENCE: "API reference",
    "flux": "GPU",
    "providers": "Providers",
    "decisions": "Decisions",
}
"""Names in the navigation that differ from the heading of the page."""
SCRIPTS = ("vendor/swagger-ui-bundle.js", "reference.js")
FILES: Mapping[str, Path] = {
    name: DESIGN / name for name in ("style.css", "theme.js", "icon.svg", "vendor/swagger-ui.css", *SCRIPTS)
} | {
    f"pictures/{Path(source).name}": ROOT / source
    for source in (
        "docs/playground.jpg",
        "docs/comfyui.png",
        "docs/open-webui.jpg",
        "examples/chelsea-before.jpg",
        "examples/chelsea-after.jpg",
    )
}
"""The files that pages need, by their address below /docs/."""
DRAWING = "docs/layers.svg"
DECISIONS = "docs/decisions"
START_ENDS = "\n## HTTP API"
"""The heading of the README at which the start page ends."""
COMMENT = re.compile(r"^<!--.*?-->\n?", re.MULTILINE | re.DOTALL)
CONTENTS_FROM = 3


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its address below /docs/, its source file, and its name in the navigation."""

    place: str
    source: str
    label: str


@cache
def pages() -> Mapping[str, Page]:
    """Return the pages by address, without those whose file is missing."""
    rows = [row for _, group in NAV for row in group if row[1] and (ROOT / row[1]).is_file()]
    rows += [(f"decisions/{path.stem}", f"{DECISIONS}/{path.name}") for path in sorted((ROOT / DECISIONS).glob("*.md"))]
    found = [Page(place, source, LABELS.get(place) or _title(source)) for place, source in rows]
    found += [Page(name, f"docs/{name}.md", LABELS[name]) for name in ("decisions", REFERENCE)]
    return {page.place: page for page in found}


def render(place: str) -> bytes:
    """Return the page at an address, which is one of `pages()`."""
    page = pages()[place]
    if place == REFERENCE:
        heading = (
            '<section aria-label="About"><h1>API reference</h1><p>Made from this server’s own '
            '<a href="../openapi.json">OpenAPI document</a>.</p><h2>Operations</h2></section>'
        )
        return _frame(page, f'{heading}<div id="reference"></div>', scripts=True)
    return _frame(page, *_convert(page))


def render_not_found() -> bytes:
    """Return the page for an unknown address; its links are absolute."""
    text = "<h1>Nothing here</h1><p>There is no such page, or the link to this file has expired.</p>"
    return _frame(Page("404", "", "Nothing here"), text, absolute=True)


def _title(source: str) -> str:
    with (ROOT / source).open(encoding="utf-8") as file:
        return re.sub(r"^(# )?(\d+\. )?|[`\n]", "", file.readline())


def _text(page: Page) -> str:
    """Return the Markdown of a page without the comments that mark blocks; those inside code stay."""
    if page.place == "decisions":
        book = [page for page in pages().values() if page.place.startswith("decisions/")]
        listed = "\n".join(f"- [{page.label}](decisions/{Path(page.source).name})" for page in book)
        return f"# Decisions\n\nDecisions that were hard to make, with their reasons.\n\n{listed}\n"
    text = (ROOT / page.source).read_text(encoding="utf-8")
    if page.place == "index":
        text = text.partition(START_ENDS)[0] + "\n"
    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else COMMENT.sub("", part) for part in parts)


def _convert(page: Page) -> tuple[str, str]:
    """Return the body of a page and its table of contents as HTML."""
    from markdown_it import MarkdownIt  # noqa: PLC0415, the start of the server does not need it

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.add_render_rule("fence", _fence)
    tokens = markdown.parse(_text(page))
    contents = []
    for token, inline in pairwise(tokens):
        if token.type == "heading_open":
            name = slug(inline.content)
            token.attrSet("id", name)
            if token.tag in {"h2", "h3"}:
                text = html.escape(inline.content.replace("`", ""))
                contents.append(f'<li class="{token.tag}"><a href="#{name}">{text}</a></li>')
        for child in inline.children or ():
            _rewrite_link(page, child)
    body = markdown.renderer.render(tokens, markdown.options, {})
    body = body.replace("<th></th>", "<td></td>")  # screen readers would announce an empty heading
    body = body.replace("<table>", '<div class="table" tabindex="0"><table>').replace("</table>", "</table></div>")
    body = re.sub(r'<a class="nowhere">(.*?)</a>', r"\1", body, flags=re.DOTALL)
    if found := re.search(r'<p><img src="layers\.svg"[^>]*></p>', body):
        drawing = (ROOT / DRAWING).read_text(encoding="utf-8")
        body = body.replace(found[0], f'<figure tabindex="0">{drawing}</figure>')
    return body, f"<ul>{''.join(contents)}</ul>" if len(contents) >= CONTENTS_FROM else ""


def _rewrite_link(page: Page, token: Token) -> None:
    """Turn links between files into links between pages; a link to a file that is no page becomes plain text."""
    if token.type == "image":
        picture = f"pictures/{Path(str(token.attrGet('src'))).name}"
        if picture in FILES:
            token.attrSet("src", _relative(page.place, picture))
    target = str(token.attrGet("href"))
    if token.type == "link_open" and not target.startswith(("http://", "https://", "#")):
        name, mark, anchor = target.partition("#")
        source = normpath(join(dirname(page.source), name))
        place = next((other.place for other in pages().values() if other.source == source), None)
        token.attrs = {"class": "nowhere"} if place is None else {"href": _relative(page.place, place) + mark + anchor}


def slug(heading: str) -> str:
    """Return the name of a heading in an address."""
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")


def _relative(place: str, target: str) -> str:
    """Return a relative address from one place to another."""
    folder = relpath(dirname(target) or ".", dirname(place) or ".")
    name = "" if target == "index" else Path(target).name
    return f"{folder}/{name}" if folder != "." else name or "./"


def _fence(_renderer: object, tokens: Sequence[Token], number: int, _options: Any, _environment: Any) -> str:
    """Return a block of code as HTML with a class for each kind of word."""
    from pygments import highlight  # noqa: PLC0415, as for markdown_it
    from pygments.formatters import HtmlFormatter  # noqa: PLC0415
    from pygments.lexers import get_lexer_by_name  # noqa: PLC0415

    language = (tokens[number].info.split() or ["text"])[0]
    code = highlight(tokens[number].content, get_lexer_by_name(language), HtmlFormatter(nowrap=True))
    return f'<pre tabindex="0"><code class="language-{html.escape(language)}">{code}</code></pre>\n'


def _frame(page: Page, body: str, contents: str = "", *, scripts: bool = False, absolute: bool = False) -> bytes:
    """Return a whole page: the template with navigation, body and table of contents."""
    inside = page.place.partition("/")[0]

    def at(target: str) -> str:
        return "/docs/" + target.removesuffix("index") if absolute else _relative(page.place, target)

    groups = []
    for title, rows in NAV:
        links = []
        for other in (pages()[name] for name, _ in rows if name in pages()):
            here = " aria-current=page" if other.place == inside else ""
            links.append(f'<li><a href="{at(other.place)}"{here}>{html.escape(other.label)}</a></li>')
        groups.append(f"<h2>{title}</h2><ul>{''.join(links)}</ul>")
    parts = {
        "title": html.escape(page.label),
        "style": at("style.css"),
        "theme": at("theme.js"),
        "icon": at("icon.svg"),
        "home": "/" if absolute else "../" * (page.place.count("/") + 1),
        "start": at("index"),
        "nav": "".join(groups),
        "body": body,
        "main": "div" if scripts else "main",
        "aside": f'<aside aria-label="On this page"><h2>On this page</h2>{contents}</aside>' if contents else "",
        "wide": " wide" if scripts else "",
        "head": f'<link rel="stylesheet" href="{at("vendor/swagger-ui.css")}">' if scripts else "",
        "scripts": "".join(f'<script src="{at(name)}" defer></script>' for name in SCRIPTS) if scripts else "",
    }
    template = (DESIGN / "page.html").read_text(encoding="utf-8")
    return re.sub(r"{{(\w+)}}", lambda match: parts[match[1]], template).encode()
