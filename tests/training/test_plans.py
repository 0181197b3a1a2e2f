from __future__ import annotations

import pytest

from training.errors import SpecInvalid
from training.plans import evaluation_steps, refuse_changed


def test_a_run_goes_on_only_as_it_was_begun() -> None:
    begun = {"steps": 4, "text": "ab", "left out since": 1}
    refuse_changed("read", begun, {"steps": 4, "text": "ab"})
    with pytest.raises(
        SpecInvalid, match=r"read began with has changed \(text\)"
    ) as caught:
        refuse_changed("read", begun, {"steps": 4, "text": "cd"})
    assert caught.value.field == "read.text"
    with pytest.raises(SpecInvalid, match="precision"):  # was not known then
        refuse_changed("read", begun, {"precision": "float32"})


@pytest.mark.parametrize(
    ("steps", "times", "found"),
    [(10, 2, {5, 10}), (7, 3, {2, 5, 7}), (3, 40, {1, 2, 3}), (1, 1, {1})],
)
def test_points_of_the_curves(steps: int, times: int, found: set[int]) -> None:
    assert evaluation_steps(steps, times) == found
