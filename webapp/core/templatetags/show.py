"""Template filters that are available everywhere, without {% load %}.

{{ "ug"|language_name }} {{ "ug"|autonym }} {{ "ug"|direction }} {{ "ug"|script_name }}
{{ 12345678|figure }} {{ 0.7312|figure:3 }} {{ 4200000|rounded }}
    {{ 200|duration }} {{ bytes|filesize_exact }}
{{ done|share_of:total }} {{ share|percent }}
"""

from __future__ import annotations

from typing import Any

from django import template
from django.contrib.humanize.templatetags.humanize import intword
from django.utils.formats import number_format
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext

from webapp.core import languages

register = template.Library()

NARROW = "\N{NO-BREAK SPACE}"


@register.filter
def language_name(tag: str) -> str:
    """A language's name in the language of the interface."""
    return languages.describe(tag or "").name


@register.filter
def autonym(tag: str) -> str:
    """A language's name in itself; show it with lang and dir."""
    return languages.describe(tag or "").autonym


@register.filter
def direction(tag: str) -> str:
    """ "rtl" or "ltr"."""
    return languages.describe(tag or "").direction


@register.filter
def script_name(tag: str) -> str:
    """The script in which a language is written; empty where it is not known."""
    return languages.describe(tag or "").script_name


@register.filter
def figure(value: Any, decimals: int | None = None) -> str:
    """A number with separators; decimals by size where not given. None is a dash."""
    if value is None or value == "":
        return "–"
    number = float(value)
    if decimals is None:
        decimals = 0 if number == int(number) or abs(number) >= 100 else 2
    # Rounded here: number_format cuts digits off.
    rounded = round(number, int(decimals))
    return number_format(rounded, int(decimals), use_l10n=True, force_grouping=True)


@register.filter
def rounded(value: Any) -> str:
    """A large number in words, "4.2 million"; below a million as a figure."""
    if value is None or value == "":
        return "–"
    return str(intword(value)) if abs(float(value)) >= 1_000_000 else figure(value)


@register.filter
def percent(share: Any, decimals: int = 1) -> str:
    """0.0312 -> 3.1 %."""
    if share is None or share == "":
        return "–"
    return figure(float(share) * 100, decimals) + NARROW + "%"


@register.filter
def filesize_exact(count: Any) -> SafeString | str:
    """Bytes in decimal units (1 MB = 1,000,000 bytes), the exact number on hover."""
    if count is None or count == "":
        return "–"
    number = float(count)
    if number == 1:
        return gettext("1 byte")
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            break
        number /= 1000
    shown = figure(number, 0 if unit == "bytes" or number >= 100 else 1)
    exact = figure(count, 0)
    return mark_safe(f'<bdi title="{exact} bytes">{shown}{NARROW}{unit}</bdi>')  # noqa: S308


@register.filter
def duration(seconds: Any) -> str:
    """Seconds -> "12 s", "3 min 20 s", "about 2 h", "about 3 days"."""
    if seconds is None or seconds == "":
        return "–"
    number = max(0, round(float(seconds)))
    if number < 60:
        return gettext("%(s)d s") % {"s": number}
    if number < 600 and number % 60:
        return gettext("%(m)d min %(s)d s") % {"m": number // 60, "s": number % 60}
    minutes = round(number / 60)
    if minutes < 60:
        return gettext("%(m)d min") % {"m": minutes}
    hours = round(number / 3600, 1)
    if hours < 10 and hours != int(hours):
        return gettext("about %(h)s h") % {"h": number_format(hours, 1)}
    if hours < 48:
        return gettext("about %(h)d h") % {"h": round(hours)}
    days = round(hours / 24)
    return ngettext("about %(d)d day", "about %(d)d days", days) % {"d": days}


@register.filter
def share_of(done: Any, total: Any) -> int:
    """Whole percent, 0 to 100."""
    if not total:
        return 0
    return max(0, min(100, int(100 * float(done or 0) / float(total))))


@register.filter
def message_tone(level: str) -> str:
    """The class of a note for the level of a message."""
    return {"success": "good", "warning": "warn", "error": "bad"}.get(level, "")


@register.filter
def startswith(text: str | None, beginning: str) -> bool:
    """Whether a text begins so."""
    return bool(text) and str(text).startswith(beginning)


@register.filter
def after(text: str, beginning: str) -> str:
    """A text without its beginning."""
    return str(text).removeprefix(beginning)
