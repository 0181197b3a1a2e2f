"""CONTRACT: settings of the stage continue_pretraining. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.settings import pace
from training.settings.mix_stages import LABEL as MIX_LABEL
from training.settings.mix_stages import refuse_mix
from training.settings.setting import StageSettings, setting

# Choices of `method` that add something to a frozen model and train only that.
LOW_RANK = ("lora", "qlora", "dora", "rslora", "pissa", "olora", "loftq")
ADDITIONS = (*LOW_RANK, "bottleneck")
# Choices of `trains` in which rows of the input and output matrices learn and no more.
ROWS = (
    "new_rows",
    "new_input_rows",
    "new_output_rows",
    "output_rows",
    "new_input_and_output_rows",
    "lottery_rows",
)
WHAT, ADDED, LENGTH, BATCH = "What learns", "Additions", "Length", "Batch"
RATE, TEXT, AVERAGE = "Learning rate", "Text", "Averages and branches"
RESETS, MEASURE = "Active forgetting", "Measuring and saving"


@dataclass(frozen=True)
class ContinuePretraining(StageSettings):
    """Read the language's text, with some protected text replayed."""

    stage: ClassVar[str] = "continue_pretraining"

    method: str = setting(
        "full",
        "What is trained",
        "full: the weights themselves. All others freeze the model and train additions: "
        "lora (low-rank), rslora (scaled for high ranks), dora (direction and magnitude "
        "apart), pissa and olora (begin with the weights' main part), qlora (over a base "
        "in 4 bits; needs bitsandbytes), loftq (the base is rounded to 4 bits, the "
        "additions begin with what rounding lost), bottleneck (additional neurons beside "
        "the feed-forward layers; the model is exported with wider layers). Additions "
        "are merged into the weights at the end.",
        choices=("full", *ADDITIONS),
        source="below 1 billion parameters full training wins (Kunz 2024, BLOOM+1)",
        group=WHAT,
    )
    trains: str = setting(
        "everything",
        "Which weights learn",
        "In full training. body: all but embeddings and output head. embeddings: these "
        "alone. new_rows: rows of new tokens, input and output. new_input_rows, "
        "new_output_rows, output_rows (all of the head), new_input_and_output_rows (new "
        "rows of the input, all of the head): the stages of EEVE, for models whose "
        "input and output are two matrices. lottery_rows: a few rows that want to "
        "change most. half: a changing half of each layer's modules. lisa: embeddings, "
        "head and a few changing layers. What does not learn stays bit for bit.",
        choices=(
            "everything",
            "body",
            "embeddings",
            *ROWS,
            "half",
            "lisa",
        ),
        source="EEVE: Kim et al. 2024; HFT: Hui et al. 2024; LISA: Pan et al. 2024; "
        "KS-Lottery: Yuan et al. 2024",
        group=WHAT,
    )
    modules: str = setting(
        "all",
        "Modules",
        "Which part of each layer learns or gets additions.",
        choices=("all", "attention", "feed_forward"),
        source="feed-forward first: Kunz 2024 (Icelandic); all: Biderman et al. 2024",
        group=WHAT,
    )
    first_layers: float = setting(
        0.0,
        "First layers",
        "So many of the first layers learn; below 1 a share of all. 0 here and below: "
        "every layer.",
        unit="layers",
        low=0.0,
        high=1_000.0,
        source="2 and 2: Yamaguchi et al. 2024 (2x2LS); 10 and 2: LayRA",
        group=WHAT,
    )
    last_layers: float = setting(
        0.0,
        "Last layers",
        "So many of the last layers learn; below 1 a share of all.",
        unit="layers",
        low=0.0,
        high=1_000.0,
        group=WHAT,
    )
    lottery_rows: int = setting(
        64,
        "Rows of the lottery",
        "lottery_rows: how many rows of the input matrix learn, those that change most "
        "in a short trial.",
        unit="rows",
        low=1,
        high=1_000_000,
        source="KS-Lottery: Yuan et al. 2024 (18 rows suffice for translation)",
        acts={"trains": ("lottery_rows",)},
        group=WHAT,
    )
    lottery_steps: int = setting(
        50,
        "Steps of the lottery's trial",
        "lottery_rows: so long all embeddings learn; then they are put back.",
        unit="steps",
        low=1,
        high=100_000,
        acts={"trains": ("lottery_rows",)},
        group=WHAT,
    )
    period_steps: int = setting(
        50,
        "Steps of a turn",
        "half and lisa: how long the same modules or layers learn.",
        unit="steps",
        low=1,
        high=1_000_000,
        source="HFT: Hui et al. 2024; LISA: Pan et al. 2024",
        acts={"trains": ("half", "lisa")},
        group=WHAT,
    )
    lisa_layers: int = setting(
        2,
        "Layers of a turn",
        "lisa: how many layers learn at a time beside embeddings and head.",
        unit="layers",
        low=1,
        high=1_000,
        source="LISA: Pan et al. 2024",
        acts={"trains": ("lisa",)},
        group=WHAT,
    )
    lora_rank: int = setting(
        64,
        "LoRA rank",
        "Width of the low-rank additions.",
        low=1,
        high=1_024,
        source="Biderman et al. 2024: at least 64 for continued pretraining",
        acts={"method": LOW_RANK},
        group=ADDED,
    )
    lora_alpha: int = setting(
        128,
        "LoRA alpha",
        "Scale of the additions.",
        low=1,
        high=4_096,
        acts={"method": LOW_RANK},
        group=ADDED,
    )
    lora_dropout: float = setting(
        0.0,
        "LoRA dropout",
        "Part of the additions left out of each step.",
        low=0.0,
        high=0.9,
        acts={"method": LOW_RANK},
        group=ADDED,
    )
    lora_plus_ratio: float = setting(
        1.0,
        "LoRA+ ratio",
        "How much faster the second matrix of an addition learns than the first. 1: as "
        "fast; LoRA+ takes 16 with half the learning rate.",
        low=1.0,
        high=1_000.0,
        source="Hayou et al. 2024 (LoRA+)",
        group=ADDED,
    )
    bottleneck_width: int = setting(
        64,
        "Bottleneck width",
        "bottleneck: additional neurons beside each feed-forward layer, of the layer's "
        "own kind. They can be merged exactly: the layers become so much wider.",
        unit="neurons",
        low=1,
        high=16_384,
        source="parallel adapters: He et al. 2022; large ones win: Kunz 2024",
        acts={"method": ("bottleneck",)},
        group=ADDED,
    )
    adapter_embeddings: str = setting(
        "new_rows",
        "Embeddings beside additions",
        "What of the embeddings and the output head learns while the layers get "
        "additions: the rows of new tokens, all or none.",
        choices=("new_rows", "all", "none"),
        source="all: Chinese-LLaMA, ChocoLlama; new rows: EEVE",
        acts={"method": ADDITIONS},
        group=ADDED,
    )
    minutes: float = pace.minutes(5.0, group=LENGTH)
    steps: int = pace.steps(group=LENGTH)
    epochs: float = setting(
        40.0,
        "Passes over the text at most",
        "A small corpus is read several times; too often is learning by heart.",
        unit="passes",
        low=0.01,
        high=1_000,
        acts={"steps": (0,)},
        group=LENGTH,
    )
    block_tokens: int = setting(
        256,
        "Block",
        "Documents are packed into blocks of this length; none sees another.",
        unit="tokens",
        low=32,
        high=131_072,
        group=BATCH,
    )
    batch_blocks: int = setting(
        16,
        "Blocks a step",
        "The effective batch.",
        unit="blocks",
        low=1,
        high=65_536,
        group=BATCH,
    )
    learning_rate: float = setting(
        0.0,
        "Peak learning rate",
        "The main dial of how much is learned and how much is forgotten. 0: the base's "
        "final rate where it is given below, else from the width of the model: 0.2 / "
        "width, twice that for additions.",
        low=0.0,
        high=0.1,
        source="measured on the smallest; 1e-4 at 1 to 3 billion: SambaLingo, Purason",
        group=RATE,
    )
    base_final_learning_rate: float = setting(
        0.0,
        "The base's final learning rate",
        "Where the base's own pretraining ended; 0: unknown. With a peak rate the "
        "warm-up climbs from here to it (re-warming, with replay against forgetting). "
        "Without one training begins here without a warm-up and only falls; take a "
        "final share of 0.01 then.",
        low=0.0,
        high=0.1,
        source="re-warming: Ibrahim et al. 2024; falling from the final rate to 1/100: "
        "Parmar et al. 2024 (Reuse, Don't Retrain)",
        group=RATE,
    )
    schedule: str = setting(
        "cosine",
        "Schedule",
        "After the warm-up. cosine and linear: fall to the final rate. wsd: stay at the "
        "peak, then fall by 1 - sqrt. constant: stay.",
        choices=("cosine", "wsd", "linear", "constant"),
        source="wsd with 1 - sqrt: Hägele et al. 2024; constant: Sailor",
        group=RATE,
    )
    warmup_share: float = setting(
        0.03,
        "Warm-up",
        "Part of the steps over which the learning rate rises.",
        low=0.0,
        high=0.5,
        group=RATE,
    )
    decay_share: float = setting(
        0.2,
        "Length of the fall",
        "wsd: part of the steps at the end over which the rate falls.",
        low=0.0,
        high=1.0,
        source="Hägele et al. 2024: 10 to 20 %",
        acts={"schedule": ("wsd",)},
        group=RATE,
    )
    final_learning_rate_share: float = setting(
        0.1,
        "Learning rate at the end",
        "As a part of the peak.",
        low=0.0,
        high=1.0,
        source="most published recipes decay to 10 %",
        acts={"schedule": ("cosine", "wsd", "linear")},
        group=RATE,
    )
    embedding_rate_share: float = setting(
        1.0,
        "Learning rate of embeddings",
        "As a part of that of all other weights.",
        low=0.0,
        high=100.0,
        source="a half to a tenth is common beside LoRA",
        group=RATE,
    )
    weight_decay: float = setting(
        0.1,
        "Weight decay",
        "On matrices; never on embeddings and norms.",
        low=0.0,
        high=1.0,
        group=RATE,
    )
    replay_share: float = setting(
        0.25,
        "Replay of the protected language",
        "Part of the training text, by bytes, that comes from what must not be forgotten.",
        low=0.0,
        high=0.9,
        source="Ibrahim et al. 2024: 25 % for a strong shift",
        acts={"curriculum": ("mixed", "high_resource_first")},
        group=TEXT,
    )
    # --- The mix: which text, how much of it, in which order
    sampling_exponent: float = setting(
        0.3,
        "Sampling by size",
        "How languages share what is read: by their size to this power. 1: by size. 0: "
        "all the same. Small values favour small languages.",
        low=0.0,
        high=1.0,
        source="0.3: XLM-R, MaLA-500; families of small languages bear less "
        "(Uralic: Downey et al. 2024)",
        group=TEXT,
    )
    target_share: float = setting(
        0.0,
        "Share of the language among related ones",
        "Of the text that is learned, where text of related languages is read beside it. "
        "0: what its size says.",
        low=0.0,
        high=1.0,
        source="Sherkala: Kazakh to Russian and Turkish 3 : 1",
        group=TEXT,
    )
    parallel_share: float = setting(
        0.0,
        "Translations in the text",
        "Part of the training text that is sentences with their translations, both ways.",
        low=0.0,
        high=1.0,
        source="Swallow; EMMA-500: bilingual text helps small languages most",
        acts={"curriculum": ("mixed", "high_resource_first")},
        group=TEXT,
    )
    interlinear_share: float = setting(
        0.0,
        "Interlinear text",
        "Part of the training text that is documents which alternate sentence by "
        "sentence between two languages.",
        low=0.0,
        high=1.0,
        source="Guo et al. 2024, the second of three stages to translation",
        acts={"curriculum": ("mixed", "high_resource_first")},
        group=TEXT,
    )
    instruction_share: float = setting(
        0.0,
        "Instructions in the text",
        "Part of the training text that is questions with their answers, read as text.",
        low=0.0,
        high=1.0,
        source="EstLLM reads 7.4 of 35.7 billion tokens of them; MAFT",
        acts={"curriculum": ("mixed", "high_resource_first")},
        group=TEXT,
    )
    instruction_format: str = setting(
        "plain",
        "Form of instructions in the text",
        "plain: one turn after the other. chat: as the base's chat template writes them, "
        "where it has one.",
        choices=("plain", "chat"),
        acts={"instruction_share": 0, "curriculum": ("staged",)},
        group=TEXT,
    )
    entity_insertion: float = setting(
        0.0,
        "Names inserted after their mentions",
        "Part of the words and names of the dictionary in the text after which their "
        "translation is put. It is read, not learned.",
        low=0.0,
        high=1.0,
        source="LEIA (Yamada and Ri 2024): half of the mentions",
        group=TEXT,
    )
    entity_marks: str = setting(
        "tags",
        "Marks around inserted names",
        "tags: <translate>name</translate>, as in the paper. parentheses: (name).",
        choices=("tags", "parentheses"),
        source="LEIA",
        acts={"entity_insertion": 0},
        group=TEXT,
    )
    code_switching: float = setting(
        0.0,
        "Code-switching",
        "Part of the words of the dictionary in the text that their translation replaces.",
        low=0.0,
        high=1.0,
        source="xCoT, LinguaLIFT",
        group=TEXT,
    )
    bpe_dropout: float = setting(
        0.0,
        "BPE-dropout",
        "Part of the merges that is left out when text of the language is cut into "
        "pieces, so that words are also known by their parts. For tokenizers of merges.",
        low=0.0,
        high=0.5,
        source="Provilkov et al. 2020; Sailor: 0.1",
        group=TEXT,
    )
    curriculum: str = setting(
        "mixed",
        "Curriculum",
        "mixed: the same mix from beginning to end. high_resource_first: the larger "
        "languages alone first, then all. staged: as “Stages of the mix” says.",
        choices=("mixed", "high_resource_first", "staged"),
        source="Choi et al. 2023, Order Matters (high_resource_first)",
        group=TEXT,
    )
    curriculum_start: float = setting(
        0.5,
        "When the smaller languages join",
        "As a part of all steps, for high_resource_first.",
        low=0.01,
        high=0.99,
        acts={"curriculum": ("high_resource_first",)},
        group=TEXT,
    )
    mix_stages: str = setting(
        "",
        MIX_LABEL,
        "For staged: parts of the way and the share of each source from there on, for "
        "example 0: text 0.75, protected 0.25; 0.6: interlinear 1. Sources: text, "
        "target, related, protected, parallel, interlinear, instructions.",
        source="three-stage translation (Guo et al. 2024); Parmar et al. 2024 switch the "
        "mix once",
        acts={"curriculum": ("staged",)},
        group=TEXT,
    )
    packing: str = setting(
        "blocks",
        "Packing",
        "blocks: documents side by side in blocks of one length. bucketed: sequences of "
        "equal length from one document each, short ones first.",
        choices=("blocks", "bucketed"),
        source="Pouransari et al. 2024 (bucketed)",
        group=TEXT,
    )
    bucket_cycle: int = setting(
        64,
        "Steps of a cycle of lengths",
        "In each cycle of bucketed packing the sequences grow from short to long.",
        unit="steps",
        low=1,
        high=1_000_000,
        source="Pouransari et al. 2024: several cycles train more stably than one",
        acts={"packing": ("bucketed",)},
        group=TEXT,
    )
    average_last: int = setting(
        0,
        "Average the last",
        "The model is the mean of the weights at so many last evaluations. 0: as it is "
        "at the end. Additions are averaged factor by factor.",
        unit="evaluations",
        low=0,
        high=1_000,
        source="checkpoint averaging: Vaswani et al. 2017; Sanyal et al. 2023",
        group=AVERAGE,
    )
    branches: int = setting(
        1,
        "Branches",
        "So many copies learn from different parts of the text and are merged, in the "
        "same number of steps altogether. 1: ordinary training.",
        unit="copies",
        low=1,
        high=64,
        source="Alexandrov et al. 2024 (Branch-and-Merge): 2",
        group=AVERAGE,
    )
    rounds: int = setting(
        4,
        "Rounds",
        "How often branches are merged; each round begins with the merged model.",
        unit="rounds",
        low=1,
        high=10_000,
        acts={"branches": 1},
        group=AVERAGE,
    )
    branch_merge: str = setting(
        "linear",
        "Merging of branches",
        "linear: the mean. slerp: along the arc between them, one after the other.",
        choices=("linear", "slerp"),
        source="Alexandrov et al. 2024: nearly the same, slerp a little ahead",
        acts={"branches": 1},
        group=AVERAGE,
    )
    forget_every_steps: int = setting(
        0,
        "Reset embeddings every",
        "Rows go back to their first values after so many steps, so that the body "
        "learns not to lean on them. 0: never.",
        unit="steps",
        low=0,
        high=1_000_000,
        source="Chen et al. 2023 (active forgetting): 1,000",
        group=RESETS,
    )
    forget_rows: str = setting(
        "new_rows",
        "Rows that are reset",
        "Those of new tokens, or all.",
        choices=("new_rows", "all"),
        acts={"forget_every_steps": 0},
        group=RESETS,
    )
    forget_until_share: float = setting(
        0.8,
        "Resets until",
        "Part of the steps after which nothing is reset any more.",
        low=0.0,
        high=1.0,
        acts={"forget_every_steps": 0},
        group=RESETS,
    )
    evaluations: int = pace.evaluations(8, group=MEASURE)
    checkpoint_minutes: float = pace.checkpoint_minutes(group=MEASURE)
    precision: str = pace.precision(group=MEASURE)
    gradient_checkpointing: str = pace.gradient_checkpointing("block", group=MEASURE)
    compile: str = setting(
        "auto",
        "Compiled steps",
        "The body of the model is translated into faster code before the first step "
        "(torch.compile), which takes a minute or more. auto: not on a CPU, where a tenth "
        "was gained and some hundred steps pass before the minute is made up for; on a "
        "GPU tried at the beginning and kept where steps become faster. on: for long "
        "runs. Where nothing can be compiled the run goes on without, with a note.",
        choices=("auto", "on", "off"),
        source="measured on a CPU: bench/RESULTS.md; not measured on a GPU",
        group=MEASURE,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_combinations(self)
        refuse_mix(self)

    @property
    def uses_dictionary(self) -> bool:
        """Whether words of the dictionary are put into the text."""
        return bool(self.entity_insertion or self.code_switching)


def refuse_combinations(settings: ContinuePretraining) -> None:
    """Raise SpecInvalid, naming the setting, for settings that contradict each other."""

    def refuse(name: str, sentence: str) -> None:
        raise settings.unfit(name, sentence)

    method, trains = settings.method, settings.trains
    if method != "full":
        if trains != "everything":
            refuse(
                "trains",
                f"{trains} is for full training; beside the additions of {method} the "
                "setting adapter_embeddings says what learns",
            )
        if settings.branches > 1:
            refuse("branches", f"are for full training, not for {method}")
        if settings.forget_every_steps:
            refuse("forget_every_steps", f"is for full training, not for {method}")
    if settings.lora_plus_ratio != 1 and method not in LOW_RANK:
        refuse("lora_plus_ratio", f"is for low-rank additions, not for {method}")
    if method == "bottleneck" and settings.modules == "attention":
        refuse("modules", "a bottleneck stands beside feed-forward layers only")
    some = settings.modules != "all" or settings.first_layers or settings.last_layers
    if some and trains in (*ROWS, "embeddings"):
        name = "modules" if settings.modules != "all" else "first_layers"
        refuse(name, f"chooses among layers, and with {trains} no layer learns")
    if settings.forget_every_steps and trains == "body":
        refuse("forget_every_steps", "resets embeddings, and with body they are frozen")
    if settings.compile == "on" and (why := changes_shape(settings)):
        refuse("compile", f"{why}; choose auto or off")
    if settings.branches > 1:
        for name in ("average_last", "forget_every_steps"):
            if getattr(settings, name):
                refuse(name, "cannot be combined with branches; choose one of the two")


def changes_shape(settings: ContinuePretraining) -> str:
    """Why the code of a step cannot be compiled once for all steps; empty where it can."""
    if settings.packing == "bucketed":
        return "each length of a bucket would have to be compiled by itself"
    if settings.trains in ("half", "lisa"):
        return f"with {settings.trains} each turn would have to be compiled by itself"
    return ""
