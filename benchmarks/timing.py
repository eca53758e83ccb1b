"""Interleaved timing: every contestant once a round, processor seconds, medians."""

import time
from collections.abc import Callable, Mapping
from statistics import median


def medians(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median processor seconds of each, after one unmeasured call."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for run in contestants.values():
        run()
    for _ in range(rounds):
        for name, run in contestants.items():
            started = time.process_time()
            run()
            times[name].append(time.process_time() - started)
    return {name: median(each) for name, each in times.items()}


def show(seconds: Mapping[str, float], base: str, unit: float = 1e3, unit_name: str = "ms") -> None:
    """A line each, with the ratio to `base`."""
    for name, value in seconds.items():
        print(f"{name:<44} {value * unit:10.2f} {unit_name}   {seconds[base] / value:5.2f} x")
