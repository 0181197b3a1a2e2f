"""What a model folder says of itself, read without an ML library.

config.json, the headers of the safetensors files and tokenizer.json are enough for the
passport; weights stay on disk. A folder that cannot be taught is refused with a reason.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from training.spec import shape_of
from webapp.core.errors import Refusal

# Architectures the engine adapts (training/families.py is the engine's own list).
FAMILIES = {
    "LlamaForCausalLM": "Llama",
    "MistralForCausalLM": "Mistral",
    "MixtralForCausalLM": "Mixtral",
    "Qwen2ForCausalLM": "Qwen",
    "Qwen3ForCausalLM": "Qwen",
    "Qwen3MoeForCausalLM": "Qwen",
    "GemmaForCausalLM": "Gemma",
    "Gemma2ForCausalLM": "Gemma",
    "Gemma3ForCausalLM": "Gemma",
    "GPT2LMHeadModel": "GPT-2",
    "GPTNeoXForCausalLM": "GPT-NeoX",
}
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight")
HEADS = ("lm_head.weight", "embed_out.weight")
LARGEST_HEADER = 100 * 1024**2  # bytes; safetensors' own limit
BYTE_PIECES = 256
WORD_START = "\N{LOWER ONE EIGHTH BLOCK}"  # SentencePiece's sign for a space
SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")


def read_passport(folder: Path) -> dict[str, Any]:
    """The passport of a model folder; raises Refusal where it cannot be a base."""
    if not folder.is_dir():
        raise Refusal(_("There is no folder %(path)s.") % {"path": folder})
    config = read_json(folder / "config.json")
    architecture = check_config(config)
    shapes, size = _tensors(folder)
    rows = next((s[0] for name, s in shapes.items() if name.endswith(EMBEDDINGS)), 0)
    if not rows:
        raise Refusal(_("The weights have no embedding table that can be recognised."))
    tokenizer = read_json(folder / "tokenizer.json")
    vocabulary = _vocabulary(tokenizer)
    if vocabulary > rows:
        raise Refusal(
            _(
                "Tokenizer and weights do not belong together: the tokenizer has "
                "%(pieces)d pieces, the weights only %(rows)d rows. Bring both from the "
                "same model."
            )
            % {"pieces": vocabulary, "rows": rows}
        )
    byte_level = "ByteLevel" in json.dumps(
        [tokenizer.get("pre_tokenizer"), tokenizer.get("decoder")]
    )
    settings = read_json(folder / "tokenizer_config.json", needed=False)
    return {
        "architecture": architecture,
        "family": FAMILIES[architecture],
        "parameters": sum(math.prod(shape) for shape in shapes.values()),
        "bytes": size,
        **_shape(config),
        "positions": config.get("max_position_embeddings") or config.get("n_positions"),
        "vocabulary": vocabulary,
        "rows": rows,
        "tied": not any(name.endswith(HEADS) for name in shapes)
        or bool(config.get("tie_word_embeddings", False)),
        "byte_level": byte_level,
        "byte_fallback": byte_level or _has_byte_pieces(tokenizer["model"]),
        "chat_template": bool(settings.get("chat_template"))
        or (folder / "chat_template.jinja").exists(),
        "special": {name: _token(settings.get(name)) for name in SPECIAL},
        "tokenizer_sha256": _sha256(folder / "tokenizer.json"),
        "config_sha256": _sha256(folder / "config.json"),
    }


def _shape(config: dict[str, Any]) -> dict[str, Any]:
    """What the plan predicts memory from."""
    shape = shape_of(config)
    return {
        "layers": config.get("num_hidden_layers") or config.get("n_layer"),
        "width": config.get("hidden_size") or config.get("n_embd"),
        "feed_forward": shape.feed_forward,
        "heads": shape.heads,
        "key_width": shape.key_width,
        "model_type": shape.kind,
    }


def check_config(config: dict[str, Any]) -> str:
    """The architecture that a config.json names; raises Refusal for unknown ones."""
    if config.get("auto_map"):
        raise Refusal(
            _(
                "This model brings program code of its own (auto_map), which is never "
                "run here. Choose a model of a known family: %(known)s."
            )
            % {"known": ", ".join(sorted(set(FAMILIES.values())))}
        )
    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    if architecture not in FAMILIES:
        raise Refusal(
            _("This is a model of the architecture %(name)s. Known are: %(known)s.")
            % {
                "name": architecture or _("“not stated”"),
                "known": ", ".join(sorted(set(FAMILIES.values()))),
            }
        )
    return architecture


def read_json(path: Path, *, needed: bool = True) -> dict[str, Any]:
    """A JSON object of a model folder; raises Refusal where it is missing or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not needed:
            return {}
        raise Refusal(
            _(
                "The folder has no %(file)s. A base model is a Hugging Face folder with "
                "config.json, tokenizer.json and *.safetensors."
            )
            % {"file": path.name}
        ) from None
    except (OSError, ValueError, RecursionError) as problem:
        raise Refusal(
            _("%(file)s cannot be read: %(problem)s. Bring the folder again.")
            % {"file": path.name, "problem": problem}
        ) from problem
    if not isinstance(value, dict):
        raise Refusal(_("%(file)s is not a JSON object.") % {"file": path.name})
    return value


def _vocabulary(tokenizer: dict[str, Any]) -> int:
    """Number of pieces, counted by the largest id; raises Refusal for other kinds."""
    model = tokenizer.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if kind != "BPE":
        raise Refusal(
            _(
                "The tokenizer is of the kind %(kind)s. Only BPE tokenizers can be taught "
                "new pieces."
            )
            % {"kind": kind or _("“not stated”")}
        )
    try:
        ids = [int(number) for number in model["vocab"].values()]
        ids += [int(token["id"]) for token in tokenizer.get("added_tokens") or []]
        return max(ids) + 1
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise Refusal(
            _("tokenizer.json is damaged: its list of pieces cannot be read.")
        ) from problem


def _has_byte_pieces(model: dict[str, Any]) -> bool:
    pieces = sum(1 for value in range(256) if f"<0x{value:02X}>" in model["vocab"])
    return bool(model.get("byte_fallback")) and pieces == BYTE_PIECES


def _token(value: Any) -> str | None:
    """A special token, which is given as a text or as an object with its content."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _tensors(folder: Path) -> tuple[dict[str, list[int]], int]:
    """Shapes of all tensors by name, and the size of the weight files in bytes."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        other = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        raise Refusal(
            _(
                "The weights are not in the safetensors format. Other formats can hold "
                "programs and are never opened; save the model as safetensors first."
            )
            if other
            else _("The folder has no *.safetensors file with weights.")
        )
    index = read_json(folder / "model.safetensors.index.json", needed=False)
    shards = set((index.get("weight_map") or {}).values())
    if missing := sorted(shards - {path.name for path in weights}):
        raise Refusal(
            _("The weights are incomplete: %(files)s is missing. Bring it as well.")
            % {"files": ", ".join(map(str, missing[:3]))}
        )
    shapes: dict[str, list[int]] = {}
    for path in weights:
        shapes.update(_header(path))
    return shapes, sum(path.stat().st_size for path in weights)


def _header(path: Path) -> dict[str, list[int]]:
    """Shapes by name from the head of a safetensors file, whose size must fit it."""
    damaged = Refusal(
        _("%(file)s is damaged: its safetensors header cannot be read. Bring it again.")
        % {"file": path.name}
    )
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 0 < length <= LARGEST_HEADER:
            raise damaged
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            end = max(
                (facts["data_offsets"][1] for facts in header.values()), default=0
            )
            shapes = {name: list(facts["shape"]) for name, facts in header.items()}
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
            raise damaged from None
    if path.stat().st_size != 8 + length + end:
        raise Refusal(
            _(
                "%(file)s is incomplete: it has %(found)d bytes of %(whole)d. Bring it "
                "again."
            )
            % {
                "file": path.name,
                "found": path.stat().st_size,
                "whole": 8 + length + end,
            }
        )
    return shapes


@lru_cache(maxsize=32)
def tokenizer_of(path: str, stamp: float) -> Any:
    """The tokenizer of a folder; `stamp` is its file's time, so that a new one is seen."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(f"{path}/tokenizer.json")


def cut(folder: str, text: str) -> list[dict[str, Any]]:
    """A text as the pieces of a folder's tokenizer; what they cover joins to the text.

    Each: {"text": the characters it covers, "id": its number in the vocabulary, "bytes":
    whether it is only some bytes of a character, "unknown": whether the tokenizer gives
    the text up}. Of pieces that share a character the first carries it, the others are
    empty. A sign that the tokenizer adds before the text covers nothing.
    """
    path = Path(folder) / "tokenizer.json"
    tokenizer = tokenizer_of(folder, path.stat().st_mtime)
    unknown = getattr(tokenizer.model, "unk_token", None)
    encoding = tokenizer.encode(text, add_special_tokens=False)
    tokens, ids = encoding.tokens, encoding.ids  # each access copies the whole list
    spans = _spans(text, tokens, encoding.offsets)
    pieces: list[dict[str, Any]] = []
    covered = 0
    for place, (start, end) in enumerate(spans):
        token = tokens[place]
        after = spans[place + 1][0] if place + 1 < len(spans) else len(text)
        part = start < end and (start < covered or end > after)
        pieces.append(
            {
                "text": text[covered:end],
                "id": ids[place],
                "bytes": part or (token.startswith("<0x") and token.endswith(">")),
                "unknown": unknown is not None and token == unknown,
            }
        )
        covered = max(covered, end)
    if pieces:
        pieces[-1]["text"] += text[covered:]
    return pieces


def _spans(
    text: str, tokens: list[str], offsets: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Characters covered by each token; an added start of a word covers none."""
    return [
        (start, start)
        if token == WORD_START and not text[start:end].isspace()
        else (start, end)
        for token, (start, end) in zip(tokens, offsets, strict=True)
    ]
