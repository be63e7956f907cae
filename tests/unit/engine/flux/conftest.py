"""The tests of FLUX need its extra."""

from __future__ import annotations

from importlib.util import find_spec

EXTRA = all(find_spec(name) is not None for name in ("torch", "diffusers", "transformers"))
collect_ignore = [] if EXTRA else ["test_captions.py", "test_detailer.py", "test_loop.py", "test_networks.py"]
