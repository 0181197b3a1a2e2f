"""This project's merging beside mergekit: the same models, the largest difference.

    python bench/merging.py BASE ONE OTHER MERGEKIT_ENV OUT_DIR

BASE is the folder of the model from which ONE and OTHER grew, with the same tokenizer;
MERGEKIT_ENV the virtual environment in which mergekit is installed. Both tools merge in
float32, mergekit from the settings that mean the same thing there. Where chance decides
(DARE) everything is kept: the mask of one tool cannot be given to the other.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from training.merging import relatives  # noqa: E402
from training.spec import MergeModels  # noqa: E402
from training.stages import merge_models  # noqa: E402

SEED = 1
Tensors = dict[str, torch.Tensor]


def cases() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """By name: our settings, and what mergekit calls the same.

    `weights` are of ONE and OTHER; the base has none.
    """

    def ours(method: str, weight: float, density: float = 1.0) -> dict[str, Any]:
        return {"method": method, "weight": weight, "density": density}

    def theirs(method: str, *weights: float, **shared: Any) -> dict[str, Any]:
        return {"merge_method": method, "weights": weights, "parameters": shared}

    return {
        "linear, half each": (ours("linear", 0.5), theirs("linear", 0.5, 0.5)),
        "linear, 0.3 of the first": (ours("linear", 0.3), theirs("linear", 0.3, 0.7)),
        "slerp, half-way": (ours("slerp", 0.5), theirs("slerp", t=0.5)),
        "slerp, 0.8 of the first": (ours("slerp", 0.8), theirs("slerp", t=0.2)),
        "ties, everything kept": (ours("ties", 1.0), theirs("ties", 1, 1, density=1.0)),
        "ties, a fifth kept": (
            ours("ties", 1.0, 0.2),
            theirs("ties", 1, 1, density=0.2),
        ),
        "ties, a fifth kept, 0.7 added": (
            ours("ties", 0.7, 0.2),
            theirs("ties", 1, 1, density=0.2, **{"lambda": 0.7}),
        ),
        "dare_ties, everything kept": (
            ours("dare_ties", 1.0),
            theirs("dare_ties", 1, 1, density=1.0, normalize=True),
        ),
        "dare, everything kept": (
            ours("dare", 1.0),
            theirs("dare_linear", 0.5, 0.5, density=1.0),
        ),
    }


def merged_here(settings: dict[str, Any], base: Path, models: list[Path]) -> Tensors:
    """By this project's stage."""
    own = relatives.open_relative(models[0], torch.float32)
    merge_models.merge(
        MergeModels(**settings),
        own,
        relatives.open_relative(base),
        [relatives.open_relative(folder) for folder in models[1:]],
        SEED,
    )
    return own.tensors


def merged_there(
    settings: dict[str, Any], base: Path, models: list[Path], env: Path, out: Path
) -> Tensors:
    """By mergekit's command, read back from its folder."""
    slerp = settings["merge_method"] == "slerp"
    weights = settings["weights"] or (None,) * len(models)
    recipe = {
        "merge_method": settings["merge_method"],
        "models": [
            {"model": str(folder)}
            | ({} if weight is None else {"parameters": {"weight": weight}})
            for folder, weight in zip(models, weights, strict=True)
        ],
        "parameters": settings["parameters"],
        "dtype": "float32",
    }
    if settings["merge_method"] != "linear":
        recipe["base_model"] = str(models[0] if slerp else base)
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.yaml").write_text(json.dumps(recipe))  # JSON is YAML too
    with (out / "log").open("w") as log:
        subprocess.run(
            [env / "bin/mergekit-yaml", out / "recipe.yaml", out / "model"],
            check=True,
            stdout=log,
            stderr=log,
        )
    return relatives.open_relative(out / "model", torch.float32).tensors


def distance(ours: Tensors, theirs: Tensors, before: Tensors) -> dict[str, float]:
    """The largest difference of a number and where it is, beside how far the merge moved
    the numbers of the first model at most."""
    if set(ours) != set(theirs):
        raise SystemExit(f"other tensors: {sorted(set(ours) ^ set(theirs))}")
    return {
        "largest": max((ours[n] - theirs[n]).abs().max().item() for n in ours),
        "moved": max((ours[n] - before[n]).abs().max().item() for n in ours),
        "differ": sum(int(((ours[n] - theirs[n]).abs() > 1e-6).sum()) for n in ours)
        / sum(tensor.numel() for tensor in ours.values()),
    }


def main() -> None:
    """Merge each case twice and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("base", "one", "other", "mergekit", "out"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    models = [options.one, options.other]
    before = relatives.open_relative(options.one, torch.float32).tensors
    print("| method | largest difference | numbers apart by over 1e-6 | moved |")
    print("|---|---|---|---|")
    for name, (ours, theirs) in cases().items():
        folder = options.out / name.replace(" ", "-").replace(",", "")
        found = distance(
            merged_here(ours, options.base, models),
            merged_there(theirs, options.base, models, options.mergekit, folder),
            before,
        )
        print(
            f"| {name} | {found['largest']:.1e} | {found['differ']:.3%} "
            f"| {found['moved']:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
