"""Parses a successful response: saves its picture, and reads seed, prompt, id and fidelity if they are plausible."""

from __future__ import annotations

import binascii
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec

from fluxvision.core.errors import UpstreamError
from fluxvision.core.images import Fidelity, InputImage
from fluxvision.core.system import delete_file
from fluxvision.core.types import Call, ProviderResult
from fluxvision.net.client import decode_base64_member, write_base64
from fluxvision.providers import result_file
from fluxvision.providers.openai.errors import ErrorTranslator

LARGEST = 512_000_000
"""Most bytes of a picture."""
LONGEST = LARGEST * 4 // 3 + 4_000_000
"""Most bytes of a response with a picture."""
HELD = 1_000_000
"""Most characters of base64 for a picture that is kept in memory."""
NAME = 200
"""Most characters of a server's id or name."""
LAST_SEED = 2**63 - 1
BEST_PSNR = 99.0


class ImageItem(msgspec.Struct):
    """One entry of `data`. The base64 text is a view of the response, not a copy."""

    b64_json: msgspec.Raw = msgspec.Raw(b"null")
    url: Any = None
    revised_prompt: Any = None


class ImagesResponse(msgspec.Struct):
    """A successful response; only these fields are read."""

    data: list[ImageItem] = []
    metadata: Any = None
    id: Any = None
    error: Any = None


def parse_images_response(content: bytearray, server: ErrorTranslator, call: Call) -> ImagesResponse:
    """Return a response with at least one entry; raises `UpstreamError`."""
    try:
        answer = msgspec.json.decode(content, type=ImagesResponse)
    except msgspec.ValidationError:  # JSON of another shape
        answer = ImagesResponse()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        message = f"{server.title} sent something that is no answer of an images API."
        raise UpstreamError(message) from None
    if answer.error and not answer.data:
        raise server.failure(answer.error, call)
    if not answer.data:
        raise server.missing_picture_error()
    return answer


def save_image(answer: ImagesResponse, path: Path, server: ErrorTranslator, pixels: int) -> InputImage | None:
    """Return the picture in the response, None when there is none; a large one is written to a new file.

    An error leaves no file.
    """
    try:
        raw = answer.data[0].b64_json
        held = decode_base64_member(raw) if len(memoryview(raw)) <= HELD else None
        if held is None and not write_base64(raw, path):
            return None
        return result_file.probe_result(path, limit=LARGEST, pixels=pixels, content=held)
    except BaseException as error:
        delete_file(path)
        if isinstance(error, binascii.Error | msgspec.DecodeError):
            message = f"{server.title} sent a picture that is not valid base64."
            raise UpstreamError(message, billed=True) from None
        raise


def to_provider_result(answer: ImagesResponse, picture: Path | InputImage, identity: str | None) -> ProviderResult:
    """Return the provider result of a picture and its response; `identity` is the id if the response has none."""
    said = answer.metadata if isinstance(answer.metadata, dict) else {}
    caption = answer.data[0].revised_prompt
    told = {
        "upstream_provider": read_name(said.get("provider")),
        "upstream_model": read_name(said.get("executed_model")),
    }
    return ProviderResult(
        picture=picture,
        seed=_read_seed(said.get("seed")),
        caption=caption if isinstance(caption, str) and caption else None,
        details={name: value for name, value in told.items() if value is not None},
        upstream_id=read_name(answer.id) or identity,
        fidelity=_read_fidelity(said.get("fidelity")),
    )


def read_name(found: Any) -> str | None:
    """Return a short printable text as it is, None for anything else."""
    return found if isinstance(found, str) and 0 < len(found) <= NAME and found.isprintable() else None


def _read_seed(found: Any) -> int | None:
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= LAST_SEED else None


def _read_fidelity(found: Any) -> Fidelity | None:
    """Return the fidelity that another fluxvision measured, None when it is implausible."""
    if found is None:
        return None
    try:
        fidelity = msgspec.convert(found, Fidelity)
    except msgspec.ValidationError:
        return None
    figures = (fidelity.lr_psnr_db, fidelity.delta_e, fidelity.seam_ratio or 0.0)
    sane = all(isfinite(figure) and figure >= 0 for figure in figures) and fidelity.lr_psnr_db <= BEST_PSNR
    return fidelity if sane else None
