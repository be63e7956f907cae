"""multipart/form-data, parsed as it arrives: pictures are written to files, fields stay in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Self

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from fluxvision.core.concurrency import run_in_thread
from fluxvision.core.errors import InvalidRequest, PayloadTooLarge
from fluxvision.http.parsing.body import MAX_FIELD, MAX_FIELDS, MAX_PARTS, Form
from fluxvision.http.parsing.fields import collect_fields, image_key, is_known_field, picture_name, show_name
from fluxvision.http.upload_limits import Take, release_nothing
from fluxvision.net.fetch import SLICE, is_base64, read_reference

MAX_BOUNDARY = 70
MAX_PART_HEADERS = 16
MAX_PART_HEADER = 8 * 1024
WRITE_BUFFER = 1024 * 1024
SCHEMES = (b"http://", b"https://", b"data:")
LONGEST = max(map(len, SCHEMES))
JSON = (b"[", b"{")
"""First characters of the references of a JSON body, and of no picture."""
FILE = "file"
"""Placeholder for a file of an unknown parameter, whose bytes are dropped."""


def boundary_of(content_type: str) -> str:
    """Return the boundary; raises `InvalidRequest` when it is missing or longer than RFC 2046 allows."""
    boundary = str(parse_options_header(content_type)[1].get("boundary", ""))
    if not boundary:
        raise InvalidRequest("The multipart body has no boundary in its Content-Type.")
    if len(boundary) > MAX_BOUNDARY or not boundary.isascii() or not boundary.isprintable():
        message = f"The multipart boundary must be at most {MAX_BOUNDARY} printable ASCII characters."
        raise InvalidRequest(message)
    return boundary


async def read_multipart(
    content_type: str,
    chunks: AsyncIterator[bytes],
    folder: Path,
    take: Take = release_nothing,
    file_name: Callable[[str], str | None] = picture_name,
) -> Form:
    """Read the whole form; picture files are in `folder` under generated names.

    Which parts are files, and what they are called there, `file_name` tells.

    Pictures that `take` has memory for stay in memory and are not written.
    """
    parser = PushMultipartParser(
        boundary_of(content_type),
        max_header_size=MAX_PART_HEADER,
        max_header_count=MAX_PART_HEADERS,
        max_segment_count=MAX_PARTS,
    )
    with _Parts(folder, take, file_name) as parts:
        try:
            async for chunk in chunks:
                # A write of one chunk into the page cache takes microseconds; a thread would cost more than it saves.
                for event in parser.parse(chunk):
                    parts.take(event)
            parser.close()
        except ParserLimitReached:
            message = f"The multipart body has more than {MAX_PARTS} parts or a part with too large headers."
            raise PayloadTooLarge(message) from None
        except MultipartError as error:
            message = f"The multipart body is malformed: {str(error.args[0]).lower()}."
            raise InvalidRequest(message) from None
    # Whether a part is a reference is read from the disk, and there may be much text.
    return await run_in_thread(parts.form) if parts.long else parts.form()


class _Parts:
    """The finished parts, and the one that is arriving."""

    def __init__(self, folder: Path, take: Take, file_name: Callable[[str], str | None]) -> None:
        self._folder = folder
        self._take = take
        self._file_name = file_name
        self._name = ""
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._held: list[bytes | bytearray] = []
        self._text = bytearray()
        self._dropped = False
        self._pairs: list[tuple[str, str]] = []
        self._room = MAX_FIELDS
        self._images = 0
        self._pictures: dict[str, Path] = {}
        self._contents: dict[str, bytes] = {}
        self._named: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._file is not None:
            with suppress(OSError):  # what it still holds may find no room; how the reading ended comes first
                self._file.close()

    def take(self, event: MultipartSegment | bytes | None) -> None:
        """Handle one event of the parser: begin, data or end of a part."""
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif event is None:
            self._end()
        elif self._path is not None:
            self._keep(self._path, event)
        elif not self._dropped:
            self._text += event
            self._room -= len(event)
            if len(self._text) > MAX_FIELD or self._room < 0:
                message = f"{show_name(self._name)}: a field may have at most {MAX_FIELD:,} bytes."
                raise PayloadTooLarge(message, param=show_name(self._name))

    @property
    def long(self) -> bool:
        """Whether there is much text to read or search."""
        return MAX_FIELDS - self._room > WRITE_BUFFER // 16 or self._pictures.keys() != self._named.keys()

    def form(self) -> Form:
        """Return the parsed form. An empty text is no picture, as for every other parameter."""
        form = Form(collect_fields(self._pairs))
        images = 0
        for part, path in self._pictures.items():
            content = self._contents.get(part)
            if content == b"" and part not in self._named:
                continue
            name = part
            if part.startswith("image"):
                name = image_key(images)
                images += 1
            form.pictures[name] = path if part in self._named else self._reference(name, path)
            if content is not None and form.pictures[name] is path:
                form.contents[name] = content
            if part in self._named:
                form.filenames[name] = self._named[part]
        return form

    def _reference(self, name: str, path: Path) -> Path | str | Iterator[bytes]:
        """Return a picture part without a file name as a URL, or as the file itself."""
        pieces = _pieces(path, self._contents.get(path.name))
        first = next(pieces, b"")
        if first[:1] in JSON:
            param = name.partition(".")[0]
            message = f"{param}: in a form this is a file or its URL; references in JSON need a body of JSON."
            raise InvalidRequest(message, param=param)
        is_address = first[:LONGEST].lower().startswith(SCHEMES)
        return read_reference(first, pieces) if is_address or is_base64(first) else path

    def _begin(self, segment: MultipartSegment) -> None:
        self._name = segment.name or ""
        self._text.clear()
        if not self._name or "\x00" in self._name:
            raise InvalidRequest("A part of the multipart body has no usable name.")
        picture = self._file_name(self._name)
        self._dropped = picture is None and segment.filename is not None and not is_known_field(self._name)
        if picture is None:
            return
        if picture == "image":
            picture = image_key(self._images)
            self._images += 1
        if picture in self._pictures:
            message = f"{picture} is given twice."
            raise InvalidRequest(message, param=picture)
        path = self._folder / picture
        self._pictures[picture] = path
        if segment.filename is not None:
            self._named[picture] = segment.filename
        self._path = path

    def _keep(self, path: Path, piece: bytes | bytearray) -> None:
        """Store a piece of a picture: in memory while there is room, in its file from then on."""
        if self._file is None:
            if self._take(len(piece)):
                self._held.append(piece)
                return
            self._file = path.open("xb", buffering=WRITE_BUFFER)
            self._file.writelines(self._held)
            self._held.clear()
        self._file.write(piece)

    def _end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = self._path = None
            return
        if self._path is not None:
            self._contents[self._path.name] = b"".join(self._held)
            self._held.clear()
            self._path = None
            return
        try:
            self._pairs.append((self._name, FILE if self._dropped else self._text.decode()))
        except UnicodeDecodeError:
            message = f"{show_name(self._name)} is not text in UTF-8."
            raise InvalidRequest(message, param=show_name(self._name)) from None


def _pieces(path: Path, content: bytes | None) -> Iterator[bytes]:
    """Yield a text from a file or from memory, without trailing white space."""
    with path.open("rb") if content is None else BytesIO(content) as file:
        while piece := file.read(SLICE):
            yield piece.rstrip()
