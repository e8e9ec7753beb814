"""Laws of the multi-hot cross-entropy, for both of its forms."""

import math

import pytest
import references
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from composer_algo import WEIGHTINGS, bag_weights, linear_multi_hot_cross_entropy, multi_hot_cross_entropy

torch.set_num_threads(1)

ROWS, POSITIONS, VOCABULARY, WIDTH = 3, 7, 31, 8


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def targets_of(bag_size: int, *, ignored: float = 0.3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(bag_size)
    targets = torch.randint(0, VOCABULARY, (ROWS, POSITIONS, bag_size), generator=generator)
    targets[torch.rand(targets.shape, generator=generator) < ignored] = -100
    return targets


@pytest.mark.parametrize("ignored", [0.0, 0.3])
@pytest.mark.parametrize("bag_size", [1, 4, 6])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_loss_is_the_weighted_sum_of_cross_entropies_over_the_valid_weight(weighting, bag_size, ignored):
    logits = random(ROWS, POSITIONS, VOCABULARY)
    targets, weights = targets_of(bag_size, ignored=ignored), bag_weights(weighting, bag_size)
    expected = references.multi_hot_cross_entropy(logits, targets, weights).item()
    assert multi_hot_cross_entropy(logits, targets, weights).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("bag_size", [1, 4, 6])
def test_loss_is_the_papers_average_of_means_when_nothing_is_ignored(bag_size):
    logits, targets = random(ROWS, POSITIONS, VOCABULARY), targets_of(bag_size, ignored=0)
    means = [F.cross_entropy(logits.flatten(0, 1), targets[..., i].flatten()) for i in range(bag_size)]
    assert torch.allclose(multi_hot_cross_entropy(logits, targets), torch.stack(means).mean(), rtol=1e-6)


def test_bag_size_one_equals_plain_cross_entropy():
    logits, targets = random(ROWS, POSITIONS, VOCABULARY), targets_of(1)
    plain = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    assert multi_hot_cross_entropy(logits, targets).item() == pytest.approx(plain.item(), rel=1e-7)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_constant_logits_cost_log_of_the_vocabulary(weighting):
    loss = multi_hot_cross_entropy(
        torch.zeros(2, 5, 997), torch.full((2, 5, 4), 3), bag_weights(weighting, 4)
    )
    assert loss.item() == pytest.approx(math.log(997), rel=1e-6)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_gradient_is_that_of_float64_autograd_through_the_reference(weighting):
    targets, weights = targets_of(5), bag_weights(weighting, 5)
    logits = random(ROWS, POSITIONS, VOCABULARY).requires_grad_()
    exact = random(ROWS, POSITIONS, VOCABULARY, dtype=torch.float64).requires_grad_()
    multi_hot_cross_entropy(logits, targets, weights).backward()
    references.multi_hot_cross_entropy(exact, targets, weights.double()).backward()
    assert torch.allclose(logits.grad.double(), exact.grad, rtol=1e-5, atol=1e-8)


def test_gradient_agrees_with_finite_differences():
    targets = targets_of(3)[:1, :3]
    logits = random(1, 3, VOCABULARY, dtype=torch.float64).requires_grad_()
    hidden = random(1, 3, WIDTH, dtype=torch.float64).requires_grad_()
    head = random(VOCABULARY, WIDTH, seed=1, dtype=torch.float64).requires_grad_()
    weights = bag_weights("power_law", 3).double()
    assert torch.autograd.gradcheck(lambda z: multi_hot_cross_entropy(z, targets, weights), logits)
    linear = lambda h, w: linear_multi_hot_cross_entropy(h, w, targets, weights)  # noqa: E731
    assert torch.autograd.gradcheck(linear, (hidden, head))


@pytest.mark.parametrize("num_positions", [7, 300])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_linear_form_has_the_value_and_gradients_of_the_logits_form(weighting, num_positions):
    hidden, head = random(ROWS, num_positions, WIDTH), random(VOCABULARY, WIDTH, seed=1)
    targets = torch.randint(
        0, VOCABULARY, (ROWS, num_positions, 4), generator=torch.Generator().manual_seed(2)
    )
    targets[:, -1], targets[0, :3, 2] = -100, -100
    weights = bag_weights(weighting, 4)
    losses, gradients = [], []
    for linear in (True, False):
        leaves = [hidden.clone().requires_grad_(), head.clone().requires_grad_()]
        loss = (
            linear_multi_hot_cross_entropy(*leaves, targets, weights)
            if linear
            else multi_hot_cross_entropy(leaves[0] @ leaves[1].T, targets, weights)
        )
        loss.backward()
        losses.append(loss.item())
        gradients.append([leaf.grad for leaf in leaves])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-7)


def test_ignored_position_leaves_no_trace_even_when_its_logits_are_not_finite():
    logits, targets = random(ROWS, POSITIONS, VOCABULARY), targets_of(4, ignored=0)
    targets[1, 2] = -100
    before = multi_hot_cross_entropy(logits, targets)
    logits[1, 2] = float("nan")
    assert torch.equal(multi_hot_cross_entropy(logits, targets), before)


def test_nothing_valid_gives_zero_and_zero_gradients():
    targets = torch.full((2, 3, 4), -100)
    logits, hidden, head = (
        random(2, 3, VOCABULARY).requires_grad_(),
        random(2, 3, WIDTH).requires_grad_(),
        random(VOCABULARY, WIDTH).requires_grad_(),
    )
    losses = [multi_hot_cross_entropy(logits, targets), linear_multi_hot_cross_entropy(hidden, head, targets)]
    assert [loss.item() for loss in losses] == [0, 0]
    sum(losses).backward()
    assert all(not leaf.grad.any() for leaf in (logits, hidden, head))


def test_only_targets_without_weight_count_as_nothing_valid():
    targets = torch.full((1, 2, 3), -100)
    targets[..., 1] = 5
    logits = random(1, 2, VOCABULARY).requires_grad_()
    loss = multi_hot_cross_entropy(logits, targets, bag_weights("first_token", 3))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_low_precision_logits_are_summed_in_float32():
    logits, targets = random(ROWS, POSITIONS, VOCABULARY, dtype=torch.bfloat16), targets_of(4)
    loss = multi_hot_cross_entropy(logits, targets)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(multi_hot_cross_entropy(logits.float(), targets).item(), rel=1e-6)


@pytest.mark.parametrize("bag_size", [1, 2, 8, 16])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_weights_sum_to_one_and_follow_their_formula(weighting, bag_size):
    weights = bag_weights(weighting, bag_size)
    assert weights.dtype == torch.float32
    assert weights.tolist() == pytest.approx(references.bag_weights(weighting, bag_size), rel=1e-6)
    assert weights.sum().item() == pytest.approx(1, abs=1e-6)


def test_unknown_weighting_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'linear'.*uniform, power_law, exponential, first_token"):
        bag_weights("linear", 4)


@pytest.mark.parametrize(
    ("logits", "targets", "weights", "said"),
    [
        (torch.zeros(2, 3, 5), torch.zeros(2, 3).long(), None, r"\[2, 3, 5\].*\[2, 3\].*one more dimension"),
        (torch.zeros(2, 3, 5), torch.zeros(2, 4, 2).long(), None, r"\[2, 4, 2\].*must agree"),
        (torch.zeros(2, 3, 5), torch.zeros(2, 3, 0).long(), None, r"\[2, 3, 0\]"),
        (torch.zeros(2, 3, 5), torch.zeros(2, 3, 2), None, r"torch.float32.*token ids"),
        (torch.zeros(2, 3, 5).long(), torch.zeros(2, 3, 2).long(), None, r"torch.int64.*floating"),
        (torch.zeros(2, 3, 5), torch.zeros(2, 3, 2).long(), torch.ones(3), r"\[3\].*2 tokens a bag"),
        (torch.zeros(2, 3, 5), torch.full((2, 3, 2), 5), None, r"target 5 at position \[0, 0, 0\].*0\.\.4"),
        (torch.zeros(2, 3, 5), torch.full((2, 3, 2), -1), None, r"target -1 .*-100"),
    ],
)
def test_shapes_dtypes_and_ids_that_do_not_fit_are_refused(logits, targets, weights, said):
    with pytest.raises(ValueError, match=said):
        multi_hot_cross_entropy(logits, targets, weights)


def test_transposed_head_is_refused():
    with pytest.raises(ValueError, match=r"\[8, 31\].*not transposed"):
        linear_multi_hot_cross_entropy(torch.zeros(2, 8), torch.zeros(8, 31), torch.zeros(2, 4).long())


def test_linear_form_checks_ids_against_the_head():
    with pytest.raises(ValueError, match=r"target 31 .*0\.\.30"):
        linear_multi_hot_cross_entropy(torch.zeros(2, 8), torch.zeros(31, 8), torch.full((2, 4), 31))
