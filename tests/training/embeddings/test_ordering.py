"""How methods rank at step 0 on a trained base, and that a wrong one is seen.

Measured on `samples/base-en` with 500 new Swahili tokens: subtoken mean, then the
global mean, then first in last out, then the sum of the pieces.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training import families
from training.embeddings import METHODS, Request, rows
from training.embeddings.request import Mixtures, from_mixtures
from training.evaluation.bits_per_byte import bits_per_byte
from training.spec import ExtendVocabulary
from training.vocabulary.extension import extend

SAMPLES = Path(__file__).resolve().parents[3] / "samples"


def reversed_ends(request: Request) -> Mixtures:
    """First piece in, last piece out: the wrong way round."""
    right = METHODS["last_first"].weigh
    assert right is not None
    made = right(request)
    return Mixtures(made.output, made.input)


def sums(request: Request) -> Mixtures:
    """The sum of the pieces: rows that are too long."""
    return Mixtures.both(
        {
            t.id: {i: float(t.base_ids.count(i)) for i in t.base_ids}
            for t in request.tokens
        }
    )


@pytest.mark.trap(10)
@pytest.mark.slow
def test_the_order_at_step_0() -> None:
    base = SAMPLES / "base-en"
    text = (SAMPLES / "swahili/hadithi.txt").read_text("utf-8")
    tokenizer = families.load_tokenizer(base)
    made = extend(
        tokenizer.backend_tokenizer,
        lambda: [text[4_000:]],
        ExtendVocabulary(new_tokens=500, minimum_occurrences=3),
    )
    new = families.with_backend(tokenizer, made.backend)
    request = Request(made.tokens, old=tokenizer.backend_tokenizer, new=made.backend)
    found = {}
    for name in ("mean", "mean_first", "global_mean", "reversed", "sum"):
        model = untied(base)
        old = rows.read(model, request)
        if name in METHODS:
            values = METHODS[name].make(replace(request, method=name), old)
        else:
            weigh = {"reversed": reversed_ends, "sum": sums}[name]
            values = from_mixtures(request, old, weigh(request))
        rows.write(model, request, old, values)
        found[name] = bits_per_byte(model, new, [text[:4_000]], start=0)
    assert found["mean"] < found["global_mean"] - 0.2
    assert found["mean"] < found["reversed"] - 0.2
    assert found["reversed"] < found["sum"] and found["global_mean"] < found["sum"]


def untied(folder: Path) -> torch.nn.Module:
    """The base with a head of its own that begins as a copy of the input rows."""
    model = families.load_model(folder)
    model.config.tie_word_embeddings = False
    rows_ = model.get_input_embeddings().weight.detach().clone()
    model.get_output_embeddings().weight = torch.nn.Parameter(rows_)
    return model
