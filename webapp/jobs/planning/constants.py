"""The numbers behind the plan, each with where it comes from. Change them here only."""

from __future__ import annotations

MILLION, BILLION = 10**6, 10**9

# --- Speed --------------------------------------------------------------------
# Training computes about 6 operations per weight and token, reading about 2
# (Kaplan et al. 2020); to that comes a cost per token that does not depend on the size.
# CPU: fitted to two measurements on two cores in float32, 0.26 million parameters at
# 17,000 tokens/s and 15 million parameters at 2,400 tokens/s.
CPU_OPERATIONS_PER_SECOND = 2.5e11
CPU_SECONDS_PER_TOKEN = 5e-5
# GPU: an assumption on the safe side, about a tenth of an A100's peak in bfloat16.
GPU_OPERATIONS_PER_SECOND = 3e13
GPU_SECONDS_PER_TOKEN = 2e-6

# --- Stages that do not learn -------------------------------------------------
# Loading libraries and model, splitting text, writing and reading back.
FIXED_SECONDS = 25.0
# Held-out text that is measured before and after (training/settings/prepare.py), and
# characters per token where the base has not been tried on the text.
MEASURED_CHARACTERS = 60_000
GUESSED_CHARACTERS_PER_TOKEN = 1.5
# Vocabulary: 10 MB in 7 to 10 s, measured with continued BPE in plain Python.
VOCABULARY_SECONDS_PER_BYTE = 1e-6
# The least of the minutes that is left for learning, however slow the rest.
LEARNING_SHARE_AT_LEAST = 0.5

# --- Minutes ------------------------------------------------------------------
# A language is learned from text; answering is learned from few examples (findings of
# ALMA and of "pinch of multilinguality": small instruction sets suffice).
PRETRAINING_SHARE = 0.7
STAGE_MINUTES_AT_LEAST = 0.05  # the least that the settings allow
# The most that they allow: a stage with so many is ended by its text and not by the clock.
UNTIMED_MINUTES = 100_000.0
PRETRAINING_SHARE_TO_TRANSLATE = 0.6
# Stages that share the time for answering, and how much of such a share a stage usually
# needs; 1 where nothing is said. Distillation sees few snippets (Dobler 2025: 25 of 50
# tokens for each new token).
ANSWERING = frozenset({"tune_instructions", "align_preferences"})
STAGE_WEIGHTS = {"distil_embeddings": 0.2, "align_preferences": 0.5}

# --- Vocabulary ---------------------------------------------------------------
# Two tokens per word are about 2.75 characters per token in an alphabet: from there on
# extending gains little (a judgement, after GlossAPI and Yamaguchi 2024).
GOOD_CHARACTERS_PER_TOKEN = 2.75
# In scripts that write a syllable or a word with one character.
GOOD_CHARACTERS_PER_TOKEN_DENSE = 1.2
DENSE_SCRIPTS = frozenset({"Hans", "Hant", "Hani", "Jpan", "Kore", "Yiii", "Ethi"})
# Yamaguchi 2024: 100 to 5,000 new tokens fit 30,000 sentences, about 3 million
# characters: one token per 700 characters is the upper end of that.
CHARACTERS_PER_NEW_TOKEN = 700
NEW_TOKENS_AT_LEAST = 256
# Purason et al. 2025: 1,000 to 4,000 give the largest gain per token on small budgets.
NEW_TOKENS_SMALL_BUDGET = 4_096
NEW_TOKENS_LARGE_BUDGET = 16_384
SMALL_BUDGET_TOKENS = BILLION // 2
# Below this letters are cut into bytes, and new pieces pay at once: measured on Kazakh
# with 0.55, 1.618 bits per byte without them and 1.314 with them. Where a token is a
# letter they do not: Swahili with 1.00, 2.167 without and 2.629 with them after the same
# text. The limit between 0.56 and 1.00 is a judgement.
SLIVERS_CHARACTERS_PER_TOKEN = 0.8

# --- Learning rate: (parameters below, full training, LoRA, tuning with LoRA) -
# First two rows: own measurements on two cores; then SambaLingo, Purason and Sailor
# (1e-4 to 3e-4 full), Chinese-LLaMA and LayRA (LoRA 2e-4 to 3e-4), Bactrian-X (3e-4).
LEARNING_RATES: tuple[tuple[float, float, float, float], ...] = (
    (1 * MILLION, 3e-3, 3e-3, 1.5e-3),
    (20 * MILLION, 6e-4, 2e-3, 1.5e-3),
    (200 * MILLION, 3e-4, 5e-4, 5e-4),
    (1 * BILLION, 1e-4, 3e-4, 3e-4),
    (7 * BILLION, 5e-5, 2e-4, 2e-4),
    (float("inf"), 2e-5, 1e-4, 1e-4),
)
LEARNING_RATE_SOURCE = (
    "measured below 20 million parameters; SambaLingo, Sailor, Purason 2025; "
    "LoRA: Chinese-LLaMA, LayRA, Bactrian-X"
)

# --- Full or LoRA -------------------------------------------------------------
# Below one billion full training wins (Kunz 2024, BLOOM+1).
LORA_FROM_PARAMETERS = 1 * BILLION
# An instruct base is changed least by low-rank additions; the smallest gain nothing by it.
LORA_INSTRUCT_FROM_PARAMETERS = 100 * MILLION

# --- Blocks and batch: (parameters below, block, tokens a step) ---------------
BATCHES: tuple[tuple[float, int, int], ...] = (
    (20 * MILLION, 256, 4_096),
    (200 * MILLION, 512, 8_192),
    (1 * BILLION, 1_024, 32_768),
    (float("inf"), 2_048, 131_072),
)
# With fewer steps than this the schedule has no room; the batch is made smaller.
STEPS_AT_LEAST = 300
# lowres-cve: short blocks of 512 for small corpora.
SHORT_BLOCK_BELOW_TOKENS = 20 * MILLION
SHORT_BLOCK = 512

# --- Passes -------------------------------------------------------------------
# (bytes of text for each weight below, passes). Muennighoff et al. 2023: up to 4 passes
# are nearly as good as new text. Measured with 4.4 million weights and 0.1 MB: unseen
# text was read best after 5 to 6 passes and ever worse after. A model that is small
# beside its text cannot learn it by heart.
PASSES: tuple[tuple[float, float], ...] = (
    (0.2, 6.0),
    (1.0, 16.0),
    (float("inf"), 40.0),
)
PASSES_SOURCE = "Muennighoff et al. 2023; bench/RESULTS.md"
MANY_PASSES = 10.0
LESS_THAN_A_PASS = 0.9

# --- Replay -------------------------------------------------------------------
# Ibrahim et al. 2024: 25 % for a strong shift; SambaLingo 25 %, Sailor 30 %.
REPLAY_SHARE = 0.25

# --- Instructions -------------------------------------------------------------
# (parameters below, passes, rank, share of plain text). One to three passes are usual;
# small models on small sets need more. Measured with 4.4 million weights and 550
# examples at a rate of 1.5e-3, bits per byte after reading 2.330 (Swahili) and 1.462
# (English, the base 1.423): 208 steps with 30 % plain text end at 2.535 and 1.603, 244
# with 50 % at 2.438 and 1.553, and greetings are answered. With 65 % they end at 2.350
# and 1.541, and greetings are not answered every time; at rates of 1e-3 and less never.
TUNING: tuple[tuple[float, float, int, float], ...] = (
    (20 * MILLION, 6.0, 64, 0.5),
    (1 * BILLION, 6.0, 64, 0.3),
    (float("inf"), 3.0, 64, 0.3),
)
# What a question with its answer has beside both: the template's markers and, of a
# translation, the words that ask for it. A judgement.
FORM_TOKENS = 32
TEXT_ENDS = 2  # a piece of plain text has a beginning and an end
# Tokens of an example and the part of the minutes that goes into steps, the rest into
# loading and measuring: 54 and 0.7 in a run of the bundled example.
EXAMPLE_TOKENS, STEPS_SHARE = 55, 0.7
# About a thousand good examples lift general ability (Zhou et al. 2023, LIMA).
ENOUGH_EXAMPLES = 1_000
# Under 1,000 pairs preference tuning is not recommended (a judgement, after Okapi).
ENOUGH_PREFERENCES = 1_000
TRANSLATION_SHARE = 0.3
TRANSLATION_SHARE_TO_TRANSLATE = 0.7

# --- Corpora ------------------------------------------------------------------
TINY_TEXT_CHARACTERS = 100_000
TOO_LITTLE_CHARACTERS = 5_000
SMALL_LANGUAGE_BYTES = 20 * MILLION  # from where related languages are weighed

# --- Memory and disk, in bytes ------------------------------------------------
# float32 weights, gradients and two moments of AdamW; LoRA keeps the weights in 16 bits
# and trains about 3 %.
FULL_BYTES_PER_PARAMETER = 16
LORA_BYTES_PER_PARAMETER = 3
# Of the parts of webapp/jobs/planning/memory.py, fitted to peaks of real runs on a CPU
# (bench/RESULTS.md): the libraries and what they keep, and what trl adds to it.
PROCESS_BYTES = 450 * MILLION
TRAINER_BYTES = 80 * MILLION
# An assumption; no GPU was at hand.
CUDA_BYTES = 600 * MILLION
# What a CPU's allocator holds free between what a pass keeps, as a share of the outputs of
# all matrices (webapp/jobs/planning/memory.py), by (with additions, layers twice). Counted
# with mallinfo2 after forward passes of bases of 4, 33, 58 and 110 million.
HOLES = {
    (False, False): 0.5,
    (False, True): 0.6,
    (True, False): 2.2,
    (True, True): 1.4,
}
# Logits and their softmax, where a text is measured; where it is learned everything is
# written over the logits (training/head_loss.py).
MEASURED_COPIES = 2
# Tokens and logits at once where text is measured (training/evaluation).
MEASURED_AT_ONCE, MEASURED_LOGITS = 8_192, {"cpu": 2**25, "cuda": 2**26}
# Tokens at once in tuning, at most (training/tuning/sft.py).
TUNED_AT_ONCE = 8_192
# Logits of the texts that are compared before and after saving (training/merging), four
# texts of 400 characters: with additions, merged, rounded, read back.
COMPARED_LOGITS, COMPARED_TOKENS, COMPARED_SIDES = 2**24, 1_600, 4
FULL_CHECKPOINT_BYTES_PER_PARAMETER = 12
CHECKPOINTS_KEPT = 2
WEIGHT_BYTES_PER_PARAMETER = 4
MODEL_COPIES = 3  # extended, trained, merged
