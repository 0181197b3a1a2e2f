"""The curve is what a run of each size would have given, and the rule reads it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.training import tiny
from tests.training.vocabulary import bases
from training.vocabulary import extension, size
from training.vocabulary.growth import count_tokens
from training.vocabulary.size import Point

EVERY = [(k, s) for k in bases.BASES for s in ("cyrillic", "tibetan", "devanagari")]


def as_tuples(made: extension.Extension) -> list[tuple]:
    return [(t.id, t.piece, t.occurrences, t.parts, t.base_ids) for t in made.tokens]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "script"), EVERY)
def test_each_point_is_what_a_run_of_that_size_gives(
    kind: str, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(size, "FINE", 16)
    train = tiny.documents(60, script=script)
    held = [*tiny.documents(15, script=script, seed=7), "12 қ ཀ\n\n  <x> é\ufffd"]
    base = bases.BASES[kind]()
    limit = replace(bases.SETTINGS, new_tokens=80)
    whole = extension.extend(base, lambda: train, limit, held_out=held)
    curve = whole.figures["size_curve"]
    assert [point[0] for point in curve] == [0, 16, 32, 48, 64, 80]
    words = sum(map(extension.words_in, held))
    for added, per_word, per_token, used_share in curve[1:]:
        settings = replace(bases.SETTINGS, new_tokens=added)
        alone = extension.extend(base, lambda: train, settings, held_out=held)
        assert len(alone.tokens) == added
        tokens = count_tokens(alone.backend, held)
        assert per_word == round(tokens / words, 4)
        assert per_token == round(sum(map(len, held)) / tokens, 4)
        seen = {id_ for e in alone.backend.encode_batch_fast(held) for id_ in e.ids}
        used = sum(token.id in seen for token in alone.tokens)
        assert used_share == pytest.approx(used / added, abs=1e-4)
    assert curve == sorted(curve, key=lambda point: -point[1])


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
def test_a_chosen_size_is_the_same_tokenizer_as_that_size_asked_for(kind: str) -> None:
    train, held = tiny.documents(80), tiny.documents(15, seed=7)
    base = bases.BASES[kind]()
    auto = replace(bases.SETTINGS, size="auto", new_tokens=2_000, round_rows_to=16)
    chosen = extension.extend(base, lambda: train, auto, held_out=held)
    count = len(chosen.tokens)
    assert 0 < count < 600
    assert (chosen.tokens[-1].id + 1) % 16 == 0
    asked = replace(bases.SETTINGS, new_tokens=count)
    fixed = extension.extend(base, lambda: train, asked)
    assert as_tuples(chosen) == as_tuples(fixed)
    assert chosen.backend.to_str() == fixed.backend.to_str()


def points(*tokens: int) -> list[Point]:
    """Sizes 0, 256, 512 ... with so many tokens, one word of text."""
    return [Point(n * 256, count, 0, -count / 10) for n, count in enumerate(tokens)]


@pytest.mark.parametrize("rule", ["auto", "average_log_probability"])
def test_the_rule_stops_at_the_first_size_whose_next_gain_is_under_a_hundredth(
    rule: str,
) -> None:
    falling = points(1000, 900, 850, 846, 845, 844, 843, 842, 841)
    assert size.choose(falling, 2_048, rule) == 512
    assert size.choose(falling, 256, rule) == 256
    steep = points(1000, 900, 800, 700, 600, 500, 400, 300, 200)
    assert size.choose(steep, 1_024, rule) == 1_024
    assert size.choose(points(1000, 999, 998, 997, 996), 1_024, rule) == 0


def test_a_text_that_the_base_already_writes_well_gets_nothing() -> None:
    latin = tiny.documents(80, script="latin")
    made = extension.extend(
        bases.byte_level(),
        lambda: latin,
        replace(bases.SETTINGS, size="auto"),
        held_out=["12 345 678 9 !"],
    )
    assert made.tokens == [] and made.backend.get_vocab_size() == 324 - 4


@pytest.mark.parametrize(
    ("count", "first", "multiple", "limit", "expected"),
    [
        (0, 1_000, 64, 500, 0),
        (100, 1_000, 64, 500, 152),
        (100, 1_024, 64, 500, 128),
        (490, 1_000, 64, 500, 472),
        (20, 1_000, 64, 20, 20),
        (100, 1_000, 1, 500, 100),
    ],
)
def test_rows_end_on_a_round_number(
    count: int, first: int, multiple: int, limit: int, expected: int
) -> None:
    assert size.rounded(count, first, multiple, limit) == expected


def test_cuts_hold_both_ends_and_what_the_rule_compares() -> None:
    for limit in (0, 100, 256, 3_000, 9_024):
        cuts = size.cuts(limit)
        assert cuts[0] == 0 and cuts[-1] == limit and sorted(set(cuts)) == cuts
        for cut in cuts:
            if cut + size.AHEAD < limit and cut % size.FINE == 0:
                assert cut + size.AHEAD in cuts or cut + size.AHEAD > size.FINE_UNTIL
