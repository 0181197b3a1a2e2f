"""Rows that tests of jobs start from, written straight into the database."""

from __future__ import annotations

import json
import struct
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from webapp.bases.models import BaseModel
from webapp.datasets.models import Dataset, DatasetVersion, Kind
from webapp.jobs.models import HELD, Host, Job, State
from webapp.targets.models import LanguageTarget
from webapp.workspaces.models import Workspace


def make_workspace() -> Workspace:
    slug = f"w-{uuid.uuid4().hex[:12]}"
    return Workspace.objects.create(name=slug, slug=slug)


def make_target(workspace: Workspace | None = None) -> LanguageTarget:
    workspace = workspace or make_workspace()
    base = BaseModel.objects.create(
        workspace=workspace,
        name="base",
        origin="folder",
        address="/base",
        state="ready",
    )
    return LanguageTarget.objects.create(workspace=workspace, language="sw", base=base)


def make_host(name: str = "anvil") -> Host:
    return Host.objects.get_or_create(name=name)[0]


def make_job(state: str = State.QUEUED, **columns: Any) -> Job:
    """A job in any state; where a worker has it, with a lease for another minute."""
    target = columns.pop("target", None) or make_target()
    held = state in HELD
    defaults = {
        "number": Job.objects.filter(workspace=target.workspace).count() + 1,
        "recipe": "default",
        "queue": "cpu",
        "attempts_left": 3,
        "epoch": 1 if held else 0,
        "queued_at": timezone.now(),
        "lease_until": timezone.now() + timedelta(minutes=1) if held else None,
    }
    return Job.objects.create(
        workspace=target.workspace, target=target, state=state, **(defaults | columns)
    )


TEXT = "Juma alikwenda sokoni asubuhi na mapema kununua matunda na mboga. "


def write_text(path: Path, paragraphs: int = 120) -> Path:
    """A text file with so many different paragraphs."""
    lines = [f"{TEXT}Siku ya {number}.\n\n" for number in range(paragraphs)]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def make_dataset(
    workspace: Workspace,
    kind: str = Kind.MONOLINGUAL,
    *,
    ready: bool = True,
    name: str = "hadithi",
    characters: int = 50_000,
    languages: tuple[str, ...] = ("sw",),
) -> Dataset:
    """A dataset with one version, as reading would have left it."""
    dataset = Dataset.objects.create(
        workspace=workspace, name=name, kind=kind, languages=list(languages)
    )
    rows: dict[str, list[dict[str, Any]]] = {
        Kind.MONOLINGUAL: [{"text": TEXT * 4}, {"text": "Paka analala. " * 9}],
        Kind.PARALLEL: [{"source": "Good morning.", "target": "Habari za asubuhi."}],
        Kind.INSTRUCTIONS: [
            {
                "messages": [
                    {"role": "user", "content": f"Swali la {number}?"},
                    {"role": "assistant", "content": "Jibu."},
                ]
            }
            for number in range(5)
        ],
    }
    DatasetVersion.objects.create(
        dataset=dataset,
        number=1,
        state="ready" if ready else "waiting",
        rows_file=f"datasets/{dataset.id}/rows.jsonl",
        sha256="a" * 64,
        characters=characters,
        documents=200,
        statistics={"bytes": characters + 10},
        preview=rows.get(kind, []),
    )
    return dataset


def make_whole_target(workspace: Workspace | None = None) -> LanguageTarget:
    """A target with text, translations, questions and protected text."""
    target = make_target(workspace)
    target.base.passport = {"parameters": 4_000_000, "rows": 4_096, "positions": 512}
    target.base.save()
    for kind in (Kind.MONOLINGUAL, Kind.PARALLEL, Kind.INSTRUCTIONS):
        target.datasets.add(make_dataset(target.workspace, kind, name=kind))
    target.protected.add(
        make_dataset(target.workspace, name="english", languages=("en",))
    )
    return target


def write_base(folder: Path) -> Path:
    """A folder that can be registered as a base: headers and a tokenizer, no torch."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir(parents=True)
    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE(vocab={s: i for i, s in enumerate(signs)}, merges=[]))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.save(str(folder / "tokenizer.json"))
    config = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 256}
    (folder / "config.json").write_text(json.dumps(config))
    weights = bytes(4 * 8 * len(signs))
    table = {
        "dtype": "F32",
        "shape": [len(signs), 8],
        "data_offsets": [0, len(weights)],
    }
    header = json.dumps({"model.embed_tokens.weight": table}).encode()
    (folder / "model.safetensors").write_bytes(
        struct.pack("<Q", len(header)) + header + weights
    )
    return folder
