"""The plan of a run: what it reads, what it costs, what to type, and what the paper saw nearby."""

from dataclasses import asdict, dataclass
from typing import Any

from tstdata.card import DatasetCard

from .data_need import DataNeed, data_need
from .durations import Durations, durations_of
from .flops import averaging_additions, flops_per_position, flops_per_step, gpu_hours
from .gpus import peak_bf16_flops
from .paper_view import PaperView, paper_view
from .plan_model import PlanModel
from .plan_yaml import plan_yaml
from .run_size import Phase, RunSize
from .shapes import ModelShape, shape_of

__all__ = ["Cost", "Plan", "make_plan"]

# From this vocabulary on, ids are stored in 4 bytes instead of 2 (tstdata's uint16 and uint32 rows).
UINT16_IDS = 65536


@dataclass(frozen=True)
class Cost:
    """FLOPs of a step in each phase and of the run, and GPU-hours at a stated share of a GPU's stated peak.

    ``averaging_share``: additions that bags take beside them, as a share of the superposition phase's FLOPs.
    """

    superposition_step_flops: int
    recovery_step_flops: int
    equal: bool
    averaging_share: float
    total_flops: int
    gpu: str
    peak_bf16_flops: float
    utilisation: float
    gpu_hours: float


@dataclass(frozen=True)
class Plan:
    """Everything `tst plan` prints."""

    model: str
    shape: ModelShape
    size: RunSize
    weighting: str
    phases: tuple[Phase, Phase]
    token_bytes: int
    data: DataNeed | None
    cost: Cost
    durations: Durations
    yaml: str
    paper: PaperView
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, derived numbers included."""
        shape = {
            **asdict(self.shape),
            "active_params": self.shape.active_params,
            "active_non_embedding_params": self.shape.active_non_embedding_params,
        }
        size = {
            **asdict(self.size),
            "superposition_ratio": self.size.superposition_ratio,
            "step_tokens": self.size.step_tokens,
            "equivalent_tokens": self.size.steps * self.size.step_tokens,
            "total_tokens": self.size.total_tokens,
            "total_rows": sum(phase.dataset_rows for phase in self.phases),
            "total_bytes": sum(phase.bytes for phase in self.phases),
        }
        return {**asdict(self), "shape": shape, "size": size}


def make_plan(
    model: PlanModel,
    size: RunSize,
    *,
    weighting: str = "uniform",
    data: str | None = None,
    gpu: str = "H100",
    utilisation: float = 0.4,
) -> Plan:
    """Return the plan of a run of ``model`` over ``size``, on ``data`` if a dataset directory is given.

    Raises:
        ValueError: a setting is out of its range, or the dataset cannot serve this run.
        FileNotFoundError: the dataset is not there.
    """
    shape = shape_of(_with_vocabulary(model, data))
    need = data_need(data, size, shape.vocab_size) if data is not None else None
    wide = shape.vocab_size > UINT16_IDS if need is None else need.dtype == "uint32"
    token_bytes = 4 if wide else 2
    durations = durations_of(size)
    return Plan(
        model=model.name,
        shape=shape,
        size=size,
        weighting=weighting,
        phases=size.phases(token_bytes),
        token_bytes=token_bytes,
        data=need,
        cost=_cost(shape, size, gpu, utilisation),
        durations=durations,
        yaml=plan_yaml(size, weighting, data),
        paper=paper_view(shape, size, weighting),
        warnings=(*_warnings(model, size, weighting), *durations.warnings),
    )


def _with_vocabulary(model: PlanModel, data: str | None) -> dict[str, Any]:
    """Return the model config; a vocabulary that a run's YAML leaves out is the data's, as in `tst train`."""
    if not model.is_run or "vocab_size" in model.config:
        return model.config
    if data is None:
        raise ValueError(
            f"{model.name}: model.config has no vocab_size, which then comes from the data. Give --data "
            "DATASET, or add vocab_size to model.config."
        )
    return {**model.config, "vocab_size": DatasetCard.load(data).tokenizer.vocab_size}


def _cost(shape: ModelShape, size: RunSize, gpu: str, utilisation: float) -> Cost:
    if not 0 < utilisation <= 1:
        raise ValueError(
            f"--utilisation is {utilisation}; it is a share of the GPU's peak, above 0 and at most 1, such "
            "as 0.4."
        )
    peak = peak_bf16_flops(gpu)
    rows, bags_in = size.global_batch_size, size.growth
    superposed = flops_per_step(shape, rows=rows, data_len=size.seq_len * bags_in, bag_size=bags_in)
    recovery = flops_per_step(shape, rows=rows, data_len=size.seq_len, bag_size=1)
    total = superposed * size.superposition_batches + recovery * (size.steps - size.superposition_batches)
    share = averaging_additions(shape, bags_in) / flops_per_position(shape, size.seq_len)
    hours = gpu_hours(total, peak, utilisation)
    return Cost(superposed, recovery, superposed == recovery, share, total, gpu, peak, utilisation, hours)


def _warnings(model: PlanModel, size: RunSize, weighting: str) -> list[str]:
    found = []
    if size.bag_size == 1 and size.superposition_batches:
        found.append("bag_size 1 is ordinary training: the superposition ratio has no effect.")
    if size.bag_size > 1 and not size.superposition_batches:
        found.append(f"no step is in the superposition phase: bag_size {size.bag_size} has no effect.")
    if size.bag_size > 1 and size.superposition_batches == size.steps:
        found.append("there is no recovery phase: the model this leaves predicts bags, not tokens.")
    if size.mode == "input_only" and weighting != "uniform":
        found.append(f"weighting {weighting!r} has no effect: input_only predicts one token.")
    positions = model.config.get("max_position_embeddings")
    if positions is not None and size.seq_len > positions:
        found.append(
            f"seq_len {size.seq_len} is beyond the model's max_position_embeddings {positions}; raise that "
            f"too (in a recipe: variables.seq_len={size.seq_len})."
        )
    return found
