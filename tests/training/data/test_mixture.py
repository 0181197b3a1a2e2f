from __future__ import annotations

import pytest

from training.data.mixture import Source, by_size, high_resource, read_stages, shares_of
from training.errors import SpecInvalid
from training.spec import ContinuePretraining

SOURCES = [
    Source("target", "kk", 1_000),
    Source("protected", "en", 500),
    Source("protected", "ru", 500),
    Source("related", "tr", 16_000),
    Source("related", "uz", 0),
    Source("parallel", "en-kk", 100),
]


@pytest.mark.parametrize(
    ("exponent", "expected"),
    [(1.0, [0.2, 0.8]), (0.5, [1 / 3, 2 / 3]), (0.0, [0.5, 0.5])],
)
def test_the_exponent_favours_the_small(exponent: float, expected: list) -> None:
    assert by_size([100, 400], exponent) == pytest.approx(expected)


def test_nothing_has_no_share() -> None:
    assert by_size([0, 7], 0.0) == [0.0, 1.0]
    assert by_size([0, 0], 0.3) == [0.0, 0.0]
    assert by_size([], 0.3) == []


def test_roles_get_their_part() -> None:
    roles = {"text": 0.6, "protected": 0.3, "parallel": 0.1}
    found = shares_of(SOURCES, roles, exponent=0.5)
    assert sum(found) == pytest.approx(1)
    assert found == pytest.approx((0.12, 0.15, 0.15, 0.48, 0, 0.1))


def test_the_target_can_have_a_share() -> None:
    found = shares_of(SOURCES, {"text": 0.8}, exponent=0.5, target_share=0.75)
    assert found[0] == pytest.approx(0.6)
    assert found[3] == pytest.approx(0.2)
    alone = [source for source in SOURCES if source.role != "related"]
    assert shares_of(alone, {"text": 0.8}, exponent=1.0, target_share=0.75)[0] == 0.8


def test_the_larger_half_is_high_resource() -> None:
    assert high_resource(SOURCES) == {"tr"}
    assert high_resource(SOURCES[:3]) == {"kk"}
    more = [Source("related", name, 10 * n) for n, name in enumerate("abcd", 1)]
    assert high_resource(more) == {"d", "c"}
    found = shares_of(SOURCES, {"text": 1.0}, exponent=0.3, only=frozenset({"tr"}))
    assert found == (0, 0, 0, 1.0, 0, 0)


def test_stages_are_read() -> None:
    assert read_stages("") == ()
    found = read_stages("0: text 0.6, protected 0.2; 0.6: interlinear 1;")
    assert found[0][1] == pytest.approx({"text": 0.75, "protected": 0.25})
    assert found[1] == (0.6, {"interlinear": 1.0})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("text 0.5", "cannot be read"),
        ("0: text", "cannot be read"),
        ("0: text half", "cannot be read"),
        ("0: poems 0.5", "no source 'poems'"),
        ("0: text 1.5", "from 0 to 1, not 1.5"),
        ("0: text 0", "what is read from 0 on"),
        ("0.2: text 1", "begin at 0"),
        ("0: text 1; 0: related 1", "go up"),
        ("0: text 1; 1: related 1", "below 1"),
        ("0: text 1; nan: related 1", "below 1"),
    ],
)
def test_wrong_stages_are_refused(text: str, said: str) -> None:
    with pytest.raises(SpecInvalid, match=said):
        read_stages(text)
    with pytest.raises(SpecInvalid, match="mix_stages"):
        ContinuePretraining(curriculum="staged", mix_stages=text)


def test_more_than_everything_is_refused() -> None:
    with pytest.raises(SpecInvalid, match=r"add up to 1\.25"):
        ContinuePretraining(replay_share=0.25, parallel_share=1.0)
    ContinuePretraining(replay_share=0.0, interlinear_share=1.0)
    with pytest.raises(SpecInvalid, match="say what is read when"):
        ContinuePretraining(curriculum="staged")
