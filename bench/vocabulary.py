"""8,000 new tokens from 100 MB: this project beside training a tokenizer from scratch.

    python bench/vocabulary.py DATA_DIR OUT.jsonl [--megabytes 100] [--arms ...]
    python bench/vocabulary.py DATA_DIR OUT.jsonl --sizes

`--sizes` instead chooses the number of new tokens for four languages by both rules.

The text is real and not repeated up to 100 MB: the corpora of ten languages, then English
books; beyond that it begins again. `distinct` is the worst case for memory instead:
made-up words of which nearly every one is new. Every arm is a process of its own; wall
clock, CPU seconds and peak memory are the operating system's. `--table` prints what is
in OUT.jsonl as Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOKENS, MOST = 8_000, 16_000
LANGUAGES = "kazakh gujarati ukrainian uyghur swahili bengali telugu urdu".split()
HELD_OUT_LINES = 2_000


def sources(data: Path) -> Iterator[Path]:
    """The corpora, smallest languages before the English that fills up."""
    yield data / "tibetan/corpus-nanhai.txt"
    yield data / "tibetan/corpus-speech.txt"
    for language in LANGUAGES:
        yield data / language / "corpus.txt"
    yield from sorted((data / "english/books").glob("*.txt"))


def write_text(data: Path, path: Path, megabytes: float) -> None:
    """So many megabytes of the corpora, begun again where they end."""
    left = int(megabytes * 1_000_000)
    with path.open("wb") as file:
        while left > 0:
            for source in sources(data):
                text = source.read_bytes()[:left].decode("utf-8", "ignore").encode()
                file.write(text + b"\n")
                left -= len(text) + 1
                if left <= 3:
                    return


def write_distinct(path: Path, megabytes: float) -> None:
    """Words of nine random letters, ten a line."""
    order = random.Random(1)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(int(megabytes * 1_000_000 / 100)):
            letters = "".join(order.choices("abcdefghijklmnopqrstuvwxyz", k=90))
            file.write(" ".join(letters[at : at + 9] for at in range(0, 90, 9)) + "\n")


def lines(path: Path) -> Iterator[str]:
    """The lines of a file."""
    with path.open(encoding="utf-8") as file:
        yield from file


def extend(text: Path, base: Path, **settings: object) -> dict:
    """This project, from the tokenizer to the extended tokenizer with its figures."""
    from tokenizers import Tokenizer

    from training.spec import ExtendVocabulary
    from training.vocabulary.extension import extend

    # Held-out lines from all over the text, never learned from.
    every = max(sum(1 for _ in lines(text)) // HELD_OUT_LINES, 20)
    held = [line for number, line in enumerate(lines(text)) if number % every == 0]
    made = extend(
        Tokenizer.from_file(str(base)),
        lambda: (line for n, line in enumerate(lines(text)) if n % every),
        ExtendVocabulary(**{"new_tokens": TOKENS, **settings}),
        held_out=held,
    )
    return {"tokens": len(made.tokens), **made.figures}


def sizes(data: Path) -> Iterator[str]:
    """Markdown: what each rule chooses for a language, at most MOST tokens."""
    yield "| language (text) | at 0 | auto | average_log_probability | all there are |"
    yield "|---|---|---|---|---|"
    base = ROOT / "samples/base-en/tokenizer.json"
    for language in ("kazakh", "swahili", "bengali", "uyghur"):
        text = data / language / "corpus.txt"
        made = [
            extend(text, base, size=rule, new_tokens=MOST)
            for rule in ("auto", "average_log_probability")
        ]
        curve = {point[0]: point for point in made[0]["size_curve"]}
        cells = [f"{curve[0][1]:.2f}"]
        for added in (made[0]["tokens"], made[1]["tokens"], max(curve)):
            near = min(curve, key=lambda cut: abs(cut - added))
            cells.append(
                f"{added:,}: {curve[near][1]:.2f} ({curve[near][3]:.0%} in use)"
            )
        size = f"{text.stat().st_size / 1e6:.1f} MB"
        yield f"| {language.title()} ({size}) | {' | '.join(cells)} |"


def by_tokenizers(text: Path) -> dict:
    """The tokenizers library's own byte-level BPE, from scratch."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS + len(alphabet),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    made.train_from_iterator(lines(text), trainer)
    return {"tokens": made.get_vocab_size()}


def by_sentencepiece(text: Path) -> dict:
    """SentencePiece's own BPE, from scratch, two threads."""
    import sentencepiece

    with tempfile.TemporaryDirectory() as folder:
        sentencepiece.SentencePieceTrainer.train(
            input=str(text),
            model_prefix=f"{folder}/made",
            model_type="bpe",
            vocab_size=TOKENS + 256,
            byte_fallback=True,
            character_coverage=0.9995,
            num_threads=2,
            # Longer lines would be left out, which is most of some corpora.
            max_sentence_length=1_000_000_000,
            minloglevel=2,
        )
        made = sentencepiece.SentencePieceProcessor(model_file=f"{folder}/made.model")
        return {"tokens": made.get_piece_size()}


def arms(data: Path) -> dict[str, Callable[[Path], dict]]:
    """What is compared, by name."""
    english = ROOT / "samples/base-en/tokenizer.json"
    stories = data / "base-models/stories260K/tokenizer.json"
    return {
        "extend base-en": lambda text: extend(text, english),
        "extend base-en, size by data": lambda text: extend(text, english, size="auto"),
        "extend stories260K": lambda text: extend(text, stories),
        "tokenizers from scratch": by_tokenizers,
        "sentencepiece from scratch": by_sentencepiece,
    }


def run(data: Path, name: str, text: Path) -> dict:
    """One arm in a child process; its figures and what it cost."""
    reading, writing = os.pipe()
    load = os.getloadavg()[0]
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reading)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with os.fdopen(writing, "w") as answer:
            found = arms(data)[name](text)
            json.dump({"memory_before": before * 1024, **found}, answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    _, status, used = os.wait4(child, 0)
    if status:
        return {"arm": name, "failed": status}
    return {
        "arm": name,
        "bytes": text.stat().st_size,
        "wall_seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_bytes": used.ru_maxrss * 1024,
        "load_before": round(load, 2),
        "load_after": round(os.getloadavg()[0], 2),
        **json.loads(said),
    }


def table(rows: list[dict]) -> str:
    """Markdown, one line an arm."""
    found = [
        "| text | arm | tokens | wall s | CPU s | peak memory | load |",
        "|---|---|---|---|---|---|---|",
    ]
    found += [
        f"| {row['text']} {row['bytes'] / 1e6:.0f} MB | {row['arm']} | {row['tokens']:,} "
        f"| {row['wall_seconds']:.0f} | {row['cpu_seconds']:.0f} "
        f"| {row['peak_bytes'] / 1e6:.0f} MB "
        f"| {row['load_before']:.1f} to {row['load_after']:.1f} |"
        for row in rows
        if "failed" not in row
    ]
    return "\n".join(found)


def main() -> None:
    """Run the arms, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--distinct", action="store_true", help="nearly all words new")
    parser.add_argument("--arms", nargs="+", default=None)
    parser.add_argument("--sizes", action="store_true", help="both rules, as Markdown")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.sizes:
        print("\n".join(sizes(options.data)))
        return
    if options.table:
        print(
            table([json.loads(line) for line in options.out.read_text().splitlines()])
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        if options.distinct:
            write_distinct(text, options.megabytes)
        else:
            write_text(options.data, text, options.megabytes)
        for name in options.arms or arms(options.data):
            row = {
                "text": "distinct" if options.distinct else "real",
                **run(options.data, name, text),
            }
            with options.out.open("a") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
