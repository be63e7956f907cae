"""`make fuzz`: an hour of hostile requests against a real server; the exit code is 1 when anything was found.

`python tests/fuzz/run.py --seed N` plays one case again; `--save FILE` keeps the bytes that it sends.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fakes.server import Server
from fuzz import cases
from fuzz.campaign import SETTINGS, Campaign, Resources

WARM = 1000
"""Cases before the first measurement: they load what the server loads once."""
SETTLE = 10.0
REST = 60.0
GROWTH = 1.10
MORE_FILES = 8
SHOWN = 60


def main() -> int:
    """Run a campaign, or one case, and tell what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long requests are sent")
    parser.add_argument("--callers", type=int, default=6, help="connections at the same time")
    parser.add_argument("--start", type=int, default=1_000_000, help="the first seed")
    parser.add_argument("--seed", type=int, help="play this case alone")
    parser.add_argument("--save", type=Path, help="write the bytes that the case of --seed sends to this file")
    parser.add_argument("--rest", type=float, default=REST, help="seconds of rest before the last measurement")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the server")
    given = parser.parse_args()
    settings = SETTINGS | dict(each.split("=", 1) for each in given.set)
    if given.save is not None and given.seed is not None:
        given.save.write_bytes(cases.case(given.seed).sent)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        with Server(folder / "data", settings, module=("fluxvision", "serve")) as server:
            campaign = Campaign(server)
            if given.seed is not None:
                return play_one(campaign, given.seed)
            return run(campaign, given)
    finally:
        shutil.rmtree(folder)


def play_one(campaign: Campaign, seed: int) -> int:
    """Play one case and show its answers."""
    for answer in campaign.play(seed):
        print(answer.status, answer.headers.get("x-request-id"), answer.body[:500])
    campaign.control()
    campaign.check_rest()
    return report(campaign)


def run(campaign: Campaign, given: argparse.Namespace) -> int:
    """Play cases until the time is over; return the exit code."""
    began = time.monotonic()
    seeds = itertools.count(given.start)
    campaign.run(itertools.islice(seeds, WARM), callers=given.callers)
    time.sleep(SETTLE)
    start = campaign.resources()
    campaign.run(seeds, given.minutes * 60 - (time.monotonic() - began), given.callers)
    if campaign.alive:
        time.sleep(given.rest)
        end = campaign.resources()
        compare(campaign, start, end)
    campaign.check_rest()
    print(f"cases          {campaign.played:,}, the last seed {next(seeds) - 1}")
    print(f"controls       {campaign.controls:,}")
    print(f"answers        {', '.join(f'{status}: {count:,}' for status, count in sorted(campaign.statuses.items()))}")
    print(f"slowest        {campaign.slowest[0]:.1f} s, seed {campaign.slowest[1]}")
    return report(campaign)


def compare(campaign: Campaign, start: Resources, end: Resources) -> None:
    """Show what the server holds after its rest, and note it where that is more than at the start."""
    million = 1_000_000
    print(
        f"memory         {start.rss / million:.0f} MB, peak {campaign.peak / million:.0f}, rest {end.rss / million:.0f}"
    )
    print(f"files, threads {start.files}, {start.threads}; after the rest {end.files}, {end.threads}")
    if end.rss > start.rss * GROWTH:
        campaign.note(None, f"after the rest the memory is {end.rss / start.rss:.2f} of that of the start")
    if end.files > start.files + MORE_FILES:
        campaign.note(None, f"{end.files - start.files} files more are open than at the start")


def report(campaign: Campaign) -> int:
    """Show the findings and return the exit code."""
    print(f"findings       {len(campaign.findings)}")
    for finding in campaign.findings[:SHOWN]:
        print(f"  {'seed ' + str(finding.seed) if finding.seed is not None else 'no seed'}: {finding.text}")
    return 1 if campaign.findings else 0


if __name__ == "__main__":
    sys.exit(main())
