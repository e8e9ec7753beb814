"""Laws of folding: rows to bags, and the targets that belong to each latent position."""

import pytest
import references
import torch

from composer_algo import fold_bags, fold_mask, next_bag_targets, next_window_targets, superpose

torch.set_num_threads(1)


def rows(num_rows: int, length: int) -> torch.Tensor:
    return torch.randint(0, 999, (num_rows, length), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("bag_size", "length"), [(1, 5), (2, 6), (3, 12), (8, 8)])
def test_bags_are_contiguous_tokens_in_order(bag_size, length):
    ids = rows(3, length)
    assert fold_bags(ids, bag_size).tolist() == references.fold_bags(ids.tolist(), bag_size)


@pytest.mark.parametrize(("bag_size", "length"), [(1, 5), (2, 6), (3, 12), (8, 8)])
def test_each_bag_predicts_the_whole_next_bag_and_the_last_predicts_nothing(bag_size, length):
    labels = rows(3, length)
    labels[1, ::3] = -100
    expected = references.next_bag_targets(labels.tolist(), bag_size, -100)
    assert next_bag_targets(labels, bag_size).tolist() == expected


def test_bag_targets_of_one_token_are_the_next_token_labels():
    labels = rows(2, 7)
    assert torch.equal(next_bag_targets(labels, 1)[..., 0], next_window_targets(labels, 1)[..., 0])
    assert next_bag_targets(labels, 1)[0, :, 0].tolist() == [*labels[0, 1:].tolist(), -100]


@pytest.mark.parametrize("bag_size", [1, 2, 5, 9])
def test_each_token_predicts_the_tokens_after_it_that_exist(bag_size):
    labels = rows(2, 7)
    labels[0, 3] = -100
    expected = references.next_window_targets(labels.tolist(), bag_size, -100)
    assert next_window_targets(labels, bag_size).tolist() == expected


def test_another_ignore_index_fills_what_has_no_target():
    labels = rows(1, 4)
    assert next_bag_targets(labels, 2, ignore_index=-1)[0, -1].tolist() == [-1, -1]
    assert next_window_targets(labels, 2, ignore_index=-1)[0, -1].tolist() == [-1, -1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_superposed_embedding_is_the_exact_mean_rounded_once(dtype):
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(4, 8, 7, 16, generator=generator, dtype=torch.float64).to(dtype)
    mean, exact = superpose(embeddings), embeddings.double().mean(dim=-2)
    assert mean.dtype == dtype
    if dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(mean, exact.to(dtype))
    assert torch.allclose(mean.double(), exact, rtol=torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)


def test_bag_of_one_token_is_its_own_embedding_bit_for_bit():
    embeddings = torch.randn(2, 3, 1, 5, dtype=torch.bfloat16)
    assert torch.equal(superpose(embeddings), embeddings[:, :, 0])


def test_mask_folds_to_one_value_a_bag():
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    assert fold_mask(mask, 2).tolist() == [[1, 1, 0], [1, 1, 1]]


def test_bag_that_mixes_text_and_padding_is_refused():
    with pytest.raises(ValueError, match=r"row 1 is \[1, 0\] in bag 1.*multiple of 2"):
        fold_mask(torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]), 2)


def test_mask_of_more_dimensions_is_refused():
    with pytest.raises(ValueError, match=r"\[1, 1, 4, 4\].*2-D"):
        fold_mask(torch.ones(1, 1, 4, 4), 2)


@pytest.mark.parametrize("function", [fold_bags, next_bag_targets])
def test_row_that_is_no_whole_number_of_bags_is_refused_with_the_length_that_fits(function):
    with pytest.raises(ValueError, match=r"10 tokens a row; bag_size 4 .* rows of 8 tokens"):
        function(rows(2, 10), 4)


@pytest.mark.parametrize("function", [fold_bags, next_bag_targets, next_window_targets])
@pytest.mark.parametrize(
    "values", [torch.zeros(4, dtype=torch.int64), torch.zeros(2, 4), torch.zeros(1, 2, 2).long()]
)
def test_what_is_not_rows_of_integers_is_refused(function, values):
    with pytest.raises(ValueError, match="2-D integer rows"):
        function(values, 2)


@pytest.mark.parametrize("function", [fold_bags, next_bag_targets, next_window_targets])
@pytest.mark.parametrize("bag_size", [0, -1, 2.0, True, None])
def test_bag_size_that_is_no_positive_whole_number_is_refused(function, bag_size):
    with pytest.raises(ValueError, match=r"bag_size is .* whole number of at least 1"):
        function(rows(1, 4), bag_size)


@pytest.mark.parametrize("values", [torch.zeros(3), torch.zeros(2, 3, dtype=torch.int64)])
def test_superposing_what_is_no_embedding_is_refused(values):
    with pytest.raises(ValueError, match="floating-point embeddings"):
        superpose(values)
