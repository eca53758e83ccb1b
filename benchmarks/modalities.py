"""One recipe on every modality: only the nodes `modality` and `tokenizer` differ. Writes `docs/modalities.md`.

    python -m benchmarks.modalities [FOLDER FOR THE RUNS]

Runs that are there are not made again. The nodes are those of each modality's quickstart; what is compared with real samples is
what the tokens show, so numbers of different modalities are not to be compared with each other.
"""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from anylatent import Run, execute
from anylatent.files import read_json, write_bytes, write_text
from anylatent.recipe import load

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "modalities.md"
RECIPES = sorted((ROOT / "recipes").glob("*/quickstart.yaml"))
WIDEST = 900
"""Pixels of a picture on the page."""
SHOWN = 16
"""Samples on the page."""

COMMON: dict[str, Any] = {
    "denoiser": {"kind": "dit", "depth": 3, "width": 128, "heads": 4, "absolute": True},
    # Data, because tokens may be wider than the network; times near 1, because what a wide token is to be is decided there.
    "objective": {"path": {"kind": "rectified"}, "prediction": "data", "times": {"kind": "logit-normal", "mean": 1.0, "std": 1.5}},
    "train": {
        "steps": 500,
        "batch": 32,
        "learning_rate": 2.0e-3,
        "warmup": 50,
        "decay": "cosine",
        "ema": [0.99],
        "checkpoint": 500,
        "preview": 0,
    },
    "sample": {"count": 64, "steps": 20, "schedule": {"kind": "uniform", "shift": 2.0}, "solver": {"kind": "dpm++2m"}},
    "evaluate": [{"kind": "precision-recall", "features": {"kind": "tokens"}, "limit": 400}, {"kind": "distinct"}],
}


def main(folder: Path) -> None:
    """Run what is missing, then write the page."""
    parts = []
    for path in RECIPES:
        run = _done(path, folder)
        parts.append(_part(path.parent.name, run))
    write_text(PAGE, _page(parts))
    print(PAGE)


def _done(path: Path, folder: Path) -> Run:
    own = load(path)
    recipe = load(COMMON | {"modality": own.modality, "tokenizer": own.tokenizer, "name": path.parent.name})
    run = Run.create(recipe, folder / path.parent.name)
    if not (run.folder / "report.html").exists():
        print(f"running {path.parent.name}", flush=True)
        for _ in execute(run):
            pass
    return run


def _part(name: str, run: Run) -> str:
    """The section of a modality; its picture is written beside the page."""
    made = run.sample(SHOWN)
    with Image.open(io.BytesIO(run.recipe.modality.sheet(made.samples))) as sheet:
        scale = min(1.0, WIDEST / sheet.width)
        picture = (
            sheet.convert("RGB").resize((round(sheet.width * scale), round(sheet.height * scale)), Image.Resampling.LANCZOS).quantize(64)
        )
        stream = io.BytesIO()
        picture.save(stream, "PNG", optimize=True)
    write_bytes(PAGE.parent / "modalities" / f"{name}.png", stream.getvalue())
    seconds = read_json(run.folder / "timings.json")
    tokens = {stream: int(s.mask.sum(1).max()) for stream, s in made.state.streams.items()}
    lines = [
        f"## {name}",
        "",
        f"`modality: {_node(run.recipe.modality)}`",
        f"`tokenizer: {_node(run.recipe.tokenizer)}`",
        "",
        f"A sample: {run.recipe.modality.sample}. Tokens: {', '.join(f'{count} of {stream}' for stream, count in tokens.items())}.",
        f"Trained in {seconds.get('denoiser', 0):.0f} s"
        + (f", its tokenizer in {seconds['tokenizer']:.0f} s." if seconds.get("tokenizer", 0) > 1 else "."),
        "",
        f"![samples](modalities/{name}.png)",
        "",
        "| metric | value | 95 % interval | n | real data |",
        "|---|---|---|---|---|",
        *_measures(run),
        "",
    ]
    return "\n".join(lines)


def _node(node: Any) -> str:
    """In YAML's flow style, without what is as by default."""
    own = {name: value for name in type(node).model_fields if (value := getattr(node, name)) != type(node).model_fields[name].default}
    inside = [f"{name}: {_value(value)}" for name, value in own.items()]
    return "{" + ", ".join([f"kind: {node.kind}", *inside]) + "}"


def _value(value: Any) -> str:
    if hasattr(value, "kind"):
        return _node(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_value(item)}" for name, item in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value)


def _measures(run: Run) -> Iterator[str]:
    for measure in read_json(run.folder / "evaluation.json"):
        floor = "" if measure["floor"] is None else f"{measure['floor']:.3g}"
        yield f"| {measure['name']} | {measure['value']:.3g} | {measure['low']:.3g} to {measure['high']:.3g} | {measure['n']} | {floor} |"


def _page(parts: list[str]) -> str:
    yaml = "\n".join(f"{name}: {_plain(node)}" for name, node in COMMON.items())
    return f"""# One recipe, every modality

Made by `python -m benchmarks.modalities`. Each run below has this recipe, seed 0, unconditional and short: minutes on one thread
of a CPU that other work shared. Only `modality` and `tokenizer` differ, and no part of the rest knows which modality it is.

```yaml
{yaml}
```

What is predicted are data, and times are drawn near 1, because tokens of some modalities are wider than the network (sounds, frames): with
velocities and the usual times, 300 steps gave noise there (docs/experiments.md).

Precision is the share of samples that look like real ones, recall the share of real ones that look like a sample, both on the mean and
spread of each sample's tokens; the last column is what other real samples reach. They compare a modality's samples with its own real data,
and never two modalities with each other.

What is seen: notes with their harmonics and ends; digits, most of them legible, and with labels that mostly fit; small molecules, some
with odd rings; lamps, tables and chairs that can be told, but fuzzy (the numbers say so too); smooth chunks of actions; sprites that
move, mostly as balls without their shape, some fading. The quickstart recipes do better: they ask for conditions, train longer, and
judge by metrics of the modality's own.

""" + "\n".join(parts)


def _plain(node: Any) -> str:
    if isinstance(node, dict):
        return "{" + ", ".join(f"{name}: {_plain(item)}" for name, item in node.items()) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(map(_plain, node)) + "]"
    return str(node).lower() if isinstance(node, bool) else str(node)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs") / "modalities")
