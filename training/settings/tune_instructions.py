"""CONTRACT: settings of the stage tune_instructions. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, dataclass
from typing import Any, ClassVar

from training.settings import pace
from training.settings.needs import SERVICE, Needs
from training.settings.setting import StageSettings, setting

# Steps after which a base that was never taught to answer did so: 208 of 16 examples at
# 4.4 million weights, and not 105 (bench/RESULTS.md). For larger bases a guess.
STEPS_TO_ANSWER = 200


@dataclass(frozen=True)
class TuneInstructions(StageSettings):
    """Learn to answer: LoRA on questions, answers and translations."""

    stage: ClassVar[str] = "tune_instructions"

    @property
    def writes(self) -> bool:
        """Whether rows are translated, written or invented before the tuning."""
        return bool(
            self.translated_rows
            or self.backtranslated_documents
            or self.invented_conversations
        )

    def needs(self) -> Iterator[tuple[Field[Any], str, Needs]]:
        """Of the choices, and of conversations that are to be invented."""
        yield from super().needs()
        if self.invented_conversations:
            field = self.__dataclass_fields__["invented_conversations"]
            yield (
                field,
                str(self.invented_conversations),
                (("data.target",), (SERVICE,)),
            )

    minutes: float = pace.minutes(2.0)
    steps: int = pace.steps()
    epochs: float = setting(
        3.0,
        "Passes over the examples at most",
        "One to three is usual; very small models need more.",
        unit="passes",
        low=0.01,
        high=1_000,
        acts={"steps": (0,)},
    )
    method: str = setting(
        "lora",
        "Kind of additions",
        "lora; rslora: scaled for high ranks; dora: direction and magnitude apart; "
        "pissa, olora: begun with a part of the weights; loftq, qlora: over a base in "
        "4 bits, put into the weights in the end.",
        choices=("lora", "rslora", "dora", "pissa", "olora", "loftq", "qlora"),
        source="training/adapters/__init__.py names the papers",
    )
    modules: str = setting(
        "all",
        "Modules with additions",
        "all linear layers, or those of attention or of the feed-forward part only.",
        choices=("all", "attention", "feed_forward"),
    )
    lora_rank: int = setting(
        64, "LoRA rank", "Width of the low-rank additions.", low=1, high=1_024
    )
    lora_alpha: int = setting(
        128, "LoRA alpha", "Scale of the additions.", low=1, high=4_096
    )
    lora_dropout: float = setting(
        0.05, "LoRA dropout", "Part of the additions left out.", low=0.0, high=0.9
    )
    learning_rate: float = setting(
        2e-4,
        "Peak learning rate",
        "For the low-rank additions.",
        low=1e-7,
        high=0.1,
        source="ALMA 2e-3 to ruadapt 2e-5; Bactrian-X 3e-4",
    )
    batch_examples: int = setting(
        16,
        "Examples a step",
        "The effective batch.",
        unit="examples",
        low=1,
        high=65_536,
    )
    packing: str = setting(
        "off",
        "Packing",
        "on: several examples in one row, none seeing another; off: examples of like "
        "length together.",
        choices=("off", "on"),
    )
    maximum_tokens: int = setting(
        512,
        "Longest example",
        "Longer examples are cut at the end.",
        unit="tokens",
        low=32,
        high=131_072,
    )
    loss: str = setting(
        "answers",
        "Learn from",
        "answers: only answers carry the loss, of a translation only its target side; "
        "everything: questions too. Plain text is learned whole in either case.",
        choices=("answers", "everything"),
        source="ALMA: loss on the target side only",
    )
    translation_share: float = setting(
        0.3,
        "Share of translations",
        "Part of the examples made from parallel text.",
        low=0.0,
        high=1.0,
    )
    translation_direction: str = setting(
        "both",
        "Direction of translations",
        "Both ways, or only into or out of the language that is taught.",
        choices=("both", "into_target", "out_of_target"),
        acts={"translation_share": 0},
    )
    few_shot_share: float = setting(
        0.0,
        "Translations with examples inside",
        "Part of the requests for a translation that show solved ones before.",
        low=0.0,
        high=1.0,
        source="Steering LLMs for MT: keeps learning in context",
        acts={"translation_share": 0},
    )
    few_shot_examples: int = setting(
        3,
        "Solved examples shown",
        "In such a request, at most.",
        low=1,
        high=20,
        acts={"few_shot_share": 0},
    )
    self_correction: float = setting(
        0.0,
        "Trust in the model's own translations",
        "For pairs that may not be translations of each other: the part of what is "
        "learned that the model's own expectation has at the last step; it grows from 0. "
        "The loss that is reported is against what is then learned.",
        low=0.0,
        high=1.0,
        source="Meng et al. 2025, How to Learn in a Noisy World?",
        acts={"translation_share": 0},
    )
    self_correction_temperature: float = setting(
        0.5,
        "Temperature of its own expectation",
        "Below 1 it leans to what the model holds likely. At 1 it would change nothing "
        "but the length of a step.",
        low=0.05,
        high=0.95,
        source="Wang et al. 2022, ProSelfLC",
        acts={"self_correction": 0},
    )
    dictionary_share: float = setting(
        0.05,
        "Share of dictionary entries",
        "Questions for the meaning of a word, both ways. Needs a dictionary.",
        low=0.0,
        high=0.9,
    )
    document_share: float = setting(
        0.0,
        "Share of tasks from plain text",
        "Go on with a text, name its title, sum it up where a summary is given.",
        low=0.0,
        high=0.9,
    )
    alignment_share: float = setting(
        0.0,
        "Share of alignment tasks",
        "Gaps to fill with a translation at hand; do two sentences mean the same? "
        "Needs parallel text.",
        low=0.0,
        high=0.9,
        source="InstructAlign",
    )
    cross_lingual_share: float = setting(
        0.0,
        "Share asked in one language and answered in another",
        "Needs instructions in two languages with the same id, or parallel text that "
        "has their questions or answers.",
        low=0.0,
        high=0.9,
        source="CrossIn",
    )
    taco_share: float = setting(
        0.0,
        "Share of three-step answers",
        "Question in the known language, answer there, answer in the language. Costs "
        "three times the tokens. Needs instructions in both languages with the same id.",
        low=0.0,
        high=0.9,
        source="TaCo",
    )
    code_switch_share: float = setting(
        0.0,
        "Share of questions with words of the other language",
        "Needs a dictionary and instructions.",
        low=0.0,
        high=0.9,
        source="xCoT",
    )
    code_switch_ratio: float = setting(
        0.3,
        "Words replaced in such a question",
        "Part of the words that the dictionary knows.",
        low=0.01,
        high=1.0,
        acts={"code_switch_share": 0},
    )
    target_instructions: int = setting(
        0,
        "Instructions in the language at most",
        "0: all. Forty among many English ones already help.",
        unit="rows",
        low=0,
        high=100_000_000,
        source="Just a pinch of multilinguality",
    )
    source_language_share: float = setting(
        1.0,
        "Instructions in the protected language at most",
        "Part of the instruction rows. 1: all there are.",
        low=0.0,
        high=1.0,
        source="0.1 to 0.3 keep cross-lingual prompts working",
    )
    translated_rows: int = setting(
        0,
        "Instructions translated",
        "So many rows of the protected language are translated into the language "
        "before the tuning, and filtered.",
        unit="rows",
        low=0,
        high=10_000_000,
        source="SambaLingo: machine-translated instructions work",
    )
    translator: str = setting(
        "endpoint",
        "Translator",
        "endpoint: the OpenAI-compatible service that the operator names on the worker "
        "(MOTHERTONGUE_TRANSLATOR_URL); model: the model that is being trained.",
        choices=("endpoint", "model"),
        needs={"endpoint": ((SERVICE,),)},
        acts={"translated_rows": 0},
    )
    least_chrf: float = setting(
        0.0,
        "Least agreement of a translation back",
        "0: not translated back. Otherwise chrF between the source and its translation "
        "there and back, below which a row is left out.",
        unit="chrF",
        low=0.0,
        high=100.0,
        acts={"translated_rows": 0},
    )
    backtranslated_documents: int = setting(
        0,
        "Instructions written for documents",
        "The model writes an instruction for so many texts and the better ones are "
        "kept. Needs a base or an earlier stage that follows instructions.",
        unit="texts",
        low=0,
        high=10_000_000,
        source="Instruction backtranslation, Li et al. 2024",
    )
    backtranslation_keep: float = setting(
        0.5,
        "Written instructions kept",
        "The part with the best score.",
        low=0.01,
        high=1.0,
        acts={"backtranslated_documents": 0},
    )
    invented_conversations: int = setting(
        0,
        "Conversations invented by a teacher",
        "The service that the operator names on the worker (MOTHERTONGUE_TRANSLATOR_URL) "
        "is shown passages of your documents and invents so many, at most one from each; "
        "what fails a filter is left out.",
        unit="conversations",
        low=0,
        high=10_000_000,
        source="UltraLink, Wang et al. 2024; M2Lingual, Maheshwary et al. 2024",
    )
    invented_turns: int = setting(
        3,
        "Questions in a conversation",
        "At most; it ends before the first one that fails a filter.",
        unit="questions",
        low=1,
        high=10,
        source="M2Lingual: over several turns",
        acts={"invented_conversations": 0},
    )
    invented_documents: float = setting(
        1.0,
        "Documents that the teacher reads",
        "This part of the documents of the training text, drawn by chance.",
        low=0.001,
        high=1.0,
        acts={"invented_conversations": 0},
    )
    generation_minutes: float = setting(
        5.0,
        "Minutes of writing at most",
        "For translating, for writing and for inventing instructions, each.",
        unit="minutes",
        low=0.01,
        high=100_000,
        acts={
            "translated_rows": 0,
            "backtranslated_documents": 0,
            "invented_conversations": 0,
        },
    )
    raw_text_share: float = setting(
        0.3,
        "Share of plain text",
        "Plain text of both languages mixed in, against forgetting.",
        low=0.0,
        high=0.9,
        source="Stap et al. 2024, the fine-tuning paradox",
    )
    protected_text_share: float = setting(
        0.5,
        "Protected part of the plain text",
        "The rest is of the language that is taught.",
        low=0.0,
        high=1.0,
        acts={"raw_text_share": 0},
    )
    evaluations: int = pace.evaluations(3)
    checkpoint_minutes: float = pace.checkpoint_minutes()
    precision: str = pace.precision()
    gradient_checkpointing: str = pace.gradient_checkpointing("example")
