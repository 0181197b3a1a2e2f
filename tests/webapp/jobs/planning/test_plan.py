"""Golden tables: what realistic situations become, and what must hold of every plan."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import SpecInvalid
from training.spec import ContinuePretraining, ExtendVocabulary, TuneInstructions
from webapp.jobs.planning.cautions import too_large
from webapp.jobs.planning.plan import Plan, make_plan
from webapp.jobs.planning.predictions import predict
from webapp.jobs.planning.situation import GOALS, Situation
from webapp.recipes.catalogue import recipes
from webapp.recipes.reading import parse

TINY = {"parameters": 260_000, "vocabulary": 512, "positions": 512}
SMALL = {"parameters": 4_000_000, "vocabulary": 4_096, "positions": 512}
HUNDRED = {"parameters": 135_000_000, "vocabulary": 49_152, "positions": 2_048}
SEVEN = {"parameters": 7_200_000_000, "vocabulary": 32_000, "positions": 32_768}
GPU = ({"kind": "cuda", "name": "GPU", "memory_bytes": 141 * 10**9},)
LAPTOP = ({"kind": "cpu", "name": "CPU", "memory_bytes": 16 * 10**9},)

EXAMPLE = Situation(  # the bundled example: a small base, Swahili
    passport=SMALL,
    language="sw",
    target_bytes=110_000,
    target_characters=110_000,
    protected_bytes=500_000,
    parallel_rows=300,
    instruction_rows=200,
    minutes=7,
    characters_per_token=1.9,
    devices=LAPTOP,
)
KAZAKH = Situation(  # a novel and some news, no questions
    passport=TINY,
    language="kk",
    target_bytes=2_900_000,
    target_characters=1_600_000,
    protected_bytes=1_000_000,
    minutes=5,
    characters_per_token=0.55,
)
BENGALI = Situation(  # a laboratory with one GPU and a large base
    passport=SEVEN,
    language="bn",
    target_bytes=600_000_000,
    target_characters=220_000_000,
    protected_bytes=300_000_000,
    parallel_rows=20_000,
    instruction_rows=50_000,
    minutes=1_440,
    characters_per_token=0.9,
    devices=GPU,
)
GERMAN = replace(  # a language that the tokenizer cuts well already
    BENGALI, passport=HUNDRED, language="de", characters_per_token=3.4, minutes=120
)


def plan_of(situation: Situation, recipe: str = "default", **overrides: Any) -> Plan:
    return make_plan(situation, recipes()[recipe], overrides)


def value(plan: Plan, name: str) -> Any:
    stage, setting = name.split(".")
    return next(getattr(s, setting) for s in plan.stages if s.stage == stage)


GOLDEN: list[tuple[str, Situation, dict[str, Any]]] = [
    (
        "example",
        EXAMPLE,
        {
            "extend_vocabulary.method": "continued_bpe",
            "extend_vocabulary.new_tokens": 256,
            "continue_pretraining.method": "full",
            "continue_pretraining.learning_rate": 6e-4,
            "continue_pretraining.block_tokens": 256,
            "continue_pretraining.batch_blocks": 4,
            "continue_pretraining.epochs": 6.0,
            "continue_pretraining.replay_share": 0.25,
            "tune_instructions.translation_share": 0.3,
            "tune_instructions.epochs": 6.0,
            "tune_instructions.raw_text_share": 0.5,
        },
    ),
    (
        "kazakh",
        KAZAKH,
        {
            "extend_vocabulary.new_tokens": 2_240,
            "continue_pretraining.learning_rate": 3e-3,
            "continue_pretraining.block_tokens": 256,
            "continue_pretraining.batch_blocks": 16,
        },
    ),
    (
        "bengali",
        BENGALI,
        {
            "extend_vocabulary.new_tokens": 4_096,
            "continue_pretraining.method": "lora",
            "continue_pretraining.learning_rate": 1e-4,
            "continue_pretraining.block_tokens": 2_048,
            "continue_pretraining.epochs": 6.0,
            "tune_instructions.epochs": 3.0,
            "tune_instructions.learning_rate": 1e-4,
        },
    ),
    (
        "german",
        GERMAN,
        {
            "extend_vocabulary.method": "keep",
            "extend_vocabulary.new_tokens": 0,
            "continue_pretraining.method": "full",
            "continue_pretraining.learning_rate": 3e-4,
        },
    ),
]


@pytest.mark.parametrize(
    ("situation", "expected"),
    [(situation, expected) for _, situation, expected in GOLDEN],
    ids=[name for name, _, _ in GOLDEN],
)
def test_golden_plans(situation: Situation, expected: dict[str, Any]) -> None:
    plan = plan_of(situation)
    assert {name: value(plan, name) for name in expected} == expected


def test_training_goes_on_from_the_bases_final_rate_where_it_is_known() -> None:
    unknown = plan_of(BENGALI)
    known = plan_of(replace(BENGALI, final_learning_rate=3e-5))
    high = plan_of(replace(BENGALI, final_learning_rate=1e-3))
    name = "continue_pretraining.base_final_learning_rate"
    assert value(unknown, name) == 0 and value(known, name) == 3e-5
    peak = "continue_pretraining.learning_rate"
    assert value(known, peak) == value(unknown, peak) > 3e-5
    assert value(high, peak) == 1e-3  # a warm-up never falls
    reasons = {reason["setting"]: reason["reason"] for reason in known.reasons}
    assert "climbs" in reasons[name] and name not in {
        reason["setting"] for reason in unknown.reasons
    }


def test_rate_and_batch_show_what_they_are_made_from() -> None:
    reasons = {
        reason["setting"]: reason["reason"] for reason in plan_of(KAZAKH).reasons
    }
    assert "1,000,000" in reasons["continue_pretraining.learning_rate"]
    batch = reasons["continue_pretraining.batch_blocks"]
    assert "4,096" in batch and "300 steps" in batch


def test_minutes_are_split_after_the_overhead() -> None:
    plan = plan_of(EXAMPLE)
    reading = value(plan, "continue_pretraining.minutes")
    answering = value(plan, "tune_instructions.minutes")
    assert reading / (reading + answering) == pytest.approx(0.7, abs=0.01)
    assert 0.5 * EXAMPLE.minutes <= reading + answering < EXAMPLE.minutes
    assert plan.predictions["seconds"] <= EXAMPLE.minutes * 60 * 1.05


def test_without_examples_all_time_is_reading() -> None:
    plan = plan_of(KAZAKH)
    assert [s.stage for s in plan.stages] == [
        "prepare",
        "extend_vocabulary",
        "continue_pretraining",
        "merge",
        "evaluate",
    ]
    assert value(plan, "continue_pretraining.minutes") > 0.8 * KAZAKH.minutes
    assert any("not learn to answer" in warning for warning in plan.warnings)


def test_whoever_wants_text_only_gets_no_tuning() -> None:
    plan = plan_of(replace(EXAMPLE, goal="write"))
    assert "tune_instructions" not in [s.stage for s in plan.stages]
    assert not any("answer" in warning for warning in plan.warnings)


def test_translating_takes_more_time_and_more_translations() -> None:
    plan, usual = plan_of(replace(EXAMPLE, goal="translate")), plan_of(EXAMPLE)
    name = "tune_instructions.minutes"
    assert value(plan, name) > value(usual, name)
    assert value(plan, "tune_instructions.translation_share") == 0.7
    only_pairs = plan_of(replace(EXAMPLE, instruction_rows=0))
    assert value(only_pairs, "tune_instructions.translation_share") == 1.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"protected_bytes": 0}, "will forget"),
        ({"target_characters": 20_000, "target_bytes": 20_000}, "only 20,000"),
        ({"passport": SMALL | {"byte_fallback": False}}, "byte fallback"),
        ({"minutes": 0.5}, "Half of the time"),
        ({"minutes": 600}, "by heart"),
        ({"passport": SEVEN}, "GB of memory"),
        ({"instruction_rows": 1, "parallel_rows": 0}, "is 1 example"),
    ],
)
def test_each_warning_has_its_cause(change: dict[str, Any], words: str) -> None:
    calm = replace(EXAMPLE, minutes=3, target_characters=10**6, target_bytes=10**6)
    assert not any(words in warning for warning in plan_of(calm).warnings)
    warnings = plan_of(replace(calm, **change)).warnings
    assert any(words in warning for warning in warnings)


def test_few_tokens_and_new_pieces_are_warned_of_unless_the_tokenizer_is_kept() -> None:
    words = "half a billion"
    assert any(words in warning for warning in plan_of(EXAMPLE).warnings)
    kept = plan_of(EXAMPLE, "keep-tokenizer")
    assert not any(words in warning for warning in kept.warnings)
    # Where letters are cut into bytes, new pieces pay at once.
    assert not any(words in warning for warning in plan_of(KAZAKH).warnings)


def test_of_several_gpus_each_computes_a_part() -> None:
    """Activations become fewer, what every GPU holds does not."""

    def predicted(*uuids: str) -> dict[str, float]:
        devices = tuple({**GPU[0], "uuid": uuid} for uuid in uuids)
        small = replace(BENGALI, passport=HUNDRED, devices=devices)
        return predict(small, [stage])

    stage = ContinuePretraining(method="full", batch_blocks=6, block_tokens=512)
    one, four = predicted("GPU-a"), predicted("GPU-a,GPU-b,GPU-c,GPU-d")
    assert (one["gpus"], four["gpus"]) == (1, 4)
    assert four["memory_activations"] < one["memory_activations"]
    assert four["memory_optimizer"] == one["memory_optimizer"]
    # The group that is left over may get the job.
    assert predicted("GPU-a,GPU-b,GPU-c", "GPU-d") == one
    # Of six blocks one of four takes two, as if it were alone with a batch of two.
    stage = replace(stage, batch_blocks=2)
    assert {**predicted("GPU-a"), "gpus": 4} == four


def test_too_large_is_judged_only_by_known_memory() -> None:
    large = replace(EXAMPLE, passport=SEVEN)
    assert too_large(large, plan_of(large).stages)
    unknown = replace(large, devices=({"kind": "cpu", "name": "CPU"},))
    assert not too_large(unknown, plan_of(unknown).stages)


def test_recipe_beats_formula_and_a_person_beats_both() -> None:
    plan = plan_of(EXAMPLE, "lora", continue_pretraining={"lora_rank": 8})
    assert value(plan, "continue_pretraining.method") == "lora"
    assert value(plan, "continue_pretraining.learning_rate") == 2e-3  # LoRA's, not full
    assert value(plan, "continue_pretraining.lora_rank") == 8
    reasons = {reason["setting"]: reason for reason in plan.reasons}
    assert "recipe" in reasons["continue_pretraining.method"]["reason"]
    assert "You chose" in reasons["continue_pretraining.lora_rank"]["reason"]


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"continue_pretraining": {"learning_rate": 5.0}}, "learning_rate"),
        ({"continue_pretraining": {"nonsense": 1}}, "nonsense"),
        ({"nonsense": {"minutes": 1}}, "nonsense"),
        ({"extend_vocabulary": {"method": "magic"}}, "method"),
    ],
)
def test_an_impossible_setting_is_named(overrides: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecInvalid) as refused:
        plan_of(EXAMPLE, **overrides)
    assert field in refused.value.field
    assert refused.value.sentence.endswith(".") and ": is not" not in str(refused.value)


def test_a_stage_that_the_job_lacks_is_named_with_those_it_has() -> None:
    with pytest.raises(SpecInvalid, match="no stage “merge#2”; its stages are prepare"):
        plan_of(EXAMPLE, **{"merge#2": {"tolerance": 1}})
    written = replace(EXAMPLE, goal="write")
    with pytest.raises(SpecInvalid, match="learns no answering"):
        plan_of(written, tune_instructions={"steps": 1})


def test_every_reason_is_a_sentence_with_the_value_that_is_used() -> None:
    for _name, situation, _expected in GOLDEN:
        plan = plan_of(situation)
        for reason in plan.reasons:
            assert reason["reason"].endswith((".", "…"))
            assert value(plan, reason["setting"]) == reason["value"]


def test_dense_scripts_have_their_own_bar() -> None:
    chinese = replace(GERMAN, language="zh", characters_per_token=1.4)
    assert value(plan_of(chinese), "extend_vocabulary.method") == "keep"
    tibetan = replace(GERMAN, language="bo", characters_per_token=1.4)
    assert value(plan_of(tibetan), "extend_vocabulary.method") == "continued_bpe"


@settings(max_examples=40, deadline=None)
@given(
    parameters=st.integers(10_000, 10**11),
    positions=st.integers(64, 131_072),
    characters=st.integers(0, 10**10),
    protected=st.integers(0, 10**10),
    rows=st.integers(0, 10**6),
    minutes=st.floats(0.2, 50_000),
    goal=st.sampled_from(GOALS),
    language=st.sampled_from(["sw", "ug-Arab", "bo", "zh", "x-unknown", "qaa"]),
    recipe=st.sampled_from(["default", "keep-tokenizer", "lora"]),
)
def test_whatever_the_situation_the_plan_is_within_every_range(
    parameters: int,
    positions: int,
    characters: int,
    protected: int,
    rows: int,
    minutes: float,
    goal: str,
    language: str,
    recipe: str,
) -> None:
    situation = Situation(
        passport={"parameters": parameters, "positions": positions},
        language=language,
        target_bytes=2 * characters,
        target_characters=characters,
        protected_bytes=protected,
        parallel_rows=rows,
        instruction_rows=rows // 2,
        minutes=minutes,
        goal=goal,
    )
    plan = plan_of(situation, recipe)  # settings refuse what is out of their range
    kinds = {type(stage) for stage in plan.stages}
    assert {ExtendVocabulary, ContinuePretraining} <= kinds
    assert (TuneInstructions in kinds) == situation.tunes
    assert value(plan, "continue_pretraining.block_tokens") <= positions
    assert all(number >= 0 for number in plan.predictions.values())


TWICE = parse("""[recipe]
name = "twice"
title = "Twice"
summary = "Reads twice, answers once."
when = "Never."
cost = "Time."
source = "Nobody"
checked = "Not checked."

[[stages]]
name = "prepare"

[[stages]]
name = "continue_pretraining"
learning_rate = 1e-3
share = 3

[[stages]]
name = "tune_instructions"

[[stages]]
name = "merge"

[[stages]]
name = "continue_pretraining"
learning_rate = 1e-4

[[stages]]
name = "evaluate"
""")


def test_a_stage_that_comes_twice_has_settings_and_minutes_of_its_own() -> None:
    again = {"continue_pretraining#2": {"replay_share": 0.5}}
    plan = make_plan(EXAMPLE, TWICE, again)
    first, second = (s for s in plan.stages if s.stage == "continue_pretraining")
    assert (first.learning_rate, second.learning_rate) == (1e-3, 1e-4)
    assert (first.replay_share, second.replay_share) == (0.25, 0.5)
    assert first.minutes == pytest.approx(3 * second.minutes, rel=0.02)
    usual = value(plan_of(EXAMPLE), "continue_pretraining.minutes")
    assert first.minutes + second.minutes == pytest.approx(usual, abs=0.02)
    reasons = {r["setting"]: r["value"] for r in plan.reasons}
    assert reasons["continue_pretraining#2.replay_share"] == 0.5
    assert reasons["continue_pretraining.replay_share"] == 0.25
    one = make_plan(EXAMPLE, replace(TWICE, stages=TWICE.stages[:2]))
    assert plan.predictions["passes"] > one.predictions["passes"]
    with pytest.raises(SpecInvalid, match="#3"):
        make_plan(EXAMPLE, TWICE, {"continue_pretraining#3": {"steps": 1}})


@pytest.mark.parametrize(
    ("pairs", "insist", "said"),
    [(15, "no", True), (999, "no", True), (1_000, "no", False), (15, "yes", False)],
)
def test_preferences_that_will_be_left_out_are_said_before(
    pairs: int, insist: str, said: bool
) -> None:
    situation = replace(EXAMPLE, preference_rows=pairs)
    plan = plan_of(situation, "okapi", align_preferences={"insist": insist})
    found = [line for line in plan.warnings if "“Learn to prefer” will be left" in line]
    assert bool(found) == said
    assert (
        not said or f"there are {pairs} marked answers, and it wants 1,000" in found[0]
    )
    assert not [w for w in plan_of(situation).warnings if "Learn to prefer" in w]


def test_time_for_a_part_of_the_text_alone_is_said() -> None:
    def said(minutes: float) -> list[str]:
        plan = plan_of(replace(EXAMPLE, minutes=minutes, target_characters=10**8))
        return [
            line for line in plan.warnings if "of your text; to read it once" in line
        ]

    (sentence,) = said(30)
    found = re.search(r"about (\d+) % .* about ([\d,]+) minutes", sentence)
    assert found and 0 < int(found[1]) < 90
    assert not said(2 * float(found[2].replace(",", "")))
