"""A run that changes its layout at checkpoints: its ranks' loaders read what one rank would have read.

All ranks of a layout are in this process, one after the other, each with a seat of its own; nodes could not
be simulated by processes, as all on one machine share memory. Two real ranks are in test_dataloader.py.
"""

import itertools
from contextlib import closing

import pytest
from handmade_shards import SEQ_LEN, write_shards
from streaming.base.world import World

from tstdata import StreamingBagDataset
from tstdata.dataloader import BagDataLoader

ROWS = (23, 17, 9, 30)
# 25 bag rows make 3 batches of 8: the switch is after the second batch of the second epoch.
BAG_SIZE, SWITCH = 3, 5
# Batches of each epoch, and three layouts: nodes, ranks a node, rows a rank.
EPOCHS = (3, 5, 9)
LAYOUTS = ((1, 8, 1), (2, 4, 1), (1, 4, 2))
# Streaming reads a shard that it checks the hash of without closing it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file <_io.BufferedReader name=.*shard:ResourceWarning"
)


class SeatedDataset(StreamingBagDataset):
    """A dataset that takes itself for the one of a rank among others, and waits for none of them."""

    def __init__(self, seat, **arguments):
        self.seat = seat
        super().__init__(**arguments)

    @property
    def _parallel_rank_world(self):
        return self.seat

    @_parallel_rank_world.setter
    def _parallel_rank_world(self, found):
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder / "bags", ROWS)
    write_shards(folder / "more", (14, 12), first_row=1000)
    return folder


def arguments_for(folder, mixed):
    if not mixed:
        return {"local": str(folder / "bags")}
    return {
        "streams": {
            "bags": {"local": str(folder / "bags"), "repeat": 0.7},
            "more": {"local": str(folder / "more"), "choose": 24},
        }
    }


def read_rank(folder, mixed, layout, rank, workers, state, stop):
    """What one rank reads from a state to a global batch of an epoch, and its state there."""
    num_nodes, ranks_per_node, batch_size = layout
    dataset = SeatedDataset(
        World(num_nodes, ranks_per_node, 1, rank),
        bag_size=BAG_SIZE,
        superposition_batches=SWITCH,
        batch_size=batch_size,
        shuffle=True,
        num_canonical_nodes=4,
        **arguments_for(folder, mixed),
    )
    with closing(dataset):
        dataset.attach_superposition(bag_size=BAG_SIZE, superposition_batches=SWITCH, vocab_size=None)
        loader = BagDataLoader(dataset, num_workers=workers)
        if state is not None:
            loader.load_state_dict(state)
        epoch, batch = dataset.position()
        read = []
        for number in range(epoch, stop[0] + 1):
            last = stop[1] if number == stop[0] else None
            until = None if last is None else last - (batch if number == epoch else 0)
            for found in itertools.islice(loader, until):
                read.append((found["input_ids"].shape[1], (found["input_ids"][:, 0] // SEQ_LEN).tolist()))
        return read, loader.state_dict()


def read_layout(folder, mixed, layout, workers, state, stop):
    """The global batches that a layout's ranks read together, each with its width, and their state."""
    ranks = [
        read_rank(folder, mixed, layout, rank, workers, state, stop) for rank in range(layout[0] * layout[1])
    ]
    states = [state for _, state in ranks]
    assert all(state == states[0] for state in states)
    assert len({len(read) for read, _ in ranks}) == 1
    batches = []
    for parts in zip(*(read for read, _ in ranks), strict=True):
        (width,) = {width for width, _ in parts}
        assert {len(rows) for _, rows in parts} == {layout[2]}
        batches.append((width, sorted(row for _, rows in parts for row in rows)))
    return batches, states[0]


@pytest.fixture(scope="module")
def alone(folder):
    """What one rank reads in three epochs, by whether streams are mixed."""
    return {
        mixed: read_layout(folder, mixed, (1, 1, 8), 0, None, (2, EPOCHS[2]))[0] for mixed in (False, True)
    }


# Before the switch, at an epoch's end; at the switch, after it; at its epoch's end, in a later one; far off.
@pytest.mark.parametrize("stops", [((0, 1), (0, 3)), ((1, 2), (1, 4)), ((1, 5), (2, 4)), ((1, 1), (2, 9))])
def test_a_run_on_three_layouts_in_turn_reads_what_one_rank_reads(folder, alone, stops):
    state, read = None, []
    for layout, stop in zip(LAYOUTS, (*stops, (2, EPOCHS[2])), strict=True):
        batches, state = read_layout(folder, False, layout, 0, state, stop)
        read += batches
    assert [width // SEQ_LEN for width, _ in read] == [BAG_SIZE] * SWITCH + [1] * (sum(EPOCHS) - SWITCH)
    assert read == alone[False]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes:UserWarning")
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("stops", [((0, 2), (1, 3)), ((0, 3), (1, 2)), ((1, 4), (2, 5))])
def test_so_it_does_with_other_numbers_of_workers_on_each_and_with_mixed_streams(folder, alone, stops, mixed):
    state, read = None, []
    for layout, workers, stop in zip(LAYOUTS, (2, 1, 3), (*stops, (2, EPOCHS[2])), strict=True):
        batches, state = read_layout(folder, mixed, layout, workers, state, stop)
        read += batches
    assert read == alone[mixed]
