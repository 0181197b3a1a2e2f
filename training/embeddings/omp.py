"""Orthogonal matching pursuit in a donor model's embedding space.

Goddard and Fernandes Neto 2025 (arXiv 2506.06607), mergekit's tokensurgeon. The donor is
a language model whose tokenizer has the new tokens. Its row of a token is approximated
by few rows of tokens that both vocabularies have (anchors); the same coefficients over
the base's anchor rows give the new row, for input and output.

Changed: a token that the donor does not have keeps the mean of its pieces (there: zero).
"""

from __future__ import annotations

from pathlib import Path

import torch

from training import families
from training.embeddings.focus import copied
from training.embeddings.request import Mixture, Mixtures, Request
from training.embeddings.words import texts_of
from training.errors import MaterialMissing

TERMS = 64  # mergekit's default
AT_ONCE = 64
# A residual this small against the row itself is rounding: no further term.
EXACT = 1e-9


def weigh(request: Request) -> Mixtures:
    """Coefficients (of any sign) over the anchors.

    Raises MaterialMissing where donor and base share no tokens.
    """
    assert request.donor is not None, "the donor is missing"
    old, new = request.pieces()
    named, old_named = texts_of(new), texts_of(old)
    donor_ids, donor = donor_rows(request.donor)
    anchors = [
        (id_, donor_ids[text])
        for id_, text in sorted(old_named.items())
        if text in donor_ids
    ]
    wanted = [
        (token.id, donor_ids[named[token.id]])
        for token in request.tokens
        if named.get(token.id) in donor_ids
    ]
    if not anchors or not wanted:
        raise MaterialMissing(
            f"The donor model shares {len(anchors)} tokens with the base and has "
            f"{len(wanted)} of the new ones: it cannot give their rows.",
            hint="Choose a donor whose tokenizer has both languages, or another way to "
            "start the new rows.",
        )
    mixtures: dict[int, Mixture] = {
        id_: {to: 1.0} for id_, to in copied(request, named, old_named).items()
    }
    known = donor[[at for _, at in anchors]].double()
    terms = min(TERMS, len(anchors), known.shape[1] // 2)
    for start in range(0, len(wanted), AT_ONCE):
        part = wanted[start : start + AT_ONCE]
        rows = donor[[at for _, at in part]].double()
        chosen, weights = pursue(rows, known, terms)
        for (id_, _), places, values in zip(part, chosen, weights, strict=True):
            mixture = {
                anchors[int(at)][0]: float(value)
                for at, value in zip(places, values, strict=True)
                if value
            }
            mixtures.setdefault(id_, mixture)
    return Mixtures.both(mixtures)


def donor_rows(folder: Path) -> tuple[dict[str, int], torch.Tensor]:
    """Ids by text of the donor's tokens, and its input rows; raises BaseUnsuitable."""
    tokenizer = families.load_tokenizer(folder).backend_tokenizer
    model = families.load_model(folder, dtype="auto")
    matrix = model.get_input_embeddings().weight.detach().clone()
    ids = {text: id_ for id_, text in sorted(texts_of(tokenizer).items(), reverse=True)}
    return {text: id_ for text, id_ in ids.items() if id_ < len(matrix)}, matrix


@torch.no_grad()
def pursue(
    rows: torch.Tensor, anchors: torch.Tensor, terms: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Anchors (n, terms) chosen for each row (n, d), and their coefficients.

    Each step takes the anchor (of m, d) most correlated with what is left of the row,
    makes it orthogonal to those taken (Gram-Schmidt), and takes its part away; the
    triangular system at the end gives the coefficients. Unused places have weight 0.
    """
    count, width = rows.shape
    length = anchors.norm(dim=1).clamp(min=1e-30)
    units = anchors / length[:, None]
    left = rows.clone()
    size = rows.norm(dim=1)
    basis = rows.new_zeros(count, terms, width)
    triangle = torch.eye(terms, dtype=rows.dtype).repeat(count, 1, 1)
    parts = rows.new_zeros(count, terms)
    chosen = torch.zeros(count, terms, dtype=torch.long)
    taken = torch.zeros(count, len(anchors), dtype=torch.bool)
    everyone = torch.arange(count)
    for step in range(terms):
        match = (left @ units.T).abs().masked_fill(taken, -1.0)
        best = match.argmax(dim=1)
        chosen[:, step], taken[everyone, best] = best, True
        direction = units[best]
        overlap = torch.einsum("nkd,nd->nk", basis, direction)
        direction = direction - torch.einsum("nk,nkd->nd", overlap, basis)
        # Once more: one pass of Gram-Schmidt loses orthogonality to rounding.
        again = torch.einsum("nkd,nd->nk", basis, direction)
        direction = direction - torch.einsum("nk,nkd->nd", again, basis)
        norm = direction.norm(dim=1)
        live = (left.norm(dim=1) > EXACT * size) & (norm > EXACT)
        basis[:, step] = direction / norm.clamp(min=1e-30)[:, None] * live[:, None]
        triangle[:, :, step] += (overlap + again) * live[:, None]
        triangle[:, step, step] = torch.where(live, norm, torch.ones_like(norm))
        parts[:, step] = (basis[:, step] * left).sum(dim=1)
        left = left - parts[:, step, None] * basis[:, step]
    weights = torch.linalg.solve_triangular(triangle, parts[:, :, None], upper=True)
    return chosen, weights[:, :, 0] / length[chosen]
