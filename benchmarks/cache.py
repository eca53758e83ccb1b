"""A cache beside *fewer steps at equal compute*, on a trained run: distance to the full sample and network work.

python -m benchmarks.cache RUN [COUNT]
"""

import math
import sys

import torch

import anylatent
from anylatent.guidance.none import Unguided
from anylatent.hooks.residual_cache import ResidualCache
from anylatent.solvers.ddim import DDIM
from anylatent.solvers.dpmpp import DPMpp2M

STEPS = 50


def main(folder: str, count: int) -> None:
    """A line a setting: share of the full sample's trunk evaluations, and PSNR to it (peak: the tokens' range of the full samples)."""
    torch.set_num_threads(1)
    run = anylatent.load(folder)
    name = run.tokenizer.specs[0].name

    def made(steps: int, solver=None, hooks=()):
        out = run.sample(count, seed=0, steps=steps, solver=solver or DDIM(), hooks=hooks, guidance=Unguided(), batch=count)
        calls = out.receipts["engine"].counts["network_calls"]
        reused = out.receipts[hooks[0].kind].counts.get("reused", 0) if hooks else 0
        return out.state[name].values, out.state[name].mask, (calls - reused) / count, out.seconds

    full, mask, base, seconds = made(STEPS)
    peak = float(full[mask].max() - full[mask].min())
    print(f"{count} samples of {folder}; full: {STEPS} steps of DDIM, {base:.0f} trunk evaluations a sample, {seconds:.1f} s")

    def line(title: str, values: torch.Tensor, work: float, took: float) -> None:
        error = (values - full)[mask].square().mean().sqrt()
        psnr = 20 * math.log10(peak / float(error))
        print(f"{title:<46} {work:6.1f} evaluations  {base / work:5.2f} x  {seconds / took:5.2f} x time  {psnr:6.1f} dB")

    for threshold in (0.05, 0.1, 0.2, 0.4):
        for forecast in (True, False):
            values, _, work, took = made(STEPS, hooks=(ResidualCache(threshold=threshold, forecast=forecast),))
            line(f"residual-cache {threshold} {'forecast' if forecast else 'held'}", values, work, took)
            fewer = max(2, round(work))
            for solver in (DDIM(), DPMpp2M()):
                values, _, work, took = made(fewer, solver)
                line(f"  fewer steps at equal compute: {solver.kind} {fewer}", values, work, took)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100)
