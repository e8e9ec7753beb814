"""Laws of one batch: what goes in, what is predicted, and what is refused."""

import pytest
import torch

from composer_algo.batch import TARGETS, superpose_batch


def test_input_only_predicts_the_token_after_each_bag():
    ids = torch.arange(12)[None]
    batch = superpose_batch({"input_ids": ids, "labels": ids}, 4, "input_only")
    assert batch["input_ids"].tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]]
    assert batch[TARGETS].tolist() == [[[4], [8], [-100]]]


def test_output_only_keeps_the_tokens_and_predicts_those_after_each():
    ids = torch.arange(4)[None]
    batch = superpose_batch({"input_ids": ids, "labels": ids}, 2, "output_only")
    assert torch.equal(batch["input_ids"], ids)
    assert batch[TARGETS].tolist() == [[[1, 2], [2, 3], [3, -100], [-100, -100]]]


@pytest.mark.parametrize("mode", ["full", "input_only", "output_only"])
def test_every_tensor_of_a_superposed_batch_has_one_entry_for_each_row(mode):
    ids = torch.zeros(3, 8, dtype=torch.int64)
    batch = {"input_ids": ids, "labels": ids.clone(), "attention_mask": torch.ones_like(ids)}
    assert all(value.shape[0] == 3 for value in superpose_batch(batch, 4, mode).values())


def test_attention_mask_is_folded_with_the_ids():
    ids = torch.zeros(1, 8, dtype=torch.int64)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0]])
    batch = superpose_batch({"input_ids": ids, "labels": ids, "attention_mask": mask}, 4, "full")
    assert batch["attention_mask"].tolist() == [[1, 0]]


def test_superposing_leaves_the_batch_that_came_in_as_it_was():
    ids = torch.zeros(1, 8, dtype=torch.int64)
    batch = {"input_ids": ids, "labels": ids.clone()}
    superpose_batch(batch, 4, "full")
    assert set(batch) == {"input_ids", "labels"}
    assert batch["input_ids"] is ids


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ([torch.zeros(1, 8)], "list.*mapping"),
        ({"input_ids": torch.zeros(1, 8).long()}, r"\['input_ids'\].*labels"),
        ({"input_ids": torch.zeros(1, 8).long(), "labels": torch.zeros(1, 7).long()}, r"\[1, 7\].*\[1, 8\]"),
        (
            {key: torch.zeros(1, 8).long() for key in ("input_ids", "labels", "token_type_ids")},
            "token_type_ids.*no rule",
        ),
    ],
)
def test_batch_that_cannot_be_superposed_is_refused(batch, said):
    with pytest.raises(ValueError, match=said):
        superpose_batch(batch, 4, "full")


def test_bag_belongs_to_the_document_of_its_last_token():
    ids = torch.zeros(1, 8, dtype=torch.int64)
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2]])
    batch = superpose_batch({"input_ids": ids, "labels": ids, "sequence_id": documents}, 4, "full")
    assert batch["sequence_id"].tolist() == [[1, 2]]


def test_bags_of_a_document_count_from_the_first_that_belongs_to_it():
    lengths = (5, 1, 2, 13, 3)  # documents end inside bags, and one is shorter than any
    ids = torch.zeros(1, sum(lengths), dtype=torch.int64)
    places = torch.cat([torch.arange(length) for length in lengths])[None]
    documents = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))[None]
    extra = {"position_ids": places, "sequence_id": documents}
    batch = superpose_batch({"input_ids": ids, "labels": ids, **extra}, 4, "full")
    assert batch["sequence_id"].tolist() == [[0, 2, 3, 3, 3, 4]]
    counted, expected = {}, []
    for document in batch["sequence_id"][0].tolist():
        expected.append(counted.setdefault(document, 0))
        counted[document] += 1
    assert batch["position_ids"].tolist() == [expected]


def test_positions_through_a_whole_row_are_those_the_model_would_count_itself():
    ids = torch.zeros(2, 12, dtype=torch.int64)
    batch = superpose_batch(
        {"input_ids": ids, "labels": ids, "position_ids": torch.arange(12).expand(2, 12)}, 4, "full"
    )
    assert batch["position_ids"].tolist() == [[0, 1, 2]] * 2


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 8, 8)])
def test_masks_between_tokens_are_refused(shape):
    ids = torch.zeros(1, 8, dtype=torch.int64)
    batch = {"input_ids": ids, "labels": ids, "attention_mask": torch.ones(shape)}
    with pytest.raises(ValueError, match="folds a 2-D mask"):
        superpose_batch(batch, 4, "full")
