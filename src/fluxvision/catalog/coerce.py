"""Converts a form string or JSON value to the type of its parameter, and checks its range."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from fluxvision.catalog.params import Kind, Param, describe_param
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.types import Scalar

TRUE = frozenset({"true", "1", "yes", "on"})
FALSE = frozenset({"false", "0", "no", "off"})
UNSET_WORDS = frozenset({"", "null", "none", "undefined"})
SHOWN = 40
LARGEST = 2**53
"""The largest number that every client and database keeps exactly."""
PRIVATE = frozenset({"prompt", "negative_prompt"})
"""Parameters whose values are never repeated in error messages."""


def coerce(param: Param, value: Any, *, has_effect: bool = True) -> Scalar | None:
    """Return a form string or JSON value as the parameter's type, or None when it means "not given".

    Raises `InvalidRequest` naming the parameter when the value has the wrong type or is out of range. A number that has
    no effect may be out of range.
    """
    free = param.kind == "string" and param.pattern is None
    word = str(value).strip().lower() if isinstance(value, str | int) and not free else None
    if value is None or word in UNSET_WORDS or word in param.absent:
        return None
    coerced: Scalar = _TYPES[param.kind](param, value)
    if not has_effect and isinstance(coerced, int | float) and abs(coerced) <= LARGEST:
        return coerced
    if not _is_in_range(param, coerced):
        raise _wrong_value(param, value, number=param.kind != "string")
    return coerced


def _wrong_value(param: Param, value: Any, *, number: bool = False) -> InvalidRequest:
    """Return the error for a value; it quotes a short value, without quotation marks when a `number` is expected."""
    shown = "this value" if isinstance(value, list | dict) else repr(value)
    if isinstance(value, bool):
        shown = shown.lower()  # as JSON has it
    elif isinstance(value, str) and number:
        shown = value.strip()
    if isinstance(value, str) and len(value) > SHOWN:
        shown = f"a text of {len(value):,} characters"
    elif len(shown) > SHOWN:
        shown = "this value"
    if param.name in PRIVATE:
        shown = "the " + param.name.replace("_", " ")
    return InvalidRequest(f"{param.name}: {shown} is not {describe_param(param)}.", param=param.name)


def _to_string(param: Param, value: Any) -> str:
    if param.pattern is None:
        return _to_free_text(param, value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    text = str(value).strip().lower() if isinstance(value, str) or is_number else ""
    if not param.pattern.fullmatch(text):
        raise _wrong_value(param, value)
    return text


def _to_free_text(param: Param, value: Any) -> str:
    if not isinstance(value, str):
        reason = "must be a text, in quotes"
    elif "\x00" in value:
        reason = "has a NUL character, which is in no text"
    elif _has_surrogate(value):
        reason = "has half of a surrogate pair, which is no character"
    else:
        return value
    message = f"{param.name} {reason}."
    raise InvalidRequest(message, param=param.name)


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _to_number(param: Param, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _wrong_value(param, value)
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise _wrong_value(param, value) from None
    if not math.isfinite(number) or (isinstance(value, str) and "_" in value):
        raise _wrong_value(param, value)
    return number


def _to_integer(param: Param, value: Any) -> int:
    number = _to_number(param, value)
    if number != int(number):
        raise _wrong_value(param, value)
    return int(number)


def _to_boolean(param: Param, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else str(value)
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise _wrong_value(param, value)


def _to_choice(param: Param, value: Any) -> str:
    if isinstance(value, str):
        word = value.strip().lower()
        for choice in param.choices:
            if choice.lower() == word:
                return choice
        if word in param.synonyms:
            return param.synonyms[word]
    raise _wrong_value(param, value)


def _refuse_picture(param: Param, _value: Any) -> Scalar:
    message = f"{param.name} must be a picture file."
    raise InvalidRequest(message, param=param.name)


_TYPES: Mapping[Kind, Callable[[Param, Any], Scalar]] = {
    "string": _to_string,
    "number": _to_number,
    "integer": _to_integer,
    "boolean": _to_boolean,
    "choice": _to_choice,
    "picture": _refuse_picture,
}


def _is_in_range(param: Param, value: Scalar) -> bool:
    if param.low is None or param.high is None:
        return True
    measure = len(value) if isinstance(value, str) else value
    return param.low <= measure <= param.high
