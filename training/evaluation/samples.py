"""The same prompts, answered at every evaluation: the model's own words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from training.generate import Generator


def answer_prompts(
    generator: Generator,
    prompts: Sequence[str],
    *,
    tokens: int = 60,
    temperature: float = 0.0,
    seed: int = 1,
    write: Callable[[str], str] = str,
) -> list[dict[str, str]]:
    """[{"prompt", ["asked"], "answer"}]: a model with a chat template is asked, others go
    on. `write` makes of a prompt what the model is asked (its text may be romanised);
    "asked" is there where that is something else.

    The training generators are not touched: `seed` has its own.
    """
    training = generator.model.training
    generator.model.eval()
    answers = []
    for prompt in prompts:
        asked = bool(generator.tokenizer.chat_template)
        said = write(prompt)
        pieces = generator.stream(
            [{"role": "user", "content": said}] if asked else said,
            max_tokens=tokens,
            temperature=temperature,
            repetition_penalty=1.0,
            seed=seed,
        )
        changed = {"asked": said} if said != prompt else {}
        answer = "".join(pieces).strip()
        answers.append({"prompt": prompt, **changed, "answer": answer})
    generator.model.train(training)
    return answers
