"""Messages of a chat, as language models take them: the pictures to enlarge, and the words about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from fluxvision.core.errors import InvalidRequest
from fluxvision.http.parsing.body import MAX_FIELD, Form
from fluxvision.http.parsing.fields import MAX_IMAGES, image_key
from fluxvision.http.parsing.json_body import (
    begins_with,
    given_value,
    list_items,
    object_members,
    read_picture,
    to_form,
)

WITHOUT_EFFECT = frozenset(
    {
        "audio",
        "cache_control",
        "chat_template_kwargs",
        "frequency_penalty",
        "function_call",
        "functions",
        "include",
        "include_reasoning",
        "instructions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "max_tool_calls",
        "metadata",
        "min_p",
        "modalities",
        "models",
        "options",
        "parallel_tool_calls",
        "plugins",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "provider",
        "reasoning",
        "reasoning_effort",
        "repetition_penalty",
        "route",
        "safety_identifier",
        "service_tier",
        "session_id",
        "stop",
        "store",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_a",
        "top_k",
        "top_logprobs",
        "top_p",
        "transforms",
        "truncation",
        "usage",
        "verbosity",
        "web_search_options",
    }
)
"""What programs send to every language model; it does not concern pictures and is not in the receipt."""
OF_A_LANGUAGE_MODEL = frozenset({"prompt", "response_format"})
"""Parameters of ours under whose names language models take an object."""
IMAGE_PARTS = frozenset({"image_url", "input_image", "image"})
TEXT_PARTS = frozenset({"text", "input_text"})
USER = "user"


def read_chat(given: Mapping[str, msgspec.Raw], messages: str) -> Form:
    """Return the form of a request whose member `messages` has the pictures and the words; parameters are beside it.

    The pictures are those of the newest message of a user that has some, the prompt is the newest text since then. A
    picture or prompt beside the messages counts instead. Raises `InvalidRequest` naming the message.
    """
    rest = {
        name: raw
        for name, raw in given.items()
        if name != messages
        and name not in WITHOUT_EFFECT
        and not (name in OF_A_LANGUAGE_MODEL and begins_with(raw, b"{"))
    }
    config = rest.pop("image_config", None)  # as OpenRouter's and Google's clients have it
    if config is not None and begins_with(config, b"{"):
        said = object_members(config)
        for name, theirs in (("aspect_ratio", "aspect_ratio"), ("resolution", "image_size")):
            if theirs in said:
                rest.setdefault(name, said[theirs])
    form = to_form(rest)
    raw = given_value(given, messages)
    if raw is None:
        message = f"{messages} is required."
        raise InvalidRequest(message, param=messages)
    _add_messages(form, raw, messages)
    return form


def _add_messages(form: Form, raw: msgspec.Raw, name: str) -> None:
    """Add the pictures and the prompt of the messages to a form without them."""
    text, pictures = "", list[tuple[str, msgspec.Raw]]()
    for place, message in _newest_first(raw, name):
        role = given_value(message, "role")
        if role is not None and _text(role, f"{place}.role") != USER:
            continue
        pictures, said = _read_content(given_value(message, "content"), f"{place}.content")
        text = text or said
        if pictures:
            break
    if text:
        form.fields.setdefault("prompt", text)
    if "image" in form.pictures:
        return
    if len(pictures) > MAX_IMAGES:
        inside = pictures[0][0].rpartition("[")[0]
        reason = f"{inside}: a message has at most {MAX_IMAGES} pictures."
        raise InvalidRequest(reason, param=inside)
    for number, (place, part) in enumerate(pictures):
        form.pictures[image_key(number)] = read_picture(part, place)
        form.places[image_key(number)] = place


def _newest_first(raw: msgspec.Raw, name: str) -> Iterator[tuple[str, Mapping[str, msgspec.Raw]]]:
    """Yield the messages with their places, the newest first; a text alone is one message."""
    if begins_with(raw, b'"'):
        yield name, {"content": raw}
        return
    messages = list_items(raw) if begins_with(raw, b"[") else []
    if not messages:
        reason = f"{name} must be a list of messages."
        raise InvalidRequest(reason, param=name)
    for number, one in reversed([*enumerate(messages)]):
        place = f"{name}[{number}]"
        if not begins_with(one, b"{"):
            reason = f"{place} must be an object with role and content."
            raise InvalidRequest(reason, param=place)
        yield place, object_members(one)


def _read_content(raw: msgspec.Raw | None, place: str) -> tuple[list[tuple[str, msgspec.Raw]], str]:
    """Return the parts of a message that are pictures, with their places, and its text."""
    if raw is None:
        return [], ""
    if not begins_with(raw, b"["):
        return [], _text(raw, place)
    pictures, texts = list[tuple[str, msgspec.Raw]](), list[str]()
    for number, part in enumerate(list_items(raw)):
        inside = f"{place}[{number}]"
        if begins_with(part, b'"'):
            texts.append(_text(part, inside))
            continue
        if not begins_with(part, b"{"):
            message = f"{inside} must be an object with type."
            raise InvalidRequest(message, param=inside)
        members = object_members(part)
        kind = _text(members.get("type", msgspec.Raw(b'""')), f"{inside}.type")
        if kind in IMAGE_PARTS:
            found = (given_value(members, name) for name in ("image", "source"))  # the AI SDK's, and Anthropic's
            pictures.append((inside, next(filter(None, found), part)))
        elif kind in TEXT_PARTS:
            texts.append(_text(members.get("text", msgspec.Raw(b'""')), f"{inside}.text"))
    return pictures, "\n".join(filter(None, texts))


def _text(raw: msgspec.Raw, place: str) -> str:
    if not begins_with(raw, b'"') or len(memoryview(raw)) > MAX_FIELD:
        message = f"{place} must be a text of at most {MAX_FIELD:,} bytes."
        raise InvalidRequest(message, param=place)
    return msgspec.json.decode(raw, type=str).strip()
