"""Laws of the chunked kernels: each loss is held to its readable form, in value, in gradient and in error.

Letters: N positions, S tokens in a bag, D width, V vocabulary.
"""

import pytest
import references
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from hypothesis import given, settings
from hypothesis import strategies as st

from composer_algo import (
    fused,
    fused_linear,
    linear_multi_hot_cross_entropy,
    multi_hot_cross_entropy,
    sum_to_one_cross_entropy,
)
from composer_algo.loss import readable_multi_hot_cross_entropy, readable_sum_to_one_cross_entropy

torch.set_num_threads(1)

LOSSES = ("logits", "sum to one", "linear")


def leaves_of(loss, N, V, D=5, *, dtype=torch.float64, seed=0):
    """Logits, or hidden states and head: what the loss is differentiated by."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(N, D), (V, D)] if loss == "linear" else [(N, V)]
    return [(2 * torch.randn(*shape, generator=generator)).to(dtype).requires_grad_() for shape in shapes]


def targets_of(N, V, S, *, ignored=0.3, seed=0):
    """Targets with duplicates inside bags and ignored labels; weights that are not normalised."""
    generator = torch.Generator().manual_seed(seed + 1)
    targets = torch.randint(0, V, (N, S), generator=generator)
    targets[::2, -1] = targets[::2, 0]
    targets[torch.rand(N, S, generator=generator) < ignored] = -100
    return targets, torch.rand(S, generator=generator) + 0.1


def forms_of(loss, targets, weights=None, softcap=None, z_loss=0.0):
    """The fast form of a loss and its readable form, as functions of the leaves."""

    def readable_linear(hidden, head):
        logits = F.linear(hidden, head)
        capped = logits if softcap is None else softcap * torch.tanh(logits / softcap)
        return readable_multi_hot_cross_entropy(capped, targets, weights, z_loss=z_loss)

    return {
        "logits": (
            lambda logits: multi_hot_cross_entropy(logits, targets, weights, z_loss=z_loss),
            lambda logits: readable_multi_hot_cross_entropy(logits, targets, weights, z_loss=z_loss),
        ),
        "sum to one": (
            lambda logits: sum_to_one_cross_entropy(logits, targets),
            lambda logits: readable_sum_to_one_cross_entropy(logits, targets),
        ),
        "linear": (
            lambda h, w: linear_multi_hot_cross_entropy(
                h, w, targets, weights, softcap=softcap, z_loss=z_loss
            ),
            readable_linear,
        ),
    }[loss]


def value_and_gradients(form, leaves):
    loss = form(*leaves)
    return [loss.detach(), *torch.autograd.grad(3 * loss, leaves)]


@pytest.fixture
def small_chunks(monkeypatch):
    """One position in a logits chunk, four in a linear one, blocks of four vocabulary rows."""
    monkeypatch.setattr(fused, "CPU_CHUNK_ELEMENTS", 1)
    monkeypatch.setattr(fused_linear, "VOCABULARY_BLOCK", 4)


@settings(deadline=None, max_examples=100)
@given(
    shape=st.tuples(st.integers(0, 40), st.integers(1, 50), st.integers(1, 9)),
    ignored=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    seed=st.integers(0, 2**16),
    chunk=st.integers(1, 9),
    least_chunks=st.integers(1, 6),
    softcap=st.sampled_from([None, 0.7]),
    z_loss=st.sampled_from([0.0, 0.3]),
)
def test_fast_forms_equal_the_readable_ones_whatever_the_shapes_and_chunks(
    shape, ignored, seed, chunk, least_chunks, softcap, z_loss
):
    N, V, S = shape
    targets, weights = targets_of(N, V, S, ignored=ignored, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "CPU_CHUNK_ELEMENTS", chunk * V)
        patch.setattr(fused_linear, "LINEAR_CHUNK_ELEMENTS", chunk * V)
        patch.setattr(fused_linear, "LINEAR_MIN_CHUNKS", least_chunks)
        for loss in LOSSES:
            leaves = leaves_of(loss, N, V, seed=seed)
            fast, readable = forms_of(loss, targets, weights, softcap, z_loss)
            ours, theirs = value_and_gradients(fast, leaves), value_and_gradients(readable, leaves)
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("N, V", [(130, 997), (40, 32_000)])  # noqa: PT006 - one shape
def test_fast_form_errs_no_more_than_the_readable_one_plus_half_a_rounding(loss, N, V, dtype):
    """Errors against float64, as norms; the loss, a float32 mean, may err by eight float32 roundings more."""
    targets, weights = targets_of(N, V, 8)
    leaves = leaves_of(loss, N, V, 32, dtype=dtype)
    fast, readable = forms_of(loss, targets, weights)
    wide = [leaf.detach().double().requires_grad_() for leaf in leaves]
    exact = value_and_gradients(readable, wide)
    for place, truth in enumerate(exact):
        ours, theirs = (value_and_gradients(form, leaves)[place] for form in (fast, readable))
        error, allowed = ((x.double() - truth).norm() / truth.norm() for x in (ours, theirs))
        slack = 0.5 * torch.finfo(dtype).eps if place else 8 * torch.finfo(torch.float32).eps
        assert error <= allowed + slack, (place, error, allowed)
        assert ours.dtype == (dtype if place else torch.float32)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_agree_with_finite_differences(loss, small_chunks):
    targets, weights = targets_of(6, 11, 3)
    fast, _ = forms_of(loss, targets, weights, softcap=2.0, z_loss=0.1)
    assert torch.autograd.gradcheck(fast, leaves_of(loss, 6, 11))


def test_readable_form_equals_one_cross_entropy_for_each_token():
    (logits,), (targets, weights) = leaves_of("logits", 9, 23), targets_of(9, 23, 4)
    expected = references.multi_hot_cross_entropy(logits, targets, weights.double())
    assert torch.allclose(readable_multi_hot_cross_entropy(logits, targets, weights), expected)


def test_z_loss_is_the_squared_logsumexp_weighted_as_the_targets_are():
    (logits,), (targets, weights) = leaves_of("logits", 9, 23), targets_of(9, 23, 4)
    shares = (weights * (targets != -100)).sum(-1).double()
    expected = 0.1 * (shares * logits.logsumexp(-1) ** 2).sum() / shares.sum()
    plain, with_z = (multi_hot_cross_entropy(logits, targets, weights, z_loss=z) for z in (0.0, 0.1))
    assert torch.allclose(with_z - plain, expected)


def test_sum_to_one_is_minus_log_of_the_mass_on_the_set_of_tokens():
    (logits,), (targets, _) = leaves_of("logits", 9, 23), targets_of(9, 23, 4, ignored=0.6)
    sets = [{*bag} - {-100} for bag in targets.tolist()]
    rows = zip(torch.softmax(logits, -1), sets, strict=True)
    expected = [-sum(row[token] for token in tokens).log() for row, tokens in rows if tokens]
    assert len(expected) < len(sets)
    assert torch.allclose(sum_to_one_cross_entropy(logits, targets), torch.stack(expected).mean())


def test_sum_to_one_of_bags_of_one_is_plain_cross_entropy():
    (logits,), (targets, _) = leaves_of("logits", 9, 23), targets_of(9, 23, 1)
    plain = F.cross_entropy(logits, targets[:, 0])
    assert torch.allclose(sum_to_one_cross_entropy(logits, targets), plain)


def test_a_token_twice_in_a_bag_counts_twice_in_the_sum_and_once_in_the_set():
    (logits,) = leaves_of("logits", 1, 7)
    once, twice = torch.tensor([[2, 5, -100]]), torch.tensor([[2, 5, 5]])
    assert sum_to_one_cross_entropy(logits, once) == sum_to_one_cross_entropy(logits, twice)
    nll = -torch.log_softmax(logits[0], -1)
    assert torch.allclose(multi_hot_cross_entropy(logits, twice), (nll[2] + 2 * nll[5]) / 3)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("content", [1.0, float("nan"), float("inf")])
def test_ignored_positions_get_gradients_of_exactly_zero_whatever_they_hold(loss, content, small_chunks):
    targets, _ = targets_of(12, 23, 4, ignored=0)
    targets[[0, 5, 6, 11]] = -100
    ignored = (targets == -100).all(dim=-1)
    leaves = leaves_of(loss, 12, 23)
    fast, _ = forms_of(loss, targets, z_loss=0.1)
    expected = value_and_gradients(fast, leaves)
    with torch.no_grad():
        leaves[0][ignored] = content
    actual = value_and_gradients(fast, leaves)
    assert not actual[1][ignored].any()
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(actual, expected, strict=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_valid_is_zero_with_gradients_of_zero(loss):
    for N in (0, 5):
        fast, _ = forms_of(loss, torch.full((N, 3), -100))
        value, *gradients = value_and_gradients(fast, leaves_of(loss, N, 23))
        assert value == 0
        assert not any(gradient.any() for gradient in gradients)
