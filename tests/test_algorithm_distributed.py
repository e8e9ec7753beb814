"""Laws of several ranks over real bag shards: the same training as one process, up to rounding.

Run as a script this file is one rank: `test_algorithm_distributed.py DATASET CHECKPOINTS`.
"""

import itertools
import json
import os
import socket
import subprocess
import sys

import pytest
import torch
import transformers
from composer.models import HuggingFaceModel
from composer.utils import FSDP2Config, dist
from tiny_models import LLAMA_LIKE, MOE, SMALL
from tiny_runs import train

import tstdata
from composer_algo import TokenSuperposition
from tstruns.execution import average_gradients
from tstruns.idle_experts import run_idle_experts

# What dynamo itself warns of.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")
EXPERTS = {"head_dim": 16, "moe_intermediate_size": 24, "num_experts": 4, **MOE}
SWITCH, NUM_BATCHES, GLOBAL_BATCH = 2, 4, 4
PARALLEL = ("ddp", "fsdp2")


# The models beside a plain Llama: their changes, and the Trainer's. The router's loss is no mean over tokens:
# only row by row is it one process's. Dynamo cannot follow the making of a cache.
VARIANTS = {
    "tied": ({"tie_word_embeddings": True}, {"device_train_microbatch_size": 1}),
    "mixture": ({"model_type": "qwen3_moe", **EXPERTS}, {"device_train_microbatch_size": 1}),
    "compiled": ({"use_cache": False}, {"compile_config": {"backend": "eager"}}),
}


def run(folder, kind="ddp", variant=None, **changes):
    dataset = {
        "local": str(folder),
        "shuffle": True,
        "num_canonical_nodes": 1,
        "bag_size": 4,
        "superposition_batches": SWITCH,
    }
    torch.manual_seed(0)
    own, execution = VARIANTS[variant] if variant else ({}, {})
    sizes = {
        "model_type": "llama",
        **SMALL,
        **LLAMA_LIKE,
        "vocab_size": 1024,
        "tie_word_embeddings": False,
        **own,
    }
    config = transformers.AutoConfig.for_model(**sizes)
    hf_model = transformers.AutoModelForCausalLM.from_config(config)
    run_idle_experts(hf_model)
    model = HuggingFaceModel(hf_model, tokenizer=None, use_logits=True, metrics=[])
    loader = tstdata.build_bag_dataloader(dataset, device_batch_size=GLOBAL_BATCH // dist.get_world_size())
    parallel = dict(execution)
    if kind == "fsdp2":
        parallel["parallelism_config"] = {"fsdp": FSDP2Config(state_dict_type="full")}
    done = train(
        TokenSuperposition(), loader, model=model, num_batches=NUM_BATCHES, fit=False, **parallel, **changes
    )
    average_gradients(done.trainer)
    done.trainer.fit()
    return done


def told(done):
    names = ("loss/train/total", "superposition/mce", "superposition/phase", "time/token")
    return {
        **{name: done.logged(name) for name in names},
        "parameter": type(next(done.trainer.state.model.parameters())).__name__,
    }


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


def saving(folder, kind):
    return {"save_folder": f"{folder}/{kind}", "save_interval": "1ba", "save_filename": "ba{batch}.pt"}


@pytest.fixture(scope="module")
def alone(small_dataset, checkpoints):
    return told(run(small_dataset, **saving(checkpoints, "alone")))


@pytest.fixture(scope="module")
def ranks(small_dataset, alone, checkpoints):
    """What two gloo ranks say of their runs; their checkpoints lie beside that of one process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in ("0", "1"):
        env = {
            **os.environ,
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "NODE_RANK": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, __file__, str(small_dataset), str(checkpoints)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=env, **pipes))
    outputs = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], "".join(err[-3000:] for _, err in outputs)
    return [json.loads(out.splitlines()[-1]) for out, _ in outputs]


@pytest.mark.parametrize("kind", PARALLEL)
def test_two_ranks_have_the_losses_of_one_process_in_both_phases(alone, ranks, kind):
    for rank in ranks:
        assert rank[kind]["superposition/phase"] == [1] * SWITCH + [2] * (NUM_BATCHES - SWITCH)
        assert rank[kind]["time/token"] == alone["time/token"]
        # Ranks sum in another order; ten times what was measured.
        for name in ("loss/train/total", "superposition/mce"):
            assert rank[kind][name] == pytest.approx(alone[name], rel=2e-5)
    assert ranks[0][kind]["parameter"] == ("DTensor" if kind == "fsdp2" else "Parameter")


@pytest.mark.parametrize("kind", PARALLEL)
@pytest.mark.parametrize("variant", VARIANTS)
def test_two_ranks_train_other_models_and_compiled_ones_alike(small_dataset, ranks, kind, variant):
    """Tied and in microbatches; a mixture of experts with its router's loss; under torch.compile."""
    whole = run(small_dataset, variant=variant).losses
    for rank in ranks:
        assert rank[f"{kind}, {variant}"] == pytest.approx(whole, rel=2e-5)


@pytest.mark.parametrize("kind", PARALLEL)
@pytest.mark.parametrize("begun", ["alone", *PARALLEL])
def test_two_ranks_resume_their_own_run_or_another_s(alone, ranks, begun, kind):
    for rank in ranks:
        assert rank[f"{begun} resumed as {kind}"] == pytest.approx(alone["loss/train/total"][1:], rel=2e-5)


@pytest.mark.parametrize("kind", PARALLEL)
@pytest.mark.parametrize("stop", [1, SWITCH, 3])
def test_checkpoint_of_two_ranks_is_resumed_by_one(alone, ranks, checkpoints, small_dataset, kind, stop):
    resumed = run(small_dataset, load_path=str(checkpoints / kind / f"ba{stop}.pt"))
    assert resumed.losses == pytest.approx(alone["loss/train/total"][stop:], rel=2e-5)


def run_each_kind(dataset, folder):
    results = {}
    for kind in PARALLEL:
        results[kind] = told(run(dataset, kind, **saving(folder, kind)))
        for variant in VARIANTS:
            results[f"{kind}, {variant}"] = run(dataset, kind, variant).losses
    # From inside the superposition phase, and through the switch.
    for begun, kind in itertools.product(("alone", *PARALLEL), PARALLEL):
        resumed = run(dataset, kind, load_path=f"{folder}/{begun}/ba1.pt").losses
        results[f"{begun} resumed as {kind}"] = resumed
    return results


if __name__ == "__main__":
    print(json.dumps(run_each_kind(sys.argv[1], sys.argv[2])))
