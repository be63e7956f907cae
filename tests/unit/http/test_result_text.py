"""The words about finished pictures."""

from __future__ import annotations

import pytest
from msgspec import UNSET

from fluxvision.http.responses import ImageEntry, ImagesResponse
from fluxvision.http.result_text import describe_result

LINK = "![The enlarged picture](http://a)"


@pytest.mark.parametrize(
    ("sizes", "cost", "link", "warnings", "parts"),
    [
        (["64x48"], 0.0, UNSET, [], ["The picture is enlarged to 64 × 48 pixels."]),
        (["64x48"], None, UNSET, [], ["The picture is enlarged to 64 × 48 pixels."]),
        (["8x6"], 0.25, "http://a", [], ["The picture is enlarged to 8 × 6 pixels for $0.25.", LINK]),
        (["8x6", "8x6"], 0, UNSET, ["n: 1", "2"], ["The pictures are enlarged to 8 × 6 pixels.", "- n: 1\n- 2"]),
        (["64x48", "8x6"], 0.0, UNSET, [], ["The pictures are enlarged to 64 × 48 and 8 × 6 pixels."]),
    ],
)
def test_the_result_is_described(sizes, cost, link, warnings, parts):
    """Each size once, the cost where there is one, links as pictures, warnings as a list."""
    data = [ImageEntry(url=link) for _ in sizes]
    found = ImagesResponse(
        id="a", created=0, output_format="png", data=data, metadata={"cost": cost}, warnings=warnings
    )
    assert describe_result(found, [{"size": size} for size in sizes]) == "\n\n".join(parts)
    assert "!" not in describe_result(found, [{"size": size} for size in sizes], inline=False)
