"""How a run is split: phases, the switch in every unit, and epochs, held to counting batch by batch."""

import json
import random

from composer_algo.phase import RunLength, switch_batch
from tstdata import DatasetCard
from tstruns.data_need import data_need
from tstruns.durations import durations_of
from tstruns.run_size import RunSize, switch_batch_of


def test_phases_are_what_dealing_out_step_by_step_reads():
    size = RunSize(steps=11, global_batch_size=4, seq_len=8, bag_size=3, superposition_batches=5)
    rows = {"superposition": 0, "recovery": 0}
    for step in range(11):
        for _ in range(4):
            rows["superposition" if step < 5 else "recovery"] += 3 if step < 5 else 1
    for phase in size.phases(token_bytes=2):
        assert phase.dataset_rows == rows[phase.name]
        assert phase.tokens == 8 * rows[phase.name]
        assert phase.bytes == 2 * phase.tokens
    assert size.total_tokens == 8 * sum(rows.values())


def test_output_only_reads_no_more_than_its_baseline():
    baseline = RunSize(100, 4, 8, 1, 0)
    assert RunSize(100, 4, 8, 4, 50, mode="output_only").total_tokens == baseline.total_tokens
    assert RunSize(100, 4, 8, 4, 50, mode="input_only").total_tokens == 2.5 * baseline.total_tokens


def test_the_planned_switch_is_the_batch_the_algorithm_switches_at():
    for ratio in ("0", "0.3", "0.25", "0.333", "0.5", "0.55", "1e-3", "0.9999", "1"):
        for steps in (1, 7, 20000, 49983):
            assert switch_batch_of(ratio, steps) == switch_batch(f"{ratio}dur", RunLength(f"{steps}ba"))


def test_every_duration_string_is_the_same_switch_and_a_misread_one_is_where_it_says():
    dice = random.Random(6)
    for _ in range(300):
        steps = dice.randint(1, 10 ** dice.randint(1, 6))
        size = RunSize(steps, dice.randint(1, 64), 16, dice.randint(1, 16), dice.randint(0, steps))
        times = durations_of(size)
        by_tokens = RunLength(
            times.max_duration_tok, batch_rows=size.global_batch_size, seq_len=16, growth=size.growth
        )
        assert switch_batch(times.ba, RunLength(times.max_duration)) == size.superposition_batches
        assert switch_batch(times.dur, RunLength(times.max_duration)) == size.superposition_batches
        assert switch_batch(times.dur_of_tok, by_tokens) == size.superposition_batches
        assert switch_batch(times.dur, by_tokens) == times.dur_misread_batch
        assert bool(times.warnings) == (times.dur_misread_batch != size.superposition_batches)
        tokens = sum(phase.tokens for phase in size.phases(2)[:1])
        assert times.tok == f"{tokens}tok"


def epochs_begun(rows_per_shard: list[int], size: RunSize) -> int:
    """Serve the run batch by batch: bag rows while superposed, then what is left, then epochs of rows."""
    batch, epoch = 0, 0
    while batch < size.steps:
        epoch += 1
        bags, rows = sum(count // size.bag_size for count in rows_per_shard), sum(rows_per_shard)
        while batch < min(size.superposition_batches, size.steps) and bags >= size.global_batch_size:
            bags, rows, batch = (
                bags - size.global_batch_size,
                rows - size.global_batch_size * size.bag_size,
                batch + 1,
            )
        if batch < size.superposition_batches:
            continue
        while batch < size.steps and rows >= size.global_batch_size:
            rows, batch = rows - size.global_batch_size, batch + 1
    return epoch


def test_epochs_are_those_of_serving_batch_by_batch(small_dataset):
    shards = [shard["samples"] for shard in json.loads((small_dataset / "index.json").read_text())["shards"]]
    card = DatasetCard.load(small_dataset)
    dice = random.Random(3)
    for _ in range(200):
        steps = dice.randint(1, 400)
        size = RunSize(
            steps, dice.choice([1, 8, 60]), card.seq_len, dice.choice([1, 2, 6]), dice.randint(0, steps)
        )
        need = data_need(small_dataset, size, card.tokenizer.vocab_size)
        assert need.epochs == epochs_begun(shards, size), size
        assert need.enough == (need.epochs == 1)
        assert need.reads == sum(phase.dataset_rows for phase in size.phases(1)) / sum(shards)
