"""Which tier a test file is of, and which test files a change needs.

As a program it prints what `make quick` runs: the layer tests, and the tests of what changed since the branch left
`main`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
SOURCE = Path("src/fluxvision")
UNIT = Path("tests/unit")
DOCUMENTS = {".md", ".html"}
TIERS = {
    "browser/*": "browser",
    "clients/*": "client",
    "contract/test_ray_serve.py": "ray",
    "unit/engine/flux/*": "flux",
    "unit/providers/test_flux*.py": "flux",
    "unit/bench/test_flux.py": "flux",
    "golden/test_quality.py": "slow",
    "faults/test_openapi_fuzz.py": "slow",
    "faults/test_batches.py": "slow",
    "faults/test_data_folder.py": "slow",
    "faults/test_failover_live.py": "slow",
    "faults/test_fairness.py": "slow",
    "faults/test_full_disk.py": "slow",
    "faults/test_http_connections.py": "slow",
    "faults/test_http_memory.py": "slow",
    "faults/test_memory.py": "slow",
    "faults/test_paid_once.py": "slow",
    "faults/test_shared_bucket.py": "slow",
    "faults/test_work.py": "slow",
    "fuzz/test_many_seeds.py": "slow",
}
"""Files by pattern, and the marker of the tests in them; what is nowhere here is of the default tier."""


def tier(path: Path) -> str | None:
    """Return the marker of the tests in a file, or in all files of a folder."""
    name = path.relative_to(TESTS).as_posix() if path.is_relative_to(TESTS) else ""
    name += "" if path.suffix else "/"
    return next((marker for pattern, marker in TIERS.items() if fnmatchcase(name, pattern)), None)


def git(*arguments: str) -> list[str]:
    """Return the lines that a git command prints; none where it fails."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []


def changed() -> list[Path]:
    """Return the files that differ from the commit at which the branch left `main`, untracked ones too."""
    base = git("merge-base", "main", "HEAD") or ["HEAD"]
    return [Path(name) for name in git("diff", "--name-only", *base) + git("ls-files", "-o", "--exclude-standard")]


def files_for(path: Path, root: Path) -> Iterator[Path]:
    """Yield the test files of one changed file: those of its name at the same place, else all at that place."""
    if path.parts[:1] == ("tests",):
        if path.match("test_*.py"):
            yield path
        elif path.name == "conftest.py" and path.parent != Path("tests"):
            yield path.parent
    elif path.is_relative_to(SOURCE) and path.suffix == ".py":
        folder = UNIT / path.relative_to(SOURCE).parent
        named = sorted((root / folder).glob(f"test_{path.stem}*.py"))
        yield from (found.relative_to(root) for found in named or sorted((root / folder).glob("test_*.py")))
    elif path.suffix in DOCUMENTS:
        yield UNIT / "test_docs.py"


def main() -> None:
    """Print the paths that exist, each once."""
    found = {UNIT / "test_layers.py"} | {test for path in changed() for test in files_for(path, ROOT)}
    sys.stdout.write(" ".join(sorted(str(path) for path in found if (ROOT / path).exists())) + "\n")


if __name__ == "__main__":
    main()
