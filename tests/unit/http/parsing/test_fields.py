"""If-None-Match."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from fluxvision.http.parsing.fields import is_unmodified


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([], False),
        ([""], False),
        (['"a"'], True),
        (['W/"a"'], True),
        (['"b", "a"'], True),
        (['W/"b",W/"a"'], True),
        (['"b"', '"a"'], True),
        (["*"], True),
        ([" * "], True),
        (["a"], False),
        (['"b"'], False),
        (['"aa"'], False),
        (['"*"'], False),
        (['"b, "a"'], False),
    ],
)
@pytest.mark.parametrize("etag", ['"a"', 'W/"a"'])
def test_if_none_match(sent, expected, etag):
    """The comparison is weak; a list, several headers and `*` count; what is no entity tag does not."""
    headers = Headers(raw=[(b"if-none-match", value.encode()) for value in sent])
    assert is_unmodified(headers, etag) is expected
