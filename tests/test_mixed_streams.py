"""StreamingBagDataset over several streams: what it serves, beside plain Streaming; resuming; refusals."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
from handmade_shards import SEQ_LEN, tokens_of_row, write_shards
from plain_streaming import plain_streaming
from streaming import Stream

from tstdata import StreamingBagDataset, build_bag_dataloader
from tstdata.card import DatasetCard

BATCH_SIZE = 4
# Rows of the three streams, and the first row's number of each: no token is in two.
SHARDS = {"web": (23, 17, 9), "code": (30, 11), "wiki": (8,)}
FIRST = {"web": 0, "code": 1000, "wiki": 2000}
# Streaming reads a shard that it checks the hash of without closing it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file <_io.BufferedReader name=.*shard:ResourceWarning"
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    for name, sizes in SHARDS.items():
        write_shards(folder / name, sizes, first_row=FIRST[name])
    return folder


@pytest.fixture
def build(stores, tmp_path):
    """Builds the dataset from weights by stream's name, attached; anything else can be overridden."""
    built = []

    def build_one(weights, **changes):
        folder = tmp_path / f"cache{len(built)}"
        streams = {
            name: {"remote": str(stores / name), "local": str(folder / name), **weight}
            for name, weight in weights.items()
        }
        arguments = {"bag_size": 3, "superposition_batches": 0, "batch_size": BATCH_SIZE, "shuffle": True}
        dataset = StreamingBagDataset(**{"streams": streams, **arguments, **changes})
        built.append(dataset)
        dataset.attach_superposition(
            bag_size=dataset.bag_size, superposition_batches=dataset.superposition_batches, vocab_size=None
        )
        return dataset

    yield build_one
    for dataset in built:
        dataset.close()


def rows_in(sample):
    """The stored rows that a sample is made of, after checking that it is exactly them."""
    ids = np.asarray(sample["input_ids"])
    rows = (ids[::SEQ_LEN] // SEQ_LEN).tolist()
    assert ids.tolist() == [token for row in rows for token in tokens_of_row(row)]
    assert rows == list(range(rows[0], rows[0] + len(rows)))
    return rows


def read(dataset, num_epochs=1):
    return [[rows_in(sample) for sample in dataset] for _ in range(num_epochs)]


def stream_of(row):
    return max((name for name in FIRST if FIRST[name] <= row), key=FIRST.get)


def counts(epoch):
    return Counter(stream_of(row) for rows in epoch for row in rows)


@pytest.mark.parametrize(
    ("weights", "epoch_size"),
    [
        ({"web": {}, "code": {}}, None),
        ({"web": {"repeat": 2}, "code": {"repeat": 1}}, None),
        ({"web": {"repeat": 1.5}, "code": {"choose": 13}, "wiki": {}}, None),
        ({"web": {"proportion": 0.5}, "code": {"proportion": 0.3}, "wiki": {"proportion": 0.2}}, None),
        ({"web": {"proportion": 1}, "code": {"proportion": 1}, "wiki": {"proportion": 1}}, 100),
        ({"web": {}, "code": {}, "wiki": {}}, "200"),
        ({"web": {"choose": 40}, "code": {"repeat": 0}}, None),
    ],
)
def test_an_epoch_draws_as_many_rows_of_each_stream_as_plain_streaming(build, stores, weights, epoch_size):
    dataset = build(weights, epoch_size=epoch_size, drop_last=False, batch_size=1)
    streams = [Stream(local=str(stores / name), **weight) for name, weight in weights.items()]
    with plain_streaming(streams=streams, epoch_size=epoch_size, batch_size=1) as plain:
        ids = [[(int(i),) for i in plain.resample_streams(epoch)[1]] for epoch in range(2)]
        first_row = [FIRST[name] for name in weights]
        offset = plain.sample_offset_per_stream
        wanted = [stream.choose for stream in plain.streams]
    for epoch, theirs in zip(read(dataset, 2), ids, strict=True):
        ours = Counter(row for rows in epoch for row in rows)
        assert [counts(epoch)[name] for name in weights] == wanted
        drawn = Counter()
        for (number,) in theirs:
            stream = int(np.searchsorted(offset, number, side="right")) - 1
            drawn[first_row[stream] + number - int(offset[stream])] += 1
        # Rows that a part of a stream has are others here and there; how often at least and at most is equal.
        for name in weights:
            ours_of, theirs_of = ([c[r] for r in c if stream_of(r) == name] for c in (ours, drawn))
            assert sorted(ours_of) == sorted(theirs_of)


@pytest.mark.parametrize("algo", ["py1e", "py1br", "naive"])
def test_bags_come_first_in_every_stream_and_no_row_is_served_twice_in_a_draw(build, algo):
    weights = {"web": {"repeat": 2}, "code": {"repeat": 0.5}, "wiki": {"choose": 8}}
    dataset = build(weights, superposition_batches=12, shuffle_algo=algo, num_canonical_nodes=2)
    epochs = read(dataset, 3)
    lengths = [len(rows) for epoch in epochs for rows in epoch]
    assert lengths == [3] * 48 + [1] * (len(lengths) - 48)
    # A full draw of web has 7 + 5 + 3 bag rows, half of code 6, wiki 2.
    assert len(epochs[0]) == 2 * 15 + 6 + 2 - (2 * 15 + 6 + 2) % BATCH_SIZE
    for epoch in epochs:
        times = Counter(row for rows in epoch for row in rows)
        most = {"web": 2, "code": 1, "wiki": 1}
        assert all(number <= most[stream_of(row)] for row, number in times.items())
    assert {name for epoch in epochs[:1] for name in counts(epoch)} == {"web", "code", "wiki"}


def test_resuming_at_any_batch_gives_exactly_the_tail(build):
    weights = {"web": {"proportion": 0.7}, "code": {"proportion": 0.3}}
    first, resumed = build(weights, superposition_batches=8), build(weights, superposition_batches=8)
    whole = read(first, 3)
    for epoch in range(3):
        for batch in range(len(whole[epoch]) // BATCH_SIZE + 1):
            state = {**first.state_dict(0, True), "epoch": epoch, "sample_in_epoch": batch * BATCH_SIZE}
            resumed.load_state_dict(json.loads(json.dumps(state)))
            assert read(resumed, 3 - epoch) == [whole[epoch][batch * BATCH_SIZE :], *whole[epoch + 1 :]]


def test_wider_rows_are_drawn_and_counted_as_rows(build):
    weights = {"web": {"choose": 30}, "code": {"repeat": 1}}
    dataset = build(weights, seq_len=2 * SEQ_LEN, superposition_batches=2, bag_size=2, drop_last=False)
    assert (dataset.mixture.rows_per_stream, dataset.mixture.drawn) == ([23, 20], (30, 20))
    epochs = read(dataset, 2)
    assert {len(rows) for rows in epochs[0]} == {4, 2}
    assert counts(epochs[1]) == {"web": 60, "code": 40}


def test_streams_are_given_as_objects_or_by_name_or_in_a_list_and_through_the_loader(build, stores, tmp_path):
    weights = {"web": {"repeat": 2}, "code": {}}
    whole = read(build(weights), 2)
    objects = [Stream(local=str(stores / name), **weight) for name, weight in weights.items()]
    assert read(build({}, streams=objects), 2) == whole
    spec = build_bag_dataloader(
        {
            "streams": [{"local": str(stores / name), **weight} for name, weight in weights.items()],
            "bag_size": 3,
            "superposition_batches": 0,
            "shuffle": True,
        },
        BATCH_SIZE,
        num_workers=2,
    )
    loaded = [
        rows_in({"input_ids": row})
        for _ in range(2)
        for batch in spec.dataloader
        for row in batch["input_ids"]
    ]
    spec.dataloader.dataset.close()
    assert loaded == [rows for epoch in whole for rows in epoch]


def test_a_state_names_every_streams_dataset_and_what_is_drawn_of_it(build, stores):
    dataset = build({"web": {"repeat": 2}, "code": {}})
    state = dataset.state_dict(0, True)
    web, code = (stored.sha256 for stored in dataset.stored_streams)
    assert state["bag_shards"]["streams"] == [[web, 98], [code, 41]]
    with pytest.raises(ValueError, match=rf"streams \[\['{web}', 98\].*\(now \[\['{web}', 147\]"):
        build({"web": {"repeat": 3}, "code": {}}).load_state_dict(state)
    with pytest.raises(ValueError, match=r"streams .* \(now None\)"):
        build({}, streams=None, local=str(stores / "web")).load_state_dict(state)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"seq_len": 4}, "rows of ndarray:uint16:8 and .*odd/? of ndarray:uint16:4"),
        ({"dtype": "uint32"}, "rows of ndarray:uint16:8 and .*odd/? of ndarray:uint32:8"),
    ],
)
def test_streams_of_other_rows_are_refused_and_both_named(build, stores, tmp_path, shape, message):
    odd = write_shards(tmp_path / "odd", (5,), **shape)
    with pytest.raises(ValueError, match=message):
        build({}, streams=[{"local": str(stores / "web")}, {"local": str(odd)}])


def test_streams_of_another_tokenizer_are_refused_and_both_named(build, small_dataset, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(small_dataset, other)
    card = DatasetCard.load(other)
    tokenizer = card.tokenizer.model_copy(update={"vocab_sha256": "0" * 64})
    card.model_copy(update={"tokenizer": tokenizer}).save(other)
    match = rf"{small_dataset.name}/? was prepared with another tokenizer than .*other/?: vocab_sha256 is"
    with pytest.raises(ValueError, match=match):
        build({}, streams=[{"local": str(small_dataset)}, {"local": str(other)}])


def test_the_card_of_streams_is_the_first_ones_that_has_one(build, small_dataset, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(small_dataset, bare)
    (bare / "dataset.json").unlink()
    dataset = build({}, streams=[{"local": str(bare)}, {"local": str(small_dataset)}])
    assert dataset.card == DatasetCard.load(small_dataset)
    assert dataset.described_stream is dataset.streams[1]


@pytest.mark.parametrize(
    ("streams", "message"),
    [
        ({}, "streams is empty"),
        (["web"], "stream 0 is 'web'; it is a streaming.Stream itself, or the mapping of its arguments"),
        ([{"local": "a", "repeat": 1, "choose": 1}], "At most one of `proportion`, `repeat`, and `choose`"),
    ],
)
def test_what_is_no_stream_is_refused(build, streams, message):
    with pytest.raises(ValueError, match=message):
        build({}, streams=streams)


def test_a_damaged_shard_of_any_stream_is_fetched_again_from_its_own_remote(build, stores, tmp_path):
    weights = {"web": {}, "code": {}}
    whole = read(build(weights))
    local = tmp_path / "cache1" / "code"
    shutil.copytree(stores / "code", local)
    with (local / "shard.00001.mds").open("r+b") as shard:
        shard.seek(-3, 2)
        shard.write(b"\xff")
    assert read(build(weights)) == whole
    assert (local / "shard.00001.mds").read_bytes() == (stores / "code" / "shard.00001.mds").read_bytes()
