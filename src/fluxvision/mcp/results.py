"""The pictures of a result as a tool returns them: always linked, shown if small, saved where a path is given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, urlsplit

from fluxvision.core.errors import InvalidRequest
from fluxvision.core.formats import FORMATS, Format, find_format
from fluxvision.mcp.api import Api, ApiRefusal, ApiResponse, parse_refusal
from fluxvision.mcp.arguments import local_path
from fluxvision.mcp.schemas import OUTPUT_PATH

SHOWN_BYTES = 700_000
"""Most bytes of all pictures that a tool's result holds: clients refuse results of over a megabyte, as base64 is."""
VIEWABLE = frozenset({"png", "jpeg", "webp", "gif"})
"""Formats that language models see."""
READ_BYTES = 32_000_000
"""Most bytes of a picture that `resources/read` sends."""
SCHEME = "fluxvision://media/"
MEDIA = "/media/"
RESOURCE = re.compile(re.escape(SCHEME) + r"[A-Za-z0-9_-]+\.[a-z0-9]+\?[A-Za-z0-9_=&.%-]+")
"""Nothing else is asked of the API: the address is a client's text, and the request has its key."""
SIGNED = {"expires", "signature"}
"""The query of a link to a result that the server itself sends."""
_EXTENSIONS = {f".{word}": row for row in FORMATS for word in (row.extension, row.name, *row.aliases)}


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a result."""

    uri: str
    """By which it can be read as a resource."""
    name: str
    form: Format
    facts: dict[str, Any]
    """What the structured content says of it."""
    content: bytes | None = None
    """The file, None where it is not shown."""


def resource_uri(link: str) -> str:
    """Return the resource of a link to a result; the link itself where another server sends it."""
    parts = urlsplit(link)
    name = parts.path.rpartition(MEDIA)[2]
    is_ours = MEDIA in parts.path and "/" not in name and {key for key, _ in parse_qsl(parts.query)} == SIGNED
    return f"{SCHEME}{name}?{parts.query}" if is_ours else link


def plan_outputs(arguments: dict[str, Any]) -> list[Path]:
    """Take `output_path` from the arguments, set the format by its ending, and return a path for each version.

    Raises `InvalidRequest` for a path where no new file can be made.
    """
    given = arguments.pop(OUTPUT_PATH, None)
    if given is None:
        return []
    path = local_path(given) if isinstance(given, str) else None
    if path is None:
        raise _refused("must be an absolute path, because the client starts this program in a folder of its own")
    form = _EXTENSIONS.get(path.suffix.lower())
    if form is None or not form.writable:
        raise _refused("must end in " + ", ".join(f".{row.extension}" for row in FORMATS if row.writable))
    if str(arguments.setdefault("output_format", form.name)).lower() not in {form.name, form.extension}:
        raise _refused("and output_format disagree; give one of them")
    n = arguments.get("n")
    count = n if isinstance(n, int) else 1
    paths = [path.with_stem(f"{path.stem}-{number}") for number in range(1, count + 1)] if count > 1 else [path]
    if not path.parent.is_dir():
        raise _refused("is in a folder that does not exist")
    if any(each.exists() for each in paths):
        raise _refused("exists already, and no file is replaced; name another one")
    return paths


def _refused(reason: str) -> InvalidRequest:
    return InvalidRequest(f"{OUTPUT_PATH} {reason}.", param=OUTPUT_PATH)


async def collect_pictures(
    api: Api, events: Sequence[Mapping[str, Any]], paths: Sequence[Path], warnings: list[str]
) -> list[Picture]:
    """Return the pictures of a result, each saved at its path; a failure to save is added to `warnings`."""
    found, room = [], SHOWN_BYTES
    for number, event in enumerate(events):
        form = find_format(event["output_format"])
        link = event["url"]
        uri = resource_uri(link)
        facts: dict[str, Any] = {"uri": uri, "mime_type": form.mime, "size": event["metadata"]["size"]}
        if api.serves_links or uri == link:
            facts["url"] = link
        facts |= {name: event[name] for name in ("revised_prompt",) if name in event}
        facts |= {name: event["metadata"][name] for name in ("seed", "fidelity") if name in event["metadata"]}
        if number < len(paths):
            facts |= await _save(api, uri, paths[number], warnings)
        content = await _small_content(api, uri, room) if form.name in VIEWABLE else None
        room -= len(content or b"")
        found.append(Picture(uri, f"upscaled-{number + 1}.{form.extension}", form, facts, content))
    return found


async def read_picture(api: Api, uri: str) -> tuple[str, bytes]:
    """Return content type and bytes of a resource; raises `ApiRefusal`."""
    if not RESOURCE.fullmatch(uri):
        raise ApiRefusal("There is no such resource; those of results begin with " + SCHEME)
    async with api.request("GET", _address(uri)) as response:
        await _check(response)
        kind, content = response.content_type, await response.read(READ_BYTES)
    return kind, content


def _address(uri: str) -> str:
    return MEDIA + uri.removeprefix(SCHEME) if uri.startswith(SCHEME) else uri


async def _check(response: ApiResponse) -> None:
    if response.status >= 400:  # noqa: PLR2004, the errors of HTTP
        raise parse_refusal(await response.read(), response.status)


async def _small_content(api: Api, uri: str, limit: int) -> bytes | None:
    """Return a picture of at most `limit` bytes, None for a larger one."""
    content = bytearray()
    async with api.request("GET", _address(uri)) as response:
        await _check(response)
        async for chunk in response.chunks:
            content += chunk
            if len(content) > limit:
                return None
    return bytes(content)


async def _save(api: Api, uri: str, path: Path, warnings: list[str]) -> dict[str, Any]:
    """Write a picture to a new file, and return its path as a fact; a full disk is no error, as the picture is paid."""
    try:
        with _new_file(path) as file:
            async with api.request("GET", _address(uri)) as response:
                await _check(response)
                async for chunk in response.chunks:
                    file.write(chunk)
    except OSError as error:
        warnings.append(f"{OUTPUT_PATH}: the file was not written ({error.strerror}); read the resource instead.")
        return {}
    return {"path": str(path)}


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that does not exist yet; it is removed after an error."""
    with path.open("xb") as file:
        try:
            yield file
        except BaseException:
            with suppress(OSError):
                path.unlink()
            raise
