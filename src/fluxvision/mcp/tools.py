"""The tools `upscale`, `quote` and `models`, each a call of the HTTP API, and their results without a protocol."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from fluxvision.core.errors import Error
from fluxvision.core.money import MICROS_PER_DOLLAR, format_amount
from fluxvision.mcp import results
from fluxvision.mcp.api import Api, ApiRefusal, local_refusal, parse_refusal, request_json
from fluxvision.mcp.arguments import check_arguments, request_body
from fluxvision.mcp.events import read_events
from fluxvision.mcp.results import Picture

EDITS = "/v1/images/edits"
DRY_RUN = f"{EDITS}?dryRun=true"
MODELS = "/v1/models"
EVENT_STREAM = "text/event-stream"
REMEMBERED = 100
"""Results that a client on this machine can list."""

Progress = Callable[[int, int], Awaitable[None]]
"""Called with the finished tiles and all tiles."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of one call."""

    text: str
    structured: dict[str, Any]
    pictures: tuple[Picture, ...] = ()


class Tools:
    """The tools of one server; `local` where its one client is on this machine, so that files are read and written."""

    def __init__(self, *, local: bool) -> None:
        """Begin with no results."""
        self.local = local
        self.results: deque[Picture] = deque(maxlen=REMEMBERED if local else 0)
        """The latest results, for a client of its own alone."""

    async def call(self, api: Api, name: str, arguments: Mapping[str, Any], progress: Progress) -> ToolResult:
        """Call a tool by its name; raises `ApiRefusal`, and `KeyError` for a name that no tool has."""
        run = {"upscale": self._upscale, "quote": self._quote, "models": self._models}[name]
        try:
            return await run(api, dict(arguments), progress)
        except Error as error:
            raise local_refusal(error) from None

    async def _upscale(self, api: Api, arguments: dict[str, Any], progress: Progress) -> ToolResult:
        check_arguments(arguments)
        paths = results.plan_outputs(arguments) if self.local else []
        sent = {**arguments, "response_format": "url", "stream": True}
        completed: list[dict[str, Any]] = []
        async with api.request("POST", EDITS, request_body(sent, local=self.local)) as response:
            if not response.content_type.startswith(EVENT_STREAM):
                content = await response.read()
                if response.status >= 400:  # noqa: PLR2004, the errors of HTTP
                    raise parse_refusal(content, response.status)
                return _accepted(msgspec.json.decode(content))
            async for event in read_events(response.chunks):
                if event.progress is not None:
                    await progress(*event.progress)
                elif event.name == "error":
                    raise parse_refusal(event.data, response.status)
                elif event.name.endswith(".completed"):
                    completed.append(msgspec.json.decode(event.data))
        if not completed:
            raise ApiRefusal("The server broke off its answer; try again.")
        return await self._finish(api, completed, paths)

    async def _finish(self, api: Api, completed: list[dict[str, Any]], paths: list[Path]) -> ToolResult:
        first = completed[0]
        notices = [
            word for each in completed for facts in (each, each["metadata"]) for word in facts.get("warnings", ())
        ]
        pictures = await results.collect_pictures(api, completed, paths, notices)
        self.results.extend(pictures)
        warnings = list(dict.fromkeys(notices))
        metadata = first["metadata"]
        cost = metadata["cost"]
        price = "an unknown price" if cost is None else format_amount(round(cost * MICROS_PER_DOLLAR))
        lines = [f"Enlarged to {each.facts['size']} ({each.form.label}): {_place(each)}" for each in pictures]
        lines.append(f"Made by {metadata['provider']} for {price}.")
        lines += warnings
        shown = {"id": first["id"], "pictures": [each.facts for each in pictures]}
        return ToolResult("\n".join(lines), {**shown, "warnings": warnings, "metadata": metadata}, tuple(pictures))

    async def _quote(self, api: Api, arguments: dict[str, Any], _progress: Progress) -> ToolResult:
        check_arguments(arguments)
        found = await request_json(api, "POST", DRY_RUN, request_body(arguments, local=self.local))
        total = found["total_cost_micros"]
        price = "a price that only the work itself will tell" if total is None else format_amount(total)
        text = f"{found['provider']} would make {found['size']} pixels for {price}."
        return ToolResult("\n".join([text, *_dishonoured(found["normalization"])]), found)

    async def _models(self, api: Api, arguments: dict[str, Any], _progress: Progress) -> ToolResult:
        name = arguments.get("model")
        if name:
            found = await request_json(api, "GET", f"{MODELS}/{quote(str(name), safe='/')}?schema=true")
            rows = found["schema"]["properties"].items()
            lines = [_model_line(found), *(f"  {param}: {row['description']}" for param, row in rows)]
            return ToolResult("\n".join(lines), found)
        found = await request_json(api, "GET", MODELS)
        rows = [model for model in found["data"] if model.get("root", model["id"]) == model["id"]]  # no aliases
        return ToolResult("\n".join(_model_line(model) for model in rows), {**found, "data": rows})


def _accepted(found: dict[str, Any]) -> ToolResult:
    """Return the result of a request that the server makes in the background."""
    return ToolResult(f"The server makes it in the background, as the request {found.get('id')}.", found)


def _place(picture: Picture) -> str:
    """Return where a picture is to be found."""
    if "path" in picture.facts:
        return f"saved as {picture.facts['path']}"
    if picture.content is not None:
        return "shown here"
    return f"too large to be shown here, see {picture.facts.get('url', picture.uri)}"


def _dishonoured(receipt: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a line for each parameter that did not have the effect that was asked for."""
    return [f"{line['parameter']} had no full effect: {line['note']}" for line in receipt if not line["honoured"]]


def _model_line(model: Mapping[str, Any]) -> str:
    here = "" if model["available"] else " (not available on this server)"
    return f"{model['id']}{here}: {model['description']}"
