"""`python -m careforall_testing.simulation --seed N --steps M [--runs R]`: run seeds and say what they found."""

from __future__ import annotations

import argparse
import sys
import time

from careforall_testing.simulation.runs import run
from careforall_testing.simulation.variants import BROKEN, CORRECT


def main() -> int:
    """Run; the exit code is 1 if a promise was broken."""
    options = _options()
    protocol = BROKEN[options.broken] if options.broken else CORRECT
    steps, started = 0, time.perf_counter()
    for seed in range(options.seed, options.seed + options.runs):
        report = run(seed, options.steps, protocol=protocol)
        steps += report.steps
        if report.failure:
            sys.stdout.write(f"{report}\n")
            return 1
    rate = steps / (time.perf_counter() - started)
    last = options.seed + options.runs - 1
    sys.stdout.write(f"seeds {options.seed} to {last}: {steps} steps, {rate:,.0f} steps/s, all promises kept\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m careforall_testing.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--steps", type=int, default=20_000, help="steps of each run before it is brought to rest")
    parser.add_argument("--runs", type=int, default=1, help="how many seeds, one after the other")
    parser.add_argument("--broken", choices=sorted(BROKEN), help="run a protocol with this mistake")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
