"""The upscaling API of AUTOMATIC1111's web UI below /sdapi/v1, which local tools and plugins speak."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fluxvision.catalog.coerce import coerce
from fluxvision.catalog.params import ALIASES, BY_NAME, Param
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.money import MICROS_PER_DOLLAR, format_amount
from fluxvision.http.base64_stream import ChunkedBody, encode_base64
from fluxvision.http.client_api import EditRequest
from fluxvision.http.edits import DRY_RUN, serve
from fluxvision.http.parsing.body import Form
from fluxvision.http.parsing.fields import show_name
from fluxvision.http.responses import ImagesResponse
from fluxvision.http.state import AppState
from fluxvision.http.upload_limits import Take

NO_UPSCALER = "None"
FILTERS = frozenset({"lanczos", "nearest", "bicubic", "bilinear"})
SAME_NETWORK = {"r-esrgan 4x+": "realesrgan", "realesrgan_x4plus": "realesrgan", "realesrgan x4plus": "realesrgan"}
"""The web UI's names, in lower case, of networks that are here under another one."""
SIDE = 512
"""Pixels of a target width or height that is not given."""
SCALE, WIDTH, HEIGHT = (
    replace(BY_NAME["scale_factor"], name="upscaling_resize"),
    Param("upscaling_resize_w", "integer", "The result's width.", default=SIDE, low=1, high=999_999),
    Param("upscaling_resize_h", "integer", "The result's height.", default=SIDE, low=1, high=999_999),
)
CROP = Param("upscaling_crop", "boolean", "Crop to the target size.", default=True)
MODE = Param("resize_mode", "integer", "0: by a factor; 1: to a size.", default=0, low=0, high=1)
MIX = Param("extras_upscaler_2_visibility", "number", "The share of a second upscaler.", default=0, low=0, high=1)
FACES = tuple(
    Param(name, "number", "The share of restored faces.", default=0, low=0, high=1)
    for name in ("gfpgan_visibility", "codeformer_visibility")
)
SILENT = ("codeformer_weight", "upscale_first", "show_extras_results")
"""Fields that only say how the parts work together that are not here."""
OURS = {*BY_NAME, *ALIASES} - {"n", "response_format", "stream", "partial_images", "images_mode", "image"} | {"model"}
"""Our own parameters that may be added; the others would change the shape of the answer."""


class Extra(Struct, kw_only=True):
    """A finished picture; `html_info` says in paragraphs what was done, and what was not."""

    html_info: str
    image: Any


class Extras(Struct, kw_only=True):
    """Several finished pictures."""

    html_info: str
    images: list[Any]


class Upscaler(Struct, kw_only=True):
    """A row of the list of upscalers."""

    name: str
    model_name: str | None = None
    model_path: None = None
    model_url: None = None
    scale: float = 4


class ExtrasRequest(EditRequest):
    """A request to enlarge one picture, or several, with the networks of `engines`."""

    missing = "image is required: send the picture to enlarge in base64."

    def __init__(self, engines: Mapping[str, str], *, several: bool) -> None:
        """Keep what is to be said of the request."""
        self._engines = engines
        self._several = several
        self._notes: list[str] = []
        self._size = ""

    async def read(self, media_type: str, chunks: AsyncIterator[bytes], folder: Path, take: Take) -> Form:
        """Return the form with our own parameters in place of the web UI's."""
        form = await super().read(media_type, chunks, folder, take)
        given = form.fields
        fields: dict[str, Any] = {name: given.pop(name) for name in [*given] if name in OURS or name.lower() in DRY_RUN}
        fields = {**self._size_fields(given), **self._engine_fields(given), **fields}
        self._note_others(given)
        if self._notes and coerce(BY_NAME["strict"], fields.get("strict")):
            raise InvalidRequest(" ".join(self._notes), param=self._notes[0].partition(":")[0])
        form.fields = {**fields, "response_format": "b64_json"}
        if self._several:
            form.fields["images_mode"] = "each"
        return form

    def response(self, found: ImagesResponse) -> ChunkedBody:
        """Return the pictures with what is to be said of them."""
        facts = found.metadata
        cost = facts["cost"]
        price = "an unknown price" if cost is None else format_amount(round(cost * MICROS_PER_DOLLAR))
        sentences = [f"Enlarged to {facts['size']} by {facts['executed_model']} for {price}.", *self._notes]
        if self._size not in {"", facts["size"]}:
            sentences.append(f"upscaling_crop: nothing was cropped, so the whole picture is within {self._size}.")
        sentences += found.warnings
        files = [entry.b64_json for entry in found.data]
        info = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
        return encode_base64(
            Extras(html_info=info, images=files) if self._several else Extra(html_info=info, image=files[0])
        )

    def _size_fields(self, given: dict[str, Any]) -> dict[str, Any]:
        """Take the fields of the size; raises `InvalidRequest` that names one."""
        mode, factor = _take(given, MODE), _take(given, SCALE)
        width, height, crop = _take(given, WIDTH), _take(given, HEIGHT), _take(given, CROP)
        if mode == 0:
            return {"scale_factor": factor}
        size = f"{width}x{height}"
        self._size = "" if crop else size
        return {"size": size, "fit": "cover" if crop else "contain"}

    def _engine_fields(self, given: dict[str, Any]) -> dict[str, Any]:
        """Take the upscalers; one that is not on this server leaves the choice to it."""
        name, second = (str(given.pop(field, None) or NO_UPSCALER) for field in ("upscaler_1", "upscaler_2"))
        if _take(given, MIX) and second != NO_UPSCALER:
            self._notes.append("upscaler_2: one network makes the picture, no second one is mixed into it.")
        wanted = SAME_NETWORK.get(name.lower(), name.lower())
        found = next((one for one in self._engines if one.lower() == wanted), None)
        if found is not None:
            return {"engine": found}
        here = f"the network that fits was chosen, of {', '.join(self._engines)}."
        if name == NO_UPSCALER:
            self._notes.append(f"upscaler_1: none was named; {here}")
        elif name.lower() in FILTERS:
            self._notes.append(f"upscaler_1: {show_name(name)} is a filter, and here are networks only; {here}")
        else:
            self._notes.append(f"upscaler_1: {show_name(name)} is not on this server; {here}")
        return {}

    def _note_others(self, given: dict[str, Any]) -> None:
        """Say which of the other fields have no effect."""
        for param in FACES:
            if _take(given, param):
                self._notes.append(f"{param.name}: faces are enlarged as everything else, and not restored.")
        self._notes += [f"{show_name(name)}: not known here, and left out." for name in given if name not in SILENT]


async def enlarge_one(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Enlarge the picture of a request to /extra-single-image."""
    await serve(state, scope, receive, send, ExtrasRequest(state.gateway.engines(), several=False))


async def enlarge_several(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Enlarge each picture of a request to /extra-batch-images."""
    await serve(state, scope, receive, send, ExtrasRequest(state.gateway.engines(), several=True))


async def list_upscalers(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the networks of this server, and first the name that leaves the choice to it."""
    rows = [Upscaler(name=name, model_name=title) for name, title in state.gateway.engines().items()]
    await _json([Upscaler(name=NO_UPSCALER), *rows])(scope, receive, send)


async def list_latent_modes(_state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send an empty list, which clients ask for with that of the upscalers."""
    await _json([])(scope, receive, send)


def _take(given: dict[str, Any], param: Param) -> Any:
    """Take a field and return its value, or its default; raises `InvalidRequest` that names it."""
    value = coerce(param, given.pop(param.name, None))
    return param.default if value is None else value


def _json(rows: Iterable[Any]) -> Response:
    return Response(msgspec.json.encode(list(rows)), media_type="application/json")
