"""No document of a block sees another, whatever the model and its attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.training import tiny
from training.data.packing import Batch, document_mask

pytestmark = pytest.mark.slow

# Windows narrower than a document, so that a lost window shows.
WINDOW: dict[str, Any] = {"sliding_window": 8}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "mistral": ("mistral", {"sliding_window": None}),
    "mistral, window": ("mistral", WINDOW),
    "mixtral": ("mixtral", {"sliding_window": None}),
    "mixtral, window": ("mixtral", WINDOW),
    "qwen2": ("qwen2", {}),
    "qwen2, window": (
        "qwen2",
        {**WINDOW, "use_sliding_window": True, "max_window_layers": 1},
    ),
    "qwen3": ("qwen3", {}),
    "qwen3_moe": ("qwen3_moe", {}),
    "gemma": ("gemma", {}),
    "gemma2": ("gemma2", WINDOW),
    "gemma3": (
        "gemma3_text",
        {**WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "gpt2": ("gpt2", {}),
    "gpt_neox": ("gpt_neox", {}),
}
FIRST, SECOND = 20, 28
# transformers has no scaled-dot-product attention for Gemma 2 (capped scores).
PAIRS = [
    (name, attention)
    for name in FAMILIES
    for attention in ("sdpa", "eager")
    if (name, attention) != ("gemma2", "sdpa")
]


def _batch(ids: torch.Tensor) -> Batch:
    """Two documents, and places at the end that are empty."""
    empty = ids.shape[1] - FIRST - SECOND
    documents = [0] * FIRST + [1] * SECOND + [-1] * empty
    positions = [*range(FIRST), *range(SECOND), *[0] * empty]
    return Batch(
        ids, ids, torch.tensor([positions]), torch.tensor([documents]), 48, 48.0
    )


def _ids() -> tuple[torch.Tensor, torch.Tensor]:
    """A row, and the same with another first document."""
    ids = torch.randint(4, 320, (1, 52), generator=torch.manual_seed(1))
    other = ids.clone()
    other[0, :FIRST] = (ids[0, :FIRST] + 100) % 300 + 4
    return ids, other


@pytest.mark.trap(19)
@pytest.mark.parametrize("path", ["mask", "positions"])
@pytest.mark.parametrize(("name", "attention"), PAIRS)
def test_no_document_sees_another(name: str, attention: str, path: str) -> None:
    """Other ids in document 1 change no logit of document 2, and document 2 is what it
    would be alone, with its window. "positions": as flash attention is asked, without a
    mask."""
    family, more = FAMILIES[name]
    model = tiny.model(320, family=family, attn_implementation=attention, **more)
    assert model.config._attn_implementation == attention
    ids, other = _ids()
    asked = "flash_attention_2" if path == "positions" else attention

    @torch.no_grad()
    def second(of: torch.Tensor) -> torch.Tensor:
        inputs = _batch(of).inputs(torch.device("cpu"), asked, model.config)
        assert (inputs["attention_mask"] is None) == (path == "positions")
        return model(**inputs).logits[0, FIRST : FIRST + SECOND]

    assert (second(ids) - second(other)).abs().max() < 1e-5
    with torch.no_grad():
        alone = model(input_ids=ids[:, FIRST : FIRST + SECOND]).logits[0]
    assert (second(ids) - alone).abs().max() < 1e-5


@pytest.mark.trap(19)
@pytest.mark.parametrize("name", ["llama", "mistral", "gemma", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_mask_of_two_dimensions_leaks(name: str, attention: str) -> None:
    """What trainers often pass for packed text: 1 for tokens, 0 for empty places."""
    family, more = FAMILIES[name]
    model = tiny.model(320, family=family, attn_implementation=attention, **more)
    ids, other = _ids()
    plain = (_batch(ids).documents >= 0).long()
    positions = _batch(ids).positions

    @torch.no_grad()
    def second(of: torch.Tensor) -> torch.Tensor:
        logits = model(
            input_ids=of, attention_mask=plain, position_ids=positions
        ).logits
        return logits[0, FIRST : FIRST + SECOND]

    assert (second(ids) - second(other)).abs().max() > 1e-3


@pytest.mark.parametrize(
    "name", ["mistral, window", "gemma2", "gemma3", "qwen2, window"]
)
def test_a_mask_without_the_window_is_another_model(name: str) -> None:
    """transformers adds no window to a mask of four dimensions: it has to be in it."""
    family, more = FAMILIES[name]
    model = tiny.model(320, family=family, **more)
    ids, _ = _ids()
    batch = _batch(ids)
    with torch.no_grad():
        alone = model(input_ids=ids[:, FIRST : FIRST + SECOND]).logits[0]
        packed = model(
            input_ids=ids,
            position_ids=batch.positions,
            attention_mask=document_mask(
                batch.documents, model.config._attn_implementation
            ),
        ).logits[0, FIRST : FIRST + SECOND]
    assert (packed - alone).abs().max() > 1e-3


@pytest.mark.parametrize(("name", "attention"), PAIRS)
def test_a_row_of_one_document_needs_no_mask(name: str, attention: str) -> None:
    """Bucketed rows: empty places behind a document change nothing in it."""
    family, more = FAMILIES[name]
    model = tiny.model(320, family=family, attn_implementation=attention, **more)
    ids, _ = _ids()
    documents = torch.tensor([[0] * 40 + [-1] * 12])
    positions = torch.tensor([[*range(40), *[0] * 12]])
    batch = Batch(ids, ids, positions, documents, 40, 40.0)
    inputs = batch.inputs(torch.device("cpu"), attention, model.config)
    assert inputs["attention_mask"] is None
    with torch.no_grad():
        found = model(**inputs).logits[0, :40]
        alone = model(input_ids=ids[:, :40]).logits[0]
    assert (found - alone).abs().max() < 1e-5
