"""A launch that is being thought about: what the questions and the plan show."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from django.http import Http404, QueryDict
from django.utils.translation import gettext as _

from webapp.core.access import WorkspaceRequest, own
from webapp.core.errors import Refusal
from webapp.core.languages import describe
from webapp.jobs.forms import LaunchForm, SettingsForm
from webapp.jobs.planning import adviser
from webapp.jobs.planning.adviser import Advice
from webapp.jobs.planning.plan import Overrides, Plan
from webapp.jobs.planning.situation import Situation
from webapp.jobs.proposal import ADVISED, Answers, propose, situation_for
from webapp.jobs.words import key_title, stage_story
from webapp.recipes.catalogue import FIRST
from webapp.recipes.recipe import stage_keys, stage_of
from webapp.recipes.selectors import recipes_of
from webapp.targets.models import LanguageTarget


class Draft:
    """A launch that is being thought about: form, drawer, plan or refusal."""

    def __init__(self, request: WorkspaceRequest, data: QueryDict | None) -> None:
        asked = request.POST if request.method == "POST" else request.GET
        self.target = own(request, LanguageTarget, _uuid(asked.get("target")))
        self.known = recipes_of(request.workspace)
        name = asked.get("recipe") or ADVISED
        if name not in self.known or not self.known[name].launchable:
            name = ADVISED
        initial = {"key": uuid4(), "recipe": name}
        self.form = LaunchForm(self.target, self.known, data, initial=initial)
        self.plan: Plan | None = None
        self.refusal = ""
        answers = Answers()
        if data is not None and self.form.is_valid():
            answers = self.form.answers()
        self.situation, self.advice = self._ask(answers)
        advised = self.advice.recipe if self.advice else FIRST
        self.recipe = self.known[name or advised]
        self.advised = name == ADVISED
        self.settings = SettingsForm(self.recipe, data)
        if data is None:
            self._derive(answers, {})
        elif self.is_valid():
            self._derive(answers, self.settings.overrides())
        elif self.form.is_valid():  # the plan stays in sight while a setting is wrong
            self._derive(answers, {})

    def is_valid(self) -> bool:
        """Whether questions and settings are answered as far as forms can tell."""
        return all([self.form.is_valid(), self.settings.is_valid()])

    @property
    def chosen(self) -> str:
        """The recipe to launch: empty where the adviser's is taken."""
        return ADVISED if self.advised else self.recipe.name

    def refuse(self, refusal: Refusal) -> None:
        """Show a refusal at its field, or above the form."""
        for form in (self.form, self.settings):
            if form.is_bound and refusal.field in form.fields:
                form.add_error(refusal.field, refusal.sentence)
                return
        if self.form.is_bound:
            self.form.add_error(None, refusal.sentence)
        self.refusal = refusal.sentence

    def context(self) -> dict[str, Any]:
        """What the templates show."""
        return {
            "target": self.target,
            "language": describe(self.target.language),
            "recipe": self.recipe,
            "advised": self.advised,
            "advice": self.advice,
            "recommended": self.known[self.advice.recipe] if self.advice else None,
            "form": self.form,
            "settings_form": self.settings,
            "refusal": self.refusal,
            "plan": self.plan,
            "story": _story(self.plan) if self.plan else [],
        }

    def _ask(self, answers: Answers) -> tuple[Situation | None, Advice | None]:
        try:
            _inputs, situation = situation_for(self.target, answers)
        except Refusal:  # said by the plan, at its field
            return None, None
        return situation, adviser.advise(situation)

    def _derive(self, answers: Answers, overrides: Overrides) -> None:
        try:
            self.plan = propose(
                target=self.target,
                answers=answers,
                recipe=self.chosen,
                overrides=overrides,
            ).plan
        except Refusal as refusal:
            self.refuse(refusal)
        else:
            self.settings.show(self.plan)


def _story(plan: Plan) -> list[dict[str, Any]]:
    """Stages of a plan with what is said about each."""
    keys = stage_keys(stage.stage for stage in plan.stages)
    return [
        {
            "name": key,
            "title": key_title(key),
            "story": _("The tokenizer is kept as it is.")
            if getattr(stage, "method", "") == "keep"
            else stage_story(stage_of(key)),
            "reasons": [
                reason | {"name": reason["setting"].partition(".")[2]}
                for reason in plan.reasons
                if reason["setting"].startswith(f"{key}.")
            ],
        }
        for key, stage in zip(keys, plan.stages, strict=True)
    ]


def _uuid(text: str | None) -> UUID:
    try:
        return UUID(text or "")
    except ValueError:
        raise Http404 from None
