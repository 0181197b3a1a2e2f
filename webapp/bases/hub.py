"""Bringing a model from the Hugging Face hub: a few named files over HTTPS.

Only config, tokenizer and safetensors files are asked for; nothing else of a repository
is ever downloaded, and nothing of it is run.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from django.utils.translation import gettext as _

from webapp.bases.passport import check_config, read_json
from webapp.core.errors import Refusal

WANTED = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map"
    r"|model\.safetensors\.index)\.json|chat_template\.jinja|[\w.-]+\.safetensors"
)
TIMEOUT = httpx.Timeout(30.0, connect=10.0)


def bring(
    hub_id: str, folder: Path, alive: Callable[[], None] = lambda: None
) -> tuple[Path, str]:
    """Download a model's files into `folder`; returns the folder and the licence.

    `alive` is called again and again while bytes arrive.
    Raises Refusal when the hub cannot be reached, the model is not there, needs an
    agreement, or is of a kind that could not be taught anyway.
    """
    hub = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    token = os.environ.get("HF_TOKEN", "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        with httpx.Client(
            headers=headers, timeout=TIMEOUT, follow_redirects=True
        ) as client:
            facts = _bring_files(client, hub, hub_id, part, alive)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except (httpx.HTTPError, ValueError) as problem:
        raise Refusal(
            _(
                "The model hub %(hub)s cannot be reached from the worker (%(problem)s). "
                "Bring the model's folder to this machine and register the folder "
                "instead, or try again later."
            )
            % {"hub": hub, "problem": problem}
        ) from problem
    except OSError as problem:
        raise Refusal(
            _(
                "The model cannot be written to disk: %(problem)s. Make room, then retry."
            )
            % {"problem": problem}
        ) from problem
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder, _licence(facts)


def _bring_files(
    client: httpx.Client, hub: str, hub_id: str, part: Path, alive: Callable[[], None]
) -> dict[str, Any]:
    """Download the wanted files into `part`; returns what the hub says of the model."""
    facts = _facts(client, hub, hub_id)
    source = f"{hub}/{quote(hub_id)}/resolve/{quote(_revision(facts), safe='')}"
    for name in _names(facts, hub_id):
        _download(client, f"{source}/{quote(name)}", part / name, alive)
        if name == "config.json":  # before the weights, which take long
            check_config(read_json(part / name))
    return facts


def _facts(client: httpx.Client, hub: str, hub_id: str) -> dict[str, Any]:
    answer = client.get(f"{hub}/api/models/{quote(hub_id)}")
    if answer.status_code in (401, 403):
        raise Refusal(
            _(
                "The hub does not give %(id)s to everybody: it needs an agreement or "
                "does not exist. Accept its licence there and set HF_TOKEN on the worker."
            )
            % {"id": hub_id}
        )
    if answer.status_code == 404:
        raise Refusal(_("The hub has no model %(id)s.") % {"id": hub_id})
    answer.raise_for_status()
    facts = answer.json()
    if not isinstance(facts, dict):
        raise ValueError(_("its answer is not what a hub says"))
    return facts


def _revision(facts: dict[str, Any]) -> str:
    """The commit of the list of files, so that all files are of one state."""
    return str(facts.get("sha") or "main")


def _names(facts: dict[str, Any], hub_id: str) -> list[str]:
    """The files to ask for, the small ones first."""
    siblings = [str(file.get("rfilename")) for file in facts.get("siblings") or []]
    names = [name for name in siblings if WANTED.fullmatch(name)]
    if not any(name.endswith(".safetensors") for name in names):
        raise Refusal(
            _(
                "The hub has %(id)s without safetensors weights. Other formats can hold "
                "programs and are never opened."
            )
            % {"id": hub_id}
        )
    return sorted(names, key=lambda name: (name.endswith(".safetensors"), name))


def _licence(facts: dict[str, Any]) -> str:
    licence = (facts.get("cardData") or {}).get("license") or ""
    return licence if isinstance(licence, str) else ", ".join(map(str, licence))


def _download(
    client: httpx.Client, url: str, path: Path, alive: Callable[[], None]
) -> None:
    with client.stream("GET", url) as answer:
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise Refusal(
                _(
                    "The hub lists the file %(file)s of this model and does not have it. "
                    "Choose another model, or bring its folder to this machine and "
                    "register the folder."
                )
                % {"file": path.name}
            )
        answer.raise_for_status()
        with path.open("wb") as file:
            for block in answer.iter_bytes(1024**2):
                file.write(block)
                alive()
