"""Whether two tags name one language, and a job's data under the job's own tags.

Datasets come with the tags of many places: kaz, kk-KZ and kk_Cyrl are all Kazakh, swh is
Swahili. `prepare` writes the tag of the job wherever data means the same language, so
that whatever reads prepared rows compares tags as they stand. The site has the same rule
(`webapp/core/languages.py`); the tests of both read one table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from functools import lru_cache

import langcodes
from langcodes.data_dicts import LIKELY_SUBTAGS
from langcodes.tag_parser import LanguageTagError

from training.spec import Corpus, Data

# CLDR's distance: two codes of one language have 0, Norwegian and Bokmål 1, the nearest
# neighbours (Bosnian and Croatian, Persian and Dari where they are told apart) 4.
NEAREST = 1


@lru_cache(maxsize=65_536)
def same_language(one: str, other: str) -> bool:
    """One language in one script, whatever code, region or spelling the tags have.

    A tag of a language alone leaves the script open; a region says it where people of
    that region write otherwise (zh-TW). What is no tag is only equal to itself.
    """
    if one.lower() == other.lower():
        return True
    first, second = _parsed(one), _parsed(other)
    if first is None or second is None:
        return False
    scripts = {script for script in (_script(first), _script(second)) if script}
    languages = str(first.language), str(second.language)
    return len(scripts) < 2 and _distance(*languages) <= NEAREST


def own_tag(tag: str, own: Iterable[str]) -> str:
    """The tag of `own` that means what `tag` means, the nearest of several; else `tag`."""
    return min(
        (mine for mine in own if same_language(tag, mine)),
        key=lambda mine: _distance(tag, mine),
        default=tag,
    )


def own_tags(tags: Sequence[str], own: Sequence[str]) -> tuple[str, ...]:
    """The same of each tag; of two that would take one name (sr-Cyrl and sr-Latn in a job
    for sr) the nearer takes it."""
    found = [own_tag(tag, own) for tag in tags]
    for mine in {name for name in found if found.count(name) > 1}:
        places = [at for at, name in enumerate(found) if name == mine]
        nearest = min(places, key=lambda at: _distance(tags[at], mine))
        for at in places:
            if at != nearest:
                found[at] = tags[at]
    return tuple(found)


def tags_of(data: Data, *first: str) -> tuple[str, ...]:
    """The different languages of a job: `first`, then those of its data in their order,
    each by the tag that comes first."""
    known = dict.fromkeys(first)
    for role in dataclasses.fields(data):
        for corpus in getattr(data, role.name):
            for tag in corpus.languages:
                known.setdefault(own_tag(tag, tuple(known)))
    return tuple(known)


def named_alike(data: Data, own: Sequence[str]) -> Data:
    """The data with the tags of `own` in the place of others for the same language; of
    several languages of the target's text the first of `own` comes first, as text goes
    by the first."""

    def renamed(corpus: Corpus, role: str) -> Corpus:
        tags = own_tags(corpus.languages, own)
        if role == "target":
            tags = tuple(sorted(tags, key=lambda tag: tag != own[0]))
        return dataclasses.replace(corpus, languages=tags)

    return Data(
        **{
            role.name: tuple(renamed(c, role.name) for c in getattr(data, role.name))
            for role in dataclasses.fields(data)
        }
    )


def _parsed(tag: str) -> langcodes.Language | None:
    try:
        parsed = langcodes.Language.get(tag)
    except (LanguageTagError, ValueError):
        return None
    return parsed if parsed.language else None


def _script(parsed: langcodes.Language) -> str:
    if parsed.script or not parsed.territory:
        return parsed.script or ""
    # Without likely subtags langcodes would guess Latin for every language.
    known = parsed.language in LIKELY_SUBTAGS
    return (parsed.maximize().script or "") if known else ""


def _distance(one: str, other: str) -> int:
    same = one.lower() == other.lower()  # and perhaps no tag at all
    return -1 if same else langcodes.tag_distance(one, other)
