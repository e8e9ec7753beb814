"""The superposition plan, held to dealing out batches one at a time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references import epochs_dealt_out

from tstdata import SuperpositionPlan


@settings(max_examples=300, deadline=None)
@given(
    rows_per_shard=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    bag_size=st.integers(1, 7),
    superposition_batches=st.integers(0, 25),
    batch_size=st.integers(1, 9),
    drop_last=st.booleans(),
)
def test_every_epoch_consists_of_the_batches_dealt_out_one_at_a_time(
    rows_per_shard, bag_size, superposition_batches, batch_size, drop_last
):
    arguments = (rows_per_shard, bag_size, superposition_batches, batch_size, drop_last)
    bags, rows = sum(n // bag_size for n in rows_per_shard), sum(rows_per_shard)
    if (superposition_batches and bags < batch_size) or (drop_last and rows < batch_size):
        with pytest.raises(ValueError, match="one global batch needs"):
            SuperpositionPlan.of_shards(*arguments)
        return
    plan = SuperpositionPlan.of_shards(*arguments)
    done = 0
    for number, batches in enumerate(epochs_dealt_out(*arguments, epochs=12)):
        epoch = plan.epoch(number)
        full = [("bags", batch_size)] * epoch.bag_batches + [("rows", batch_size)] * epoch.row_batches
        if epoch.row_batches:
            full[-1] = ("rows", epoch.last_rows)
        assert full == batches
        assert epoch.first_batch == done
        assert epoch.num_batches == len(batches)
        assert epoch.num_samples == sum(size for _, size in batches)
        done += len(batches)


def test_the_worked_example_of_the_module_holds():
    plan = SuperpositionPlan.of_shards([10, 10], bag_size=4, superposition_batches=3, global_batch_size=2)
    assert [(plan.epoch(e).bag_batches, plan.epoch(e).row_batches) for e in range(3)] == [
        (2, 0),
        (1, 6),
        (0, 10),
    ]


def test_a_far_epoch_is_found_without_walking_through_those_before():
    plan = SuperpositionPlan.of_shards(
        [10] * 100, bag_size=4, superposition_batches=10**12, global_batch_size=8
    )
    assert plan.epoch(10**9).first_batch == 25 * 10**9
    assert plan.epoch(plan.switch_epoch + 10**9).bag_batches == 0


@pytest.mark.parametrize("num_rows", [33, 35])
def test_a_short_batch_with_fewer_rows_than_ranks_is_refused_and_one_with_as_many_is_not(num_rows):
    # 16 rows go into bags in epoch 0, so its last batch and that of epoch 1 are of num_rows % 8 rows.
    plan = SuperpositionPlan.of_shards([num_rows], 2, 1, 8, drop_last=False)
    short = num_rows % 8
    plan.check_ranks(short)
    with pytest.raises(ValueError, match=rf"of epoch 0 has {short} rows, and each of the {short + 1} ranks"):
        plan.check_ranks(short + 1)
    SuperpositionPlan.of_shards([num_rows], 2, 1, 8).check_ranks(8)


@pytest.mark.parametrize(
    ("name", "value"),
    [("bag_size", 0), ("superposition_batches", -1), ("global_batch_size", 0), ("bag_size", 2.0)],
)
def test_a_number_out_of_its_range_is_refused_by_name(name, value):
    numbers = {"bag_size": 2, "superposition_batches": 3, "global_batch_size": 4, name: value}
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        SuperpositionPlan(num_rows=100, num_bag_rows=50, **numbers)


def test_too_few_bag_rows_are_refused_with_the_numbers_and_what_to_do():
    with pytest.raises(
        ValueError, match=r"20 rows make 4 bag rows of bag_size 4.*needs 5.*superposition_batches: 0"
    ):
        SuperpositionPlan.of_shards([10, 10], bag_size=4, superposition_batches=1, global_batch_size=5)
