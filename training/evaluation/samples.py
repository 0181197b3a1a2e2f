"""The same prompts, answered at every evaluation: the model's own words."""

from __future__ import annotations

from collections.abc import Sequence

from training.generate import Generator


def answer_prompts(
    generator: Generator,
    prompts: Sequence[str],
    *,
    tokens: int = 60,
    temperature: float = 0.0,
    seed: int = 1,
) -> list[dict[str, str]]:
    """[{"prompt", "answer"}]: a model with a chat template is asked, others go on.

    The training generators are not touched: `seed` has its own.
    """
    training = generator.model.training
    generator.model.eval()
    answers = []
    for prompt in prompts:
        asked = bool(generator.tokenizer.chat_template)
        pieces = generator.stream(
            [{"role": "user", "content": prompt}] if asked else prompt,
            max_tokens=tokens,
            temperature=temperature,
            repetition_penalty=1.0,
            seed=seed,
        )
        answers.append({"prompt": prompt, "answer": "".join(pieces).strip()})
    generator.model.train(training)
    return answers
