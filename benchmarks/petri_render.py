"""Pictures a second of the petri renderer: `python benchmarks/petri_render.py [--size 64] [--device cpu]`.

Prints one line a round and the median of all rounds. There is no peer to compare with: the number to reach is 1,000
pictures/s at 64 x 64 on 2 CPU cores. Scenes are made before the clock starts; their rate is printed beside it.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from clipdistill.petri import SceneRules, draw_scene, render


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pictures", type=int, default=1024, help="pictures a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    start = time.perf_counter()
    scenes = [draw_scene(SceneRules(), 0, index) for index in range(options.pictures)]
    print(f"scenes: {options.pictures / (time.perf_counter() - start):,.0f} a second")
    render(scenes[:128], options.size, options.device)  # warm up
    rates = []
    for round_ in range(options.rounds):
        start = time.perf_counter()
        drawn = render(scenes, options.size, options.device)
        drawn[-1].cpu()  # wait for an asynchronous device
        rates.append(options.pictures / (time.perf_counter() - start))
        print(f"round {round_ + 1}: {rates[-1]:,.0f} pictures/s")
    low, high = min(rates), max(rates)
    print(
        f"median: {statistics.median(rates):,.0f} pictures/s at {options.size} x {options.size} "
        f"({low:,.0f} to {high:,.0f}; {options.device}, {options.threads} threads)"
    )


if __name__ == "__main__":
    main()
