"""The control of a job: the same without new pieces, over equally many bytes of text.

A run that is ended by its minutes reads as far as it comes. The control must read as much
and no more, so that it is made after the run: as many passes over the same text, and for
answering as many steps, as the run really did.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from webapp.jobs.models import Job
from webapp.jobs.planning.constants import UNTIMED_MINUTES
from webapp.jobs.planning.plan import Overrides
from webapp.recipes.catalogue import recipes
from webapp.recipes.recipe import Recipe, RecipeStage, stage_keys
from webapp.recipes.selectors import recipe_named

NAME = "keep-tokenizer"
KEPT = {"method": "keep", "new_tokens": 0}
# Stages that only new pieces need, and what is trained that is only theirs.
OF_NEW_PIECES = frozenset({"distil_embeddings"})
ONLY_NEW = frozenset(
    {"new_rows", "new_input_rows", "new_output_rows", "new_input_and_output_rows"}
)
READING = "continue_pretraining"


def control_recipe(job: Job) -> tuple[Recipe, Overrides]:
    """The job's recipe without new pieces, and what makes it read equal bytes.

    What stages that only taught new rows have read is added to the first that stays.
    """
    recipe = recipe_named(job.workspace, job.recipe) or recipes()[NAME]
    kept = [(key, stage) for key, stage in recipe.keyed if not _of_new_pieces(stage)]
    stages = [RecipeStage(s.name, _without_pieces(s), s.share) for _key, s in kept]
    given = copy.deepcopy(job.answers.get("overrides") or {})
    done = _done(job)
    owed = sum(done[key].get("epochs", 0.0) for key in done if key not in dict(kept))
    overrides: Overrides = {}
    for (key, stage), new_key in zip(
        kept, stage_keys(s.name for s in stages), strict=True
    ):
        if stage.name == "extend_vocabulary":
            continue
        values = given.get(key, {}) | done.get(key, {})
        if stage.name == READING and "epochs" in values:
            values["epochs"], owed = values["epochs"] + owed, 0.0
        if values:
            overrides[new_key] = values
    return dataclasses.replace(recipe, name=NAME, stages=tuple(stages)), overrides


def _without_pieces(stage: RecipeStage) -> dict[str, Any]:
    if stage.name == "extend_vocabulary":
        return dict(KEPT)
    settings = dict(stage.settings)
    if settings.get("forget_rows") == "new_rows":  # there are none to forget
        settings["forget_every_steps"] = 0
    return settings


def _of_new_pieces(stage: RecipeStage) -> bool:
    return stage.name in OF_NEW_PIECES or stage.settings.get("trains") in ONLY_NEW


def _done(job: Job) -> dict[str, dict[str, Any]]:
    """By key: settings that end a stage where the job's own stage ended."""
    stages = list(job.stages.all())
    found: dict[str, dict[str, Any]] = {}
    for key, stage in zip(stage_keys(s.name for s in stages), stages, strict=True):
        figures = stage.figures
        if stage.name == READING and figures.get("passes"):
            passes = max(0.01, figures["passes"])
            found[key] = {"epochs": passes, "minutes": UNTIMED_MINUTES, "steps": 0}
        elif stage.name == "tune_instructions" and figures.get("steps"):
            found[key] = {"steps": figures["steps"]}
    return found
