"""Measure the model as the base was measured, and write the report.

Writes RUN_DIR/report.json:

    model                  folder of the final model
    tokenizer              {before, after}: vocabulary, characters_per_token,
                           tokens_per_word, byte_fallback_share
    bits_per_byte          {target, protected}: {before, [pretrained,] after} on held-out
                           text; null where nothing is protected
    bits_per_byte_by_language {language: {before, [pretrained,] after}} of every language
                           that text was held out of, related ones too
    samples                [{prompt, [asked,] before, [pretrained,] after}]; asked is the
                           prompt in Latin letters where the text was romanised
    seconds                {total, stages: {stage: seconds}, runs: [{index, stage,
                           seconds}]}; a stage that ran twice is summed in stages

"pretrained" is the model before instruction tuning, where there was any.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training import compute, manifest
from training.evaluation.evaluator import ROLES, Evaluator
from training.families import load_model, load_tokenizer

if TYPE_CHECKING:
    from training.run import StageContext

INSTRUCTION_STAGE = "tune_instructions"


def run(context: StageContext) -> dict[str, Any]:
    """Measure, compare, write the report; returns {"after", ["pretrained"]}."""
    began = time.monotonic()
    measured = {"before": context.figures["prepare"]["before"]}
    pretrained = pretrained_folder(context)
    if pretrained == Path(context.spec.base):
        measured["pretrained"] = measured["before"]
    elif pretrained is not None:
        measured["pretrained"] = measure_folder(context, pretrained)
    context.stop.raise_if_requested()
    measured["after"] = measure_folder(context, context.model)
    own = {
        "index": len(context.runs),
        "stage": "evaluate",
        "seconds": round(time.monotonic() - began, 2),
    }
    runs = [*context.runs, own]
    stages = {**context.seconds, "evaluate": own["seconds"]}
    report = {
        "model": str(context.model),
        **compare(measured),
        "seconds": {
            "total": round(sum(run["seconds"] for run in runs), 2),
            "stages": stages,
            "runs": runs,
        },
    }
    manifest.write_json(context.run_dir / "report.json", report)
    return {name: value for name, value in measured.items() if name != "before"}


def measure_folder(context: StageContext, folder: Path) -> dict[str, Any]:
    """Tokenizer figures, bits per byte and answers of a model folder."""
    device = compute.prepare_device(context.spec.device)
    with compute.memory_errors("The model does not fit into memory."):
        evaluator = Evaluator(
            load_model(folder, device=device),
            load_tokenizer(folder),
            context.spec,
            context.prepared,
            "held_out",
        )
        return evaluator.everything()


def pretrained_folder(context: StageContext) -> Path | None:
    """The model that instruction tuning began with; None where there was no tuning."""
    if INSTRUCTION_STAGE not in context.finished:
        return None
    folder = Path(context.spec.base)
    for stage, finished in context.finished.items():
        if stage == INSTRUCTION_STAGE:
            break
        if (finished / "model").is_dir():
            folder = finished / "model"
    return folder


def compare(measured: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Measurements by moment, turned into the report's tables."""
    samples = []
    for number, sample in enumerate(measured["before"]["samples"]):
        answers = {m: of["samples"][number]["answer"] for m, of in measured.items()}
        told = {name: sample[name] for name in ("prompt", "asked") if name in sample}
        samples.append({**told, **answers})
    return {
        "tokenizer": {m: of["tokenizer"] for m, of in measured.items()},
        "bits_per_byte": {
            role: {m: of["bits_per_byte"][role] for m, of in measured.items()}
            for role in ROLES
        },
        "bits_per_byte_by_language": {
            language: {
                m: of.get("bits_per_byte_by_language", {}).get(language)
                for m, of in measured.items()
            }
            for language in measured["before"].get("bits_per_byte_by_language", {})
        },
        "samples": samples,
    }
