"""What a step costs beyond the network: our engine against diffusers' schedulers, with a denoiser that does nothing.

The engine's figure holds everything that serving needs (rows at their own steps, receipts, conditions); the peers' only `scheduler.step`.

python -m benchmarks.loop [ROUNDS]
"""

import sys

import torch

from anylatent.engine import Request, sample
from anylatent.paths import EDM, Rectified
from anylatent.sampling import Sampling
from anylatent.solvers.dpmpp import DPMpp2M
from anylatent.solvers.euler import Euler
from anylatent.testing.oracles import MixtureOracle
from benchmarks.timing import medians

STEPS = 50
TOKENS, WIDTH = 256, 16


class Nothing(MixtureOracle):
    """Predicts the data by one multiplication."""

    def forward(self, state, condition, sites=None, modulations=None):
        return {"tokens": state["tokens"].values * 0.5}


def main(rounds: int) -> None:
    """Print microseconds a step, for one row and for eight."""
    from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    torch.set_num_threads(1)
    for rows in (1, 8):

        def ours(solver, path, rows=rows):
            oracle = Nothing(path, torch.ones(1), torch.zeros(1, TOKENS, WIDTH), torch.ones(1))
            request = Request(oracle.layout(range(rows)), oracle.conditions([{}] * rows), Sampling(steps=STEPS, solver=solver))
            return lambda: sample(oracle, request)

        def theirs(scheduler, rows=rows):
            def run():
                scheduler.set_timesteps(STEPS)
                x = torch.randn(rows, WIDTH, TOKENS)
                for t in scheduler.timesteps:
                    x = scheduler.step(x * 0.5, t, x).prev_sample

            return run

        seconds = medians(
            {
                "anylatent Euler": ours(Euler(), Rectified()),
                "anylatent DPM++ 2M": ours(DPMpp2M(), EDM()),
                "diffusers FlowMatchEuler": theirs(FlowMatchEulerDiscreteScheduler()),
                "diffusers DPMSolverMultistep": theirs(DPMSolverMultistepScheduler()),
                "diffusers UniPC": theirs(UniPCMultistepScheduler()),
            },
            rounds,
        )
        print(f"{rows} rows: microseconds a step")
        for name, value in seconds.items():
            print(f"  {name:<32} {value / STEPS * 1e6:8.0f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
