"""Ids that configurations name."""

from training.vocabulary import special_ids

CONFIG = {
    "bos_token_id": 7,
    "eos_token_id": [7, 9],
    "pad_token_id": None,
    "forced_eos_token_id": -1,
    "vocab_size": 9,
    "suppress_tokens": [3, 4],
}


def test_named_and_renumbered() -> None:
    assert special_ids.named(CONFIG) == {7, 9}
    assert special_ids.renumbered(CONFIG, {7: 1, 9: 2, 4: 0}) == {
        "bos_token_id": 1,
        "eos_token_id": [1, 2],
        "pad_token_id": None,
        "forced_eos_token_id": -1,
        "vocab_size": 9,
        "suppress_tokens": [0],
    }
    assert special_ids.renumbered(CONFIG, {}) | {"suppress_tokens": [3, 4]} == CONFIG
