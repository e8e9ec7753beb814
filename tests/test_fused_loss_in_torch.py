"""How the chunked kernels sit in torch: compile, autocast, grad modes, second derivatives, memory.

Letters: N positions, S tokens in a bag, D width, V vocabulary.
"""

import shutil

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from test_fused_loss import LOSSES, forms_of, leaves_of, targets_of, value_and_gradients

from composer_algo import fused, fused_linear, linear_multi_hot_cross_entropy
from composer_algo.loss import readable_multi_hot_cross_entropy

torch.set_num_threads(1)


@pytest.mark.parametrize("loss", LOSSES)
def test_compiled_as_one_graph_gives_the_same_whatever_the_number_of_positions(loss):
    torch.compiler.reset()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def compiled(targets, *leaves):
        # Work on both sides, so that the loss is inside a graph and not a graph of its own.
        return 2 * forms_of(loss, targets, None, 3.0, 0.1)[0](*(leaf * 1.5 for leaf in leaves))

    for N in (7, 12, 9):
        targets, _ = targets_of(N, 23, 4)
        fast, _ = forms_of(loss, targets, None, 3.0, 0.1)
        ours = value_and_gradients(lambda *x: compiled(targets, *x), leaves_of(loss, N, 23))  # noqa: B023
        eager = value_and_gradients(lambda *x: 2 * fast(*(leaf * 1.5 for leaf in x)), leaves_of(loss, N, 23))  # noqa: B023
        torch.testing.assert_close(ours, eager, rtol=1e-12, atol=1e-14)


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="inductor needs a C++ compiler"
)
def test_linear_form_compiles_through_inductor():
    torch.compiler.reset()
    targets, _ = targets_of(12, 23, 4)
    leaves = leaves_of("linear", 12, 23, dtype=torch.float32)
    fast, _ = forms_of("linear", targets, softcap=3.0)
    ours = value_and_gradients(torch.compile(fast, fullgraph=True), leaves)
    torch.testing.assert_close(ours, value_and_gradients(fast, leaves))


def test_operators_keep_the_promises_torch_asks_of_them():
    targets, _ = targets_of(6, 11, 3, ignored=0)
    shares = torch.full((6, 3), 1 / 18, dtype=torch.float64)
    (logits,), (hidden, head) = leaves_of("logits", 6, 11), leaves_of("linear", 6, 11)
    torch.library.opcheck(fused.logsumexp_and_pick, (logits, targets))
    promises = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    lse, picked = (x.detach() for x in fused.logsumexp_and_pick(logits, targets))
    torch.library.opcheck(
        fused.logsumexp_and_pick_backward, (lse, picked, logits.detach(), targets), test_utils=promises
    )
    for wanted in ((True, True), (True, False), (False, True)):
        leaves = [x.detach().requires_grad_(want) for x, want in zip((hidden, head), wanted, strict=True)]
        torch.library.opcheck(
            fused_linear.linear_multi_hot,
            (*leaves, targets, shares, torch.float64, 2.0, 0.1, *wanted),
            test_utils=("test_schema", "test_faketensor"),
        )


def test_under_autocast_products_are_bfloat16_and_gradients_keep_the_parameters_dtype():
    targets, _ = targets_of(40, 500, 4)
    leaves = leaves_of("linear", 40, 500, 32, dtype=torch.float32)
    fast, readable = forms_of("linear", targets)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = value_and_gradients(fast, leaves), value_and_gradients(readable, leaves)
    plain = value_and_gradients(fast, leaves)
    assert all(x.dtype == torch.float32 for x in ours)
    for mixed, same, full in zip(ours, theirs, plain, strict=True):
        assert (mixed - same).norm() <= 0.01 * same.norm()
        assert not torch.equal(mixed, full)


def test_two_dtypes_outside_autocast_are_refused():
    hidden, head = torch.zeros(2, 8, dtype=torch.bfloat16), torch.zeros(31, 8)
    with pytest.raises(ValueError, match=r"torch.bfloat16 and weight torch.float32.*autocast"):
        linear_multi_hot_cross_entropy(hidden, head, torch.zeros(2, 4).long())


def test_softcap_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match=r"softcap is 0.*softcap=None"):
        linear_multi_hot_cross_entropy(
            torch.zeros(2, 8), torch.zeros(31, 8), torch.zeros(2, 4).long(), softcap=0
        )


def test_float16_gradients_of_unlikely_tokens_survive():
    """A softmax's tail times 1/N is below float16's range; under a loss scale, as in training, it is not."""
    N, V = 2000, 4000
    targets = torch.zeros(N, 1, dtype=torch.int64)
    leaves = [
        leaf.detach().mul(0.01).requires_grad_() for leaf in leaves_of("linear", N, V, dtype=torch.half)
    ]
    fast, _ = forms_of("linear", targets)
    head = value_and_gradients(lambda *x: 2.0**14 * fast(*x), leaves)[2]
    exact = value_and_gradients(fast, [leaf.detach().double().requires_grad_() for leaf in leaves])[2]
    assert (head[1:].double() / 2**14 - exact[1:]).norm() <= 0.005 * exact[1:].norm()


def test_error_of_the_heads_gradient_does_not_grow_with_the_number_of_chunks(monkeypatch):
    targets, _ = targets_of(400, 50, 4)
    leaves = leaves_of("linear", 400, 50, dtype=torch.bfloat16)
    fast, _ = forms_of("linear", targets)
    exact = value_and_gradients(fast, [leaf.detach().double().requires_grad_() for leaf in leaves])[2]
    monkeypatch.setattr(fused_linear, "LINEAR_CHUNK_ELEMENTS", 1)
    head = value_and_gradients(fast, leaves)[2]
    assert (head.double() - exact).norm() <= torch.finfo(torch.bfloat16).eps * exact.norm()


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize("loss", LOSSES)
def test_anomaly_detection_finds_no_nan_behind_a_bag_without_targets(loss):
    targets, _ = targets_of(12, 23, 4)
    targets[3] = -100
    with torch.autograd.detect_anomaly():
        value_and_gradients(forms_of(loss, targets)[0], leaves_of(loss, 12, 23))


@pytest.mark.parametrize("wanted", [(True, False), (False, True), (False, False)])
def test_only_the_gradients_that_are_needed_are_made(wanted):
    targets, _ = targets_of(12, 23, 4)
    fast, _ = forms_of("linear", targets)
    both = leaves_of("linear", 12, 23)
    _, *full = value_and_gradients(fast, both)
    leaves = [x.detach().requires_grad_(want) for x, want in zip(both, wanted, strict=True)]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        loss = 3 * fast(*leaves)
    products = [event.name for event in profile.events() if event.name in ("aten::mm", "aten::addmm_")]
    assert len(products) == fused_linear.LINEAR_MIN_CHUNKS * (1 + sum(wanted))
    assert loss.requires_grad is any(wanted)
    if any(wanted):
        loss.backward()
    for leaf, gradient, want in zip(leaves, full, wanted, strict=True):
        assert torch.equal(leaf.grad, gradient) if want else leaf.grad is None


@pytest.mark.parametrize("loss", LOSSES)
def test_without_grad_the_value_is_the_same(loss):
    targets, weights = targets_of(12, 23, 4)
    fast, _ = forms_of(loss, targets, weights)
    leaves = leaves_of(loss, 12, 23)
    recorded = fast(*leaves).detach()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.equal(fast(*leaves), recorded)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_retained_graph_gives_the_same_gradients_again(loss):
    targets, _ = targets_of(12, 23, 4)
    leaves = leaves_of(loss, 12, 23)
    value = forms_of(loss, targets)[0](*leaves)
    first = torch.autograd.grad(value, leaves, retain_graph=True)
    second = torch.autograd.grad(value, leaves)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_second_derivative_is_refused_with_what_to_use_instead(loss):
    targets, _ = targets_of(12, 23, 4)
    leaves = leaves_of(loss, 12, 23)
    gradient, *_ = torch.autograd.grad(forms_of(loss, targets)[0](*leaves), leaves, create_graph=True)
    with pytest.raises(RuntimeError, match=r"differentiated twice.*readable_multi_hot_cross_entropy"):
        gradient.square().sum().backward()


def test_readable_form_has_a_second_derivative():
    targets, _ = targets_of(3, 7, 2)
    leaves = leaves_of("logits", 3, 7)
    assert torch.autograd.gradgradcheck(lambda z: readable_multi_hot_cross_entropy(z, targets), leaves)


def test_logits_that_are_views_get_the_gradients_of_their_copies():
    targets, _ = targets_of(12, 23, 4)
    batch = leaves_of("logits", 24, 30)[0].detach().view(2, 12, 30)
    view = batch.transpose(0, 1)[:, 1, 3:26].requires_grad_()
    fast, _ = forms_of("logits", targets)
    copies = value_and_gradients(fast, [view.detach().contiguous().requires_grad_()])
    assert all(torch.equal(a, b) for a, b in zip(value_and_gradients(fast, [view]), copies, strict=True))


def profiled(form, leaves, **options):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], **options) as profile:
        form(*leaves).backward()
    return profile


@pytest.mark.parametrize("loss", LOSSES)
def test_the_same_kernels_touch_the_vocabulary_whatever_the_bag_size(loss):
    N, V = 40, 503

    def kernels(S):
        fast, _ = forms_of(loss, targets_of(N, V, S, ignored=0)[0])
        events = profiled(fast, leaves_of(loss, N, V), record_shapes=True).events()
        return sorted(event.name for event in events if any(V in shape for shape in event.input_shapes))

    of_one = kernels(1)
    assert len(of_one) > 20
    assert kernels(16) == of_one


def peak_bytes(form, leaves):
    """Bytes that torch has allocated at the worst moment of forward and backward, beyond those before."""
    alive, peak = 0, 0
    # Allocations in their order are not in the public events of the profiler.
    for event in profiled(form, leaves, profile_memory=True).profiler.kineto_results.events():
        if event.name() == "[memory]":
            alive += event.nbytes()
            peak = max(peak, alive)
    return peak


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("S", [1, 16])
@pytest.mark.parametrize("N", [8, 64, 512])
@pytest.mark.parametrize("loss", ["logits", "sum to one"])
def test_logits_forms_take_less_memory_than_plain_cross_entropy(loss, N, S, dtype):
    targets, _ = targets_of(N, 4001, S)
    (logits,) = leaves_of(loss, N, 4001, dtype=dtype)
    fast, _ = forms_of(loss, targets)
    ours = peak_bytes(fast, [logits])
    logits.grad = None
    assert ours <= 0.75 * peak_bytes(lambda z: F.cross_entropy(z, targets[:, 0]), [logits])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("S", [1, 16])
def test_linear_form_takes_a_third_of_the_memory_of_linear_and_plain_cross_entropy(S, dtype):
    """At four times as many positions as the width, beyond the gradients of hidden and weight."""
    targets, _ = targets_of(512, 4001, S)
    leaves = leaves_of("linear", 512, 4001, 128, dtype=dtype)
    gradients = sum(leaf.nbytes for leaf in leaves)
    ours = peak_bytes(forms_of("linear", targets)[0], leaves) - gradients
    for leaf in leaves:
        leaf.grad = None
    theirs = peak_bytes(lambda *x: F.cross_entropy(F.linear(*x), targets[:, 0]), leaves) - gradients
    assert ours <= 0.35 * theirs, ours / theirs
