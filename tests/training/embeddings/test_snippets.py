from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from tests.training import tiny
from tests.training.vocabulary import bases
from training.embeddings import snippets
from training.embeddings.snippets import Miner, Reading, Snippet
from training.families import with_backend

TEXTS = [*tiny.documents(12, seed=5), *tiny.documents(3, script="latin", seed=6)]


def _tokenizer(backend: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def _mined(
    per_token: int = 3, tokens: int = 12, longest: int = 200
) -> tuple[list[Snippet], Miner, PreTrainedTokenizerFast, PreTrainedTokenizerFast]:
    grown = bases.extended("byte_level", "cyrillic")
    student, teacher = _tokenizer(grown.backend), _tokenizer(bases.byte_level())
    miner = Miner(
        student,
        teacher,
        new=[token.id for token in grown.tokens],
        pieces={token.id: token.base_ids for token in grown.tokens},
        per_token=per_token,
        tokens=tokens,
        positions=longest,
    )
    return list(miner.mine(TEXTS)), miner, student, teacher


@pytest.mark.parametrize("kind", bases.BASES)
@pytest.mark.parametrize("script", ["cyrillic", "tibetan", "devanagari"])
def test_characters_and_pieces_say_the_same(kind: str, script: str) -> None:
    """Tokens that end at a whole character are found either way, at the same place."""
    grown = bases.extended(kind, script)
    pieces = {token.id: token.base_ids for token in grown.tokens}
    texts = tiny.documents(4, script=script, seed=9)
    students = snippets.read(_tokenizer(grown.backend), texts)
    teachers = snippets.read(_tokenizer(bases.BASES[kind]()), texts)
    for student, teacher in zip(students, teachers, strict=True):
        exact = snippets.meeting_places(student, teacher, pieces)
        parts = [len(pieces.get(id_, (id_,))) for id_ in student.ids]
        if sum(parts) == len(teacher.ids):
            assert exact == [sum(parts[: i + 1]) - 1 for i in range(len(parts))]
        by_characters = snippets.meeting_places(student, teacher, {})
        pairs = [(a, b) for a, b in zip(exact, by_characters, strict=True) if b >= 0]
        assert pairs and all(a == b for a, b in pairs)
        assert len(pairs) > 0.5 * len(exact)


def test_the_bytes_of_a_character_meet_at_its_end_only() -> None:
    # "a", the two bytes of "қ", and "b"; the student has "aқ" in one.
    teacher = Reading([1, 2, 3, 4], [(0, 1), (1, 2), (1, 2), (2, 3)])
    student = Reading([9, 4], [(0, 2), (2, 3)])
    assert snippets.meeting_places(student, teacher, {}) == [2, 3]
    # The naive rule, the first token with that end, would be in the middle of "қ".
    naive = {
        end: place for place, (_, end) in reversed(list(enumerate(teacher.offsets)))
    }
    assert naive[2] == 1


def test_both_read_the_same_characters() -> None:
    mined, _, student, teacher = _mined()
    assert len(mined) > 10
    for snippet in mined:
        text = student.decode(snippet.student)
        assert text == teacher.decode(snippet.teacher)
        assert snippet.bytes == len(text.encode())
        for place, there in snippet.places:
            ours = student.decode(snippet.student[: place + 1])
            assert ours == teacher.decode(snippet.teacher[: there + 1])


def test_every_token_is_looked_for_until_found_often_enough() -> None:
    mined, miner, *_ = _mined(per_token=3)
    held: dict[int, int] = dict.fromkeys(miner.found, 0)
    for snippet in mined:
        for id_ in set(snippet.student.tolist()) & held.keys():
            held[id_] += 1
    assert held == dict(miner.found)
    texts = [set(reading.ids) for reading in snippets.read(miner.student, TEXTS)]
    assert max(miner.found.values()) < len(mined)
    for id_, count in miner.found.items():
        assert count >= min(3, sum(id_ in text for text in texts))
    assert len(_mined(per_token=10_000)[0]) > len(mined)


def test_snippets_fit_the_shorter_model() -> None:
    mined, *_ = _mined(tokens=40, longest=30)
    assert mined
    assert max(len(snippet.teacher) for snippet in mined) < 30
    assert max(len(snippet.teacher) for snippet in _mined(tokens=40)[0]) > 30


def test_another_vocabulary_is_read_by_characters() -> None:
    """A replaced tokenizer: ids mean other pieces, nothing is taken apart."""
    own = tiny.tokenizer(tiny.documents(60), size=400)
    teacher = _tokenizer(bases.byte_level())
    old = teacher.get_vocab()
    new = [id_ for piece, id_ in own.get_vocab().items() if piece not in old]
    miner = Miner(
        own,
        teacher,
        new=new,
        pieces={},
        per_token=2,
        tokens=10,
        positions=200,
    )
    mined: list[Snippet] = list(miner.mine(TEXTS))
    assert mined
    for snippet in mined:
        assert own.decode(snippet.student) == teacher.decode(snippet.teacher)
        for place, there in snippet.places:
            ours = own.decode(snippet.student[: place + 1])
            assert ours == teacher.decode(snippet.teacher[: there + 1])


def test_a_name_of_a_special_token_in_the_text_is_text() -> None:
    grown = bases.extended("byte_level", "cyrillic")
    student = with_backend(
        tiny.tokenizer(tiny.documents(5)), Tokenizer.from_str(grown.backend.to_str())
    )
    plain = json.loads(student.backend_tokenizer.to_str())
    assert plain["added_tokens"][0]["content"] == "<|endoftext|>"
    (reading,) = snippets.read(student, ["қа <|endoftext|>"])
    assert 0 not in reading.ids
