"""The tools and resources as the SDK's client has them, in front of the application with a fake gateway."""

from __future__ import annotations

import base64

import pytest
from mcp.shared.exceptions import MCPError

from fakes.gateway import png
from fluxvision.mcp import results

KEY = "a-key-of-sixteen-characters"
RAW = base64.b64encode(png(32, 24)).decode()


async def test_three_tools(session):
    """The tools are listed with their schemas, and what they change."""
    async with session() as found:
        tools = {tool.name: tool for tool in (await found.client.list_tools()).tools}
    assert list(tools) == ["upscale", "quote", "models"]
    assert tools["upscale"].input_schema["required"] == ["image"]
    assert tools["quote"].annotations.read_only_hint
    assert not tools["upscale"].annotations.destructive_hint


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_upscale_shows_links_and_explains(session, mode):
    """A small picture is shown and linked; cost and receipt are structured; the link is readable as a resource."""
    async with session(mode=mode) as found:
        answer = await found.client.call_tool("upscale", {"image": RAW, "scale_factor": 2})
        text, shown, link = answer.content
        assert not answer.is_error
        assert "Enlarged to 64x48 (PNG): shown here" in text.text
        assert (shown.type, shown.mime_type) == ("image", "image/png")
        assert base64.b64decode(shown.data) == png(64, 48, (0, 30, 60))
        assert (link.type, link.mime_type) == ("resource_link", "image/png")
        structured = answer.structured_content
        assert structured["metadata"]["cost"] == 0
        assert {line["parameter"] for line in structured["metadata"]["normalization"]} >= {"scale_factor"}
        assert structured["pictures"][0]["uri"] == link.uri
        assert "url" not in structured["pictures"][0]  # nothing listens
        blob = (await found.client.read_resource(link.uri)).contents[0]
        assert (blob.mime_type, base64.b64decode(blob.blob)) == ("image/png", png(64, 48, (0, 30, 60)))


async def test_a_local_client_lists_its_results(session):
    """The latest result comes first; clients over HTTP, which share the server, have no list."""
    for local, count in ((True, 2), (False, 0)):
        async with session(local=local) as found:
            for _ in range(2):
                await found.client.call_tool("upscale", {"image": RAW})
            listed = (await found.client.list_resources()).resources
            template = (await found.client.list_resource_templates()).resource_templates[0]
        assert len(listed) == count
        assert template.uri_template.startswith("fluxvision://media/")


async def test_over_http_the_link_is_told(session):
    """Where the server listens, the structured content has the link that others can open."""
    async with session(local=False) as found:
        answer = await found.client.call_tool("upscale", {"image": RAW})
    assert answer.structured_content["pictures"][0]["url"].startswith("http://localhost/media/")


async def test_a_result_in_a_bucket_has_the_buckets_link(session, bucket_url):
    """It is shown as any other; its address is the bucket's own, which needs no server in between."""
    async with session(local=False, media_url=bucket_url) as found:
        answer = await found.client.call_tool("upscale", {"image": RAW})
    text, shown, link = answer.content
    assert "shown here" in text.text
    assert base64.b64decode(shown.data) == png(64, 48, (0, 30, 60))
    assert link.uri == answer.structured_content["pictures"][0]["url"]
    assert not link.uri.startswith(("fluxvision:", "http://localhost/"))


async def test_a_large_picture_is_linked_only(session, monkeypatch):
    """Above the limit the picture is not in the result, and the text says where it is."""
    monkeypatch.setattr(results, "SHOWN_BYTES", 50)
    async with session() as found:
        answer = await found.client.call_tool("upscale", {"image": RAW})
    assert [part.type for part in answer.content] == ["text", "resource_link"]
    assert "too large to be shown here" in answer.content[0].text


async def test_a_file_becomes_a_file(session, picture):
    """A local client gives a path, and gets the result at another."""
    target = picture.with_name("large.png")
    async with session() as found:
        answer = await found.client.call_tool("upscale", {"image": str(picture), "output_path": str(target)})
        again = await found.client.call_tool("upscale", {"image": str(picture), "output_path": str(target)})
    assert target.read_bytes() == png(64, 48, (0, 30, 60))
    assert answer.structured_content["pictures"][0]["path"] == str(target)
    assert again.is_error
    assert len(found.gateway.started) == 1


async def test_versions_are_several_pictures(session, picture):
    """With n over 1 there are several pictures, each saved, shown and linked."""
    async with session() as found:
        answer = await found.client.call_tool(
            "upscale", {"image": RAW, "n": 2, "output_path": str(picture.with_name("large.png"))}
        )
    assert [part.type for part in answer.content] == ["text", "image", "resource_link", "image", "resource_link"]
    assert picture.with_name("large-2.png").read_bytes() == png(64, 48, (1, 30, 60))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_progress_is_told(session, mode):
    """A client that asks for progress gets the tiles."""
    seen = []

    async def progress(done, total, _message):
        seen.append((done, total))

    async with session(mode=mode) as found:
        await found.client.call_tool(
            "upscale", {"image": RAW, "tiles": 3, "tile_seconds": 0.02}, progress_callback=progress
        )
    assert seen[-1] == (3, 3)
    assert seen == sorted(seen)


async def test_quote_makes_nothing(session):
    """The price, the size and the receipt, without a job."""
    async with session() as found:
        answer = await found.client.call_tool("quote", {"image": RAW})
    assert answer.content[0].text.startswith("embedded would make 64x48 pixels for $0.10.")
    assert answer.structured_content["total_cost_micros"] == 100_000
    assert found.gateway.started == []


async def test_models(session):
    """All models, or one with its parameters."""
    async with session() as found:
        every = await found.client.call_tool("models", {})
        one = await found.client.call_tool("models", {"model": "gpt-image-1"})
        none = await found.client.call_tool("models", {"model": "flux"})
    assert every.content[0].text == "flux-vision-upscaler: Enlarges pictures."
    assert every.structured_content["object"] == "list"
    assert "scale_factor" in one.structured_content["schema"]["properties"]
    assert none.is_error
    assert "Did you mean" in none.content[0].text


@pytest.mark.parametrize(
    ("arguments", "param", "message"),
    [
        ({}, "image", "image"),
        ({"image": RAW, "scale_factor": 99}, "scale_factor", "scale_factor"),
        ({"image": RAW, "stream": True}, "stream", "stream: the tool decides"),
        ({"image": "data:;base64,AAAA"}, "image", "image"),
        ({"image": RAW, "fail": "upstream"}, None, "Every provider failed."),
        ({"image": RAW, "model": "nothing"}, "model", "There is no model 'nothing'"),
    ],
)
async def test_an_error_is_the_apis_sentence(session, arguments, param, message):
    """What the API refuses, or fails at after its answer has begun, is a tool error with its words and its object."""
    async with session() as found:
        answer = await found.client.call_tool("upscale", arguments)
    assert answer.is_error
    assert message in answer.content[0].text
    assert answer.structured_content["error"]["param"] == param
    assert found.errors == []


@pytest.mark.parametrize(("key", "is_error"), [("", True), ("another-key-of-characters", True), (KEY, False)])
async def test_the_key_is_checked_by_the_api(session, key, is_error):
    """Each call has the key of the client, and is refused without one where one is needed."""
    async with session(key, api_keys=KEY) as found:
        answer = await found.client.call_tool("quote", {"image": RAW})
    assert answer.is_error == is_error
    if is_error:
        assert answer.structured_content["error"]["code"] == "AUTHENTICATION_FAILED"


async def test_an_unknown_tool_or_resource(session):
    """Both are errors of the protocol."""
    async with session() as found:
        with pytest.raises(MCPError, match="There is no such tool"):
            await found.client.call_tool("paint", {})
        for uri in (
            "fluxvision://media/a.png?expires=1&signature=b",
            "fluxvision://media/../v1/keys?expires=1&signature=b",
            "file:///etc/passwd",
        ):
            with pytest.raises(MCPError):
                await found.client.read_resource(uri)


async def test_an_unexpected_error_says_nothing(session):
    """The caller gets a generic sentence; the error itself is reported."""
    async with session() as found:
        answer = await found.client.call_tool("upscale", {"image": RAW, "fail": "crash", "prompt": "secret"})
    assert answer.is_error
    assert "secret" not in str(answer)
