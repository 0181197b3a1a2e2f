"""What the model in training writes and judges itself: instructions, translations.

Only a model that follows instructions can: one with a chat template of its own, or one
that an earlier stage of the job tuned.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from training import templates
from training.data.builders.material import Chat
from training.data.builders.wordings import Wordings, draw, language_name
from training.errors import BaseUnsuitable
from training.families import load_tokenizer
from training.generate import Generator

if TYPE_CHECKING:
    from training.run import StageContext

LONGEST_INSTRUCTION_TOKENS, LONGEST_TRANSLATION_TOKENS = 64, 400
STAGES_THAT_TEACH_ANSWERING = ("tune_instructions", "align_preferences")


def follows_instructions(context: StageContext) -> bool:
    """Whether the model a stage begins with was taught to answer: by the job, or before
    it (then the folder of the base has a chat template)."""
    for name in STAGES_THAT_TEACH_ANSWERING:
        if name in context.finished and "skipped" not in context.figures.get(name, {}):
            return True
    return bool(load_tokenizer(Path(context.spec.base)).chat_template)


def require_instructed(context: StageContext, what: str) -> None:
    """Raise BaseUnsuitable where the model was never taught to answer."""
    if not follows_instructions(context):
        raise BaseUnsuitable(
            f"{what} needs a model that follows instructions, and this base has not "
            "been tuned on any.",
            hint="Put the stage tune_instructions before it, or choose an "
            "instruction-tuned base.",
        )


class SelfWriter:
    """Functions for training/data/builders/backtranslation.py and data/translate.py."""

    def __init__(self, generator: Generator, form: templates.ChatFormat) -> None:
        self.generator, self.form = generator, form

    def write(self, chat: Chat, tokens: int = LONGEST_INSTRUCTION_TOKENS) -> str:
        """The likeliest answer, as text."""
        pieces = self.generator.stream(chat, max_tokens=tokens, temperature=0.0)
        return "".join(pieces).strip()

    def translate(self, wordings: Wordings, text: str, source: str, target: str) -> str:
        """A translation by the model, asked for in English."""
        dice = random.Random(0)  # noqa: S311 - always the same wording
        reader, wording = draw(wordings, "translation", (), dice)
        request = wording.format(
            text=text,
            source=language_name(source, reader),
            target=language_name(target, reader),
        )
        chat = [{"role": "user", "content": request}]
        return self.write(chat, LONGEST_TRANSLATION_TOKENS)

    def helpfulness(self, instruction: str, text: str) -> float:
        """Nats per token by which the instruction makes the text likelier."""
        asked = [
            {"role": "user", "content": instruction},
            {"role": "assistant", "content": text},
        ]
        unasked = [{"role": "user", "content": "."}, asked[1]]
        return self._mean_log_probability(asked) - self._mean_log_probability(unasked)

    @torch.no_grad()
    def _mean_log_probability(self, chat: Chat) -> float:
        """Of the labelled tokens of the answer; -inf where none fits the context."""
        ids, labels = templates.encode_chat(self.generator.tokenizer, chat, self.form)
        limit = self.generator.positions
        following = torch.tensor(labels[:limit][1:])
        if not (following >= 0).any():
            return float("-inf")
        given = torch.tensor([ids[:limit]], device=self.generator.device)
        logits = self.generator.model(input_ids=given).logits[0, :-1].float().cpu()
        loss = torch.nn.functional.cross_entropy(logits, following)
        return -float(loss)
