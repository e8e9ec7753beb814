"""Laws of ordinary dataloaders: rows of L*s tokens in both phases, folded first and then split or kept."""

import pytest
import torch
from tiny_models import BAG_SIZE, SEQ_LEN, VOCABULARY, make_model
from tiny_runs import BagRows, Rows, load, train

from composer_algo import TokenSuperposition
from composer_algo.batch import COUNTS
from composer_algo.rows import split_rows

SWITCH = 2


class LongRows(Rows):
    seq_len = SEQ_LEN * BAG_SIZE


class Padded(LongRows):
    """Rows whose last bag, and last row once split, is padding."""

    def __getitem__(self, row):
        return super().__getitem__(row).index_fill(0, torch.arange(SEQ_LEN * (BAG_SIZE - 1), self.seq_len), 0)


def collate_padded(rows):
    ids = torch.stack(rows)
    mask = torch.ones_like(ids)
    mask[:, SEQ_LEN * (BAG_SIZE - 1) :] = 0
    counts = {name: [1] * len(ids) for name in COUNTS}
    return {
        "input_ids": ids,
        "labels": ids.masked_fill(mask == 0, -100),
        "attention_mask": mask,
        "source": ["somewhere"] * len(ids),
        **counts,
    }


def test_split_rows_keep_the_order_of_tokens_and_of_whatever_rows_carry():
    ids = torch.arange(12).view(2, 6)
    batch = {"input_ids": ids, "labels": ids, "source": ["a", "b"], "row": torch.tensor([7, 8]), "name": "x"}
    split = split_rows({**batch, COUNTS[0]: [6, 6]}, 3)
    assert split["input_ids"].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]
    assert torch.equal(split["labels"], split["input_ids"])
    assert split["source"] == ["a", "a", "a", "b", "b", "b"]
    assert split["row"].tolist() == [7, 7, 7, 8, 8, 8]
    assert (split["name"], COUNTS[0] in split) == ("x", False)


def test_rows_that_cannot_be_split_are_refused():
    ids = torch.arange(12).view(2, 6)
    with pytest.raises(ValueError, match=r"rows of 6 tokens.*bag_size 4"):
        split_rows({"input_ids": ids, "labels": ids}, 4)
    with pytest.raises(ValueError, match="position_ids, which would not start again"):
        split_rows({"input_ids": ids, "labels": ids, "position_ids": ids}, 3)


@pytest.mark.parametrize("recovery_rows", ["split", "keep"])
def test_ordinary_rows_are_folded_and_then_split_or_kept(recovery_rows):
    data = LongRows(4)
    algorithm = TokenSuperposition(BAG_SIZE, f"{SWITCH}ba", recovery_rows=recovery_rows)
    run = train(algorithm, data, num_batches=4, model=make_model())
    bags = train(TokenSuperposition(), BagRows(4, SWITCH), num_batches=4, model=make_model())
    assert run.losses[:SWITCH] == bags.losses[:SWITCH]
    # The first recovery loss is that of the model the switch left, on rows cut by hand.
    model = make_model()
    model.load_state_dict(train(algorithm, data, num_batches=SWITCH, model=make_model()).weights)
    ids = torch.stack([data[4 * SWITCH + row] for row in range(4)])
    ids = ids.view(-1, SEQ_LEN) if recovery_rows == "split" else ids
    expected = model.model(input_ids=ids, labels=ids).loss.item()
    assert run.losses[SWITCH] == pytest.approx(expected, rel=1e-6)
    assert int(run.trainer.state.timestamp.token) == 4 * 4 * SEQ_LEN * BAG_SIZE


@pytest.mark.parametrize("size", [1, 2, 3])
def test_split_rows_are_microbatched_as_rows(size):
    def run(microbatch):
        algorithm = TokenSuperposition(BAG_SIZE, f"{SWITCH}ba", recovery_rows="split")
        return train(algorithm, LongRows(3), num_batches=3, device_train_microbatch_size=microbatch)

    assert run(size).losses == pytest.approx(run(4).losses, rel=1e-4)


def test_padding_and_lists_pass_through_both_phases():
    algorithm = TokenSuperposition(BAG_SIZE, f"{SWITCH}ba", recovery_rows="split")
    data = load(Padded(3), collate_fn=collate_padded)
    run = train(algorithm, data, num_batches=3, device_train_microbatch_size=2)
    assert all(0 < loss < 2 * VOCABULARY for loss in run.losses)


def test_recovery_rows_for_data_that_serve_their_own_are_refused():
    with pytest.raises(ValueError, match=r"recovery_rows is 'keep', but a BagRows serves rows of its own"):
        train(TokenSuperposition(recovery_rows="keep"), BagRows(4, SWITCH))


def test_another_choice_on_resume_is_refused(tmp_path):
    saving = {"save_folder": str(tmp_path), "save_interval": "1ba", "save_filename": "ba{batch}.pt"}
    first = TokenSuperposition(BAG_SIZE, "2ba", recovery_rows="split")
    train(first, LongRows(4), num_batches=3, **saving)
    other = TokenSuperposition(BAG_SIZE, "2ba", recovery_rows="keep")
    with pytest.raises(ValueError, match=r"recovery_rows 'split' .* recovery_rows 'keep'"):
        train(other, LongRows(4), num_batches=4, load_path=str(tmp_path / "ba3.pt"))
