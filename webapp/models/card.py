"""The model card: what is written into README.md beside the weights.

Front matter as the Hugging Face hub reads it (huggingface.co/docs/hub/model-cards), then
what the model is, how it was made, how it was measured, and what it cannot do.
"""

from __future__ import annotations

import json
from typing import Any

from django.utils.text import slugify

from webapp.bases.models import BaseModel
from webapp.core.languages import describe
from webapp.models.models import Model
from webapp.models.selectors import Learned, lineage, other_models, read_report

# Licences that the hub knows by these names; others are given in full.
KNOWN_LICENCES = {"apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "llama3"}
ROLES = {
    "target": "learned",
    "parallel": "learned, translations",
    "instructions": "learned, instructions",
    "preferences": "learned, preferences",
    "related": "learned, related language",
    "dictionary": "learned, dictionary",
    "protected": "protected against forgetting",
}
OTHERS = {
    "instruct": "the base's instruction-tuned sibling",
    "donor": "donor of tokens and their rows",
    "models": "merged with",
}
MOST_SAMPLES = 4


def folder_name(model: Model) -> str:
    """A name for the unpacked folder: "base-en-swahili-3"."""
    return slugify(model.name) or f"model-{str(model.id)[:8]}"


def model_card(model: Model) -> str:
    """The card of a merged model, in Markdown with front matter."""
    learned = lineage(model)
    return "\n\n".join(
        [
            _front_matter(model),
            f"# {model.name}",
            _summary(model),
            "## How to load it",
            "```python\n" + loading(folder_name(model)) + "\n```",
            "## Figures",
            _figures(model),
            "## Made from",
            _lineage(model, learned),
            "## How it was measured",
            MEASURED,
            *_samples(model),
            "## Limits",
            LIMITS,
            "",
        ]
    )


def adapter_card(model: Model) -> str:
    """The card of an adapter: it says on which folder it loads."""
    name = folder_name(model)
    return "\n\n".join(
        [
            _front_matter(model, library="peft"),
            f"# {model.name}: the adapter",
            "These are only the additions that instruction tuning made (LoRA, in the form "
            "of the library peft). They load on the model as it was just before that "
            f"tuning, **the folder `base/` beside this one**, and on no other: its "
            "tokenizer and its embedding rows were made in the same job. Download it as "
            f"“base of the adapter”; both archives unpack into `{name}-adapter/`. The "
            "merged model needs neither.",
            "```python\n" + adapter_loading(name) + "\n```",
            "## Made from",
            _lineage(model, lineage(model)),
            "",
        ]
    )


def base_card(model: Model) -> str:
    """The card of the folder on which an adapter loads."""
    return "\n\n".join(
        [
            _front_matter(model),
            f"# {model.name}: before instruction tuning",
            "The model with its new vocabulary after it read text in the language, and "
            "before it learned to answer. The adapter in `adapter/` loads on it.",
            "## Made from",
            _lineage(model, lineage(model)),
            "",
        ]
    )


def loading(folder: str) -> str:
    """Three lines of code that load a merged model."""
    return (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{folder}")\n'
        f'model = AutoModelForCausalLM.from_pretrained("{folder}")'
    )


def adapter_loading(name: str) -> str:
    """Three lines of code that load an adapter on its base."""
    return (
        "from peft import PeftModel; from transformers import AutoModelForCausalLM\n"
        f'base = AutoModelForCausalLM.from_pretrained("{name}-adapter/base")\n'
        f'model = PeftModel.from_pretrained(base, "{name}-adapter/adapter")'
    )


def _front_matter(model: Model, library: str = "transformers") -> str:
    """YAML; texts are quoted as JSON, which YAML reads."""
    base = model.target.base
    licence = base.licence.strip()
    facts: dict[str, Any] = {
        "language": [describe(model.language).tag],
        "library_name": library,
        "pipeline_tag": "text-generation",
        "base_model": base.address
        if base.origin == BaseModel.Origin.HUB
        else base.name,
        "tags": ["language-adaptation", "mothertongue"],
    }
    if licence.lower() in KNOWN_LICENCES:
        facts["license"] = licence.lower()
    else:
        facts |= {"license": "other", "license_name": licence or "not stated"}
    lines = [
        f"{name}: {json.dumps(value, ensure_ascii=False)}"
        for name, value in facts.items()
    ]
    return "\n".join(["---", *lines, "---"])


def _summary(model: Model) -> str:
    language = describe(model.language)
    return (
        f"A language model that was taught {language.name} ({language.autonym}, "
        f"`{language.tag}`), starting from {model.target.base.name}."
    )


def _figures(model: Model) -> str:
    told = read_report(model.report)
    language = describe(model.language).name
    protected = describe(model.target.protected_language).name
    cuts = told["tokenizer"]
    rows = [
        (f"Bits per byte, {language} (lower is better)", told["target"]),
        (f"Bits per byte, {protected} (lower is better)", told["protected"]),
        *(
            (label, {m: cuts[m].get(key) for m in ("before", "after")})
            for label, key in (
                ("Pieces of the tokenizer", "vocabulary"),
                ("Characters per token (higher is better)", "characters_per_token"),
                ("Tokens per word (lower is better)", "tokens_per_word"),
                ("Share of tokens that are bytes", "byte_fallback_share"),
            )
        ),
    ]
    lines = [
        f"| {label} | {_shown(value['before'])} | {_shown(value['after'])} |"
        for label, value in rows
    ]
    return "\n".join(["| | before | after |", "|---|---|---|", *lines])


def _shown(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _lineage(model: Model, learned: list[Learned]) -> str:
    base, job = model.target.base, model.job
    hashed = base.passport.get("tokenizer_sha256")
    lines = [
        f"- Base: {base.name} (licence: {base.licence or 'not stated'}"
        + (f"; tokenizer.json sha256 `{hashed}`)" if hashed else ")"),
    ]
    for resource, other in other_models(model):
        name, licence = (other.name, other.licence) if other else ("not known now", "")
        lines.append(
            f"- Model, {OTHERS[resource]}: {name} (licence: {licence or 'not stated'})"
        )
    for corpus in learned:
        version = corpus.version
        licence = version.dataset.licence if version else ""
        origin = version.dataset.origin if version else ""
        lines.append(
            f"- Dataset, {ROLES[corpus.role]}: {corpus.name}"
            + (f", version {version.number}" if version else "")
            + f" ({', '.join(corpus.languages)}; licence: {licence or 'not stated'}"
            + (f"; origin: {origin}" if origin else "")
            + f"; sha256 `{corpus.sha256}`)"
        )
    lines.append(f"- Recipe: {job.recipe}; job {job.number}, {job.created_at:%Y-%m-%d}")
    return "\n".join(lines)


def _samples(model: Model) -> list[str]:
    told = read_report(model.report)["samples"][:MOST_SAMPLES]
    if not told:
        return []
    answers = [
        f"**{_line(sample.get('prompt'))}**\n\n"
        f"- before: {_line(sample.get('before'))}\n"
        f"- after: {_line(sample.get('after'))}"
        for sample in told
    ]
    return ["## In its own words", *answers]


def _line(text: str | None) -> str:
    return " ".join((text or "…").split())


MEASURED = """\
Bits per byte is the negative logarithm (base 2) of the probability that the model gives to
text, summed over all tokens and divided by the bytes of the text in UTF-8: how surprised
the model is, independent of its tokenizer. It is measured on text that was held out of the
datasets above before anything was learned; the base and this model read the same text in
chunks of the same characters. Tokenizer figures are of that held-out text as well."""

LIMITS = """\
The model knows what its base and the datasets above told it, and repeats their errors and
prejudices. What it says can be wrong although it sounds right. It has not been judged by
native speakers unless somebody says so, nor been made safe against misuse. The licences of
the base and of the datasets hold for it too."""
