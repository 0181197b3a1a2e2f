"""What a community has, made into examples to learn answering from.

One small file per way, each with a function `build(material, dice)` that yields
(turns, origin) in random order:

    translation.py     pairs of sentences, both ways, some with solved examples before
    dictionary.py      words and their meanings, both ways
    documents.py       plain text: go on, name the title, sum up
    alignment.py       gaps to fill with a translation at hand, do two sentences agree
    cross_lingual.py   asked in one language, answered in another
    taco.py            three-step answers, and the parser of the last step
    code_switch.py     questions with words of the other language in them

`backtranslation.py` writes instructions for documents with the model itself;
`mixing.py` says how much of each there is. To add a way: a file here, a line in `builders`
and a share in `training/settings/tune_instructions.py`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from training.data.builders import (
    alignment,
    code_switch,
    cross_lingual,
    dictionary,
    documents,
    taco,
    translation,
)
from training.data.builders.material import Chat, Material
from training.data.builders.translation import TranslationStyle

Built = Iterator[tuple[Chat, str]]
Builder = Callable[[Material, random.Random], Built]


def builders(
    style: TranslationStyle | None = None, code_switch_ratio: float = 0.3
) -> dict[str, Builder]:
    """Builders by name; each has a setting `<name>_share`."""

    def translations(material: Material, dice: random.Random) -> Built:
        return translation.build(material, dice, style or TranslationStyle())

    def switched(material: Material, dice: random.Random) -> Built:
        return code_switch.build(material, dice, code_switch_ratio)

    return {
        "translation": translations,
        "dictionary": dictionary.build,
        "document": documents.build,
        "alignment": alignment.build,
        "cross_lingual": cross_lingual.build,
        "taco": taco.build,
        "code_switch": switched,
    }
