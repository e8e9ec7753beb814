"""Batches from worker processes: sent as stored, widened and derived from where they are used."""

import numpy as np
import pytest
import torch
from handmade_shards import write_shards
from hypothesis import given, settings
from hypothesis import strategies as st

from tstdata import build_bag_dataloader
from tstdata.stored_batch import BatchForm, StoredBatch

END = 3
ROWS = st.integers(1, 12).flatmap(
    lambda width: st.lists(st.lists(st.integers(0, 5), min_size=width, max_size=width), min_size=1)
)
# Streaming reads a shard that it checks the hash of without closing it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file <_io.BufferedReader name=.*shard:ResourceWarning"
)


def places_in_documents(row):
    places, place = [], 0
    for token in row:
        places.append(place)
        place = 0 if token == END else place + 1
    return places


@settings(max_examples=100, deadline=None)
@given(rows=ROWS, dtype=st.sampled_from(["<u2", "<u4"]))
def test_sequence_and_position_ids_are_those_of_counting_token_by_token(rows, dtype):
    form = BatchForm(END, sequence_ids=True, position_ids=True)
    batch = StoredBatch(np.array(rows, dtype), form).widen()
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}
    assert batch["input_ids"].tolist() == batch["labels"].tolist() == rows
    assert batch["sequence_id"].tolist() == [[row[:at].count(END) for at in range(len(row))] for row in rows]
    assert batch["position_ids"].tolist() == [places_in_documents(row) for row in rows]


def test_only_what_is_asked_for_is_in_a_batch():
    ids = np.zeros((2, 4), np.uint16)
    assert set(BatchForm().batch(ids)) == {"input_ids", "labels"}
    assert set(BatchForm(END, position_ids=True).batch(ids)) == {"input_ids", "labels", "position_ids"}


def test_ids_beyond_31_bits_keep_their_value():
    assert BatchForm().batch(np.array([[2**32 - 1]], np.uint32))["input_ids"].item() == 2**32 - 1


def test_labels_are_a_copy_that_a_change_of_the_input_leaves_alone():
    batch = StoredBatch(np.ones((1, 4), np.uint16), BatchForm()).widen()
    batch["input_ids"].zero_()
    assert batch["labels"].tolist() == [[1] * 4]


def test_a_thread_that_pins_gets_every_tensor_pinned(monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    batch = torch.utils.data._utils.pin_memory.pin_memory(
        StoredBatch(np.ones((1, 4), np.uint16), BatchForm())
    )
    assert [tensor.tolist() for tensor in batch.values()] == [[[1] * 4]] * 2
    assert len(pinned) == 2


def test_workers_send_ids_as_stored_and_run_the_users_function_too(tmp_path, monkeypatch):
    write_shards(tmp_path / "bags", (10,))
    sent, started = [], tmp_path / "started"
    widen = StoredBatch.widen
    monkeypatch.setattr(StoredBatch, "widen", lambda batch: sent.append(batch.ids.dtype) or widen(batch))
    arguments = {"local": str(tmp_path / "bags"), "bag_size": 1, "superposition_batches": 0}
    loader = build_bag_dataloader(
        arguments, 2, num_workers=1, worker_init_fn=lambda worker: started.write_text(str(worker))
    ).dataloader
    batches = list(loader)
    assert sent == [np.dtype("uint16")] * 5
    assert {batch["input_ids"].dtype for batch in batches} == {torch.int64}
    assert started.read_text() == "0"
    loader.dataset.close()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_dataset_itself_serves_int64_between_batches_and_after(tmp_path, num_workers):
    write_shards(tmp_path / "bags", (10,))
    arguments = {"local": str(tmp_path / "bags"), "bag_size": 1, "superposition_batches": 0}
    loader = build_bag_dataloader(arguments, 2, num_workers=num_workers).dataloader
    assert {loader.dataset[0]["input_ids"].dtype for _ in loader} == {np.dtype("int64")}
    assert {sample["input_ids"].dtype for sample in loader.dataset} == {np.dtype("int64")}
    loader.dataset.close()
