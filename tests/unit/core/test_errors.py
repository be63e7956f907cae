"""The tree of errors."""

from __future__ import annotations

import re

from fluxvision.core import errors


def test_the_tree_in_the_docstring_is_the_code():
    """The docstring names every error under its parent, with its status and code."""
    drawn, parents = [], ["Error"]
    for branch, name, rest in re.findall(r"^    ([│├└ ]*)── (\w+) +(.*)$", errors.__doc__, re.MULTILINE):
        depth = (len(branch) + 3) // 4
        parents[depth:] = [name]
        drawn.append((name, parents[depth - 1]))
        kind = getattr(errors, name)
        assert kind is errors.ConfigError or rest.startswith(str(kind.status)), name
        assert kind in {errors.ConfigError, errors.ClientError} or kind.code in rest, name
    every = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.Error)][1:]
    assert sorted(drawn) == sorted(
        (kind.__name__, kind.__base__.__name__) for kind in every if kind is not errors.Error
    )
