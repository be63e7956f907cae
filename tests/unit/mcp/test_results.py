"""Resources of results, and where they are saved."""

from __future__ import annotations

import pytest

from fluxvision.core.errors import InvalidRequest
from fluxvision.mcp.results import plan_outputs, resource_uri

SIGNED = "expires=1&signature=ab"


@pytest.mark.parametrize(
    ("link", "uri"),
    [
        (f"http://localhost/media/a.png?{SIGNED}", f"fluxvision://media/a.png?{SIGNED}"),
        (f"https://host/prefix/media/a.png?{SIGNED}", f"fluxvision://media/a.png?{SIGNED}"),
        ("https://bucket/results/1/a.png?X-Amz-Signature=b", "https://bucket/results/1/a.png?X-Amz-Signature=b"),
        ("https://bucket/media/a.png?X-Amz-Signature=b", "https://bucket/media/a.png?X-Amz-Signature=b"),
    ],
)
def test_a_link_is_a_resource(link, uri):
    """A link of the server is read through MCP; one of a bucket is its own address."""
    assert resource_uri(link) == uri


def test_the_ending_sets_the_format(tmp_path):
    """`output_path` is taken from the arguments, and its ending is the format where none is given."""
    arguments = {"output_path": str(tmp_path / "a.jpg"), "n": 1}
    assert plan_outputs(arguments) == [tmp_path / "a.jpg"]
    assert arguments == {"output_format": "jpeg", "n": 1}


def test_versions_have_numbers(tmp_path):
    """With n over 1 every version has a path of its own."""
    assert plan_outputs({"output_path": str(tmp_path / "a.webp"), "n": 2}) == [
        tmp_path / "a-1.webp",
        tmp_path / "a-2.webp",
    ]


@pytest.mark.parametrize(
    ("name", "more", "reason"),
    [
        ("{folder}/a.txt", {}, "must end in "),
        ("{folder}/a.heic", {}, "must end in "),
        ("a.png", {}, "must be an absolute path"),
        ("{folder}/none/a.png", {}, "in a folder that does not exist"),
        ("{folder}/old.png", {}, "exists already"),
        ("{folder}/old.png", {"n": 2}, "exists already"),
        ("{folder}/a.png", {"output_format": "webp"}, "disagree"),
    ],
)
def test_no_file_is_replaced(tmp_path, name, more, reason):
    """A path where no new picture can be is refused before anything is made."""
    (tmp_path / "old.png").touch()
    (tmp_path / "old-2.png").touch()
    with pytest.raises(InvalidRequest, match=reason) as caught:
        plan_outputs({"output_path": name.format(folder=tmp_path), **more})
    assert caught.value.param == "output_path"
