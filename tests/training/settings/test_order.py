from __future__ import annotations

import pytest

from training.errors import SpecInvalid
from training.spec import (
    AlignPreferences,
    ContinuePretraining,
    DistilEmbeddings,
    Evaluate,
    ExtendVocabulary,
    Merge,
    MergeModels,
    Prepare,
    StageSettings,
    TuneInstructions,
    check_order,
)


def check(*stages: StageSettings) -> None:
    check_order(stages)


@pytest.mark.parametrize(
    "following",
    [
        ExtendVocabulary(),
        DistilEmbeddings(),
        ContinuePretraining(),
        MergeModels(),
        Evaluate(),
    ],
    ids=lambda settings: settings.stage,
)
@pytest.mark.parametrize("tuning", [TuneInstructions(), AlignPreferences()])
def test_what_was_tuned_is_not_left_behind(
    tuning: StageSettings, following: StageSettings
) -> None:
    with pytest.raises(SpecInvalid, match=f"{following.stage}.*{tuning.stage}.*merge"):
        check(Prepare(), tuning, following)
    check(Prepare(), tuning, Merge(), following)


@pytest.mark.parametrize("method", ["qlora", "loftq"])
def test_what_the_tuning_merges_itself_needs_no_merge(method: str) -> None:
    check(Prepare(), TuneInstructions(method=method), Evaluate())


def test_a_tuning_goes_on_from_a_tuning() -> None:
    check(Prepare(), TuneInstructions(), AlignPreferences(), Merge(), Evaluate())
    with pytest.raises(SpecInvalid, match="evaluate.*align_preferences"):
        check(Prepare(), TuneInstructions(), AlignPreferences(), Evaluate())


@pytest.mark.parametrize("first", [ExtendVocabulary(), Merge(), Evaluate()])
def test_the_text_is_divided_first(first: StageSettings) -> None:
    with pytest.raises(SpecInvalid, match=f"{first.stage}.*put prepare before"):
        check(first, Prepare())
    check(MergeModels(), Prepare(), first)


def test_a_job_without_stages_is_refused() -> None:
    with pytest.raises(SpecInvalid, match="no stages"):
        check()


def test_models_that_bottlenecks_made_wider_are_not_merged() -> None:
    grown = ContinuePretraining(method="bottleneck")
    with pytest.raises(SpecInvalid, match="wider"):
        check(Prepare(), grown, MergeModels())
    check(Prepare(), ContinuePretraining(method="lora"), MergeModels())
    check(Prepare(), MergeModels(), grown)
