"""From words that translate each other to weights between their pieces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import lcm

from training.embeddings.focus import copied
from training.embeddings.request import Mixture, Request, normalised
from training.embeddings.words import texts_of

# A piece of one character is contained in too much to say anything.
SHORTEST = 2
LONGEST_PART = 32

Counts = dict[int, dict[int, float]]


def counts() -> Counts:
    """An empty table: new id -> old id -> weight."""
    return defaultdict(lambda: defaultdict(float))


def spread(
    table: Counts, old_ids: Sequence[int], new_ids: Sequence[int], count: float
) -> None:
    """Divide a count between the pieces of two words (Trans-tokenization).

    Half goes from all to all; half goes in order, both words stretched to the least
    common multiple of their lengths.
    """
    if not old_ids or not new_ids:
        return
    for new in new_ids:
        for old in old_ids:
            table[new][old] += count / 2 / (len(new_ids) * len(old_ids))
    steps = lcm(len(new_ids), len(old_ids))
    for step in range(steps):
        new = new_ids[step * len(new_ids) // steps]
        old = old_ids[step * len(old_ids) // steps]
        table[new][old] += count / 2 / steps


def mixtures(request: Request, table: Counts) -> dict[int, Mixture]:
    """Normalised weights of the tokens that need rows.

    A token with the text of an old one is its copy. One without weights takes those of
    the tokens that contain it or that it contains, twice from those that begin a word.
    """
    old, new = request.pieces()
    named = {i: t for i, t in texts_of(new).items() if i in request.new_ids}
    found = {
        id_: normalised(row) for id_, row in table.items() if id_ in request.new_ids
    }
    for id_, to in copied(request, named, texts_of(old)).items():
        found[id_] = {to: 1.0}
    inherited: dict[int, Mixture] = {}
    for id_, relatives in related(named, found).items():
        row: Mixture = defaultdict(float)
        for relative in relatives:
            share = 2.0 if named[relative].startswith(" ") else 1.0
            for old_id, weight in found[relative].items():
                row[old_id] += share * weight
        inherited[id_] = normalised(row)
    return {**inherited, **found}


def related(named: dict[int, str], mapped: Iterable[int]) -> dict[int, list[int]]:
    """For each id that is not mapped, the mapped ids whose text contains its text or is
    contained in it.
    """
    known: dict[str, list[int]] = defaultdict(list)
    for id_ in mapped:
        if id_ in named:
            known[named[id_].strip()].append(id_)
    wanted: dict[str, list[int]] = defaultdict(list)
    for id_ in named.keys() - set(mapped):
        wanted[named[id_].strip()].append(id_)
    found: dict[int, set[int]] = defaultdict(set)
    for text, ids in known.items():
        for part in _parts(text) & wanted.keys():
            for id_ in wanted[part]:
                found[id_].update(ids)
    for text, ids in wanted.items():
        for part in _parts(text) & known.keys():
            for id_ in ids:
                found[id_].update(known[part])
    return {id_: sorted(relatives) for id_, relatives in sorted(found.items())}


def _parts(text: str) -> set[str]:
    """All substrings of at least two characters."""
    return {
        text[i:j]
        for i in range(len(text))
        for j in range(i + SHORTEST, min(len(text), i + LONGEST_PART) + 1)
    }
