"""The parts of the predicted memory, and real runs beside it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from training.spec import (
    AlignPreferences,
    ContinuePretraining,
    DistilEmbeddings,
    ExtendVocabulary,
    Shape,
    StageSettings,
    TuneInstructions,
    bytes_of_a_token,
    shape_of,
    tokens_at_once,
    wants_checkpointing,
)
from webapp.jobs.planning import constants, memory

ROOT = Path(__file__).resolve().parents[4]
# A base of 58 million numbers, as read_passport describes it.
PASSPORT: dict[str, Any] = {
    "parameters": 58_007_552,
    "rows": 32_000,
    "tied": False,
    "layers": 8,
    "width": 512,
    "feed_forward": 1_376,
    "heads": 8,
    "key_width": 512,
    "model_type": "llama",
}


def parts(passport: dict[str, Any] | None = None, **settings: Any) -> dict[str, int]:
    values = {"block_tokens": 256, "batch_blocks": 8, "precision": "float32"}
    stage = ContinuePretraining(**{**values, **settings})
    return memory.parts(passport or PASSPORT, [stage])


def test_the_parts_follow_from_what_learns() -> None:
    full = parts()
    assert tuple(full) == memory.PARTS
    assert full["weights"] == 4 * PASSPORT["parameters"]
    # The gradient of the output matrix once more, while a chunk's is added to it.
    assert full["gradients"] == full["weights"] + 4 * 32_000 * 512
    # One chunk of logits, and nothing beside it of its size.
    assert full["logits"] == 4 * 2**25
    assert full["optimizer"] == 2 * full["weights"]
    lora = memory.learned_numbers(
        memory.base_of(PASSPORT), ContinuePretraining(method="lora", lora_rank=16)
    )
    # Four matrices of attention and three of the feed-forward part, in and out.
    assert lora == 16 * 8 * (4 * 1_024 + 3 * (512 + 1_376))
    body, frozen = parts(trains="body"), 2 * 32_000 * 512
    assert body["optimizer"] == 8 * (PASSPORT["parameters"] - frozen)
    assert body["gradients"] == 4 * (PASSPORT["parameters"] - frozen)


def test_activations_follow_layers_and_tokens() -> None:
    def kept(**settings: Any) -> int:
        return parts(**settings)["activations"]

    assert kept(batch_blocks=8) == pytest.approx(2 * kept(batch_blocks=4), rel=1e-6)
    # A quarter on a GPU; on a CPU as much lies free as without.
    assert kept(gradient_checkpointing="on") < 0.4 * kept()
    assert parts(precision="bfloat16")["weights"] > parts()["weights"]
    # A pass takes no more than is kept at once, however large the batch is.
    large = [kept(batch_blocks=n) for n in (64, 128)]
    assert large[0] == large[1] < 1.4 * 2**30


def kept(stage: StageSettings, *, gpu: bool = False) -> float:
    """Activations on the way back, whichever moment of the run is the fullest."""
    machine = memory.Machine(gpu, 0.0, 1, "auto")
    return memory._learning(
        memory.base_of(PASSPORT), stage, 0, machine, 1, bfloat16=False
    )["activations"]


def test_what_lies_free_follows_the_outputs_of_matrices() -> None:
    """On a CPU alone, more of it with additions, and for every layer of a model whose
    layers are computed twice, which keep next to nothing."""
    stage = {"block_tokens": 256, "batch_blocks": 8, "precision": "float32"}

    def free(gradient_checkpointing: str = "off", **settings: Any) -> float:
        settings |= {"gradient_checkpointing": gradient_checkpointing}
        learning = ContinuePretraining(**stage, **settings)
        return kept(learning) - kept(learning, gpu=True)

    # Queries, keys, values, output; gate, up, down.
    outputs = 8 * 256 * 8 * 4 * (4 * 512 + 2 * 1_376 + 512)
    lora: dict[str, Any] = {"method": "lora", "lora_rank": 16}
    for twice in (False, True):
        setting = "on" if twice else "off"
        for additions, method in enumerate(({}, lora)):
            share = constants.HOLES[bool(additions), twice]
            expected = pytest.approx(share * outputs, rel=1e-6)
            assert free(setting, **method) == expected
    assert free(**lora) > 2 * free()


def test_the_fullest_moment_counts() -> None:
    """With nothing learned at once, reading a large model back needs most."""
    large = {**PASSPORT, "parameters": 2 * 10**9, "layers": 80}
    settings = {"method": "lora", "gradient_checkpointing": "on", "batch_blocks": 1}
    saving = parts(large, **settings)
    assert saving["weights"] == 8 * large["parameters"]
    # The logits of the same texts with additions, merged, rounded and read back.
    assert saving["logits"] == 4 * 4 * 2**24
    few = {**large, "rows": 1_000}
    assert parts(few, **settings)["logits"] == 4 * 4 * 1_600 * 1_000
    assert parts(large)["weights"] == 4 * large["parameters"]


def test_new_rows_and_a_teacher_count() -> None:
    learning = ContinuePretraining(block_tokens=256, batch_blocks=8)
    plain = memory.parts(PASSPORT, [learning])
    more = memory.parts(PASSPORT, [ExtendVocabulary(new_tokens=8_000), learning])
    kept = ExtendVocabulary(method="keep", new_tokens=8_000)
    assert more["weights"] - plain["weights"] == 4 * 2 * 8_000 * 512
    assert memory.parts(PASSPORT, [kept, learning]) == plain
    distilling = memory.parts(PASSPORT, [DistilEmbeddings()])
    assert distilling["weights"] == 8 * PASSPORT["parameters"]
    tuned = memory.parts(PASSPORT, [TuneInstructions()])
    assert tuned["optimizer"] < tuned["weights"] / 2


def test_a_pass_takes_an_even_part_of_the_examples_or_pairs() -> None:
    """Pairs are two rows; 58M keeps 1 GB of 12 rows of 256 tokens."""
    lora: dict[str, Any] = {"lora_rank": 16, "maximum_tokens": 256}
    eight = kept(TuneInstructions(batch_examples=8, **lora))
    assert kept(TuneInstructions(batch_examples=16, **lora)) == eight
    assert kept(TuneInstructions(batch_examples=12, **lora)) == pytest.approx(
        1.5 * eight
    )
    pairs = kept(AlignPreferences(batch_pairs=4, **lora))
    assert kept(AlignPreferences(batch_pairs=8, **lora)) == pairs
    assert kept(AlignPreferences(batch_pairs=1, **lora)) == pytest.approx(pairs / 4)
    # Nothing is dropped out of the inputs of its additions.
    assert 0.5 * eight < pairs < 0.7 * eight


def test_weights_in_parts_are_divided_and_passes_are_not() -> None:
    seven = {**PASSPORT, "parameters": 7 * 10**9, "layers": 32, "width": 4_096}
    settings = {"block_tokens": 512, "batch_blocks": 8, "gradient_checkpointing": "off"}
    stage = ContinuePretraining(**settings)

    def predicted(processes: int, sharing: str, **more: Any) -> dict[str, int]:
        return memory.parts(
            seven, [stage], gpu=True, processes=processes, sharing=sharing, **more
        )

    one = predicted(1, "auto", device_bytes=80e9)
    replicated, sharded = predicted(4, "replicated"), predicted(4, "sharded")
    for name in ("weights", "gradients", "optimizer"):
        assert replicated[name] == one[name]
    assert sharded["optimizer"] == one["optimizer"] / 4
    rows, layer = 2 * 32_000 * 4_096, (7 * 10**9 - 2 * 32_000 * 4_096) // 32
    whole = 4 * (rows + 2 * layer)
    assert sharded["weights"] == one["weights"] / 4 + whole
    assert sharded["gradients"] == one["gradients"] / 4 + 2 * whole
    assert sharded["process"] == one["process"]
    # Each computes two of eight blocks, however the weights lie.
    assert sharded["activations"] == replicated["activations"] < one["activations"]
    assert sharded["logits"] == replicated["logits"]
    # As the engine decides: where it would fill more than half of a GPU.
    assert predicted(4, "auto", device_bytes=80e9) == sharded
    assert predicted(4, "auto", device_bytes=400e9) == replicated
    # Additions alone learn in tuning: every process holds the model.
    tuning = [TuneInstructions(batch_examples=8, maximum_tokens=512)]
    shared = memory.parts(seven, tuning, gpu=True, processes=4, sharing="sharded")
    assert shared["weights"] == 6 * seven["parameters"]


def test_a_gpu_does_not_read_models_back() -> None:
    stage = ContinuePretraining(
        method="lora", gradient_checkpointing="on", batch_blocks=1
    )
    large = {**PASSPORT, "parameters": 2 * 10**9, "layers": 80}
    on_gpu = memory.parts(large, [stage], gpu=True)
    assert on_gpu["weights"] == 6 * large["parameters"]
    assert memory.parts(large, [stage])["weights"] == 8 * large["parameters"]


def test_old_passports_are_guessed_from_their_size() -> None:
    names = ("parameters", "rows", "tied", "layers", "width")
    old = {name: PASSPORT[name] for name in names}
    shape = memory.base_of(old).shape
    assert shape.feed_forward == pytest.approx(1_376, rel=0.01)
    assert sum(parts(old).values()) == pytest.approx(sum(parts().values()), rel=0.01)
    assert sum(memory.parts({}, [ContinuePretraining()]).values()) > 0


def test_shapes_are_read_from_the_configurations_of_families() -> None:
    gpt2 = shape_of({"n_embd": 768, "n_layer": 12, "n_head": 12, "model_type": "gpt2"})
    assert gpt2 == Shape(12, 768, 3_072, 768, 12, "gpt2")
    mixture = shape_of(
        {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
        }
    )
    assert (mixture.feed_forward, mixture.key_width) == (64, 32)


def test_layers_are_computed_twice_where_one_row_does_not_fit() -> None:
    shape = memory.base_of(PASSPORT).shape
    row = bytes_of_a_token(shape, 2_048) * 2_048

    def wants(setting: str, memory_bytes: float) -> bool:
        return wants_checkpointing(
            setting, shape, 2_048, fixed_bytes=1e9, memory_bytes=memory_bytes
        )

    assert wants("auto", 1e9 + 0.9 * row) and not wants("auto", 1e9 + 1.1 * row)
    assert not wants("auto", 0)
    assert wants("on", 1e15) and not wants("off", 1.0)
    assert tokens_at_once(shape, 100_000, "cpu") == 100_000  # one row at least
    more = tokens_at_once(shape, 2_048, "cpu", checkpointing=True)
    assert more > 4 * tokens_at_once(shape, 2_048, "cpu")


def bench() -> ModuleType:
    """The script that measured the table of bench/RESULTS.md."""
    path = ROOT / "bench/memory.py"
    spec = importlib.util.spec_from_file_location("bench_memory", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("case", ["base-en full", "base-en lora"])
def test_real_runs_need_what_was_predicted(tmp_path: Path, case: str) -> None:
    """Peaks of whole processes, under the settings of a worker."""
    script = bench()
    job = script.job(script.CASES[case], tmp_path)
    measured, _seconds = script.peak(job, tmp_path)
    predicted = script.predicted(job)["memory"]
    assert predicted == pytest.approx(measured, rel=0.15)
    # What the page said before: 16 bytes a number, a block of logits, 700 MB.
    before = 16 * 4_400_000 + 256 * 3_072 * 12 + 700e6
    assert before != pytest.approx(measured, rel=0.15)


def test_where_a_clock_chooses_the_precision_the_larger_counts() -> None:
    def needed(precision: str, **settings: Any) -> int:
        tuned = TuneInstructions(precision=precision, lora_rank=16, **settings)
        return sum(memory.parts(PASSPORT, [tuned]).values())

    for dropout in (0.0, 0.1):
        both = [needed(p, lora_dropout=dropout) for p in ("float32", "bfloat16")]
        assert needed("auto", lora_dropout=dropout) == max(both)
        # Without dropout bfloat16 saves; with it the copies eat up most of that.
        assert (both[1] < 0.85 * both[0]) == (not dropout)
