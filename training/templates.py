"""Chat templates: how turns become text, where an answer ends, what carries a label.

A tokenizer that has a chat template keeps it. One that has none gets ChatML with the
markers `<|im_start|>` and `<|im_end|>` as special tokens: existing ones where the
vocabulary has them, else new ones on rows that are free or added. Markers are trained
like any other row (training/stages/tune_instructions.py), because a row that was never
seen cannot end an answer.

Labels are found by rendering the turns before and after each answer, so they need no
support from the template; the ChatML template marks `{% generation %}` as well.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from os.path import commonprefix
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

Message = dict[str, str]

IGNORED = -100  # torch.nn.functional.cross_entropy's ignore_index
START, END = "<|im_start|>", "<|im_end|>"

# ChatML, one line break after each header as in the original; the answer's text and its
# end marker are the generated part, the line break after it is not.
CHATML = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['role'] == 'assistant' %}"
    "{% generation %}{{- message['content'] | trim + '<|im_end|>' }}{% endgeneration %}"
    "{%- else %}"
    "{{- message['content'] | trim + '<|im_end|>' }}"
    "{%- endif %}"
    "{{- '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

PROBE: list[Message] = [
    {"role": "user", "content": "abc"},
    {"role": "assistant", "content": "Xyzzy"},
]


@dataclass(frozen=True)
class ChatFormat:
    """What training and generation must know of a tokenizer's template.

    `end_of_turn` is the id that ends an answer, `appended` whether the template itself
    leaves it out so that it is added after each answer; `markers` are the ids of all
    special tokens that a rendered chat contains; `added` those that are new.
    """

    end_of_turn: int
    appended: bool
    markers: tuple[int, ...]
    added: tuple[int, ...] = ()


def set_up(tokenizer: PreTrainedTokenizerBase) -> ChatFormat:
    """Give the tokenizer a template where it has none and describe it.

    Changes `tokenizer` in place. New markers take the ids after the last one in use;
    `fit_rows` gives the model rows for them.
    """
    added: tuple[int, ...] = ()
    if isinstance(tokenizer.chat_template, dict):
        tokenizer.chat_template = tokenizer.chat_template.get("default")
    if not tokenizer.chat_template:
        added = _add_markers(tokenizer)
        begins = tokenizer.bos_token_id is not None and (
            tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
        )
        tokenizer.chat_template = ("{{- bos_token }}" if begins else "") + CHATML
    return describe(tokenizer, added)


def _add_markers(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Make both markers special tokens; returns the ids that did not exist before."""
    known = tokenizer.get_vocab()
    tokenizer.add_special_tokens(
        {"extra_special_tokens": [START, END]},
        replace_extra_special_tokens=False,
    )
    return tuple(
        tokenizer.convert_tokens_to_ids(marker)
        for marker in (START, END)
        if marker not in known
    )


def describe(
    tokenizer: PreTrainedTokenizerBase, added: tuple[int, ...] = ()
) -> ChatFormat:
    """Find the markers and the end of a turn by rendering a small chat."""
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    prompt = _ids(tokenizer, render_text(tokenizer, PROBE[:1], answer=True))
    text = render_text(tokenizer, PROBE)
    # After the answer's text, not after its header: some templates open it with markers
    # of their own, such as an empty block of thoughts.
    after = _ids(tokenizer, text.rpartition(PROBE[1]["content"])[2])
    ends = [token for token in after if token in special]
    markers = set(prompt + _ids(tokenizer, text)) & special
    markers -= {tokenizer.bos_token_id, tokenizer.pad_token_id}
    if ends:
        return ChatFormat(ends[0], False, tuple(sorted(markers)), added)
    end = tokenizer.eos_token_id
    return ChatFormat(end, True, tuple(sorted(markers | {end})), added)


def render(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], *, answer: bool = False
) -> list[int]:
    """Ids of a chat; with `answer` the header that an answer follows is added.

    What looks like a marker in the turns themselves is left out.
    """
    messages = without_markers(tokenizer, messages)
    return _ids(tokenizer, render_text(tokenizer, messages, answer=answer))


def render_text(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], *, answer: bool = False
) -> str:
    """A chat as the template writes it.

    A template that refuses system turns gets them as the beginning of the first
    question. Raises jinja2.TemplateError where it refuses the turns altogether.
    """
    from jinja2 import TemplateError

    def apply(turns: list[Message]) -> str:
        return tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=answer
        )

    try:
        return apply(messages)
    except TemplateError:
        if len(messages) < 2 or messages[0]["role"] != "system":
            raise
        return apply(without_system(messages))


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"] if text else []


def without_system(messages: list[Message]) -> list[Message]:
    """The same turns, a leading system turn put before the first question."""
    if not messages or messages[0]["role"] != "system" or len(messages) < 2:
        return messages
    system, first, *rest = messages
    content = f"{system['content']}\n\n{first['content']}"
    return [{**first, "content": content}, *rest]


def without_markers(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message]
) -> list[Message]:
    """The turns without any special token spelled out in them: text that says
    `<|im_end|>` must not end a turn, nor one that says it when it is taken out."""
    spelled = spelled_markers(tokenizer)
    found = []
    for turn in messages:
        content, count = turn["content"], 1
        while count:
            content, count = spelled.subn("", content)
        found.append({**turn, "content": content})
    return found


# By tokenizer: its size and template when the pattern was made, and the pattern. Some
# have thousands of added tokens.
_SPELLED: WeakKeyDictionary[Any, tuple[tuple[int, Any], re.Pattern[str]]] = (
    WeakKeyDictionary()
)


def spelled_markers(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Finds what the tokenizer reads as a marker wherever it stands: special tokens,
    those that only its table of added tokens names (Llama 3), and other added tokens
    that a question is written with (Gemma)."""
    made_for = len(tokenizer), tokenizer.chat_template
    known = _SPELLED.get(tokenizer)
    if known is None or known[0] != made_for:
        names = sorted(_marker_names(tokenizer), key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, names)) or r"(?!)")
        known = _SPELLED[tokenizer] = made_for, pattern
    return known[1]


def _marker_names(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    turn = render_text(tokenizer, PROBE[:1]) if tokenizer.chat_template else ""
    added = [
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if token.special or (token.content.strip() and token.content in turn)
    ]
    return {*tokenizer.all_special_tokens, *added}


def encode_chat(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], form: ChatFormat
) -> tuple[list[int], list[int]]:
    """(input ids, labels): a label on each answer and the one token that ends it.

    Where the template leaves the end out it is put behind the last answer alone: nobody
    puts it between the turns of a chat that goes on.

    Everything else (headers, questions, line breaks after an answer) carries IGNORED.
    What stands before an answer is split as it will be when somebody asks: where a
    template makes the header and the answer grow together (one that ends in a space
    does), they are split apart.
    """
    answers = [i for i, turn in enumerate(messages) if turn["role"] == "assistant"]
    if not answers:
        return [], []
    messages = without_markers(tokenizer, messages[: answers[-1] + 1])
    text = render_text(tokenizer, messages)
    end = "" if form.appended else tokenizer.convert_ids_to_tokens(form.end_of_turn)
    spans = _answer_spans(tokenizer, messages, answers, text, end)
    ids: list[int] = []
    labels: list[int] = []
    pieces = _pieces(tokenizer, text, spans)
    last = max((n for n, (_, is_answer) in enumerate(pieces) if is_answer), default=-1)
    for number, (piece, is_answer) in enumerate(pieces):
        stop = 0
        if is_answer:
            stop = _after(piece, form.end_of_turn)
            if form.appended and number == last:
                piece.insert(stop, form.end_of_turn)
                stop += 1
        ids += piece
        labels += piece[:stop] + [IGNORED] * (len(piece) - stop)
    return ids, labels


def _answer_spans(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[Message],
    answers: list[int],
    text: str,
    end: str = "",
) -> list[tuple[int, int]]:
    """Where in `text` each answer begins and its turn ends, in characters.

    A template that shows an earlier turn otherwise once more turns follow is taken at
    its word for the last answer only: the model would else learn a context that it
    never meets. One that only closes a chat that ends there (Phi 3) shows it alike up to
    `end`, the marker of a turn's end.
    """
    spans = []
    for index in answers:
        before = render_text(tokenizer, messages[:index], answer=True)
        until = render_text(tokenizer, messages[: index + 1])
        if not text.startswith(before):
            continue
        if text.startswith(until):
            spans.append((len(before), len(until)))
            continue
        place = commonprefix([text, until]).rfind(end) if end else -1
        if place > len(before):
            spans.append((len(before), place + len(end)))
    return spans


def _pieces(
    tokenizer: PreTrainedTokenizerBase, text: str, spans: list[tuple[int, int]]
) -> list[tuple[list[int], bool]]:
    """Ids of the parts of `text` between and in the spans, and whether each is one.

    The whole text is split at once wherever its ids begin with those of each prompt.
    """
    whole = _ids(tokenizer, text)
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    before = [_ids(tokenizer, text[:edge]) for edge in edges]
    exact = all(whole[: len(ids)] == ids for ids in before)
    parts = []
    for number, (begin, end) in enumerate(pairwise(range(len(edges)))):
        if exact:
            ids = whole[len(before[begin]) : len(before[end])]
        else:
            ids = _ids(tokenizer, text[edges[begin] : edges[end]])
        parts.append((ids, number % 2 == 1))
    return parts


def _after(ids: list[int], token: int) -> int:
    """Position after the first `token` in `ids`, or their number."""
    return ids.index(token) + 1 if token in ids else len(ids)


def fit_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    form: ChatFormat,
    *,
    round_to: int = 64,
) -> bool:
    """Give the model rows for the new markers; True where a row was written or added.

    Rows that the model already has beyond the vocabulary are used first; a matrix is
    only ever made larger. A new row starts at the mean of the rows in use, the marker
    that ends a turn at the row that ends a text, which has the same part to play.
    """
    import torch

    if not form.added:
        return False
    rows = model.get_input_embeddings().weight.shape[0]
    needed = max(form.added) + 1
    if needed > rows:
        target = -(-needed // round_to) * round_to
        model.resize_token_embeddings(target, mean_resizing=False)
    in_use = min(form.added)
    end_of_text = tokenizer.eos_token_id
    matrices = [model.get_input_embeddings().weight]
    output = model.get_output_embeddings()
    if output is not None and output.weight is not matrices[0]:
        matrices.append(output.weight)
    with torch.no_grad():
        for matrix in matrices:
            mean = matrix[:in_use].float().mean(0).to(matrix.dtype)
            matrix[needed:] = mean
            for row in form.added:
                ends = row == form.end_of_turn and end_of_text is not None
                matrix[row] = matrix[end_of_text] if ends else mean
    return True


def agree_on_special_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, form: ChatFormat
) -> None:
    """Write the same begin, end and pad ids into config and generation config.

    Generation stops at the end of a turn and at the end of text. The pad token is
    never one of them: a padded batch would otherwise teach that nothing ever ends.
    """
    if not has_own_pad(tokenizer, form):
        raise ValueError("the tokenizer has no pad token of its own")
    generation = model.generation_config
    ends = _ends(tokenizer, form)
    # An instruct model may stop at further markers; ordinary tokens among them are what
    # a library filled in.
    special = set(tokenizer.all_special_ids) - {tokenizer.pad_token_id}
    further = [i for i in _as_list(generation.eos_token_id) if i in special]
    for config in (model.config.get_text_config(), generation):
        config.bos_token_id = tokenizer.bos_token_id
        config.pad_token_id = tokenizer.pad_token_id
    model.config.get_text_config().eos_token_id = tokenizer.eos_token_id
    generation.eos_token_id = list(dict.fromkeys(ends + further))


def has_own_pad(tokenizer: PreTrainedTokenizerBase, form: ChatFormat) -> bool:
    """Whether there is a pad token and it is none of those that end something."""
    pad = tokenizer.pad_token_id
    return pad is not None and pad not in _ends(tokenizer, form)


def _ends(tokenizer: PreTrainedTokenizerBase, form: ChatFormat) -> list[int]:
    """The end of a turn and the end of text, each once."""
    ends = [form.end_of_turn, tokenizer.eos_token_id]
    return [token for token in dict.fromkeys(ends) if token is not None]


def special_id_differences(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """What config, generation config and tokenizer say differently; empty if nothing.

    A stale generation config is the usual case: a fresh one keeps begin 1 and end 2
    whatever the tokenizer says.
    """
    config, generation = model.config.get_text_config(), model.generation_config
    found = []

    def compare(name: str, value: Any, expected: Any) -> None:
        if value != expected:
            found.append(f"{name} is {value}, the tokenizer's is {expected}")

    for kind in ("bos", "pad"):
        expected = getattr(tokenizer, f"{kind}_token_id")
        compare(f"config {kind}", getattr(config, f"{kind}_token_id", None), expected)
        value = getattr(generation, f"{kind}_token_id", None)
        compare(f"generation config {kind}", value, expected)
    expected_ends = set(_as_list(tokenizer.eos_token_id))
    if tokenizer.chat_template:
        expected_ends.add(describe(tokenizer).end_of_turn)
    ends = _as_list(generation.eos_token_id)
    if not expected_ends <= set(ends) <= expected_ends | set(tokenizer.all_special_ids):
        found.append(f"generation config eos is {ends}, not {sorted(expected_ends)}")
    own = _as_list(config.eos_token_id)
    if not set(own) & expected_ends:
        found.append(f"config eos is {own}, not {sorted(expected_ends)}")
    if tokenizer.pad_token_id in expected_ends:
        found.append(f"pad {tokenizer.pad_token_id} is also an end")
    return found


def _as_list(value: int | list[int] | None) -> list[int]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def message_filter(
    tokenizer: PreTrainedTokenizerBase,
) -> Callable[[list[Message]], bool]:
    """A function that says whether the template takes these turns."""
    from jinja2 import TemplateError

    def accepted(messages: list[Message]) -> bool:
        try:
            render(tokenizer, messages)
        except TemplateError:
            return False
        return True

    return accepted
