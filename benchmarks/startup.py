"""How fast the command answers, as a share of `import torch`: interleaved processes, medians.

Wall seconds are what a person waits; processor seconds are told beside them, because they do not depend on who else is working.

python benchmarks/startup.py [ROUNDS]
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

RECIPE = """anylatent: 1
modality: {kind: image, data: {kind: image.digits}}
tokenizer: {kind: grid, patch: [2, 2]}
denoiser: {kind: dit, depht: 6}
train: {steps: many}
"""

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""With compiled modules kept, as everywhere but in some containers: compiling ours again each time would cost a third."""


def commands(folder: Path) -> dict[str, list[str]]:
    """What is timed. The two recipes are wrong: one is no YAML, one has two mistakes."""
    broken, wrong = folder / "broken.yaml", folder / "wrong.yaml"
    broken.write_text("train: [1, 2\n")
    wrong.write_text(RECIPE)
    anylatent = [sys.executable, "-c", "from anylatent.cli import main; main()"]
    return {
        "import torch": [sys.executable, "-c", "import torch"],
        "python alone": [sys.executable, "-c", ""],
        "import pydantic": [sys.executable, "-c", "from pydantic import BaseModel\nclass A(BaseModel): a: int"],
        "--help": [*anylatent, "--help"],
        "plugins": [*anylatent, "plugins"],
        "recipe: not YAML": [*anylatent, "recipe", "check", str(broken)],
        "recipe: mistakes": [*anylatent, "recipe", "check", str(wrong)],
        "recipe schema": [*anylatent, "recipe", "schema"],
    }


def seconds(command: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of one process."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(rounds: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        timed = commands(Path(folder))
        for command in timed.values():  # once before: files are read and compiled
            seconds(command)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in timed}
        for _ in range(rounds):
            for name, command in timed.items():
                times[name].append(seconds(command))
    medians = {name: tuple(median(column) for column in zip(*each)) for name, each in times.items()}
    torch = medians["import torch"]
    print(f"medians of {rounds} interleaved processes; ratios to import torch\n{'':<18} {'wall':>9} {'processor':>18}")
    for name, (wall, processor) in medians.items():
        print(f"{name:<18} {wall * 1000:6.0f} ms  1/{torch[0] / wall:<5.1f} {processor * 1000:6.0f} ms  1/{torch[1] / processor:.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
