"""Settings that do nothing beside the values of others are named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from training.events import EventWriter, read_events
from training.run import tell_idle
from training.spec import (
    STAGES,
    AlignPreferences,
    ContinuePretraining,
    DistilEmbeddings,
    ExtendVocabulary,
    MergeModels,
    StageSettings,
    TuneInstructions,
)


def test_what_a_setting_depends_on_is_there() -> None:
    found = 0
    for kind in STAGES.values():
        known = {field.name: field for field in dataclasses.fields(kind)}
        for field in known.values():
            for name, acts in field.metadata["acts"].items():
                found += 1
                choices = known[name].metadata["choices"]
                assert name != field.name
                if isinstance(acts, tuple):
                    assert not choices or set(acts) < set(choices), field.name
                else:
                    assert isinstance(known[name].default, int | float), field.name
    assert found > 50


@pytest.mark.parametrize(
    ("settings", "idle"),
    [
        (ExtendVocabulary(method="replace", junk="keep"), ["junk"]),
        (
            ExtendVocabulary(method="append", sampling_exponent=0.3),
            ["sampling_exponent"],
        ),
        (ExtendVocabulary(junk="keep", sampling_exponent=0.3), []),
        (ExtendVocabulary(method="keep", new_tokens=0), []),
        (ExtendVocabulary(method="prune", prune_tokens=9, special_ids="compact"), []),
        (ExtendVocabulary(initialisation="ofa", initialisation_rank=8), []),
        (ExtendVocabulary(initialisation_rank=8), ["initialisation_rank"]),
        (DistilEmbeddings(objective="next_token", layer_share=0.5), ["layer_share"]),
        (ContinuePretraining(lora_rank=8), ["lora_rank"]),
        (ContinuePretraining(method="dora", lora_rank=8), []),
        (ContinuePretraining(steps=5, minutes=9.0, epochs=2.0), ["minutes", "epochs"]),
        (ContinuePretraining(rounds=2), ["rounds"]),
        (ContinuePretraining(rounds=2, branches=2), []),
        (ContinuePretraining(schedule="wsd", decay_share=0.1), []),
        (TuneInstructions(generation_minutes=1.0), ["generation_minutes"]),
        (TuneInstructions(generation_minutes=1.0, backtranslated_documents=1), []),
        (
            TuneInstructions(raw_text_share=0.0, protected_text_share=0.9),
            ["protected_text_share"],
        ),
        (AlignPreferences(simpo_margin=1.0), ["simpo_margin"]),
        (AlignPreferences(method="simpo", simpo_margin=1.0), []),
        (MergeModels(density=0.2), ["density"]),
    ],
    ids=str,
)
def test_what_has_no_effect(settings: StageSettings, idle: list[str]) -> None:
    assert [field.name for field, _ in settings.idle()] == idle


def test_the_events_name_it(tmp_path: Path) -> None:
    events = EventWriter(tmp_path / "events.jsonl")
    tell_idle(ExtendVocabulary(method="replace", junk="keep"), events)
    ((note,), _) = read_events(events.path)
    assert note["sentence"] == (
        "“Residue in the text” (junk) has no effect here: it acts where “Method” is "
        "continued_bpe, and that is replace."
    )
    tell_idle(ExtendVocabulary(junk="keep"), events)
    assert len(read_events(events.path)[0]) == 1
