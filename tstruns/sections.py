"""The sections of a run's YAML: one pydantic model each, named as LLM Foundry names them.

Every section forbids keys it does not know and takes values strictly (a quoted number is not a number).
A time is a Composer time string: `6000ba` (batches), `2000000tok`, `4096sp` (samples), `1ep`, `0.1dur` (share
of max_duration).
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """Base of all sections: unknown keys and coerced types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


def _time_string(units: str) -> Any:
    allowed = units.split()
    example = "0.1dur" if "dur" in allowed else "6000ba"

    def check(value: object) -> object:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(\w+)", value) if isinstance(value, str) else None
        fits = match is not None and match[2] in allowed
        if fits and match is not None:
            fits = float(match[1]) <= 1 if match[2] == "dur" else "." not in match[1]
        if not fits:
            rule = f"a time is a number and a unit ({', '.join(allowed)}), such as {example!r}"
            raise PydanticCustomError("time_string", "{rule}", {"rule": rule})
        return value

    return BeforeValidator(check)


def _microbatch(value: object) -> object:
    number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if value not in ("auto", None) and not number:
        rule = "a number of rows of at least 1, or 'auto' (on a GPU)"
        raise PydanticCustomError("microbatch", "{rule}", {"rule": rule})
    return value


def _two_betas(value: list[float]) -> list[float]:
    if len(value) != 2 or not all(0 <= beta < 1 for beta in value):
        raise PydanticCustomError("betas", "two numbers of at least 0 and below 1, such as [0.9, 0.95]")
    return value


def _kept(value: int) -> int:
    if value < -1 or value == 0:
        raise PydanticCustomError("kept", "-1 for all, or at least 1: a run goes on from the newest")
    return value


PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
KeptCheckpoints = Annotated[int, AfterValidator(_kept)]
Betas = Annotated[list[float], AfterValidator(_two_betas)]
Time = Annotated[str, _time_string("ba sp tok ep dur")]
Duration = Annotated[str, _time_string("ba sp tok ep")]
Microbatch = Annotated[Any, BeforeValidator(_microbatch)]


class HFCausalLM(Section):
    """`model`: a Hugging Face decoder with random weights drawn from the run's seed."""

    name: Literal["hf_causal_lm"]
    config: dict[str, Any]


class Tokenizer(Section):
    """`tokenizer`: a local folder, for data that carries none of its own."""

    name: str


class DecoupledAdamW(Section):
    """`optimizer`: Composer's AdamW, whose weight decay is not scaled by the peak learning rate."""

    name: Literal["decoupled_adamw"]
    lr: Annotated[float, Field(gt=0)]
    betas: Betas = [0.9, 0.95]
    eps: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5


class AdamW(Section):
    """`optimizer`: torch's AdamW."""

    name: Literal["adamw"]
    lr: Annotated[float, Field(gt=0)]
    betas: Betas = [0.9, 0.95]
    eps: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.01


class WarmupStableDecay(Section):
    """`scheduler`: linear warm-up, constant, linear decay at the end (the paper's)."""

    name: Literal["wsd"]
    t_warmup: Time
    t_decay: Time
    alpha_f: Share = 0.0


class ConstantWithWarmup(Section):
    """`scheduler`: linear warm-up, then constant."""

    name: Literal["constant_with_warmup"]
    t_warmup: Time


class CosineWithWarmup(Section):
    """`scheduler`: linear warm-up, then half a cosine down to `alpha_f` of the peak."""

    name: Literal["cosine_with_warmup"]
    t_warmup: Time
    alpha_f: Share = 0.0


class LinearDecayWithWarmup(Section):
    """`scheduler`: linear warm-up, then a straight line down to `alpha_f` of the peak."""

    name: Literal["linear_decay_with_warmup"]
    t_warmup: Time
    alpha_f: Share = 0.0


class BagStream(Section):
    """`dataset.streams.NAME`: one of several datasets, weighted as Streaming weights them."""

    remote: str | None = None
    local: str
    split: str | None = None
    proportion: Annotated[float, Field(ge=0)] | None = None
    repeat: Annotated[float, Field(ge=0)] | None = None
    choose: NonNegativeInt | None = None


class BagDataset(Section):
    """`dataset` of a loader: the arguments of `tstdata.StreamingBagDataset` (None: its own default)."""

    remote: str | None = None
    local: str | None = None
    split: str | None = None
    streams: dict[str, BagStream] | None = None
    epoch_size: PositiveInt | None = None
    bag_size: PositiveInt = 1
    superposition_batches: NonNegativeInt = 0
    seq_len: PositiveInt | None = None
    shuffle: bool = False
    shuffle_seed: NonNegativeInt | None = None
    shuffle_algo: str | None = None
    shuffle_block_size: PositiveInt | None = None
    num_canonical_nodes: PositiveInt | None = None
    predownload: NonNegativeInt | None = None
    cache_limit: str | None = None
    download_retry: NonNegativeInt | None = None
    download_timeout: Annotated[float, Field(gt=0)] | None = None
    validate_hash: str | None = None
    keep_zip: bool | None = None


class BagShards(Section):
    """`train_loader` and `eval_loader`: a DataLoader over one bag-shard dataset (None: torch's default)."""

    name: Literal["bag_shards"]
    dataset: BagDataset
    num_workers: NonNegativeInt = 0
    drop_last: bool = True
    prefetch_factor: PositiveInt | None = None
    persistent_workers: bool | None = None
    pin_memory: bool | None = None
    timeout: NonNegativeInt | None = None
    sequence_ids: bool = False
    position_ids: bool = False


class TokenSuperposition(Section):
    """`algorithms.token_superposition`: the arguments of `composer_algo.TokenSuperposition`."""

    bag_size: PositiveInt | None = None
    duration: Time | None = None
    weighting: str | list[float] = "uniform"
    mode: Literal["full", "input_only", "output_only"] = "full"
    alternative: Literal["sum_to_one"] | None = None
    fused_loss: bool | Literal["always"] = True


class FSDP(Section):
    """`fsdp_config`: weights, gradients and optimizer state sharded over the ranks, by torch's FSDP2."""

    reshard_after_forward: bool = True
    activation_checkpointing: bool = False
    activation_cpu_offload: bool = False
    mixed_precision: Literal["DEFAULT", "PURE", "FULL"] = "DEFAULT"


class Compile(Section):
    """`compile_config`: the arguments of torch.compile (None: its own default); {} compiles too."""

    backend: str | None = None
    mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] | None = None
    fullgraph: bool | None = None
    dynamic: bool | None = None


class GradientClipping(Section):
    """`algorithms.gradient_clipping`: Composer's."""

    clipping_type: Literal["norm", "value", "adaptive"] = "norm"
    clipping_threshold: Annotated[float, Field(gt=0)] = 1.0


class ReinitialiseEmbeddings(Section):
    """`algorithms.reinitialise_embeddings`: the paper's control, both ends drawn anew at the switch."""


class Algorithms(Section):
    """`algorithms`: what is named is on; null switches one off, which is how an override drops it."""

    token_superposition: TokenSuperposition | None = None
    gradient_clipping: GradientClipping | None = None
    reinitialise_embeddings: ReinitialiseEmbeddings | None = None
