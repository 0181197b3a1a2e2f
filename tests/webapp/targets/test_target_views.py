from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.webapp.jobs.rows import make_dataset, make_job, make_target, make_workspace
from tests.webapp.models.rows import REPORT, make_model, make_real_target
from tests.webapp.world import World
from webapp.datasets.models import Kind
from webapp.jobs.models import State
from webapp.targets.models import LanguageTarget

pytestmark = pytest.mark.django_db

SEES = {"alice": 200, "eve": 200, "vera": 200, "charlie": 404, "anonymous": 302}
CHANGES = {"alice": 200, "eve": 200, "vera": 403, "charlie": 404, "anonymous": 302}
ACTS = {"alice": 302, "eve": 302, "vera": 403, "charlie": 404, "anonymous": 302}


@pytest.fixture
def target(world: World, tmp_path: Path) -> LanguageTarget:
    return make_real_target(world.workspace, tmp_path / "base")


@pytest.mark.parametrize("who", SEES)
def test_who_sees_targets(world: World, target: LanguageTarget, who: str) -> None:
    client = world.client(who)
    for url in (
        world.url("target-list"),
        world.url("target", target.id),
        world.url("language-search") + "?language=swa",
    ):
        assert client.get(url).status_code == SEES[who], url
    for url in (
        world.url("target-new"),
        world.url("target-texts"),
        world.url("target-change", target.id),
    ):
        assert client.get(url).status_code == CHANGES[who], url


@pytest.mark.parametrize("who", ACTS)
def test_who_changes_targets(world: World, target: LanguageTarget, who: str) -> None:
    client = world.client(who)
    new = {"language": "sw", "base": target.base_id, "protected_language": "English"}
    assert client.post(world.url("target-new"), new).status_code == ACTS[who]
    made = LanguageTarget.objects.filter(workspace=world.workspace).count() == 2
    assert made is (who in ("alice", "eve"))
    data = {"protected_language": "fr"}
    for name in ("target-change", "target-delete", "target-restore"):
        answer = client.post(world.url(name, target.id), data)
        assert answer.status_code == ACTS[who], name
    target.refresh_from_db()
    assert (target.protected_language == "fr") is (who in ("alice", "eve"))


def test_the_page_of_a_target(world: World, target: LanguageTarget) -> None:
    model = make_model(target)
    target.base.passport["vocabulary"] = 100
    target.base.save()
    make_job(State.FAILED, target=target)
    response = world.client("vera").get(world.url("target", target.id))
    page = response.content.decode()
    assert '<p class="specimen" lang="sw" dir="ltr">Juma alikwenda sokoni' in page
    base, made = response.context["cuttings"]
    assert base.factor and made.ribbon
    assert "piece-new" in page and "4.000 → <strong>1.500</strong>" in page
    assert "-62.5" in page and "+2.5" in page
    assert world.url("model", model.id) in page
    assert "Change datasets" not in page and "Delete" not in page
    assert "Adapt" not in page
    editor = world.client("eve").get(world.url("target", target.id)).content.decode()
    assert f"{world.url('job-new')}?target={target.id}" in editor


def test_a_right_to_left_target_is_shown_so(world: World, tmp_path: Path) -> None:
    target = make_real_target(world.workspace, tmp_path / "base", "ug")
    version = target.datasets.get(kind=Kind.MONOLINGUAL).versions.get()
    version.preview = [{"text": "بۇ تور ئىچىدە ياشاش مەن ئۈچۈن قانچىلىك؟"}]
    version.save()
    page = world.client("vera").get(world.url("target", target.id)).content.decode()
    assert '<p class="specimen" lang="ug" dir="rtl">بۇ تور' in page
    assert '<p class="ribbon" lang="ug" dir="rtl">' in page
    assert page.count("piece-split-2") > 20


def test_a_target_without_anything_says_what_to_do(world: World) -> None:
    target = make_target(world.workspace)
    page = world.client("eve").get(world.url("target", target.id)).content.decode()
    assert "Add text in Swahili" in page and "Choose datasets" in page


def test_a_withdrawn_model_is_not_linked(world: World, target: LanguageTarget) -> None:
    model = make_model(target)
    url = world.url("target", target.id)
    assert (
        world.url("model", model.id) in world.client("vera").get(url).content.decode()
    )
    model.withdrawn_at = model.created_at
    model.save()
    page = world.client("vera").get(url).content.decode()
    assert world.url("model", model.id) not in page
    assert "1.500" in page, "its job's figures stay"


@pytest.mark.parametrize(
    ("typed", "tag"),
    [
        ("Swahili", "sw"),
        ("kiswahili", "sw"),
        ("ug", "ug"),
        ("ئۇيغۇرچە", "ug"),
        ("Uyghur", "ug"),
        ("zh-hant", "zh-Hant"),
        ("ha", "ha"),  # a tag is taken at its word, although a language is called Ha
        ("to", "to"),
    ],
)
def test_a_language_is_found_by_any_name(
    world: World, target: LanguageTarget, typed: str, tag: str
) -> None:
    LanguageTarget.objects.all().delete()
    data = {"language": typed, "base": target.base_id, "protected_language": "English"}
    response = world.client("eve").post(world.url("target-new"), data)
    assert response.status_code == 302, response.context["form"].errors
    made = LanguageTarget.objects.get()
    assert (made.language, made.protected_language) == (tag, "en")


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "Choose a language"),
        ("qqqqqqq", "No language"),
        ("Ga", "Which of these"),  # Irish by its tag, Ga by its name
        ("swah", "Which of these"),
    ],
)
def test_a_language_in_doubt_is_asked_for(
    world: World, target: LanguageTarget, typed: str, says: str
) -> None:
    LanguageTarget.objects.all().delete()
    data = {"language": typed, "base": target.base_id, "protected_language": "English"}
    response = world.client("eve").post(world.url("target-new"), data)
    page = response.content.decode()
    assert response.status_code == 422
    assert says in page
    assert not LanguageTarget.objects.exists()
    taken = world.client("eve").post(world.url("target-new"), {**data, "tag": "sw"})
    assert taken.status_code == 302, "a suggestion that was taken is enough"


def test_suggestions_show_name_script_and_direction(world: World) -> None:
    url = world.url("language-search")
    page = world.client("vera").get(url, {"language": "uyghur"}).content.decode()
    assert 'value="ug"' in page and "Arabic" in page and "right to left" in page
    assert 'lang="ug" dir="rtl"' in page
    many = world.client("vera").get(url, {"language": "kur"}).context["languages"]
    assert 1 < len(many) <= 12
    assert b"radio" not in world.client("vera").get(url, {"language": ""}).content


def test_the_meant_language_is_chosen_and_others_are_offered(world: World) -> None:
    url = world.url("language-search")
    page = world.client("vera").get(url, {"language": "ga"}).content.decode()
    assert 'value="ga" checked' in page and 'value="gaa">' in page
    page = world.client("vera").get(url, {"language": "Ga"}).content.decode()
    assert 'value="gaa">' in page and "checked" not in page


def test_looking_up_works_without_a_script(world: World) -> None:
    page = world.client("eve").get(world.url("target-new"), {"language": "uyg"})
    assert 'value="ug"' in page.content.decode()


def test_only_ready_things_of_this_workspace_can_be_chosen(
    world: World, target: LanguageTarget, tmp_path: Path
) -> None:
    stranger = make_real_target(make_workspace(), tmp_path / "stranger")
    unread = make_dataset(world.workspace, ready=False, name="unread")
    page = world.client("eve").get(world.url("target-new")).content.decode()
    assert "unread" not in page and str(stranger.base_id) not in page
    good = {"language": "sw", "base": target.base_id, "protected_language": "English"}
    for bad in (
        {"datasets": [unread.id]},
        {"datasets": [stranger.datasets.first().id]},
        {"protected": [stranger.protected.get().id]},
        {"base": stranger.base_id},
        {"tag": "xx-nothing"},
        {"protected_language": ""},
    ):
        answer = world.client("eve").post(world.url("target-new"), good | bad)
        assert answer.status_code == 422, bad
    assert LanguageTarget.objects.filter(workspace=world.workspace).count() == 1


def test_datasets_are_changed(world: World, target: LanguageTarget) -> None:
    url = world.url("target-change", target.id)
    text, english = target.datasets.get(name="text"), target.protected.get()
    shown = world.client("eve").get(url).content.decode()
    assert f'name="datasets" value="{text.id}" checked' in shown
    assert f'name="protected" value="{english.id}" checked' in shown
    data: dict[str, Any] = {"datasets": [text.id], "protected_language": "English"}
    both = {**data, "protected": [text.id]}
    refused = world.client("eve").post(url, both)
    assert refused.status_code == 422
    assert "at once" in refused.content.decode()
    assert world.client("eve").post(url, data).status_code == 302
    assert list(target.datasets.all()) == [text] and not target.protected.exists()


def test_deleting_can_be_undone(world: World, target: LanguageTarget) -> None:
    client = world.client("eve")
    page = client.post(world.url("target-delete", target.id), follow=True)
    assert world.url("target-restore", target.id) in page.content.decode()
    assert client.get(world.url("target", target.id)).status_code == 404
    client.post(world.url("target-restore", target.id))
    assert client.get(world.url("target", target.id)).status_code == 200


def test_search_and_order(world: World) -> None:
    for language in ("ug", "sw"):
        target = make_target(world.workspace)
        target.language = language
        target.save()
    make_job(State.SUCCEEDED, target=target, report=REPORT)

    def tags(**asked: str) -> list[str]:
        page = world.client("vera").get(world.url("target-list"), asked)
        return [row["target"].language for row in page.context["rows"]]

    assert tags() == tags(sort="bogus") == ["sw", "ug"]
    assert tags(sort="oldest") == ["ug", "sw"]
    assert tags(sort="language") == ["sw", "ug"]
    assert tags(q="uyghur") == tags(q="ئۇيغۇرچە") == ["ug"]
    assert tags(q="base") == ["sw", "ug"]
    assert tags(q="nothing at all") == []
    page = world.client("vera").get(world.url("target-list")).content.decode()
    assert "4.00 → <strong>1.50</strong>" in page


@pytest.mark.parametrize("name", ["target-list", "target"])
def test_the_number_of_queries_does_not_grow(
    world: World, target: LanguageTarget, name: str
) -> None:
    args = [target.id] if name == "target" else []
    client, counts = world.client("vera"), []
    client.get(world.url(name, *args))
    for _round in range(2):
        for _number in range(4):
            make_job(
                State.SUCCEEDED, target=make_target(world.workspace), report=REPORT
            )
            make_model(target)
            target.datasets.add(make_dataset(world.workspace))
        with CaptureQueriesContext(connection) as queries:
            assert client.get(world.url(name, *args)).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 14


def test_text_of_the_chosen_language_comes_first_and_is_ticked(
    world: World, target: LanguageTarget
) -> None:
    client = world.client("eve")
    mine = target.datasets.get(kind=Kind.MONOLINGUAL)
    box = f'name="datasets" value="{mine.id}"'
    url = world.url("target-texts")
    swahili = client.get(url, {"tag": "sw"}).content.decode()
    assert f"{box} checked" in swahili
    assert swahili.index(box) < swahili.index("<details")
    georgian = client.get(url, {"tag": "ka"}).content.decode()
    assert box in georgian and f"{box} checked" not in georgian
    assert georgian.index("<details") < georgian.index(box)
    nothing = client.get(url).content.decode()
    assert box in nothing and "<details" not in nothing
    # By name as well, and on the page that a dataset's button leads to.
    page = client.get(world.url("target-new"), {"language": "Kiswahili"})
    assert f"{box} checked" in page.content.decode()
    strange = client.get(url, {"tag": "no such tag", "language": "qqqq"})
    assert strange.status_code == 200
