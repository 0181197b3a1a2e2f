"""Every way of training goes on after a stop as if nothing had been, and freezes what it
says; through the loop alone, on a model of two layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training import tiny
from training import adapters, compute
from training.data.packing import Packer
from training.data.tokens import tokenise
from training.errors import SpecInvalid, Stopped
from training.evaluation.evaluator import Evaluator
from training.events import EventWriter, read_events
from training.families import load_tokenizer
from training.pretraining import loop as pretraining
from training.pretraining.loop import Pretraining
from training.ranks import ALONE, Ranks
from training.run import StopFlag
from training.spec import ContinuePretraining, Evaluate, Prepare
from training.stages import continue_pretraining

SETTINGS = ContinuePretraining(
    steps=8,
    block_tokens=32,
    batch_blocks=1,
    evaluations=4,
    learning_rate=5e-3,
    precision="float32",
    lora_rank=2,
    lora_alpha=4,
    bottleneck_width=4,
    period_steps=3,
    lisa_layers=1,
    rounds=2,
)
NEW = [300, 301, 302]
VARIANTS = {
    "full": {},
    **{method: {"method": method} for method in adapters.LOW_RANK if method != "qlora"},
    "dropout": {"method": "lora", "lora_dropout": 0.2},
    "lora_plus": {"method": "lora", "lora_plus_ratio": 16.0},
    "lora and embeddings": {"method": "lora", "adapter_embeddings": "all"},
    "bottleneck": {"method": "bottleneck"},
    **{
        trains: {"trains": trains}
        for trains in ("body", "embeddings", "new_rows", "half", "lisa")
    },
    "first and last": {"first_layers": 1.0, "modules": "attention"},
    "wsd": {"schedule": "wsd"},
    "average": {"average_last": 3},
    "branches": {"branches": 2},
    "slerp": {"branches": 2, "branch_merge": "slerp"},
    "forgetting": {"forget_every_steps": 2},
}
# Of variants that share their state with one of these the quick loop tries none.
QUICK = {"lora", "pissa", "bottleneck", "new_rows", "lisa", "average", "slerp"}
RUNS = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
    for name in VARIANTS
]


class Place:
    """Text and tokenizer of a small job, ready for many runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.job = tiny.spec(
            folder, (Prepare(), Evaluate(sample_tokens=1)), count=24, prompts=()
        )
        self.prepared = folder / "prepared"
        texts = {"target": "cyrillic", "protected": "latin"}
        for role, script in texts.items():
            for part, count in (("train", 20), ("validation", 1)):
                rows = [{"text": t} for t in tiny.documents(count, script=script)]
                tiny.write_rows(self.prepared / f"{role}-{part}.jsonl", rows)
        self.tokenizer = load_tokenizer(Path(self.job.base))
        self.sources = [
            tokenise(
                self.tokenizer,
                self.prepared / f"{role}-train.jsonl",
                folder / role,
                block_tokens=32,
            )
            for role in texts
        ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


def loop(
    place: Place,
    run: Path,
    *,
    tied: bool = True,
    seed: int = 1,
    ranks: Ranks = ALONE,
    **values,
) -> Pretraining:
    """The loop over a fresh model with the settings of a variant."""
    settings = replace(SETTINGS, **values)
    compute.seed_everything(seed)
    model = tiny.model(320, tied=tied)
    work = run / "work"
    work.mkdir(parents=True, exist_ok=True)
    compute.seed_everything(seed)
    if settings.method in adapters.LOW_RANK:
        model = adapters.attach(
            model,
            adapters.Additions.of(settings, NEW),
            stage=settings.stage,
            start=work / "additions.safetensors",
        )
    selection = continue_pretraining.what_learns(model, settings, NEW, seed)
    return Pretraining(
        model=model,
        selection=selection,
        new_rows=NEW,
        packer=Packer(
            sources=place.sources,
            shares=(0.75, 0.25),
            seed=seed,
            block_tokens=32,
            batch_blocks=settings.batch_blocks,
            start=0,
            end=0,
        ),
        evaluator=Evaluator(
            model, place.tokenizer, place.job, place.prepared, "validation"
        ),
        settings=settings,
        device=torch.device("cpu"),
        work=work,
        run_dir=run,
        events=EventWriter(run / "events.jsonl"),
        stop=StopFlag(),
        ranks=ranks,
    )


def trained(made: Pretraining, stop: int = 0) -> dict[str, torch.Tensor]:
    """All weights after training, or after the stop that is asked for in a step."""
    plan = made.make_plan({}, 0.0)
    if stop:
        step, calls = made.step, []

        def counted(*arguments):
            calls.append(1)
            made.stop.requested = len(calls) == stop
            return step(*arguments)

        made.step = counted
        with pytest.raises(Stopped):
            made.train(plan)
    else:
        made.train(plan)
    return {n: p.detach().clone() for n, p in made.model.named_parameters()}


def equal(one: dict, other: dict) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("variant", RUNS)
def test_stopped_and_resumed_is_uninterrupted(
    place: Place, tmp_path: Path, variant: str
) -> None:
    """The stop is in the middle of a turn, of a branch and of a mean."""
    values = VARIANTS[variant]
    before = {
        n: p.detach().clone()
        for n, p in loop(place, tmp_path / "x", **values).model.named_parameters()
    }
    straight = trained(loop(place, tmp_path / "a", **values))
    assert not equal(before, straight)
    trained(loop(place, tmp_path / "b", **values), stop=5)
    assert equal(trained(loop(place, tmp_path / "b", **values)), straight)


@pytest.mark.parametrize("variant", ["lisa", "branches", "average"])
def test_what_is_not_kept_shows(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    """The comparison above can fail: without the kept state the weights are others."""
    values = VARIANTS[variant]
    straight = trained(loop(place, tmp_path / "a", **values))
    trained(loop(place, tmp_path / "b", **values), stop=5)
    again = loop(place, tmp_path / "b", **values)
    if variant == "lisa":
        again.settings = replace(again.settings, period_steps=2)
        again.selection.period = 2
    else:
        kind = {"branches": pretraining.Branching, "average": pretraining.Averaging}
        monkeypatch.setattr(kind[variant], "restore", lambda *_: None)
    assert not equal(trained(again), straight)


def test_another_seed_gives_other_weights(place: Place, tmp_path: Path) -> None:
    first = trained(loop(place, tmp_path / "a", trains="half"))
    assert equal(trained(loop(place, tmp_path / "b", trains="half")), first)
    assert not equal(trained(loop(place, tmp_path / "c", trains="half", seed=2)), first)


@pytest.mark.parametrize(
    ("trains", "tied", "inputs", "outputs"),
    [
        ("new_rows", True, NEW, NEW),
        ("new_rows", False, NEW, NEW),
        ("lottery_rows", False, NEW, []),
        pytest.param(*("lottery_rows", True, NEW, []), marks=pytest.mark.slow),
        pytest.param(*("new_input_rows", False, NEW, []), marks=pytest.mark.slow),
        ("new_output_rows", False, [], NEW),
        pytest.param(
            *("output_rows", False, [], list(range(320))), marks=pytest.mark.slow
        ),
        ("new_input_and_output_rows", False, NEW, list(range(320))),
    ],
)
def test_other_rows_stay_bit_for_bit(
    place: Place, tmp_path: Path, trains: str, tied: bool, inputs, outputs
) -> None:
    """P9: 50 steps of AdamW with weight decay; the body stays too."""
    made = loop(
        place,
        tmp_path,
        tied=tied,
        trains=trains,
        steps=50,
        weight_decay=0.5,
        evaluations=1,
    )
    before = {n: p.detach().clone() for n, p in made.model.named_parameters()}
    after = trained(made)
    for name, old in before.items():
        rows = {"model.embed_tokens.weight": inputs, "lm_head.weight": outputs}.get(
            name
        )
        if rows is None:
            assert torch.equal(old, after[name])
            continue
        moved = (old != after[name]).any(1).nonzero().flatten().tolist()
        assert set(moved) <= set(rows)
        assert bool(moved) is bool(rows)


def test_cleared_gradients_alone_would_move_rows(place: Place, tmp_path: Path) -> None:
    """The test above can fail (trap 14): with decay on embeddings all rows move."""
    made = loop(place, tmp_path, trains="new_rows", steps=50, evaluations=1)
    for group in made.optimizer.param_groups:
        group["weight_decay"] = 0.5
    before = made.model.get_input_embeddings().weight.detach().clone()
    trained(made)
    assert not torch.equal(before[10], made.model.get_input_embeddings().weight[10])


@pytest.mark.parametrize("trains", ["half", "lisa"])
def test_who_has_no_turn_stays_bit_for_bit(
    place: Place, tmp_path: Path, trains: str
) -> None:
    """In a period longer than the run: drawn modules learn, the others do not."""
    made = loop(
        place, tmp_path, trains=trains, period_steps=100, steps=50, evaluations=1
    )
    before = {n: p.detach().clone() for n, p in made.model.named_parameters()}
    after = trained(made)
    turn = made.selection.turns(0)
    body = set(before) - made.selection.always
    assert 0 < len(turn) < len(body)
    for name, old in before.items():
        learns = name in turn or name in made.selection.always
        assert torch.equal(old, after[name]) is not learns
    turns = {frozenset(made.selection.turns(n)) for n in range(8)}
    assert len(turns) > 1


def test_one_branch_is_plain_training(place: Place, tmp_path: Path) -> None:
    plain = trained(loop(place, tmp_path / "a"))
    assert equal(trained(loop(place, tmp_path / "b", branches=1, rounds=3)), plain)
    assert not equal(trained(loop(place, tmp_path / "c", branches=2)), plain)


@pytest.mark.parametrize("merge", ["linear", "slerp"])
def test_merged_branches_leave_rows_alone_that_do_not_learn(
    place: Place, tmp_path: Path, merge: str
) -> None:
    """Far apart, so that slerp goes along an arc: the weights of its ends do not add up
    to one, and would move whatever they are given."""
    made = loop(
        place,
        tmp_path,
        trains="new_rows",
        branches=3,
        rounds=1,
        branch_merge=merge,
        steps=30,
        learning_rate=0.1,
        evaluations=1,
    )
    matrix = made.model.get_input_embeddings().weight
    before = matrix.detach().clone()
    made.train(made.make_plan({}, 0.0))
    old = [row for row in range(len(matrix)) if row not in NEW]
    assert torch.equal(matrix[old], before[old])
    assert not torch.equal(matrix[NEW], before[NEW])


def test_a_mean_of_fewer_evaluations_than_were_asked_for_is_said(
    place: Place, tmp_path: Path
) -> None:
    def notes(name: str, **values: int) -> list[str]:
        trained(loop(place, tmp_path / name, steps=2, **values))
        events, _ = read_events(tmp_path / name / "events.jsonl")
        return [event["sentence"] for event in events if event["kind"] == "note"]

    [said] = notes("few", average_last=5, evaluations=2)
    assert "mean of 2 evaluations, not of 5" in said
    assert notes("enough", average_last=2, evaluations=2) == []


def test_forgotten_rows_are_as_at_first(place: Place, tmp_path: Path) -> None:
    """With the last reset at the last step but one, one update is all they have."""
    values = {
        "forget_every_steps": 7,
        "forget_until_share": 1.0,
        "schedule": "constant",
    }
    made = loop(place, tmp_path / "a", **values)
    first = made.model.get_input_embeddings().weight.detach().clone()
    trained(made)
    rows = made.model.get_input_embeddings().weight
    assert (rows[NEW] - first[NEW]).abs().max() <= 5e-3 * 1.01
    plain = loop(place, tmp_path / "b", schedule="constant")
    trained(plain)
    rows = plain.model.get_input_embeddings().weight
    assert (rows[NEW] - first[NEW]).abs().max() > 5e-3 * 1.5


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"method": "lora", "trains": "body"}, "trains"),
        ({"method": "dora", "branches": 2}, "branches"),
        ({"method": "lora", "forget_every_steps": 5}, "forget_every_steps"),
        ({"lora_plus_ratio": 4.0}, "lora_plus_ratio"),
        ({"method": "bottleneck", "modules": "attention"}, "modules"),
        ({"trains": "new_rows", "modules": "attention"}, "modules"),
        ({"trains": "embeddings", "last_layers": 2.0}, "first_layers"),
        ({"trains": "body", "forget_every_steps": 5}, "forget_every_steps"),
        ({"branches": 2, "average_last": 2}, "average_last"),
    ],
)
def test_contradictions_are_refused_at_once(values: dict, field: str) -> None:
    with pytest.raises(SpecInvalid, match=f"continue_pretraining.{field}"):
        replace(SETTINGS, **values)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"trains": "new_input_rows"}, "trains"),
        ({"trains": "output_rows"}, "trains"),
        ({"branches": 4, "rounds": 4}, "rounds"),
    ],
)
def test_what_the_model_cannot_is_refused(
    place: Place, tmp_path: Path, values: dict, field: str
) -> None:
    with pytest.raises(SpecInvalid, match=f"continue_pretraining.{field}"):
        trained(loop(place, tmp_path, **values))


def test_new_rows_need_new_tokens() -> None:
    model, settings = tiny.model(320), replace(SETTINGS, trains="new_rows")
    with pytest.raises(SpecInvalid, match="needs new tokens"):
        continue_pretraining.what_learns(model, settings, [], 1)
    forgetting = replace(SETTINGS, forget_every_steps=3)
    with pytest.raises(SpecInvalid, match="no new tokens"):
        continue_pretraining.refuse_nothing_to_forget(forgetting, [])
    continue_pretraining.refuse_nothing_to_forget(forgetting, [319])


def test_an_average_is_the_mean_of_the_last(place: Place, tmp_path: Path) -> None:
    """Against the weights of the same run without it, taken at the same steps."""
    made = loop(place, tmp_path / "a")
    taken, original = [], made.evaluate

    def taking(step: int, total: int) -> None:
        taken.append([p.detach().clone() for p in made.trained.values()])
        original(step, total)

    made.evaluate = taking
    trained(made)
    averaged = loop(place, tmp_path / "b", average_last=3)
    trained(averaged)
    for number, weight in enumerate(averaged.trained.values()):
        mean = torch.stack([weights[number] for weights in taken[-3:]]).mean(0)
        assert torch.allclose(weight, mean, atol=1e-6)
