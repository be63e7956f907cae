"""The input file of a batch: JSON Lines, checked as a whole when a batch is created, then read line by line."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import msgspec

from fluxvision.core.errors import InvalidRequest, NotFound, PayloadTooLarge
from fluxvision.jobs.batch_types import ENDPOINT, MOST_LINES, BatchLine

PARAM = "input_file_id"
LONGEST_ID = 512
BOM = b"\xef\xbb\xbf"


class InputLine(msgspec.Struct, kw_only=True):
    """A line in OpenAI's batch shape."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


_LINE = msgspec.json.Decoder(InputLine)


def check_input(path: Path, limit: int) -> int:
    """Return the number of requests in a file whose lines have at most `limit` bytes.

    Raises `InvalidRequest` that names the line when it is no request to the endpoint with a name of its own, or there
    are too many. The bodies are not checked: a wrong one is an error of its line.
    """
    seen: dict[str, int] = {}
    number = 0
    with path.open("rb") as file:
        while text := _read_text(file, limit, number := number + 1):
            if not text.strip():
                continue
            line = _parse(text, number)
            first = seen.setdefault(line.custom_id, number)
            if first != number:
                raise _refusal(number, f"has the custom_id of line {first}; each line needs one of its own")
            if len(seen) > MOST_LINES:
                message = f"{PARAM}: a batch has at most {MOST_LINES:,} lines; make several batches."
                raise InvalidRequest(message, param=PARAM)
    if not seen:
        message = f"{PARAM}: the file has no lines."
        raise InvalidRequest(message, param=PARAM)
    return len(seen)


def read_line(path: Path, batch_id: str, number: int, offset: int) -> BatchLine:
    """Return the line that begins at `offset` of a file that was checked; raises `NotFound` where it is cut off."""
    with path.open("rb") as file:
        file.seek(offset)
        while text := file.readline().removeprefix(BOM):
            if text.strip():
                found = _LINE.decode(text)
                return BatchLine(batch_id, number, found.custom_id, bytes(found.body), file.tell())
    raise NotFound("The input file has fewer lines than it had.")


def _read_text(file: BinaryIO, limit: int, number: int) -> bytes:
    text = file.readline(limit + 1)
    if len(text) > limit:
        message = f"{PARAM}: line {number} is longer than the limit of {limit:,} bytes."
        raise PayloadTooLarge(message, param=PARAM)
    return text.removeprefix(BOM) if number == 1 else text


def _parse(text: bytes, number: int) -> InputLine:
    try:
        line = _LINE.decode(text)
    except msgspec.ValidationError as error:
        raise _refusal(number, f"is no request: {str(error)[:200]}") from None
    except ValueError:  # msgspec's errors and those of UTF-8
        raise _refusal(number, "is not valid JSON") from None
    name = line.custom_id
    if not (name.isprintable() and name.strip() and len(name) <= LONGEST_ID):
        raise _refusal(number, f"has a custom_id that is not 1 to {LONGEST_ID} printable characters")
    if line.method != "POST" or line.url != ENDPOINT:
        raise _refusal(number, f"has a method or url other than POST {ENDPOINT}")
    return line


def _refusal(number: int, reason: str) -> InvalidRequest:
    message = f"{PARAM}: line {number} {reason}."
    return InvalidRequest(message, param=PARAM)
