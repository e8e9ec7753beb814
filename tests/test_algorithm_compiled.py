"""Laws of torch.compile across the switch: one graph a phase, and the losses of eager mode."""

import pytest
import torch
from tiny_models import BAG_SIZE, make_model
from tiny_runs import BagRows, Rows, train

from composer_algo import TokenSuperposition

pytestmark = [
    pytest.mark.slow,
    # What inductor itself warns of, on a CPU.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
]
SWITCH = 3


class Graphs:
    """A backend that counts what dynamo hands it, and the operations in each; then inductor's, or none."""

    def __init__(self, backend):
        self.backend, self.sizes = torch._dynamo.lookup_backend(backend), []

    def __call__(self, graph, inputs, **kwargs):
        self.sizes.append(len(graph.graph.nodes))
        return self.backend(graph, inputs, **kwargs)


def run(model, graphs=None, **settings):
    torch._dynamo.reset()
    compiled = {} if graphs is None else {"compile_config": {"backend": graphs, "fullgraph": True}}
    data = Rows(6) if settings.get("mode") == "output_only" else BagRows(6, SWITCH)
    return train(TokenSuperposition(**settings), data, num_batches=6, model=model, **compiled)


# A cache is no part of training, and dynamo cannot follow transformers' making one.
SETTINGS = {"use_cache": False, "num_hidden_layers": 1}


@pytest.mark.parametrize("backend", ["eager", "inductor"])
@pytest.mark.parametrize("fused", [True, False, "always"])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_each_phase_is_one_whole_graph_with_the_losses_of_eager_mode(family, fused, backend):
    if backend == "inductor" and (family, fused) != ("llama", True):
        pytest.skip("half a minute each: inductor runs for one, dynamo's graphs are counted for all")
    graphs = Graphs(backend)
    compiled = run(make_model(family, **SETTINGS), graphs, fused_loss=fused)
    assert len(graphs.sizes) == 2
    assert compiled.losses == pytest.approx(
        run(make_model(family, **SETTINGS), fused_loss=fused).losses, rel=2e-5
    )
    assert compiled.logged("superposition/phase") == [1] * SWITCH + [2] * 3


def test_output_only_needs_no_more_graphs_than_its_phases():
    graphs = Graphs("eager")
    settings = {"bag_size": BAG_SIZE, "duration": "3ba", "mode": "output_only"}
    compiled = run(make_model(**SETTINGS), graphs, **settings)
    assert len(graphs.sizes) <= 2
    assert compiled.losses == pytest.approx(run(make_model(**SETTINGS), **settings).losses, rel=2e-5)
