"""Recipes as TOML, both ways. What is wrong is said with its line, in a sentence.

[recipe]            name, title, summary, when, cost, source, checked;
                    section, changes = [], needs = [], unsupported = ""
[[stages]]          name, share, and any setting of training/settings/NAME.py
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

from django.utils.translation import gettext as _

from training.errors import SpecInvalid
from training.spec import STAGES, build, check_order
from webapp.recipes.recipe import NEEDS, SECTIONS, Recipe, RecipeStage

TEXTS = ("name", "title", "summary", "when", "cost", "source", "checked")
OPTIONAL_TEXTS = ("section", "unsupported")
LISTS = ("changes", "needs")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")
MOST_CHARACTERS, MOST_STAGES, LONGEST_TEXT = 50_000, 40, 2_000
MOST_SHARE = 1_000
# A dotted key of thousands of parts takes the reader of TOML half a minute.
MOST_DOTS = 50
STRING = re.compile(r'"(?:\\.|[^"\\])*(?:"|$)|\'[^\']*(?:\'|$)')
NOTHING = re.compile(r"\0|\\u0{4}|\\U0{8}")  # PostgreSQL keeps no such character


class RecipeInvalid(ValueError):
    """A text that is no recipe; `sentence` says where and why, `line` counts from 1."""

    def __init__(self, sentence: str, line: int | None = None) -> None:
        self.line = line
        if line:
            sentence = _("Line %(line)d: %(sentence)s") % {
                "line": line,
                "sentence": sentence,
            }
        super().__init__(sentence)
        self.sentence = sentence


def parse(text: str) -> Recipe:
    """A recipe from TOML; raises RecipeInvalid with the line and a sentence."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    plain = _toml_read(text)
    for name in plain:
        if name not in ("recipe", "stages"):
            line = line_of(text, name) or line_of(text, f"[{name}")
            raise RecipeInvalid(_("“%s” is not part of a recipe.") % name, line)
    about = _about(text, plain.get("recipe"))
    stages = _stages(text, plain.get("stages", []), about["unsupported"])
    return Recipe(stages=stages, **about)


def _toml_read(text: str) -> dict[str, Any]:
    """What a text in TOML says; RecipeInvalid for what is none, or would take long."""
    if len(text) > MOST_CHARACTERS:
        raise RecipeInvalid(_("This is too long to be a recipe."))
    for number, line in enumerate(text.splitlines(), start=1):
        if STRING.sub("", line).count(".") > MOST_DOTS or NOTHING.search(line):
            raise RecipeInvalid(_("This is no line of a recipe."), number)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        found = re.search(r"^(.*) \(at (?:line (\d+)|end)", str(problem))
        words = found.group(1) if found else str(problem)
        number = int((found and found.group(2)) or text.rstrip().count("\n") + 1)
        sentence = _("This cannot be read as TOML, the format of recipes: %s.") % words
        raise RecipeInvalid(sentence, number) from problem
    except (RecursionError, ValueError) as problem:  # nested or long beyond reason
        sentence = _(
            "This is nested too deeply, or has too long a number, for a recipe."
        )
        raise RecipeInvalid(sentence) from problem


def _about(text: str, plain: Any) -> dict[str, Any]:
    """The table [recipe], checked."""
    if not isinstance(plain, dict):
        raise RecipeInvalid(_("The table [recipe] is missing."))
    for name, value in plain.items():
        place = line_of(text, name)
        if name in TEXTS + OPTIONAL_TEXTS:
            if not isinstance(value, str):
                raise RecipeInvalid(_("“%s” must be a text in quotes.") % name, place)
            if len(value) > LONGEST_TEXT:
                sentence = _("“%(name)s” must have at most %(most)s characters.")
                words = {"name": name, "most": f"{LONGEST_TEXT:,}"}
                raise RecipeInvalid(sentence % words, place)
        elif name in LISTS:
            if not isinstance(value, list) or not all(
                isinstance(item, str) for item in value
            ):
                raise RecipeInvalid(_("“%s” must be a list of texts.") % name, place)
        else:
            raise RecipeInvalid(_("“%s” is not known in [recipe].") % name, place)
    for name in TEXTS:
        if not str(plain.get(name, "")).strip():
            raise RecipeInvalid(_("“%s” is missing in [recipe].") % name)
    if not NAME.fullmatch(plain["name"]):
        sentence = _("The name may have small letters a to z, digits and hyphens only.")
        raise RecipeInvalid(sentence, line_of(text, "name"))
    _known(text, "section", [plain.get("section", "own")], SECTIONS)
    _known(text, "needs", plain.get("needs", []), NEEDS)
    return {
        **{name: plain[name] for name in TEXTS},
        "section": plain.get("section", "own"),
        "unsupported": plain.get("unsupported", "").strip(),
        "changes": tuple(plain.get("changes", ())),
        "needs": tuple(plain.get("needs", ())),
    }


def _known(text: str, name: str, values: list[str], known: dict[str, Any]) -> None:
    for value in values:
        if value not in known:
            raise RecipeInvalid(
                _("“%(name)s” must be of %(known)s, not %(value)s.")
                % {"name": name, "known": ", ".join(known), "value": value},
                line_of(text, name),
            )


def _stages(text: str, plain: Any, unsupported: str) -> tuple[RecipeStage, ...]:
    """The tables [[stages]], checked against the settings of the engine."""
    if not isinstance(plain, list) or not all(isinstance(s, dict) for s in plain):
        raise RecipeInvalid(_("Stages are written as [[stages]], one table each."))
    if len(plain) > MOST_STAGES:
        raise RecipeInvalid(_("These are more stages than a recipe may have."))
    if not plain and not unsupported:
        raise RecipeInvalid(_("There is no stage: write at least one [[stages]]."))
    stages = tuple(_stage(text, n, stage) for n, stage in enumerate(plain))
    if stages and not unsupported:
        if stages[0].name != "prepare":
            raise RecipeInvalid(_("The first stage must be prepare."))
        if stages[-1].name != "evaluate":
            raise RecipeInvalid(_("The last stage must be evaluate."))
        try:
            check_order([build(STAGES[s.name], s.name, s.settings) for s in stages])
        except SpecInvalid as problem:
            raise RecipeInvalid(problem.sentence) from problem
    return stages


def _stage(text: str, number: int, plain: dict[str, Any]) -> RecipeStage:
    values = dict(plain)
    name, share = values.pop("name", None), values.pop("share", 1.0)
    if not isinstance(name, str) or name not in STAGES:
        sentence = _("Stage %(number)d: “%(name)s” is not one of %(known)s.")
        words = {"number": number + 1, "name": name or "", "known": ", ".join(STAGES)}
        raise RecipeInvalid(sentence % words, line_of(text, "name", number))
    number_given = isinstance(share, int | float) and not isinstance(share, bool)
    if not (number_given and 0 < share <= MOST_SHARE):
        sentence = _(
            "Stage %(number)d (%(name)s): share must be a number above 0 and at most "
            "%(most)s."
        )
        words = {"number": number + 1, "name": name, "most": f"{MOST_SHARE:,}"}
        raise RecipeInvalid(sentence % words, line_of(text, "share", number))
    try:
        build(STAGES[name], name, values)
    except SpecInvalid as problem:
        setting = problem.field.rpartition(".")[2]
        sentence = _("Stage %(number)d: %(problem)s")
        words = {"number": number + 1, "problem": problem.sentence}
        line = line_of(text, setting, number)
        raise RecipeInvalid(sentence % words, line) from problem
    return RecipeStage(name, values, float(share))


def line_of(text: str, name: str, stage: int | None = None) -> int | None:
    """The line (from 1) where a key stands, in the table [recipe] or the n-th stage."""
    table = -1
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.strip()
        if re.match(r"\[\[\s*stages\s*\]\]", bare):
            table += 1
        wanted = table == stage if stage is not None else True
        if wanted and re.match(rf"[\"']?{re.escape(name)}[\"']?\s*(=|\]|$)", bare):
            return number
    return None


def write(recipe: Recipe) -> str:
    """The recipe as TOML that `parse` reads back to an equal one."""
    lines = ["[recipe]"]
    lines += [f"{name} = {_toml(getattr(recipe, name))}" for name in TEXTS]
    lines += [f"section = {_toml(recipe.section)}"]
    lines += [
        f"{n} = {_toml(list(getattr(recipe, n)))}" for n in LISTS if getattr(recipe, n)
    ]
    if recipe.unsupported:
        lines.append(f"unsupported = {_toml(recipe.unsupported)}")
    for stage in recipe.stages:
        lines += ["", "[[stages]]", f"name = {_toml(stage.name)}"]
        if stage.share != 1.0:
            lines.append(f"share = {_toml(stage.share)}")
        lines += [f"{name} = {_toml(value)}" for name, value in stage.settings.items()]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A value of a recipe in TOML: texts, numbers, truth values, lists of texts."""
    if isinstance(value, list):
        inside = "".join(f"\n  {_toml(item)}," for item in value)
        return f"[{inside}\n]"
    # JSON's escapes are TOML's, but for the sign that TOML wants escaped and JSON not.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
