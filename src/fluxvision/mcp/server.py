"""The MCP server: the tools and the resources of results, behind the protocol of the official SDK."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import mcp_types as types
from mcp.server import Server, ServerRequestContext
from mcp.shared.exceptions import MCPError

from fluxvision import __version__
from fluxvision.mcp import schemas
from fluxvision.mcp.api import Api, ApiRefusal
from fluxvision.mcp.results import SCHEME, Picture, read_picture
from fluxvision.mcp.tools import ToolResult, Tools

Connect = Callable[[ServerRequestContext[Any]], Api]
"""Returns the API with the key of the caller of a request."""
OnError = Callable[[Exception], None]
"""Called with an unexpected error, of which the caller learns nothing."""

NAME = "fluxvision"
TITLE = "Flux Vision Upscaler"
INSTRUCTIONS = (
    "Enlarges pictures 1 to 16 times with believable detail. Call quote for the price and the size of the result, and "
    "upscale for the picture; their structured content has a receipt of what became of every parameter. Results are "
    "resources that expire."
)
UPSCALE = "Enlarge a picture, by twice where no size is given; returns it with cost, warnings and receipt."
QUOTE = "Say what upscale would cost with the same arguments, how large the result would be, and who would make it."
MODELS = "List the models that enlarge pictures, with prices, or show one with its parameters."
BROKEN = "Something went wrong on this server."

logging.getLogger("mcp").setLevel(logging.CRITICAL)  # its messages quote what callers send, which no log may have


def create_server(connect: Connect, on_error: OnError, *, local: bool) -> Server[Any]:
    """Return the server; `local` where its one client is on this machine, so that files are read and written."""
    tools = Tools(local=local)

    async def list_tools(_context: ServerRequestContext[Any], _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=_tools(local=local))

    async def call_tool(
        context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        async def progress(done: int, total: int) -> None:
            await context.session.report_progress(done, total or None)

        try:
            found = await tools.call(connect(context), params.name, params.arguments or {}, progress)
        except ApiRefusal as refusal:
            return _error(refusal.message, refusal.error)
        except KeyError as error:
            if error.args == (params.name,):
                raise MCPError(types.INVALID_PARAMS, "There is no such tool.") from None
            on_error(error)
            return _error(BROKEN)
        except Exception as error:  # noqa: BLE001 - its text may quote what no caller gets
            on_error(error)
            return _error(BROKEN)
        return _result(found)

    async def list_resources(_context: ServerRequestContext[Any], _params: Any) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=[_resource(picture) for picture in reversed(tools.results)])

    async def list_templates(_context: ServerRequestContext[Any], _params: Any) -> types.ListResourceTemplatesResult:
        template = types.ResourceTemplate(
            name="result",
            title="Result",
            uri_template=SCHEME + "{name}{?expires,signature}",
            description="A finished picture, until it expires; upscale returns its address.",
        )
        return types.ListResourceTemplatesResult(resource_templates=[template])

    async def read_resource(
        context: ServerRequestContext[Any], params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        try:
            kind, content = await read_picture(connect(context), str(params.uri))
        except ApiRefusal as refusal:
            raise MCPError(types.INVALID_PARAMS, refusal.message) from None
        blob = types.BlobResourceContents(uri=str(params.uri), mime_type=kind, blob=b64encode(content).decode())
        return types.ReadResourceResult(contents=[blob])

    return Server(
        NAME,
        version=__version__,
        title=TITLE,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
    )


def _tools(*, local: bool) -> list[types.Tool]:
    reads = types.ToolAnnotations(read_only_hint=True, open_world_hint=True)
    makes = types.ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=True)
    rows = (
        ("upscale", "Enlarge a picture", UPSCALE, schemas.upscale_schema(local=local), makes),
        ("quote", "Price of enlarging", QUOTE, schemas.quote_schema(local=local), reads),
        ("models", "Models", MODELS, schemas.models_schema(), reads),
    )
    return [
        types.Tool(name=name, title=title, description=text, input_schema=schema, annotations=hints)
        for name, title, text, schema, hints in rows
    ]


def _result(found: ToolResult) -> types.CallToolResult:
    content: list[types.ContentBlock] = [types.TextContent(text=found.text)]
    for picture in found.pictures:
        if picture.content is not None:
            data = b64encode(picture.content).decode()
            content.append(types.ImageContent(data=data, mime_type=picture.form.mime))
        content.append(types.ResourceLink(**_resource(picture).model_dump()))
    return types.CallToolResult(content=content, structured_content=found.structured)


def _resource(picture: Picture) -> types.Resource:
    size = picture.facts["size"]
    return types.Resource(
        uri=picture.uri, name=picture.name, title=f"Enlarged picture, {size}", mime_type=picture.form.mime
    )


def _error(message: str, error: dict[str, Any] | None = None) -> types.CallToolResult:
    structured = None if error is None else {"error": error}
    return types.CallToolResult(content=[types.TextContent(text=message)], structured_content=structured, is_error=True)
