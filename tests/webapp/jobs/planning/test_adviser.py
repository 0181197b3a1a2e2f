"""The adviser over situations that people have: what it says, and that it can be done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from webapp.jobs.planning import rows_advice, tokenizer_advice
from webapp.jobs.planning.adviser import Advice, advise
from webapp.jobs.planning.plan import make_plan
from webapp.jobs.planning.situation import Situation
from webapp.recipes.catalogue import launchable

KB, MB, GB, BILLION = 10**3, 10**6, 10**9, 10**9
TINY = {"parameters": 260_000, "positions": 512, "rows": 512, "byte_fallback": True}
SMALL = {
    "parameters": 4_400_000,
    "positions": 512,
    "rows": 3_072,
    "byte_fallback": True,
}
SMOL = {"parameters": 135 * MB, "positions": 2_048, "rows": 49_152}
ONE = {"parameters": 1_240 * MB, "positions": 131_072, "rows": 128_256, "tied": True}
SEVEN = {"parameters": 7 * BILLION, "positions": 4_096, "rows": 32_000}
CHAT = SEVEN | {"chat_template": True}
SMALL_CHAT, SMOL_CHAT = (base | {"chat_template": True} for base in (SMALL, SMOL))
BLIND = SMALL | {"byte_fallback": False}
CPU = ({"kind": "cpu", "name": "laptop", "memory_bytes": 16 * GB},)
LITTLE_GPU = ({"kind": "cuda", "name": "T4", "memory_bytes": 16 * GB},)
GPU = ({"kind": "cuda", "name": "A100", "memory_bytes": 80 * GB},)
NODE = 8 * ({"kind": "cuda", "name": "H200", "memory_bytes": 141 * GB},)
HOUR, DAY = 60.0, 1_440.0
SIBLING = frozenset({"target", "protected", "instruct"})
KEEP, LORA_KEEP = "keep-tokenizer", "lora-keep"


def of(
    passport: dict[str, Any], language: str, size: int, cut: float | None, **more: Any
) -> Situation:
    """A situation with so many bytes of text that the base cuts so."""
    wide = {"kk": 2, "ug": 2, "bo": 3, "bn": 3, "zh": 3}.get(language, 1)
    values: dict[str, Any] = {
        "target_bytes": size,
        "target_characters": size // wide,
        "characters_per_token": cut,
        "protected_bytes": MB,
        "devices": CPU,
    }
    return Situation(passport, language, **(values | more))


@dataclass
class Case:
    name: str
    situation: Situation
    recipe: str
    extends: bool | None
    words: str = ""
    warns: str = ""


CASES = [
    # --- The tokenizer: between letters and words ---
    Case("sw-30kb-laptop", of(SMALL, "sw", 30 * KB, 1.68), KEEP, False),
    Case("sw-1mb-tiny", of(TINY, "sw", MB, 1.34), KEEP, False, "2.111"),
    Case("sw-100mb", of(SMOL, "sw", 100 * MB, 2.1), KEEP, False),
    # --- The tokenizer: letters cut into bytes ---
    Case("bo-300kb", of(SMALL, "bo", 300 * KB, 0.38), "default", True, "1.155"),
    Case("bo-2mb-tiny", of(TINY, "bo", 2 * MB, 0.38), "default", True),
    Case("kk-2mb-tiny", of(TINY, "kk", 2 * MB, 0.55), "default", True),
    Case("ug-1mb", of(SMALL, "ug", MB, 0.55), "default", True),
    Case("bn-1mb", of(SMALL, "bn", MB, 0.38), "default", True),
    Case("kk-30kb", of(SMALL, "kk", 30 * KB, 0.55), "default", True),
    # --- The tokenizer: good already ---
    Case("de-good", of(SMOL, "de", 50 * MB, 3.9), KEEP, False, "3.90"),
    Case("zh-dense", of(SMOL, "zh", 30 * MB, 1.4), KEEP, False),
    Case("zh-bytes", of(SMOL, "zh", 30 * MB, 0.5), "default", True),
    Case("zh-between", of(SMOL, "zh", 30 * MB, 0.9), KEEP, False),
    Case("unknown-cut", of(SMOL, "sw", 10 * MB, None), "default", True, "not known"),
    # --- The tokenizer: a letter a token, which is not cut into bytes ---
    Case("sw-letters", of(TINY, "sw", MB, 1.0), KEEP, False),
    Case("kk-letters", of(SMALL, "kk", 2 * MB, 0.95), KEEP, False),
    # --- The tokenizer: speed before quality ---
    Case(
        "sw-faster",
        of(SMALL, "sw", MB, 1.68, faster=True),
        "default",
        True,
        "speed matters",
    ),
    Case("de-faster", of(SMOL, "de", 50 * MB, 3.9, faster=True), KEEP, False, "3.90"),
    Case(
        "sw-chat-faster",
        of(CHAT, "sw", 50 * MB, 2.1, devices=GPU, faster=True),
        "new-rows-only",
        True,
        "every weight that it answers with stays",
    ),
    Case(
        "kk-chat-faster",
        of(CHAT, "kk", 50 * MB, 0.55, devices=GPU, faster=True),
        "lora",
        True,
    ),
    # --- The tokenizer: what the base knows hangs on its pieces ---
    Case("kk-known", of(SMALL, "kk", 2 * MB, 0.55, knows=True), KEEP, False, "1.59"),
    Case("sw-known", of(SMALL, "sw", MB, 1.68, knows=True), KEEP, False, "2.111"),
    Case(
        "kk-known-faster",
        of(SMALL, "kk", 2 * MB, 0.55, knows=True, faster=True),
        "default",
        True,
        "speed matters",
    ),
    Case(
        "kk-known-chat-faster",
        of(CHAT, "kk", 50 * MB, 0.55, devices=GPU, knows=True, faster=True),
        "new-rows-only",
        True,
        "every weight that it answers with stays",
    ),
    # --- Size and devices ---
    Case("sw-1b-gpu", of(ONE, "sw", 50 * MB, 2.1, devices=GPU), LORA_KEEP, False),
    Case("bo-1b-gpu", of(ONE, "bo", 50 * MB, 0.5, devices=GPU), "lora", True),
    Case("bn-7b-a100", of(SEVEN, "bn", 300 * MB, 0.4, devices=GPU), "lora", True),
    Case(
        "kk-20gb-8-gpus",
        of(SEVEN, "kk", 20 * GB, 1.6, devices=NODE, minutes=60 * DAY),
        "default",
        True,
        "half a billion",
    ),
    Case(
        "kk-20gb-in-an-hour",
        of(SEVEN, "kk", 20 * GB, 1.6, devices=NODE, minutes=HOUR),
        LORA_KEEP,
        False,
    ),
    Case(
        "et-5gb-small-model",
        of(SMOL, "et", 5 * GB, 2.0, devices=GPU, minutes=2 * DAY),
        "default",
        True,
        "half a billion",
    ),
    Case(
        "sw-7b-little-gpu",
        of(SEVEN, "sw", 50 * MB, 2.1, devices=LITTLE_GPU),
        "chinese-mixtral",
        False,
        "4 bits",
    ),
    # --- Bases that answer already, or whose sibling does ---
    Case(
        "it-instruct",
        of(CHAT, "it", 50 * MB, 3.0, devices=GPU),
        LORA_KEEP,
        False,
        "answer already",
        "forget",
    ),
    Case(
        "sw-sibling",
        of(SEVEN, "sw", 50 * MB, 2.1, devices=GPU, available=SIBLING),
        "chat-vector",
        False,
        "sibling",
    ),
    # --- What for ---
    Case(
        "sw-translate",
        of(SMALL, "sw", 5 * MB, 1.7, parallel_rows=5_000, goal="translate"),
        "alma",
        False,
        "5,000 pairs",
    ),
    Case(
        "bo-translate",
        of(SMALL, "bo", 5 * MB, 0.4, parallel_rows=5_000, goal="translate"),
        "alma",
        True,
    ),
    Case(
        "sw-translate-without-pairs",
        of(SMALL, "sw", 5 * MB, 1.7, goal="translate"),
        KEEP,
        False,
    ),
    Case("sw-pairs", of(SMALL, "sw", 5 * MB, 1.7, parallel_rows=5_000), KEEP, False),
    Case("sw-write", of(SMALL, "sw", 5 * MB, 1.7, goal="write"), KEEP, False),
    # --- Without text ---
    Case(
        "only-instructions",
        of(SMALL, "sw", 0, None, instruction_rows=800),
        "instructions-only",
        None,
        "no plain text",
    ),
    Case(
        "only-pairs",
        of(SMALL, "sw", 0, None, parallel_rows=800, goal="translate"),
        "instructions-only",
        None,
    ),
    Case("nothing", of(SMALL, "sw", 0, None), "default", None, "", "too little"),
    # --- More than text ---
    Case(
        "related-helps",
        of(SMALL, "kk", 2 * MB, 0.55, related_bytes=30 * MB),
        "uralic",
        True,
        "related",
    ),
    Case(
        "related-is-little",
        of(SMALL, "kk", 2 * MB, 0.55, related_bytes=100 * KB),
        "default",
        True,
    ),
    Case(
        "few-preferences",
        of(SMALL, "kk", MB, 0.55, instruction_rows=900, preference_rows=40),
        "default",
        True,
        "",
        "only 40 marked",
    ),
    Case(
        "many-preferences",
        of(SMALL, "kk", MB, 0.55, instruction_rows=2_000, preference_rows=5_000),
        "sambalingo",
        True,
        "5,000 marked",
    ),
    Case(
        "no-byte-fallback",
        of(BLIND, "kk", 2 * MB, 0.9),
        "romanization",
        None,
        "no byte fallback",
    ),
    Case("small-instruct-base", of(SMOL_CHAT, "sw", 2 * MB, 1.7), LORA_KEEP, None),
    Case("tiny-instruct-base", of(SMALL_CHAT, "sw", 2 * MB, 1.7), KEEP, None),
    Case("no-byte-fallback-latin", of(BLIND, "sw", 2 * MB, 1.7), KEEP, False),
]


def extended(advice: Advice) -> bool | None:
    chosen = {c.setting: c.value for c in advice.choices.get("extend_vocabulary", [])}
    method = chosen.get("extend_vocabulary.method")
    return None if method is None else method != "keep"


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_recipe_for_a_situation(case: Case) -> None:
    advice = advise(case.situation)
    assert advice.recipe == case.recipe
    if case.extends is not None:
        assert extended(advice) == case.extends
    assert case.words in " ".join(reason.sentence for reason in advice.reasons)
    assert case.warns in " ".join(advice.warnings)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_is_advised_can_be_planned(case: Case) -> None:
    advice = advise(case.situation)
    recipe = launchable()[advice.recipe]
    plan = make_plan(case.situation, recipe, {}, advice.choices)
    reasons = {reason["setting"]: reason for reason in plan.reasons}
    for key, choices in advice.choices.items():
        for choice in choices:
            held = reasons[f"{key}.{choice.setting.partition('.')[2]}"]
            assert (held["value"], held["reason"]) == (choice.value, choice.reason)
    assert all(reason.sentence.endswith(".") for reason in advice.reasons)
    if case.situation.target_characters:
        assert all(reason.source for reason in advice.reasons)


def test_a_person_decides_over_the_adviser() -> None:
    situation = of(SMALL, "sw", MB, 1.68)
    advice = advise(situation)
    chosen = {"extend_vocabulary": {"method": "continued_bpe", "new_tokens": 300}}
    recipe = launchable()[advice.recipe]
    plan = make_plan(situation, recipe, chosen, advice.choices)
    (stage,) = (s for s in plan.stages if s.stage == "extend_vocabulary")
    assert (stage.method, stage.new_tokens) == ("continued_bpe", 300)


def test_who_asks_for_pieces_gets_them_whatever_recipe_and_adviser_say() -> None:
    situation = of(SMALL, "sw", 3 * MB, 1.68)
    advice = advise(situation)
    recipe = launchable()["keep-tokenizer"]
    chosen = {"extend_vocabulary": {"method": "append"}}
    plan = make_plan(situation, recipe, chosen, advice.choices)
    (stage,) = (s for s in plan.stages if s.stage == "extend_vocabulary")
    assert stage.method == "append" and stage.new_tokens >= 256
    kept = make_plan(situation, recipe, {}, advice.choices)
    (stage,) = (s for s in kept.stages if s.stage == "extend_vocabulary")
    assert (stage.method, stage.new_tokens) == ("keep", 0)


def test_expectations_are_given_only_where_something_was_measured() -> None:
    measured = advise(of(SMALL, "bo", 3 * MB, 0.38))
    low, high = measured.expected["bits_per_byte"]
    assert low <= 1.155 <= high and "five languages" in measured.basis
    low, high = measured.expected["characters_per_token"]
    assert low <= 3.12 <= high
    kept = advise(of(TINY, "sw", MB, 1.34))
    assert kept.expected["characters_per_token"] == (1.34, 1.34)
    large = advise(of(SEVEN, "bn", 300 * MB, 0.4, devices=GPU))
    assert "bits_per_byte" not in large.expected
    unknown = advise(of(SMALL, "sw", MB, None))
    assert unknown.expected == {} and unknown.basis == ""


@dataclass
class Rows:
    name: str
    passport: dict[str, Any]
    cut: float | None
    start: str
    objective: str
    words: str
    knows: bool = False


ROWS = [
    Rows("tied", SMALL | {"tied": True}, 1.68, "mean", "distil", "one matrix"),
    Rows(
        "tied-bytes", SMALL | {"tied": True}, 0.55, "mean", "next_token", "one matrix"
    ),
    Rows("untied", SMALL | {"tied": False}, 1.68, "mean_first", "distil", "the first"),
    Rows("untied-bytes", SMALL, 0.55, "mean", "next_token", "first byte of a letter"),
    Rows("not-tried", SMALL, None, "mean_first", "distil", "the first"),
    Rows("known-bytes", SMALL, 0.55, "mean", "distil", "first byte", knows=True),
]


@pytest.mark.parametrize("case", ROWS, ids=[case.name for case in ROWS])
def test_how_the_rows_of_new_pieces_begin(case: Rows) -> None:
    """By the base and by how it cuts the text; said with its source, and in the plan."""
    situation = of(case.passport, "kk", MB, case.cut, faster=True, knows=case.knows)
    advice = advise(situation)
    assert advice.recipe == "default"
    start = next(r for r in advice.reasons if "New rows begin" in r.sentence)
    assert case.words in start.sentence and "bench/RESULTS.md" in start.source
    assert any("not taught by themselves" in r.sentence for r in advice.reasons)
    # The same for who takes a recipe without the adviser.
    recipe = launchable()["token-distillation"]
    free = replace(recipe, stages=tuple(replace(s, settings={}) for s in recipe.stages))
    stages = {s.stage: s for s in make_plan(situation, free).stages}
    assert stages["extend_vocabulary"].initialisation == case.start
    assert stages["distil_embeddings"].objective == case.objective


def test_a_recipe_keeps_its_own_start() -> None:
    """SambaLingo is said to begin with means; the adviser does not change the paper's."""
    text = {"instruction_rows": 2_000, "preference_rows": 5_000, "faster": True}
    situation = of(SMALL, "sw", MB, 1.68, **text)
    advice = advise(situation)
    recipe = launchable()[advice.recipe]
    assert advice.recipe == "sambalingo"
    assert rows_advice.initialisation(situation).value == "mean_first"
    (stage,) = (
        s
        for s in make_plan(situation, recipe, {}, advice.choices).stages
        if s.stage == "extend_vocabulary"
    )
    assert stage.initialisation == "mean"
    assert not any("New rows begin" in reason.sentence for reason in advice.reasons)


def test_where_there_are_no_new_rows_nothing_is_said_of_them() -> None:
    situation = of(SMALL, "sw", MB, 1.68)
    advice = advise(situation)
    assert not any("rows" in reason.sentence for reason in advice.reasons)
    plan = make_plan(situation, launchable()[advice.recipe], {}, advice.choices)
    told = {reason["setting"] for reason in plan.reasons}
    assert "extend_vocabulary.method" in told
    assert "extend_vocabulary.initialisation" not in told


def test_a_teacher_that_cannot_read_is_warned_of() -> None:
    recipe = launchable()["token-distillation"]
    warned = {
        cut: any(
            "little to teach" in w
            for w in make_plan(of(SMALL, "kk", MB, cut), recipe).warnings
        )
        for cut in (0.55, 1.68, None)
    }
    assert warned == {0.55: True, 1.68: False, None: False}


def test_the_verdict_turns_with_its_evidence() -> None:
    base = of(SMOL, "et", 5 * GB, 2.0, devices=GPU, minutes=2 * DAY)
    decide = tokenizer_advice.decide
    assert decide(base)[0]
    assert not decide(replace(base, minutes=5.0))[0]
    assert not decide(replace(base, target_characters=10**6))[0]
    assert decide(replace(base, characters_per_token=0.6, minutes=5))[0]
    assert not decide(replace(base, characters_per_token=3.0))[0]
    hurried = replace(base, minutes=5.0, faster=True)
    assert decide(hurried)[0]
    assert not decide(replace(hurried, characters_per_token=3.0))[0]
