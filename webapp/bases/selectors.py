"""What pages ask about base models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Count, Q, QuerySet

from webapp.bases.models import BaseModel
from webapp.bases.ribbon import Ribbon, make_ribbon
from webapp.core import files
from webapp.core.errors import Refusal

SORTS = {"newest": "-created_at", "oldest": "created_at", "name": "name"}
TRIED_CHARACTERS = 2_000  # of a text that a person tries a tokenizer on


def search_bases(
    bases: QuerySet[BaseModel], *, q: str = "", state: str = "", sort: str = "newest"
) -> QuerySet[BaseModel]:
    """Bases with the number of their targets, in one query."""
    if q:
        bases = bases.filter(
            Q(name__icontains=q) | Q(address__icontains=q) | Q(licence__icontains=q)
        )
    if state:
        bases = bases.filter(state=state)
    living = Count("targets", filter=Q(targets__deleted_at=None), distinct=True)
    return bases.annotate(target_count=living).order_by(SORTS.get(sort, "-created_at"))


def tokenizer_folder(base: BaseModel) -> str:
    """A local folder with a base's tokenizer.json; empty where it is not there."""
    if not base.folder:
        return ""
    place = Path(settings.DATA) / "tokenizers" / str(base.id)
    try:
        return str(files.with_file(base.folder, "tokenizer.json", place))
    except OSError:
        return ""


def try_tokenizer(base: BaseModel, text: str) -> dict[str, Any]:
    """A text under a base's tokenizer: {"text", "ribbon", "refusal", "cut_off"}."""
    shown = text[:TRIED_CHARACTERS]
    ribbon: Ribbon | None = None
    refusal = ""
    if shown:
        try:
            ribbon = make_ribbon(tokenizer_folder(base), shown)
        except Refusal as problem:
            refusal = problem.sentence
    return {
        "text": shown,
        "ribbon": ribbon,
        "refusal": refusal,
        "cut_off": len(text) > len(shown),
    }
