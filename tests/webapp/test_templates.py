"""What holds for every template, style sheet and script."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.webapp.world import World

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
STYLES = sorted((ROOT / "static" / "css").glob("*.css"))
SCRIPTS = sorted((ROOT / "static" / "js").glob("*.js"))
LIMITS = {".html": 150, ".css": 250, ".js": 150}
LONG = {"upload.js": 250}  # one thing, from drop to resumption; cut, it would be harder

INLINE_SCRIPT = re.compile(r"<script(?![^>]*\b(?:src|type=\"application/json\"))[^>]*>")
HANDLER = re.compile(r"<[^>]*\s(?:on[a-z]+|hx-on[:\w-]*)\s*=", re.I)
OUTSIDE = re.compile(
    r"""(?:src|href|action|hx-\w+)\s*=\s*["'](?:https?:)?//"""
    r"""|url\(\s*["']?(?:https?:)?//|@import|from\s+["']https?:""",
    re.I,
)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_runs_code_or_asks_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = re.sub(r"<a\s[^>]*>", "", text)  # people may be sent anywhere
    assert not INLINE_SCRIPT.search(text)
    assert not HANDLER.search(text)
    assert not OUTSIDE.search(links)
    assert "javascript:" not in text


@pytest.mark.parametrize(
    "bad",
    [
        "<script>alert(1)</script>",
        '<a onclick="x()">',
        '<p hx-on:click="x()">',
        '<link href="https://fonts.example/x.css">',
        '<script src="//cdn.example/x.js"></script>',
    ],
)
def test_the_patterns_see_what_is_forbidden(bad: str) -> None:
    assert INLINE_SCRIPT.search(bad) or HANDLER.search(bad) or OUTSIDE.search(bad)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_trigger_has_a_filter(path: Path) -> None:
    """htmx would evaluate it, which is switched off; page.js lets polls rest."""
    assert not re.search(r'hx-trigger="[^"]*\[', path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", STYLES + SCRIPTS, ids=lambda path: path.name)
def test_no_style_or_script_asks_elsewhere(path: Path) -> None:
    assert not OUTSIDE.search(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", TEMPLATES + STYLES + SCRIPTS, ids=lambda p: p.name)
def test_files_are_small(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= LONG.get(path.name, LIMITS[path.suffix]), (
        f"{path.name}: {lines} lines"
    )


@pytest.mark.parametrize("path", STYLES, ids=lambda path: path.name)
def test_styles_mirror(path: Path) -> None:
    """Physical sides would stay where they are in a page from right to left."""
    text = path.read_text(encoding="utf-8")
    sides = (
        r"(?:margin|padding|border|inset)-(?:left|right)\b|text-align:\s*(?:left|right)"
    )
    floats = r"float:\s*(?:left|right)|^\s*(?:left|right):"
    assert not re.search(f"{sides}|{floats}", text, re.M)


def test_what_is_vendored_has_its_version_and_licence() -> None:
    for folder in (ROOT / "static" / "vendor").iterdir():
        assert re.fullmatch(r"[a-z]+-\d+\.\d+\.\d+", folder.name)
        assert (folder / "LICENSE").exists()
    for folder in (ROOT / "static" / "fonts").iterdir():
        assert "Open Font License" in (folder / "LICENSE").read_text(encoding="utf-8")


def test_every_font_is_there_and_used() -> None:
    text = (ROOT / "static/css/fonts.css").read_text(encoding="utf-8")
    named = set(re.findall(r'url\("\.\./fonts/([^"]+)"\)', text))
    fonts = ROOT / "static" / "fonts"
    there = {str(path.relative_to(fonts)) for path in fonts.rglob("*.woff2")}
    assert named == there
    assert text.count("unicode-range") == len(named)
    assert sum(path.stat().st_size for path in fonts.rglob("*.woff2")) < 3_000_000


def test_every_page_states_language_and_direction(world: World) -> None:
    pages = [
        world.client("anonymous").get("/sign-in/"),
        world.client("alice").get(world.url("workspace-home")),
        world.client("alice").get("/new/"),
        world.client("alice").get("/nowhere/"),  # 404
        world.client("vera").get(world.url("dataset-new")),  # 403
    ]
    assert [page.status_code for page in pages] == [200, 200, 200, 404, 403]
    for page in pages:
        assert '<html lang="en" dir="ltr">' in page.content.decode()
        assert '<a class="skip" href="#main">' in page.content.decode()


def test_an_interface_from_right_to_left_is_mirrored(world: World, settings) -> None:
    settings.LANGUAGES = [("en", "English"), ("ar", "Arabic")]
    page = world.client("alice").get("/profile/", headers={"accept-language": "ar"})
    assert '<html lang="ar" dir="rtl">' in page.content.decode()


def test_a_fault_of_ours_has_a_page_and_a_reference(
    world: World, monkeypatch, caplog
) -> None:
    def break_it(*_: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr("webapp.workspaces.overview.cards", break_it)
    client = world.client("alice")
    client.raise_request_exception = False
    page = client.get(world.url("workspace-home"))
    assert page.status_code == 500
    reference = re.search(r"reference ([0-9a-f]{8})", page.content.decode())
    assert reference and reference.group(1) in caplog.text
    assert "on purpose" not in page.content.decode()


def test_forms_work_without_a_script(world: World) -> None:
    """CSRF for htmx is a header on the body; a plain form carries its own token."""
    page = world.client("alice").get("/new/").content.decode()
    assert re.search(r"<body hx-headers='\{\"X-CSRFToken\": \"\w{64}\"\}'>", page)
    assert page.count("csrfmiddlewaretoken") >= 2  # the form and the sign-out


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def palettes() -> list[dict[str, str]]:
    text = (ROOT / "static/css/tokens.css").read_text(encoding="utf-8")
    blocks = re.findall(r"\{([^{}]*--paper[^{}]*)\}", text)
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def test_dark_is_the_same_by_system_and_by_choice() -> None:
    light, by_system, by_choice = palettes()
    assert by_system == by_choice
    assert light.keys() == by_system.keys()


@pytest.mark.parametrize("palette", [0, 1], ids=["light", "dark"])
def test_text_can_be_read(palette: int) -> None:
    """WCAG AA: 4.5 for text, 3 for edges of fields and the focus."""
    colours = palettes()[palette]
    grounds = ("paper", "sheet", "well")
    pairs = [(ink, on) for ink in ("ink", "ink-soft", "ink-faint") for on in grounds]
    pairs += [(tone, f"{tone}-wash") for tone in ("good", "warn", "bad")]
    pairs += [
        (tone, on) for tone in ("good", "warn", "bad") for on in ("paper", "sheet")
    ]
    pairs += [("ink", f"{tone}-wash") for tone in ("good", "warn", "bad")]
    pairs += [("piece-ink", f"piece-{n}") for n in (0, 1, 2, 3, 4, 5, "byte")]
    pairs += [("on-ink", "ink"), ("on-ink", "ink-soft")]
    for ink, on in pairs:
        assert contrast(colours[ink], colours[on]) >= 4.5, (ink, on)
    for edge in (
        "line-strong",
        "focus",
        "curve-target",
        "curve-protected",
    ):
        for on in ("paper", "sheet"):
            assert contrast(colours[edge], colours[on]) >= 3, (edge, on)


def test_before_and_after_keep_their_order_from_right_to_left() -> None:
    """An arrow is not mirrored: without a direction it would point at what was before."""
    wrong = [
        f"{path.name}: {line.strip()[:80]}"
        for path in TEMPLATES
        for line in path.read_text(encoding="utf-8").splitlines()
        if "→" in line and 'dir="ltr"' not in line
    ]
    assert not wrong
