"""Mutators of the other operations: files, batches, keys, usage and stored requests, and of what makes a job stored."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from fuzz import corpus, documents, forms, headers, pictures, values, wire

IDS = (
    "",
    "a",
    "file-000000000000000000000000",
    "file-000000000000000000000000-output",
    "batch_000000000000000000000000",
    "key_000000000000000000000000",
    "req_0000000000000000000000",
    "..",
    "../../etc/passwd",
    "\0",
    "%",
    "é",
    "a" * 5000,
)
PLACES = (
    "/v1/files/{id}",
    "/v1/files/{id}/content",
    "/v1/batches/{id}",
    "/v1/batches/{id}/cancel",
    "/v1/batches/{id}/results.zip",
    "/v1/keys/{id}",
    "/v1/keys/{id}/rotate",
    "/v1/requests/{id}",
    "/v1/requests/{id}/events",
    "/v1/requests/{id}/payloads",
    "/v1/requests/{id}?starting_after={id}",
    "/v1/files",
    "/v1/batches",
    "/v1/keys",
    "/v1/requests",
    "/v1/usage",
    "/v1/balance",
    "/v1/webhooks/deliveries",
)
QUERIES = ("limit", "after", "before", "status", "model", "start", "end", "group_by", "key_id", "order", "purpose", "a")
WORDS = ("0", "1", "100", "101", "-1", "day", "model", "completed", "failed", "2026-11-30", "2026-11-30T00:00:00+99:99")
MOMENTS = (None, 0, -1, 1, 4_000_000_000, 2**31, 2**63, 10**30, 1.5, "2030-01-01", "")
BATCHES = "/v1/batches"
METHODS = ("GET", "GET", "GET", "POST", "DELETE", "PATCH")


def batch(chance: random.Random) -> dict[str, Any]:
    """Return the body of a request for a batch; of its file only the id is wrong in the most right ones."""
    return {
        "input_file_id": chance.choice(IDS),
        "endpoint": "/v1/images/edits",
        "completion_window": "24h",
        "metadata": chance.choice((None, None, None, {}, {"a": "b"}, {"a": 1}, {"a" * 65: "b"}, {"\0": "\ud800"})),
    }


def key(chance: random.Random) -> dict[str, Any]:
    """Return limits of a key, and when it expires."""
    found = {
        "name": chance.choice(("a", "a", "é", "", "\0", "\ud800", "a" * 100, "a" * 101, 1, None)),
        "expires_at": chance.choice(MOMENTS),
        "models": chance.choice(([], [values.MODEL], ["a"], [""], [1], ["a"] * 101, None, "a")),
        **{
            name: chance.choice((None, 0, 1, 0.1, *values.NUMBERS))
            for name in ("budget_day", "budget_month", "budget_total")
        },
        **{name: chance.choice((None, 0, 1, 5, *values.NUMBERS)) for name in ("per_minute", "parallel")},
    }
    kept = chance.sample(sorted(found), chance.choice((0, 1, 2, 3, len(found))))
    return {"name": "a"} | {name: found[name] for name in kept}


def broken_json(found: dict[str, Any], chance: random.Random) -> bytes:
    """Return an object as JSON, often with a strange value, a further name, or damage to its bytes."""
    if chance.random() < 0.4:
        found[chance.choice((*found, "a", "é", ""))] = chance.choice((values.strange, documents.nested))(chance)
    body = json.dumps(found, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    lot = chance.random()
    if lot < 0.1:
        return chance.choice((pictures.truncate, pictures.flip_bits, pictures.overwrite))(body, chance)
    return chance.choice(documents.LITERALS) if lot < 0.15 else body


def line(chance: random.Random) -> bytes:
    """Return a line of a batch's input: an edit that is right, or of any kind."""
    image = "data:image/png;base64," + documents.encoded(corpus.file(chance.choice(("png", "jpeg", "gif"))))
    good = {"model": values.MODEL, "image": image, "scale_factor": 1}
    found: dict[str, Any] = {
        "custom_id": f"{chance.getrandbits(32)}",
        "method": "POST",
        "url": "/v1/images/edits",
        "body": good if chance.random() < 0.6 else documents.fields(chance),
    }
    return broken_json(found, chance) if chance.random() < 0.3 else json.dumps(found).encode("utf-8", "surrogatepass")


def lines(chance: random.Random) -> bytes:
    """Return the input of a batch, sometimes with damage to its bytes."""
    end = chance.choice((b"\n", b"\n", b"\n", b"\r\n", b"\n\n", b"\r", b"\0", b"\xe2\x80\xa8"))
    made = end.join(line(chance) for _ in range(chance.choice((1, 1, 2, 3, 9)))) + chance.choice((b"", end))
    lot = chance.random()
    if lot < 0.2:
        ways = (pictures.truncate, pictures.flip_bits, pictures.overwrite, pictures.insert, pictures.remove)
        return chance.choice(ways)(made, chance)
    others = (
        b"",
        b"\n",
        b"\xef\xbb\xbf" + made,
        made.decode("utf-8", "replace").encode("utf-16"),
        pictures.picture(chance),
    )
    return chance.choice(others) if lot < 0.3 else made


def upload(chance: random.Random) -> wire.Body:
    """Return a form with a file of lines."""
    purpose = "batch" if chance.random() < 0.85 else str(values.strange(chance))
    found = [
        forms.part(b"purpose", forms.text(purpose)),
        forms.part(b"file", lines(chance), chance.choice(forms.FILE_NAMES)),
    ]
    if chance.random() < 0.2:
        forms.change(found, chance)
    return forms.encode(found)


def send_upload(chance: random.Random) -> wire.Script:
    """Upload the input of a batch."""
    return post("file", b"/v1/files", upload(chance))


def send_batch(chance: random.Random) -> wire.Script:
    """Ask for a batch of a file that is not there, or with a body that is wrong otherwise."""
    return post("batch", b"/v1/batches", document(batch(chance), chance), *job_headers(chance))


def send_key(chance: random.Random) -> wire.Script:
    """Create a key."""
    return post("key", b"/v1/keys", document(key(chance), chance), secret=headers.ADMIN)


def send_job(chance: random.Random) -> wire.Script:
    """Ask for an edit that is stored: in the background, with a key for idempotency, a webhook or a restoration."""
    given = {
        "background": chance.choice(("true", "true", "false", "transparent", "")),
        "webhook_url": chance.choice((*values.ADDRESSES, "https://a.invalid/hook")),
        "restore": chance.choice(("auto", "off", "0.5", "1", "1.1", "")),
        "scale_factor": "1",
    }
    names = chance.sample(sorted(given), chance.choice((1, 1, 2, len(given))))
    made = forms.plain(pictures.picture(chance), *((name, given[name]) for name in names))
    return post("job", wire.EDITS, made, *job_headers(chance))


def job_headers(chance: random.Random) -> tuple[bytes, ...]:
    """Return headers about how a job is stored."""
    keys = (b"a", b"b", b"c", b"", b" ", b"\xff", b"a" * 256, b"%x" % chance.getrandbits(64))
    found = (
        b"Idempotency-Key: " + chance.choice(keys),
        b"Prefer: "
        + chance.choice((b"respond-async", b"wait=5", b"respond-async, wait=99", b",,", b"\xff", b"RESPOND-ASYNC")),
        b"X-Stainless-Retry-Count: " + chance.choice((b"0", b"1", b"-1", b"a", b"9" * 40, b"\xb2")),
    )
    return tuple(chance.sample(found, chance.choice((0, 1, 1, 2, 3))))


def ask(chance: random.Random) -> wire.Script:
    """Ask for something by an id, or for a list with a query."""
    name = quote(chance.choice(IDS), safe=chance.choice(("", "/%")))
    path = chance.choice(PLACES).replace("{id}", name)
    query = [f"{chance.choice(QUERIES)}={quote(_word(chance))}" for _ in range(chance.choice((0, 1, 1, 2, 4)))]
    target = (path + ("&" if "?" in path else "?") + "&".join(query)) if query else path
    method = chance.choice(METHODS)
    secret = chance.choice((headers.KEY, headers.ADMIN))
    return wire.Script("ask", (_head(method.encode(), target.encode(), secret) + b"\r\n",), method=method)


def uses(made: dict[str, Any], chance: random.Random) -> list[tuple[str, str, bytes]]:
    """Return what can be asked about an object that was created: methods, paths and bodies; nothing for another one."""
    name = made.get("id")
    if made.get("object") == "file":
        wanted = json.dumps(batch(chance) | {"input_file_id": name}).encode()
        path = f"/v1/files/{name}"
        return [("POST", BATCHES, wanted), ("GET", f"{path}/content", b""), ("GET", path, b""), ("DELETE", path, b"")]
    if made.get("object") == "batch":
        path, stem = f"{BATCHES}/{name}", f"/v1/files/{name}".replace("batch_", "file-")
        found = [("GET", path, b""), ("GET", f"{path}/results.zip", b""), ("GET", f"{stem}-output", b"")]
        found += [("GET", f"{stem}-errors/content", b""), ("GET", f"/v1/requests?batch_id={name}", b"")]
        return [*chance.sample(found, 3), ("POST", f"{path}/cancel", b"")]
    if made.get("object") == "api_key":
        path = f"/v1/keys/{name}"
        changes = [
            ("PATCH", path, broken_json(key(chance), chance)),
            ("POST", f"{path}/rotate", b""),
            ("GET", path, b""),
        ]
        return [*chance.sample(changes, 2), ("DELETE", path, b"")]
    if made.get("object") == "request":
        path = f"/v1/requests/{name}"
        found = [("GET", path, b""), ("GET", f"{path}/events", b""), ("DELETE", f"{path}/payloads", b"")]
        return [*chance.sample(found, 2), ("DELETE", path, b"")]
    return []


def use(method: str, path: str, body: bytes) -> wire.Script:
    """Return the request of a use."""
    secret = headers.ADMIN if path.startswith("/v1/keys") else headers.KEY
    lines = b"Content-Type: application/json\r\n" + wire.length(body) + b"\r\n\r\n"
    return wire.Script("use", (_head(method.encode(), path.encode(), secret) + lines + body,), method=method)


def post(kind: str, path: bytes, made: wire.Body, *lines: bytes, secret: bytes = headers.KEY) -> wire.Script:
    """Return a request for a body."""
    found = (b"Content-Type: " + made[0], wire.length(made[1]), *lines)
    return wire.Script(
        kind, (_head(b"POST", path, secret) + b"".join(each + b"\r\n" for each in found) + b"\r\n" + made[1],)
    )


def _head(method: bytes, path: bytes, secret: bytes) -> bytes:
    return (
        method + b" " + path + b" HTTP/1.1\r\nHost: " + headers.HOST + b"\r\nAuthorization: Bearer " + secret + b"\r\n"
    )


def _word(chance: random.Random) -> str:
    found = chance.choice(WORDS) if chance.random() < 0.6 else str(values.strange(chance))
    return found.encode("utf-8", "replace").decode()[:2000]


def document(found: dict[str, Any], chance: random.Random) -> wire.Body:
    """Return the content type and the body of a JSON request, mostly with one fault."""
    kind = documents.TYPES[0] if chance.random() < 0.9 else chance.choice((*documents.TYPES, *documents.OTHER_TYPES))
    return kind, broken_json(found, chance)


WAYS: tuple[Callable[[random.Random], wire.Script], ...] = (
    send_upload,
    send_upload,
    send_batch,
    send_key,
    send_job,
    send_job,
    ask,
    ask,
)


def operation(chance: random.Random) -> wire.Script:
    """Return a request for one of the other operations."""
    return chance.choice(WAYS)(chance)
