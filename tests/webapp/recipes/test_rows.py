"""Every published system of the list stands in the gallery; what can be launched makes a
plan where its needs are met."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.conf import settings

from training.settings.needs import NAMES
from webapp.jobs.planning.needs import missing
from webapp.jobs.planning.plan import make_plan
from webapp.jobs.planning.situation import Situation
from webapp.recipes.catalogue import launchable, recipes
from webapp.recipes.recipe import NEEDS

# Rows of the list of systems by section, and the recipes that stand for each.
ROWS = {
    "pipelines": {
        "MaLA-500": ["mala-500"],
        "EMMA-500": ["emma-500"],
        "SambaLingo": ["sambalingo"],
        "Swallow": ["swallow"],
        "Chinese-Mixtral": ["chinese-mixtral"],
        "ChocoLlama": ["chocollama"],
        "TituLLMs": ["titullms"],
        "LLaMAntino / ANITA": ["anita"],
        "BLOOM+1": ["bloom-plus-one"],
        "Cendol": ["cendol"],
        "Bailong": ["bailong"],
        "Llammas": ["llammas"],
        "Efficient adaptation": ["efficient-adaptation"],
        "Kanana": ["kanana"],
        "MAFT": ["maft"],
        "Uralic": ["uralic"],
        "Vietnamese chatbot": ["vietnamese-chatbot"],
        "Icelandic": ["icelandic", "icelandic-bottleneck", "icelandic-last-layers"],
        "Romanization": ["romanization"],
        "Small models, big impact": ["small-models"],
        "IKUN": ["ikun"],
        "ALMA": ["alma"],
        "Three-stage translation": ["three-stage-translation"],
        "NusaMT": ["nusamt"],
        "Steering LLMs for MT": ["steering-mt"],
        "Fine-tuning paradox": ["finetuning-paradox"],
    },
    "vocabulary": {
        "Continued BPE": ["continued-bpe"],
        "Russian vocabulary substitution / LEP": ["lep"],
        "Trans-tokenization": ["trans-tokenization"],
        "Tik-to-Tok": ["tik-to-tok"],
        "WECHSEL": ["wechsel"],
        "OFA": ["ofa"],
        "FOCUS": ["focus"],
        "UniBridge": ["unibridge"],
        "UNKs everywhere": ["unks-everywhere"],
        "Token distillation": ["token-distillation"],
        "Active forgetting": ["active-forgetting"],
        "KS-Lottery / embeddings only": ["ks-lottery", "embeddings-only"],
    },
    "data": {
        "LEIA": ["leia"],
        "Bactrian-X": ["bactrian-x"],
        "Okapi / RLHF / xLLMs-100": ["okapi", "rlhf-many-languages", "xllms-100"],
        "TaCo": ["taco"],
        "x-LLaMA, CrossAlpaca, CrossIn": ["x-llama", "crossalpaca", "crossin"],
        "InstructAlign": ["instruct-align"],
        "xCoT": ["xcot"],
        "LinguaLIFT": ["lingualift"],
        "BLOOMZ / xP3": ["bloomz-xp3"],
        "Instruction backtranslation": ["instruction-backtranslation"],
        "UltraLink, M2Lingual, BioInstruct": ["ultralink"],
        "Pinch of multilinguality": ["pinch-of-multilinguality"],
        "Noisy parallel text": ["noisy-parallel"],
    },
    "merging": {
        "Branch-and-Merge": ["branch-and-merge"],
        "RE-Adapt / chat vector": ["chat-vector", "re-adapt"],
        "Model merging; TIES, DARE, SLERP": [
            "model-merging",
            "model-merging-slerp",
            "model-merging-dare",
        ],
        "Language and task arithmetic": ["task-arithmetic"],
        "Checkpoint averaging": ["checkpoint-averaging"],
        "Half fine-tuning, LISA": ["half-fine-tuning", "lisa", "layer-selection"],
        "X-ELM": ["x-elm"],
    },
}
ALL = [
    (section, row, name)
    for section, rows in ROWS.items()
    for row, names in rows.items()
    for name in names
]
EVERYTHING = {
    *{place.partition(".")[2] for place in NAMES},
    *("target", "protected", "parallel", "instructions", "preferences", "related"),
}
PLENTY = Situation(
    passport={"parameters": 135_000_000, "positions": 2_048, "rows": 49_152},
    language="kk",
    target_bytes=60_000_000,
    target_characters=30_000_000,
    protected_bytes=20_000_000,
    parallel_rows=20_000,
    instruction_rows=5_000,
    preference_rows=5_000,
    dictionary_rows=5_000,
    related_bytes=90_000_000,
    minutes=600,
    characters_per_token=1.1,
    devices=({"kind": "cuda", "name": "A100", "memory_bytes": 80 * 10**9},),
    available=frozenset(EVERYTHING),
)


@pytest.mark.parametrize(("section", "row", "name"), ALL)
def test_every_row_has_its_recipe(section: str, row: str, name: str) -> None:
    recipe = recipes()[name]
    assert recipe.section == section
    # What is not as in the source is said, or why nothing can be launched.
    assert recipe.changes or recipe.unsupported


@pytest.mark.parametrize("name", launchable())
def test_what_can_be_launched_makes_a_plan(name: str) -> None:
    recipe = recipes()[name]
    assert missing(PLENTY, recipe) == []
    plan = make_plan(PLENTY, recipe)
    assert missing(PLENTY, recipe, plan.stages) == []
    for key, stage in zip(recipe.keyed, plan.stages, strict=True):
        for setting, value in key[1].settings.items():
            assert getattr(stage, setting) == value
    spent = sum(getattr(stage, "minutes", 0.0) for stage in plan.stages)
    assert not spent or 0.4 * PLENTY.minutes <= spent <= 1.02 * PLENTY.minutes


@pytest.mark.parametrize("name", launchable())
def test_a_need_that_is_not_met_is_named(name: str) -> None:
    recipe = recipes()[name]
    plan = make_plan(PLENTY, recipe)
    nothing = replace(
        PLENTY,
        passport={"tied": True},
        target_characters=0,
        devices=(),
        available=frozenset(),
    )
    lacking = missing(nothing, recipe, plan.stages)
    assert set(recipe.needs) <= set(lacking)
    assert set(lacking) <= set(NEEDS)
    assert lacking or {s.name for s in recipe.stages} <= {"prepare", "evaluate"}


def test_each_source_and_sentence_is_there() -> None:
    for recipe in recipes().values():
        assert len(recipe.source) > 8
        for sentence in (recipe.summary, recipe.when, recipe.checked):
            assert sentence.endswith("."), (recipe.name, sentence)
        assert recipe.launchable or recipe.unsupported.endswith(".")


def test_the_page_of_recipes_names_them_all() -> None:
    page = (settings.ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert not [name for name in recipes() if f"| `{name}` |" not in page]
