"""What records are, and a record as a row of its kind.

Rows are those of training/spec.py, Corpus: monolingual {"text"}, with "title" and
"summary" where a document has them; parallel {"source", "target"}; instructions
{"messages": [{"role", "content"}]}; preferences {"messages", "chosen", "rejected"}.
"""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from webapp.datasets.reading.cells import joined, value_of
from webapp.datasets.reading.problems import Record
from webapp.datasets.reading.tables import is_language

TEXT_COLUMNS = (
    "text", "content", "body", "sentence", "document", "raw_content", "article",
    "story", "paragraph", "transcript", "transcription", "lyrics", "verse",
)  # fmt: skip
TITLES = ("title", "headline", "heading")
SUMMARIES = ("summary", "abstract", "highlights")
PAIRS = (
    ("source", "target"), ("src", "tgt"), ("sentence1", "sentence2"),
    ("source_text", "target_text"), ("original", "translation"),
    ("sentence", "translation"),
)  # fmt: skip
QUESTIONS = (
    "instruction", "question", "prompt", "query", "user", "human", "problem", "request",
)  # fmt: skip
ANSWERS = (
    "output", "response", "answer", "answers", "completion", "assistant", "reply",
    "chosen_response", "solution",
)  # fmt: skip
CONTEXTS = ("input", "context", "passage")
CONVERSATIONS = ("messages", "conversations", "conversation", "dialogue", "turns")
# Names of columns that happen to be languages' tags as well: Indonesian, Urali...
METADATA = {"id", "url", "tag", "lang", "name", "type", "kind", "key", "date", "set"}
ROLES = {
    "human": "user", "user": "user", "question": "user", "prompter": "user",
    "gpt": "assistant", "assistant": "assistant", "bot": "assistant",
    "model": "assistant", "chatgpt": "assistant", "answer": "assistant",
    "system": "system",
}  # fmt: skip
# Which columns a kind needs; shown for correction.
ROLES_OF_KIND = {
    "monolingual": ("text", "title", "summary"),
    "parallel": ("source", "target"),
    "instructions": ("question", "context", "answer", "conversation"),
    "preferences": ("question", "chosen", "rejected"),
}
OPTIONAL_ROLES = ("title", "summary", "context", "conversation")


class Dropped(Exception):
    """A record that makes no row; the message is the reason."""


Columns = dict[str, str]  # role of ROLES_OF_KIND -> column name


def guess_kind(records: list[Record]) -> tuple[str, Columns]:
    """Kind and columns of records, from their first ones."""
    table = _Table(records)
    for kind, find in (
        ("preferences", table.preferences),
        ("instructions", table.instructions),
        ("parallel", table.parallel),
    ):
        if found := find():
            return kind, found
    return "monolingual", table.monolingual()


def guess_columns(records: list[Record], kind: str) -> Columns:
    """The columns that most likely play the roles of a kind that a person chose."""
    table = _Table(records)
    if kind == "monolingual":
        return table.monolingual()
    found = {
        "preferences": table.preferences,
        "instructions": table.instructions,
        "parallel": table.parallel,
    }[kind]()
    if found:
        return found
    roles = [role for role in ROLES_OF_KIND[kind] if role not in OPTIONAL_ROLES]
    return dict(zip(roles, table.worded or table.columns, strict=False))


class _Table:
    """The first records, with the questions asked of their columns."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records
        self.columns = [c for c in (records[0] if records else {}) if c is not None]
        self.by_name = {str(c).lower().replace(" ", "_"): c for c in self.columns}
        self.worded = _worded(records, self.columns)

    def first(self, names: tuple[str, ...]) -> str | None:
        """The first of these columns that there is."""
        return next((self.by_name[n] for n in names if n in self.by_name), None)

    def preferences(self) -> Columns | None:
        """Columns of chosen and rejected answers."""
        chosen, rejected = self.by_name.get("chosen"), self.by_name.get("rejected")
        if not chosen or not rejected:
            return None
        question = self.first(QUESTIONS) or self.first(CONVERSATIONS)
        found = {"question": question, "chosen": chosen, "rejected": rejected}
        return {role: column for role, column in found.items() if column}

    def instructions(self) -> Columns | None:
        """Columns of a conversation, or of a question and its answer."""
        conversation = self.first(CONVERSATIONS)
        if conversation and any(
            isinstance(value_of(record.get(conversation)), list)
            for record in self.records
        ):
            return {"conversation": conversation}
        question, answer = self.first(QUESTIONS), self.first(ANSWERS)
        if not question or not answer:
            return None
        context = self.first(CONTEXTS)
        found = {"question": question, "context": context, "answer": answer}
        return {role: column for role, column in found.items() if column}

    def parallel(self) -> Columns | None:
        """Columns of two languages."""
        nested = self.by_name.get("translation")
        if nested and isinstance(self.records[0][nested], dict):
            pair = list(self.records[0][nested])[:2]
            if len(pair) == 2:
                return {"source": pair[0], "target": pair[1]}
        for source, target in PAIRS:
            if source in self.by_name and target in self.by_name:
                return {"source": self.by_name[source], "target": self.by_name[target]}
        if self.first(TEXT_COLUMNS):
            return None
        languages = [
            column
            for column in self.worded
            if str(column).lower() not in METADATA and is_language(str(column))
        ]
        if len(languages) >= 2:
            return {"source": languages[0], "target": languages[1]}
        if len(self.columns) == 2 == len(self.worded):
            return {"source": self.columns[0], "target": self.columns[1]}
        return None

    def monolingual(self) -> Columns:
        """The column of the text, by its name or the one with most of it; of its title
        and its summary, where there are such."""
        sizes = self.worded
        text = self.first(TEXT_COLUMNS)
        text = text or max(sizes or self.columns or ["text"], key=sizes.get)
        beside = {"title": self.first(TITLES), "summary": self.first(SUMMARIES)}
        found = {role: column for role, column in beside.items() if column}
        return {"text": text} | {r: c for r, c in found.items() if c != text}


def _worded(records: list[Record], columns: list[str]) -> dict[str, int]:
    """Columns that hold words, with how many characters they hold."""
    sizes = {}
    for column in columns:
        values = [r.get(column) for r in records]
        letters = [v for v in values if isinstance(v, str) and any(map(str.isalpha, v))]
        if len(letters) * 2 > len(values):
            sizes[column] = sum(map(len, letters))
    return sizes


def row(record: Record, kind: str, columns: Columns) -> Record:
    """The record as a row of its kind; raises Dropped with the reason."""
    if kind == "monolingual":
        return _document(record, columns)
    if kind == "parallel":
        record = _translation(record, columns)
        return {
            "source": _text(record, columns["source"]),
            "target": _text(record, columns["target"]),
        }
    if kind == "instructions":
        return {"messages": _messages(record, columns)}
    return _preference(record, columns)


def _document(record: Record, columns: Columns) -> Record:
    """A text, with title and summary where this one has them."""
    found = {"text": _text(record, columns.get("text", "text"))}
    for role in ("title", "summary"):
        value = record.get(columns.get(role, ""))
        if isinstance(value, str) and value.strip():
            found[role] = value.strip()
    return found


def _preference(record: Record, columns: Columns) -> Record:
    """A question with two answers; where no column asks it, the turns before them do."""
    chosen = value_of(record.get(columns["chosen"]))
    prompt = record.get(columns.get("question", ""))
    if "question" not in columns and isinstance(chosen, list):
        messages = _turns(chosen)[:-1]
    elif isinstance(value_of(prompt), list):
        messages = _turns(prompt, answered=False)
    else:
        messages = [{"role": "user", "content": _text(record, columns["question"])}]
    if not messages:
        raise Dropped(_("nobody asks"))
    return {
        "messages": messages,
        "chosen": _last_answer(record, columns["chosen"]),
        "rejected": _last_answer(record, columns["rejected"]),
    }


def _translation(record: Record, columns: Columns) -> Record:
    nested = value_of(record.get("translation"))
    inside = isinstance(nested, dict) and columns["source"] not in record
    return nested if inside else record


def _messages(record: Record, columns: Columns) -> list[dict[str, str]]:
    if conversation := columns.get("conversation"):
        return _turns(record.get(conversation))
    question = _text(record, columns["question"])
    context = record.get(columns.get("context", ""))
    if isinstance(context, str) and context.strip():
        question = f"{question}\n\n{context.strip()}"
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": _text(record, columns["answer"])},
    ]


def _turns(value: Any, answered: bool = True) -> list[dict[str, str]]:
    turns = value_of(value)
    if not isinstance(turns, list) or not turns:
        raise Dropped(_("no conversation"))
    messages = []
    for turn in turns:
        if not isinstance(turn, dict):
            raise Dropped(_("a turn of the conversation is not an object"))
        speaker = str(turn.get("role") or turn.get("from") or "").lower()
        content = turn.get("content", turn.get("value", turn.get("text")))
        if speaker not in ROLES:
            raise Dropped(
                _("a turn is said by %(speaker)s") % {"speaker": speaker or _("nobody")}
            )
        if not isinstance(content, str) or not content.strip():
            raise Dropped(_("a turn is empty"))
        messages.append({"role": ROLES[speaker], "content": content.strip()})
    if answered and not any(message["role"] == "assistant" for message in messages):
        raise Dropped(_("nobody answers"))
    return messages


def _last_answer(record: Record, column: str) -> str:
    value = value_of(record.get(column))
    if isinstance(value, list):
        return _turns(value)[-1]["content"]
    return _text(record, column)


def _text(record: Record, column: str) -> str:
    value = record.get(column)
    if column not in record:
        raise Dropped(_("has no column %(column)s") % {"column": column})
    if isinstance(value, (list, str)):
        value = joined(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Dropped(_("%(column)s is not text") % {"column": column})
    value = value.strip()
    if not value:
        raise Dropped(_("%(column)s is empty") % {"column": column})
    return value
