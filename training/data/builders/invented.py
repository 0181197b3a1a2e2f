"""Conversations that a teacher invents from the community's own documents (UltraLink, Wang
et al. 2024, arXiv:2402.04588; over several turns as M2Lingual, Maheshwary et al. 2024,
arXiv:2406.16783, does).

A passage is shown to the teacher, which is any function from a chat to an answer: it asks
what people who speak the language could ask about it, answers from it, asks on. Every
question and every answer is a request of its own, so that a small teacher has no format to
keep, and is looked at before the next: a conversation ends before the first turn with a
fault, and is left out where that is the first.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest

from training.data.builders.material import Chat, Instruction, question
from training.data.builders.wordings import language_name
from training.data.contamination import Guard
from training.data.language_guess import LanguageGuess
from training.data.passages import cut
from training.data.text_quality import chrf, in_scripts, repeats_itself

Ask = Callable[[Chat], str]

# Characters of a passage: enough to ask about, no more than a small teacher reads well.
LEAST_PASSAGE, LONGEST_PASSAGE = 120, 1_500
SHORTEST_QUESTION, LONGEST_QUESTION = 8, 300
LONGEST_ANSWER = 2_000
# An answer this long that stands in the passage word for word was not answered but read.
COPIED_CHARACTERS, COPIED_CHRF = 200, 80.0
QUOTES = {'"': '"', "«": "»", "„": "“", "“": "”"}
NOTHING = "NONE"  # what the teacher says where the passage does not tell

FIRST = (
    "Below is a text in {language}. Write one question in {language} that somebody of the "
    "community that speaks it might really ask: about its people, places, customs, "
    "history, nature or work, as far as the text tells of them. It must make sense to "
    "whoever has not seen the text. Write the question alone.\n\n{text}"
)
NEXT = (
    "Below are a text in {language} and a conversation about it. Write in {language} what "
    "the person who asks could say next: a new question that follows from the last "
    "answer. Write the question alone.\n\n{text}\n\n---\n\n{talk}"
)
ANSWER = (
    "Below are a text in {language} and a conversation. Answer its last question in "
    "{language}, in whole sentences and from the text, as somebody of the community would "
    f"explain it; do not speak of a text. If the text does not tell, write {NOTHING} and "
    "nothing else.\n\n{text}\n\n---\n\n{talk}"
)


@dataclass(frozen=True)
class Passage:
    """A part of a document; `document` says which, by lines of the training text."""

    text: str
    document: str


@dataclass(frozen=True)
class Quality:
    """What is usual: scripts of the documents, the language they are in and how to tell
    it, and what must not be learned."""

    language: str
    scripts: set[str] = field(default_factory=set)
    guess: LanguageGuess = field(default_factory=lambda: LanguageGuess({}))
    guard: Guard = field(default_factory=Guard)

    def question_fault(self, asked: str, passage: str, before: Iterable[str]) -> str:
        """Why a question is not learned from; "" where nothing speaks against it."""
        if not asked:
            return "empty"
        if len(asked) < SHORTEST_QUESTION:
            return "short"
        if len(asked) > LONGEST_QUESTION:
            return "long"
        if plain(asked) in plain(passage):
            return "copied"
        if plain(asked) in map(plain, before):
            return "repeated question"
        return self._text_fault(asked)

    def answer_fault(self, answer: str, asked: str, passage: str) -> str:
        """The same of an answer."""
        said = plain(answer)
        if said in ("", plain(NOTHING), plain(asked)):
            return "no answer"
        if len(answer) > LONGEST_ANSWER:
            return "long"
        verbatim = len(said) >= COPIED_CHARACTERS and said in plain(passage)
        if verbatim or chrf(answer, passage) > COPIED_CHRF:
            return "copied"
        return self._text_fault(answer)

    def _text_fault(self, text: str) -> str:
        if repeats_itself(text):
            return "in circles"
        if not in_scripts(text, self.scripts):
            return "script"
        if self.guess.likeliest(text) not in ("", self.language):
            return "language"
        return "held out" if self.guard.touches(text) else ""


@dataclass
class Invented:
    """The conversations that passed; why others were left out or cut short."""

    rows: list[Instruction] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    cut_short: Counter[str] = field(default_factory=Counter)


def passages(texts: Iterable[str]) -> Iterator[Passage]:
    """Parts of the documents; lines too short to ask about stand together."""
    run: list[str] = []
    for number, text in enumerate(texts, 1):
        if len(text) < LEAST_PASSAGE:
            run.append(text)
            if sum(map(len, run)) >= LEAST_PASSAGE:
                yield Passage("\n".join(run), f"{number - len(run) + 1}-{number}")
                run = []
            continue
        run = []
        for part in cut(text, LONGEST_PASSAGE):
            if len(part.strip()) >= LEAST_PASSAGE:
                yield Passage(part.strip(), str(number))


def choose(
    found: Iterable[Passage], share: float, count: int, dice: random.Random
) -> list[Passage]:
    """`count` passages of a `share` of the documents, drawn by chance: the first of
    every document before the second of any."""
    documents: dict[str, list[Passage]] = {}
    for passage in found:
        documents.setdefault(passage.document, []).append(passage)
    names = list(documents)
    dice.shuffle(names)
    used = [documents[name] for name in names[: max(1, round(share * len(names)))]]
    rounds = zip_longest(*used)
    return [passage for one in rounds for passage in one if passage][:count]


def converse(
    passage: Passage, ask: Ask, turns: int, quality: Quality
) -> tuple[Chat, str]:
    """A conversation of at most `turns` questions with answers, and the fault it ended
    with; "" where it has as many."""
    chat: Chat = []
    language = language_name(quality.language, "en")
    for _ in range(turns):
        wording = NEXT if chat else FIRST
        shown = {"language": language, "text": passage.text}
        asked = tidy(_asked(ask, wording, **shown, talk=_spoken(chat)))
        asked = asked.partition("\n")[0].strip()
        before = [turn["content"] for turn in chat if turn["role"] == "user"]
        if fault := quality.question_fault(asked, passage.text, before):
            return chat, fault
        talk = _spoken([*chat, *question(asked, "")[:1]])
        answer = tidy(_asked(ask, ANSWER, **shown, talk=talk))
        if fault := quality.answer_fault(answer, asked, passage.text):
            return chat, fault
        chat += question(asked, answer)
    return chat, ""


def gather(
    talks: Iterable[tuple[Passage, Chat, str]], language: str, teacher: str
) -> Invented:
    """The conversations as rows, each with its teacher and its document; of two that ask
    the same the later one ends before that."""
    found, seen = Invented(), set()
    for passage, chat, fault in talks:
        kept: Chat = []
        for asked, answer in zip(chat[::2], chat[1::2], strict=True):
            if plain(asked["content"]) in seen:
                fault = "repeated question"
                break
            seen.add(plain(asked["content"]))
            kept += [asked, answer]
        if fault:
            (found.cut_short if kept else found.left_out)[fault] += 1
        if kept:
            key = f"document {passage.document}"
            origin = f"invented by {teacher}"
            found.rows.append(Instruction(kept, language, key, origin))
    return found


def tidy(text: str) -> str:
    """Without the quotation marks that some teachers put around what they write."""
    text = text.strip()
    closing = QUOTES.get(text[:1], "")
    if closing and text[1:].find(closing) == len(text) - 2:
        return text[1:-1].strip()
    return text


def plain(text: str) -> str:
    """Words alone, to compare by."""
    letters = (c if c.isalnum() else " " for c in text.casefold())
    return " ".join("".join(letters).split())


def _asked(ask: Ask, wording: str, **shown: str) -> str:
    return ask([{"role": "user", "content": wording.format(**shown)}])


def _spoken(chat: Chat) -> str:
    names = {"user": "Question", "assistant": "Answer"}
    return "\n".join(f"{names[turn['role']]}: {turn['content']}" for turn in chat)
