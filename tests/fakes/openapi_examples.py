"""The examples of the OpenAPI document: the requests, and what a real server answers to them.

As a command it writes the file that the document quotes.
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from fakes.gateway import png
from fakes.server import Server, document, form, wait_until
from fluxvision.http.openapi import EXAMPLES

EDITS = "/v1/images/edits"
REAL = ("fluxvision", "serve")
ADDRESS = "http://127.0.0.1:8000"
KEY = {"Authorization": "Bearer key-of-these-examples-7c1f"}
ADMIN = {"Authorization": "Bearer admin-of-these-examples-7c1f"}
NEW_KEY = {"limited": {"name": "shop", "budget_month": 50, "per_minute": 60, "models": ["flux-vision-upscaler"]}}
CHANGES = {"limits": {"budget_month": 80, "per_minute": None}}
BATCH = {
    "edits": {
        "input_file_id": "file-000000000000000000000000",
        "endpoint": EDITS,
        "completion_window": "24h",
        "metadata": {"album": "summer"},
    }
}
PICTURE = "data:image/png;base64," + base64.b64encode(png(8, 6)).decode()
GIVEN = {"model": "flux-vision-upscaler", "image": PICTURE}
REQUESTS = {
    "link": {**GIVEN, "scale_factor": 2},
    "base64": {**GIVEN, "size": "24x24", "output_format": "webp", "response_format": "b64_json"},
    "stream": {**GIVEN, "stream": True, "partial_images": 1, "response_format": "b64_json"},
}
CHATS = "/v1/chat/completions"
CONTENT = [{"type": "text", "text": "a red square"}, {"type": "image_url", "image_url": {"url": PICTURE}}]
CHAT = {"model": "flux-vision-upscaler", "messages": [{"role": "user", "content": CONTENT}], "scale_factor": 2}
MODELS = "/v1/responses"
INPUT = [{"type": "input_text", "text": "a red square"}, {"type": "input_image", "image_url": PICTURE}]
ASK = {
    "model": "flux-vision-upscaler",
    "input": [{"role": "user", "content": INPUT}],
    "tools": [{"type": "image_generation", "output_format": "webp"}],
}
TALK = {"model": "flux-vision-upscaler", "messages": [{"role": "user", "content": "hello"}]}


OTHERS = {"generate_image": "/v1/images/generations", "vary_image": "/v1/images/variations"}
"""Further routes that take an edit, by the ids of their operations."""
OTHER = {**GIVEN, "seed": 5}


def errors(server: Server) -> dict[str, Any]:
    """Return the bodies of the errors that a caller can bring about at will, by their codes."""
    answers = [
        server.post(EDITS, document({**GIVEN, "scale_factor": 19, "creativity": "much"}), **KEY),
        server.post(EDITS, document({"prompt": "a cat"}), **KEY),
        server.get("/v1/models"),
        server.get("/nothing"),
        server.get("/v1/models/flux-vision", KEY),
        server.get(EDITS, KEY),
        server.post(EDITS, ({"Content-Type": "text/plain"}, b"picture"), **KEY),
        server.post(EDITS, form(("prompt", "x" * 10_000)), **KEY),
    ]
    return {answer.json()["error"]["code"]: answer.json() for answer in answers}


def events(text: str) -> dict[str, Any]:
    """Return the events of a stream by their names."""
    pairs = re.findall(r"^event: (.+)\ndata: (.+)$", text, re.MULTILINE)
    return {name.partition(".")[2] or name: {"event": name, "data": data} for name, data in pairs}


def chunks(text: str) -> dict[str, Any]:
    """Return the chunks of a chat's stream by what they add."""
    found = re.findall(r"^data: (.+)$", text, re.MULTILINE)
    return {name: {"data": data} for name, data in zip(("role", "text", "picture", "end", "done"), found, strict=True)}


def accounts(server: Server) -> dict[str, Any]:
    """Return the answers of keys, balance and usage."""
    created = server.post("/v1/keys", document(NEW_KEY["limited"]), **ADMIN).json()
    place = f"/v1/keys/{created['id']}"
    answers = {
        "create_key": created,
        "list_keys": server.get("/v1/keys", ADMIN).json(),
        "get_key": server.get(place, ADMIN).json(),
        "change_key": server.patch(place, document(CHANGES["limits"]), **ADMIN).json(),
        "get_balance": server.get("/v1/balance", {"Authorization": f"Bearer {created['key']}"}).json(),
        "get_usage": server.get("/v1/usage?group_by=model", ADMIN).json(),
        "rotate_key": server.get(f"{place}/rotate", ADMIN, "POST").json(),
        "revoke_key": server.get(place, ADMIN, "DELETE").json(),
    }
    for name in ("create_key", "rotate_key"):
        answers[name]["key"] = "fv_" + 43 * "0"
    return {name: {"application/json": {"answer": answer}} for name, answer in answers.items()}


def batches(server: Server) -> dict[str, Any]:
    """Return the answers of files and batches."""
    line = {"custom_id": "one", "method": "POST", "url": EDITS, "body": GIVEN}
    parts = form(("purpose", "batch"), ("file", json.dumps(line), "edits.jsonl"))
    file = server.post("/v1/files", parts, **KEY).json()
    begun = server.post("/v1/batches", document({**BATCH["edits"], "input_file_id": file["id"]}), **KEY).json()
    place = f"/v1/batches/{begun['id']}"
    assert wait_until(lambda: server.get(place, KEY).json()["status"] == "completed")
    ended = server.get(place, KEY).json()
    answers = {"create_file": file, "create_batch": begun, "get_batch": ended}
    return {name: {"application/json": {"answer": answer}} for name, answer in answers.items()}


def record(server: Server) -> dict[str, Any]:
    """Return the requests and the answers of a server that asks for a key."""
    link, plain, stream = (server.post(EDITS, document(given), **KEY) for given in REQUESTS.values())
    quote = server.post(EDITS + "?dryRun=true", document(REQUESTS["link"]), **KEY)
    chat, talk = (server.post(CHATS, document(given), **KEY).json() for given in (CHAT, TALK))
    parts = server.post(CHATS, document({**CHAT, "stream": True}), **KEY).body.decode()
    model = server.post(MODELS, document(ASK), **KEY).json()
    steps = server.post(MODELS, document({**ASK, "stream": True}), **KEY).body.decode()
    others = {name: server.post(path, document(OTHER), **KEY).json() for name, path in OTHERS.items()}
    return {
        "requests": {
            "edit_image": REQUESTS,
            **{name: {"link": OTHER} for name in OTHERS},
            "create_chat_completion": {"picture": CHAT, "words": TALK},
            "create_response": {"picture": ASK},
            "create_key": NEW_KEY,
            "change_key": CHANGES,
            "create_file": {"lines": {"purpose": "batch", "file": "edits.jsonl"}},
            "create_batch": BATCH,
        },
        "answers": {
            "edit_image": {
                "application/json": {"link": link.json(), "base64": plain.json(), "dry_run": quote.json()},
                "text/event-stream": events(stream.body.decode()),
            },
            **{name: {"application/json": {"link": answer}} for name, answer in others.items()},
            "create_chat_completion": {
                "application/json": {"picture": chat, "words": talk},
                "text/event-stream": chunks(parts),
            },
            "create_response": {
                "application/json": {"picture": model},
                "text/event-stream": events(steps),
            },
            **accounts(server),
            **batches(server),
        },
        "errors": errors(server),
    }


def serve(folder: Path, module: tuple[str, ...] = REAL) -> Server:
    """Return a server that asks for a key and takes small bodies only."""
    settings = {"api_keys": "key-of-these-examples-7c1f", "max_upload_bytes": "5000", "public_url": ADDRESS}
    return Server(folder, {**settings, "admin_key": "admin-of-these-examples-7c1f"}, module=module)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder) / "data") as running:
        EXAMPLES.write_text(json.dumps(record(running), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
