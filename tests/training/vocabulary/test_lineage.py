"""What several changes of a vocabulary come to, in the ids of the base."""

from __future__ import annotations

from pathlib import Path

from tests.training import tiny
from tests.training.vocabulary import bases
from training.spec import ExtendVocabulary
from training.vocabulary import methods
from training.vocabulary.change import compact
from training.vocabulary.lineage import Lineage

CYRILLIC, LATIN = tiny.documents(60), tiny.documents(60, script="latin")


def test_pruned_then_extended_then_pruned_again(tmp_path: Path) -> None:
    base = bases.llama3()
    backend, lineage = base, Lineage.read(None)
    for settings in (
        ExtendVocabulary(method="prune", prune_tokens=30, special_ids="compact"),
        ExtendVocabulary(new_tokens=50, minimum_occurrences=4),
        ExtendVocabulary(method="prune", prune_tokens=25),
    ):
        change = methods.change(
            backend, lambda: CYRILLIC, settings, protected=lambda: LATIN
        )
        backend, lineage = change.backend, lineage.after(change)
        lineage.write(tmp_path)
        lineage = Lineage.read(tmp_path)
        names = {id_: piece for piece, id_ in base.get_vocab().items()}
        new = {token["id"]: token for token in lineage.tokens}
        assert set(lineage.kept) | set(new) == set(backend.get_vocab().values())
        assert not set(lineage.kept) & set(new)
        for id_, old in lineage.kept.items():
            assert backend.id_to_token(id_) == names[old]
        for id_, token in new.items():
            assert backend.id_to_token(id_) == token["piece"]
            assert "".join(names[old] for old in token["base_ids"]) == token["piece"]
    assert 25 <= len(lineage.tokens) <= 50


def test_no_kept_file_where_no_id_moved(tmp_path: Path) -> None:
    settings = ExtendVocabulary(new_tokens=20, minimum_occurrences=4)
    change = methods.change(bases.byte_level(), lambda: CYRILLIC, settings)
    Lineage.read(None).after(change).write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["vocabulary.json"]
    assert Lineage.read(tmp_path).kept is None


def test_numbers_close_gaps_and_leave_fixed_ones() -> None:
    assert compact([2, 5, 9, 11], [9, 1]) == {9: 9, 1: 1, 2: 0, 5: 2, 11: 3}
    assert compact([4, 6], []) == {4: 0, 6: 1}
