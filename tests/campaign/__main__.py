"""The campaign (`make campaign`, `python -m tests.campaign --help`). Writes its figures; exits with 1 for a failure.

It kills runs of every task at their file-system events and at random times, spoils what is read, lets the disk fail,
and looks whether a long run grows. Nothing depends on the clock but when a kill at a random time falls.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from tests.campaign import faults, flat, hostile, kills
from tests.campaign.readers import READERS, make_world
from tests.campaign.small_runs import RUNS, Base

FIGURES = Path(__file__).parent.parent.parent / "docs" / "reliability.json"


def settings(given: list[str] | None = None) -> argparse.Namespace:
    """What is asked."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    for name, default, what in (
        ("kills", 24, "events of each run to kill it at; a large number means all of them"),
        ("times", 4, "random times of each run to kill it at"),
        ("faults", 8, "events of each run to let the disk fail at"),
        ("sizes", 2, "files of each run that a limit cuts short"),
        ("cases", 600, "spoilt files of each reader"),
        ("epochs", 100, "of the run whose memory is looked at"),
        ("offset", 0, "which of the events, where not all of them are taken"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} ({default})")
    parser.add_argument("--runs", nargs="*", default=list(RUNS), choices=[*RUNS], metavar="RUN", help=", ".join(RUNS))
    parser.add_argument("--folder", type=Path, help="for its files; default: one that is deleted")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="where the figures are written")
    return parser.parse_args(given)


def main(asked: argparse.Namespace, folder: Path) -> int:
    """Run what is asked; how often something was wrong."""
    began, wrong = time.monotonic(), 0
    base = Base(folder / "base").make()
    for name in asked.runs:
        if not asked.kills + asked.times + asked.faults + asked.sizes:
            break
        calm, tally, found = kills.Undisturbed.of(name, base), kills.Tally(), faults.Faults()
        events = len(calm.events)
        if asked.kills:
            kills.at_events(calm, kills.spread(events, asked.kills, asked.offset), tally, _say)
        kills.at_times(calm, asked.times, tally, _say)
        if asked.faults:
            faults.at_events(calm, kills.spread(events, asked.faults, asked.offset), found, _say)
        faults.at_sizes(calm, asked.sizes, found, _say)
        wrong += len(tally.failed) + len(found.failed)
        _note(asked.figures, "runs", name, {
            "events": events, "kills": tally.kills, "torn": tally.torn, "faults": found.faults, "short": found.short,
            "ended": found.ended, "failed": [*tally.failed, *found.failed],
        })  # fmt: skip
    if asked.cases:
        world = make_world(folder / "hostile" / "world", base)
        for reader in READERS:
            case = hostile.Cases()
            hostile.spoil(reader, world, max(1, round(asked.cases * reader.share)), case, _say)
            wrong += len(case.failed)
            _note(asked.figures, "readers", reader.name, {**asdict(case), "failed": list(case.failed)})
    if asked.epochs:
        held = flat.measure(base, folder / "out" / "flat", asked.epochs)
        grown = flat.grown(held)
        wrong += len(grown)
        first, last = held[len(held) // 10], held[-1]
        _note(asked.figures, "epochs", "workers", {
            "epochs": asked.epochs, "first": first, "last": last, "failed": grown
        })  # fmt: skip
    print(f"campaign: {wrong} failures, {time.monotonic() - began:.0f} s", flush=True)
    return wrong


def _note(path: Path, group: str, name: str, found: dict[str, Any]) -> None:
    """Keep what is known so far, beside what other campaigns found: one takes long."""
    print(f"campaign: {name}: {found}", flush=True)
    figures = json.loads(path.read_text()) if path.is_file() else {}
    figures.setdefault(group, {})[name] = found
    path.write_text(json.dumps(figures, indent=1) + "\n")


def _say(line: str) -> None:
    print(f"  {line[:2000]}", flush=True)


if __name__ == "__main__":
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", CLIPDISTILL_QUIET="1")
    torch.set_num_threads(1)  # a process that forks must have no others
    options = settings()
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        sys.exit(main(options, options.folder) > 0)
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(main(options, Path(temporary)) > 0)
