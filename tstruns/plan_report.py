"""A plan as text for a terminal: one short section for each question a user has before a run."""

from collections.abc import Iterator

from .data_need import DataNeed
from .paper_results import Measured
from .plan import Plan

__all__ = ["plan_report"]

# Alignment and width of the table of what each phase reads.
COLUMNS = ("<15", ">10", ">13", ">14", ">16", ">13", ">11")


def plan_report(plan: Plan) -> str:
    """Return the plan as text."""
    sections = [_model(plan), _reads(plan), _costs(plan), _switch(plan), _paste(plan), _paper(plan)]
    text = "\n\n".join("\n".join(lines) for lines in sections)
    own = [warning for warning in plan.warnings if warning not in plan.durations.warnings]
    return text + "".join(f"\n\nwarning: {warning}" for warning in own)


def _model(plan: Plan) -> Iterator[str]:
    shape, size = plan.shape, plan.size
    active = f", {shape.active_params:,} active" if shape.inactive_params else ""
    yield f"Model  {plan.model} ({shape.model_type}): {shape.total_params:,} parameters{active}"
    yield (
        f"  of these the input embedding {shape.embedding_params:,}; "
        f"{shape.matmul_params:,} take part in a position's matrix products"
    )
    yield (
        f"Run    {size.steps:,} steps x {size.global_batch_size:,} rows x {size.seq_len:,} latent positions "
        f"= {size.step_tokens:,} equivalent tokens a step"
    )
    mode = "" if size.mode == "full" else f", {size.mode}"
    yield (
        f"       s = {size.bag_size}, r = {size.superposition_ratio:.5g} "
        f"({size.superposition_batches:,} steps in superposition), {plan.weighting} weights{mode}"
    )


def _reads(plan: Plan) -> Iterator[str]:
    yield _row("Reads", "steps", "rows a step", "tokens a row", "dataset rows", "tokens", "bytes")
    for phase in plan.phases:
        shape = (
            f"{number:,}" for number in (phase.steps, phase.batch_rows, phase.row_tokens, phase.dataset_rows)
        )
        yield _row("  " + phase.name, *shape, _billions(phase.tokens), _bytes(phase.bytes))
    rows, size = sum(phase.dataset_rows for phase in plan.phases), sum(phase.bytes for phase in plan.phases)
    total = _billions(plan.size.total_tokens)
    yield _row("  total", f"{plan.size.steps:,}", "", "", f"{rows:,}", total, _bytes(size))
    yield f"  bytes are uncompressed ids of {plan.token_bytes} bytes"
    if plan.data is not None:
        yield from _dataset(plan, plan.data)


def _row(*cells: str) -> str:
    return "".join(f"{cell:{width}}" for cell, width in zip(cells, COLUMNS, strict=True)).rstrip()


def _dataset(plan: Plan, need: DataNeed) -> Iterator[str]:
    holds = f"  {need.dataset} holds {need.num_rows:,} rows ({_billions(need.num_tokens)} tokens)"
    if plan.size.growth > 1:
        holds += f", {need.num_bag_rows:,} bag rows of s = {plan.size.bag_size}"
    yield holds
    if need.enough:
        yield f"  enough: nothing is read twice; {need.reads:.1%} of its rows are read"
    else:
        yield f"  NOT enough without repeats: {need.epochs} epochs, {need.reads:.2f} times its rows"
        if need.superposition_epochs > 1:
            yield f"  the superposition phase alone takes {need.superposition_epochs} of them"


def _costs(plan: Plan) -> Iterator[str]:
    cost = plan.cost
    same = "equal" if cost.equal else "NOT EQUAL"
    first, second = cost.superposition_step_flops, cost.recovery_step_flops
    yield f"FLOPs  a step: superposition {first:.6e}, recovery {second:.6e}: {same}"
    if plan.size.growth > 1:
        yield f"       (averaging the bags adds {cost.averaging_share:.2g} of that in additions, not counted)"
    yield (
        f"       total {cost.total_flops:.4e} = {_hours(cost.gpu_hours)} {cost.gpu}-hours at "
        f"{cost.utilisation:.0%} of its {cost.peak_bf16_flops / 1e12:,.4g} TFLOP/s in dense bf16"
    )


def _switch(plan: Plan) -> Iterator[str]:
    times = plan.durations
    yield f"Switch at batch {plan.size.superposition_batches} is, as a Composer time string:"
    yield f"  {times.ba:<24} type this one, with max_duration {times.max_duration}"
    yield f"  {times.dur:<24} the same, as long as max_duration is {times.max_duration}"
    yield f"  {times.tok:<24} the data tokens read by then; TokenSuperposition takes ba or dur"
    if times.dur_of_tok != times.dur:
        yield f"  {times.dur_of_tok:<24} what it would be of max_duration {times.max_duration_tok}"
    yield from (f"  warning: {warning}" for warning in times.warnings)


def _paste(plan: Plan) -> Iterator[str]:
    yield "YAML   to paste:"
    yield from ("  " + line for line in plan.yaml.splitlines())


def _paper(plan: Plan) -> Iterator[str]:
    view = plan.paper
    yield f"Paper  nearest sweep: {view.sweep} ({view.source}); baseline {view.baseline_loss:.4f}"
    if view.neighbours is not None:
        yield "  measured there:" if view.neighbours.is_measured else "  not measured; the points around it:"
        yield from (f"    {_point(point)}" for point in view.neighbours.points)
    yield f"  its best: {_point(view.best)}"
    if view.same_size:
        yield "  its own runs at this size:"
    for row, utilisation in zip(view.same_size, view.utilisations, strict=True):
        ratio = row.superposition_steps / row.total_steps
        kind = "baseline" if row.bag_size == 1 else f"s = {row.bag_size}, r = {ratio:.4g}"
        kind += ", re-initialised" if "reinit" in row.model else ""
        yield (
            f"    {row.total_steps:>7,} steps, {kind:<29} final loss {row.final_loss:.3f}, "
            f"{row.b200_hours:,.0f} B200-hours ({utilisation:.0%} of peak)"
        )
    yield "  what that does not say:"
    yield from (f"  - {limit}" for limit in view.limits)


def _point(point: Measured) -> str:
    place = f"s = {point.bag_size}, r = {point.superposition_ratio:.1f}"
    return f"{place}: final loss {point.final_loss:.4f}, {point.difference:+.4f}"


def _hours(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 1 else f"{hours:.2g}"


def _billions(tokens: int) -> str:
    return f"{tokens / 1e9:,.3f} B" if tokens >= 10**8 else f"{tokens:,}"


def _bytes(size: int) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:,.1f} {unit}"
    return f"{size:,} B"
