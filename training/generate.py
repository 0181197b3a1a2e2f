"""Text from a model, piece by piece: for the fixed prompts and for the chat."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from training import templates
from training.data.tokens import encode, start_id
from training.evaluation.bits_per_byte import maximum_positions
from training.families import end_of_text_id, load_model, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Message = dict[str, str]

UNKNOWN = "\ufffd"
# A character has at most four bytes; more unreadable tokens than this are really so.
LONGEST_CHARACTER_TOKENS = 6
# Markers that end a turn in the usual templates, where the vocabulary has them.
END_MARKERS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>")


class Generator:
    """A model and its tokenizer, ready to write."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.device = next(model.parameters()).device
        self.positions = maximum_positions(model)
        self.ends = end_ids(model, tokenizer)
        self.known = max(tokenizer.get_vocab().values()) + 1

    @classmethod
    def load(cls, folder: Path, device: str | torch.device = "cpu") -> Generator:
        """Read a Hugging Face folder of weights and tokenizer."""
        model = load_model(folder, device=device)
        return cls(model, load_tokenizer(folder))

    def prompt_ids(self, prompt: str | Sequence[Message]) -> list[int]:
        """Ids of a text to go on with, or of turns in the model's chat template.

        Turns without a template are joined as plain lines.
        """
        if not isinstance(prompt, str):
            turns = [dict(turn) for turn in prompt]
            if self.tokenizer.chat_template:
                return templates.render(self.tokenizer, turns, answer=True)
            prompt = "\n".join(turn["content"] for turn in turns) + "\n"
        ids = encode(self.tokenizer, [prompt])[0] if prompt else []
        return [start_id(self.tokenizer), *ids]

    @torch.no_grad()
    def token_ids(
        self,
        prompt: Sequence[int],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        repetition_penalty: float = 1.0,
        seed: int | None = None,
        stop_event: threading.Event | None = None,
    ) -> Iterator[int]:
        """Ids one after the other; ends at an end token, a full context or a stop.

        `temperature` 0 takes the likeliest. A prompt that fills the context loses its
        beginning. Ids the tokenizer does not know are never chosen.
        """
        room = max(1, min(max_tokens, self.positions // 2))
        ids = torch.tensor([list(prompt)[-(self.positions - room) :]])
        written = ids[0].tolist()
        random = torch.Generator()
        if seed is None:
            random.seed()
        else:
            random.manual_seed(seed)
        cache = None
        for _ in range(min(max_tokens, self.positions - len(written))):
            if stop_event is not None and stop_event.is_set():
                return
            output = self.model(
                input_ids=ids.to(self.device), past_key_values=cache, use_cache=True
            )
            cache = output.past_key_values
            scores = output.logits[0, -1].float().cpu()
            scores[self.known :] = -torch.inf
            _penalise(scores, written, repetition_penalty)
            chosen = choose(scores, temperature, top_p, top_k, random)
            if chosen in self.ends:
                return
            yield chosen
            written.append(chosen)
            ids = torch.tensor([[chosen]])

    def stream(
        self,
        messages_or_prompt: str | Sequence[Message],
        max_tokens: int = 256,
        temperature: float = 0.7,
        top_p: float = 0.95,
        top_k: int = 0,
        repetition_penalty: float = 1.0,
        seed: int | None = None,
        stop_event: threading.Event | None = None,
    ) -> Iterator[str]:
        """Text in pieces of whole characters, as it is written."""
        text = TextStream(self.tokenizer)
        for id_ in self.token_ids(
            self.prompt_ids(messages_or_prompt),
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            repetition_penalty=repetition_penalty,
            seed=seed,
            stop_event=stop_event,
        ):
            if piece := text.push(id_):
                yield piece
        if piece := text.finish():
            yield piece


class TextStream:
    """Turns ids into text, holding back what is not yet a whole character."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.ids: list[int] = []
        # Ids before `shown` are out; decoding begins at `context`, a little before, as
        # some decoders treat the first piece of a text differently.
        self.context = 0
        self.shown = 0

    def push(self, id_: int) -> str:
        """The text that `id_` completes; empty while a character is unfinished."""
        self.ids.append(id_)
        waiting = len(self.ids) - self.shown
        return self._new_text(force=waiting > LONGEST_CHARACTER_TOKENS)

    def finish(self) -> str:
        """What was held back, without the bytes of a character that has no end."""
        return self._new_text(force=True).rstrip(UNKNOWN)

    def _new_text(self, *, force: bool) -> str:
        before = self._decode(self.ids[self.context : self.shown])
        after = self._decode(self.ids[self.context :])
        if after.endswith(UNKNOWN) and not force:
            return ""
        self.context, self.shown = self.shown, len(self.ids)
        return after[len(before) :]

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )


def choose(
    scores: torch.Tensor,
    temperature: float,
    top_p: float,
    top_k: int,
    random: torch.Generator,
) -> int:
    """An id from scores of shape [vocabulary]: the best, or drawn from the best ones.

    `top_k` (0: all) keeps the likeliest ids, `top_p` the fewest that hold this much of
    the probability.
    """
    if temperature <= 0:
        return int(scores.argmax())
    values, ids = scores.div(temperature).softmax(-1).sort(descending=True)
    if top_k:
        values[top_k:] = 0
    values[values.cumsum(-1) - values >= top_p] = 0
    values[0] = values[0].clamp_min(torch.finfo(values.dtype).tiny)
    return int(ids[torch.multinomial(values, 1, generator=random)])


def _penalise(scores: torch.Tensor, written: Sequence[int], penalty: float) -> None:
    """Make what was written less likely (Keskar et al. 2019: divide, or multiply < 0)."""
    if penalty == 1.0:
        return
    seen = torch.tensor(sorted(set(written)))
    values = scores[seen]
    scores[seen] = torch.where(values > 0, values / penalty, values * penalty)


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> set[int]:
    """Ids at which an answer ends: of the generation config, end of text, end of turn."""
    stated = getattr(model.generation_config, "eos_token_id", None)
    if stated is None:
        stated = []
    ends = {end_of_text_id(tokenizer)}
    ends.update([stated] if isinstance(stated, int) else stated)
    vocabulary = tokenizer.get_added_vocab()
    ends.update(vocabulary[marker] for marker in END_MARKERS if marker in vocabulary)
    return ends
