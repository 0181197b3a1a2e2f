"""Languages: found by any name or tag, described for people. A tag is BCP 47.

The names come from CLDR and the IANA registry through langcodes and language_data:
about eight thousand languages, of which a few hundred have an autonym and a script.
"""

from __future__ import annotations

import difflib
import functools
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import langcodes
from django.utils.translation import get_language
from langcodes.data_dicts import LIKELY_SUBTAGS
from langcodes.tag_parser import LanguageTagError
from language_data.registry_parser import parse_registry

# Scripts whose characters have the bidirectional class R or AL in Unicode 16.
RIGHT_TO_LEFT = frozenset(
    "Adlm Arab Aran Armi Avst Chrs Cprt Elym Gara Hatr Hebr Hung Khar Lydi Mand Mani "
    "Mend Merc Mero Narb Nbat Nkoo Orkh Ougr Palm Phli Phlp Phnx Prti Rohg Samr Sarb "
    "Sogd Sogo Syrc Thaa Todr Yezi".split()
)
# Written from the right, and without a script in CLDR's likely subtags.
UNLISTED_SCRIPTS = {"aii": "Syrc", "cld": "Syrc", "syc": "Syrc"}
NEAREST = 1  # CLDR's distance of Norwegian and Bokmål; of two codes of a language 0
# Names in the language itself where CLDR has none; and names by which speakers know
# theirs beside CLDR's.
AUTONYMS = {
    "av": "авар мацӀ", "ay": "Aymar aru", "crk": "ᓀᐦᐃᔭᐍᐏᐣ", "dv": "ދިވެހި",
    "fj": "Na Vosa Vakaviti", "iu": "ᐃᓄᒃᑎᑐᑦ", "kab": "Taqbaylit", "kmr": "Kurmancî",
    "kv": "коми кыв", "lez": "лезги чӀал", "mhr": "олык марий йылме", "sm": "Gagana Sāmoa",
    "ty": "Reo Tahiti", "udm": "удмурт кыл",
}  # fmt: skip
OTHER_NAMES = {
    "ht": ["Kreyòl"], "mi": ["te reo Māori"], "nan": ["台語", "閩南語", "闽南语"],
    "oj": ["Anishinaabemowin"], "wuu": ["吳語", "吴语", "上海话"],
    "hak": ["客家話", "客家话"],
    "yue": ["廣東話", "广东话", "廣州話", "广州话"], "zgh": ["Tamazight"],
}  # fmt: skip
# Signs that keyboards give for one another: apostrophes, the okina, quotation marks.
APOSTROPHES = dict.fromkeys(map(ord, "'’‘ʻʼʾʿ`´ꞌ′"))
SKIPPED_SCOPES = {"collection", "special", "private-use"}


@dataclass(frozen=True)
class Language:
    """What a page says of a language."""

    tag: str  # BCP 47, normalised: "ug", "zh-Hant"
    name: str  # in the language of the interface
    autonym: str  # in the language itself; the name where it is not known
    script: str  # ISO 15924, "" where it is not known
    script_name: str
    direction: str  # "ltr" or "rtl"


def describe(tag: str) -> Language:
    """A language by its tag. An unknown or malformed tag describes itself."""
    return _describe(tag, get_language() or "en")


@functools.lru_cache(maxsize=4096)
def _describe(tag: str, interface: str) -> Language:
    try:
        parsed = langcodes.Language.get(tag)
    except (LanguageTagError, ValueError):
        return Language(tag, tag, tag, "", "", "ltr")
    normal = parsed.to_tag()
    if not parsed.is_valid():
        return Language(normal, normal, normal, parsed.script or "", "", "ltr")
    script = _script(parsed)
    name = parsed.display_name(interface)
    autonym = AUTONYMS.get(normal) or parsed.autonym()
    script_name = (
        langcodes.Language.make(script=script).script_name(interface) if script else ""
    )
    direction = "rtl" if script in RIGHT_TO_LEFT else "ltr"
    return Language(normal, name, autonym, script, script_name, direction)


def _script(parsed: langcodes.Language) -> str:
    if parsed.script:
        return parsed.script
    # Without likely subtags langcodes would guess Latin for every language.
    macro = parsed.prefer_macrolanguage().language or ""
    if parsed.language in LIKELY_SUBTAGS or macro in LIKELY_SUBTAGS:
        return parsed.maximize().script or ""
    return UNLISTED_SCRIPTS.get(parsed.language or "", "")


def is_known(tag: str) -> bool:
    """Whether a tag is well formed and its parts are registered."""
    try:
        return bool(tag) and langcodes.Language.get(tag).is_valid() and tag != "und"
    except (LanguageTagError, ValueError):
        return False


@functools.lru_cache(maxsize=4096)
def same_language(one: str, other: str) -> bool:
    """One language in one script, whatever code, region or spelling two tags have.

    The rule of the engine (`training/data/languages.py`, which says why), so that a
    dataset has the role on the page that it has in the run.
    """
    if one.lower() == other.lower():
        return True
    first, second = _parsed(one), _parsed(other)
    if first is None or second is None:
        return False
    scripts = {_stated_script(first), _stated_script(second)} - {""}
    languages = str(first.language), str(second.language)
    return len(scripts) < 2 and langcodes.tag_distance(*languages) <= NEAREST


def _stated_script(parsed: langcodes.Language) -> str:
    if parsed.script or not parsed.territory:
        return parsed.script or ""
    known = parsed.language in LIKELY_SUBTAGS
    return (parsed.maximize().script or "") if known else ""


def _parsed(tag: str) -> langcodes.Language | None:
    try:
        parsed = langcodes.Language.get(tag)
    except (LanguageTagError, ValueError):
        return None
    return parsed if parsed.language else None


def direction(tag: str) -> str:
    """ "rtl" or "ltr"."""
    return describe(tag).direction


def isolate(text: object) -> str:
    """A name within a sentence, so that neither turns the other's direction (Unicode
    FIRST STRONG ISOLATE). In templates: <bdi>."""
    return f"\N{FIRST STRONG ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}"


def find(query: str, limit: int = 12) -> list[Language]:
    """Languages that a person may mean, the likeliest first.

    Understands tags, English names, autonyms, names in other languages, beginnings of
    names, and misspellings.
    """
    wanted = fold(query)
    if not wanted:
        return []
    tags: dict[str, None] = {}
    for tag in _candidates(query.strip(), wanted):
        tags.setdefault(tag)
        if len(tags) >= limit:
            break
    return [describe(tag) for tag in tags]


def meant(text: str) -> list[Language]:
    """Languages that a person may mean; one alone where there is no doubt.

    A tag written as tags are is taken at its word: "ha" is Hausa, although a language is
    called Ha. Another code of a language ("mon" of Mongolian) or another case ("Ha") that
    is also a name is a question. A name that several languages share means the one with
    a tag of two letters (Swahili, not one of its varieties).
    """
    text = text.strip()
    tagged = [describe(text)] if is_known(text) else []
    if any(text in (language.tag, language.tag.lower()) for language in tagged):
        return tagged
    found = find(text)
    folded = fold(text)
    named = [
        language
        for language in found
        if folded in (fold(language.name), fold(language.autonym))
    ]
    if len(named) > 1:
        named = [language for language in named if len(language.tag) == 2] or named
    exact = {language.tag: language for language in [*tagged, *named]}
    return list(exact.values()) if len(exact) == 1 else found


def _candidates(query: str, wanted: str) -> Iterator[str]:
    if is_known(query):
        yield langcodes.standardize_tag(query)
    index = _index()
    if wanted in index:
        yield from index[wanted]
    try:
        yield langcodes.find(query).to_tag()
    except LookupError:
        pass  # in no language a name; the index may still hold something like it
    for name in (n for n in index if n.startswith(wanted)):
        yield from index[name]
    if len(wanted) >= 3:
        for name in (n for n in index if f" {wanted}" in n):
            yield from index[name]
    if len(wanted) >= 4:
        near = [
            n for n in index if abs(len(n) - len(wanted)) <= 2 and n[0] == wanted[0]
        ]
        for name in difflib.get_close_matches(wanted, near, n=8, cutoff=0.75):
            yield from index[name]


@functools.lru_cache(maxsize=1)
def _index() -> dict[str, list[str]]:
    """Folded English names and autonyms -> tags, well-known languages first."""
    names: dict[str, list[str]] = {}
    for entry in sorted(_registered(), key=lambda e: (len(e["Subtag"]), e["Subtag"])):
        tag = langcodes.standardize_tag(entry["Subtag"])
        described = langcodes.Language.get(tag)
        labels = [*_descriptions(entry), described.language_name("en")]
        if tag in LIKELY_SUBTAGS:
            labels.append(described.autonym())
        labels += [*OTHER_NAMES.get(tag, ()), AUTONYMS.get(tag, "")]
        for label in labels:
            tags = names.setdefault(fold(label), [])
            if tag not in tags:
                tags.append(tag)
    names.pop("", None)
    return names


def _registered() -> Iterator[dict[str, str]]:
    for entry in parse_registry():
        if entry.get("Type") != "language" or ".." in entry["Subtag"]:
            continue
        if "Deprecated" in entry or entry.get("Scope") in SKIPPED_SCOPES:
            continue
        yield entry


def _descriptions(entry: dict[str, str | list[str]]) -> list[str]:
    text = entry.get("Description", [])
    return [text] if isinstance(text, str) else list(text)


def fold(text: str) -> str:
    """A name as it is compared: without case, apostrophes, hyphens, and marks that a
    foreign keyboard lacks (Olelo Hawaii is ʻŌlelo Hawaiʻi, Yoruba is Yorùbá)."""
    plain = text.casefold().translate(APOSTROPHES).replace("-", " ")
    letters = unicodedata.normalize("NFD", plain)
    kept = (letter for letter in letters if not "\u0300" <= letter <= "\u036f")
    return " ".join(unicodedata.normalize("NFC", "".join(kept)).split())
