"""The results as text for docs/reproduction.md: what each claim came to, and tables; from the CSVs alone."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from claims import NOT_RUN, pooled_deviation
from experiment import Experiment
from results import ArmResult

from tstruns.arms import Spread
from tstruns.bag_sizes import Sweep
from tstruns.ladder import Ladder, Reading

EXPLANATION = """\
Gain: the loss of the baseline of the same width, peak rate and number of steps (equal FLOPs), or that
reads as many tokens (equal data), less the arm's; above 0 the arm is ahead. Step ratio: the steps that a
baseline takes to the arm's loss, over the arm's. Between two lengths of baselines that were run the loss
is a straight line over the logarithm of the length; beyond them a bound is given. In brackets after a
loss: its standard deviation over seeds."""


REPETITION_EXPLANATION = """\
Means over the seeds, in nats a token. A pair of neighbours repeated: the token and the one before it were
neighbours earlier in the row already, so it can be copied. Random tokens: rows of uniformly drawn ids whose
second half is the first again; nothing but copying helps there."""


def markers(table: str) -> tuple[str, str]:
    """Returns the two lines of a page between which a table's results go."""
    return f"<!-- made by run.py, table {table}: begin -->", f"<!-- made by run.py, table {table}: end -->"


def write_between_markers(page: Path, table: str, text: str) -> None:
    """Puts text between the page's two markers of a table, in place of what is there.

    Raises:
        ValueError: The page has not both markers, in their order.
    """
    first, last = markers(table)
    before, begin, rest = page.read_text(encoding="utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"{page} lacks the lines {first!r} and {last!r}; results go between them")
    page.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")


def results_text(
    experiment: Experiment,
    arms: dict[str, ArmResult],
    claims: list[dict[str, Any]],
    repetition: dict[str, dict[str, Spread]],
    sweeps: list[Sweep],
    folder: str,
) -> str:
    """Returns the results in Markdown; `folder` is the figures' and the CSVs' place as seen from the page."""
    done, planned = sum(len(arm.eval_loss.values) for arm in arms.values()), len(experiment.runs())
    parts = [
        f"**{done} of {planned} runs.**"
        + (" The rest has not been run: arms and claims that want for it say so." if done < planned else ""),
        *_data(arms),
        "### The paper's claims here",
        *_claims(arms, claims),
        "### Every arm",
        _arms(experiment, arms),
        EXPLANATION,
    ]
    if repetition:
        parts += ["### Where in a row the loss lies", _repetition(repetition), REPETITION_EXPLANATION]
    main = [name for name in experiment.reports["main"] if name in arms]
    if main:
        names = ", ".join(main)
        parts += ["### Loss over steps", f"![Held-out loss over steps of {names}]({folder}/curves.svg)"]
    if sweeps:
        parts += ["### Loss over bag size", f"![Final loss over bag size]({folder}/loss-over-s.svg)"]
        parts.append("\n".join(map(_best, sweeps)))
    parts.append(
        f"From [results.csv]({folder}/results.csv), [curves.csv]({folder}/curves.csv), "
        + (f"[repetition.csv]({folder}/repetition.csv) " if repetition else "")
        + f"and [claims.csv]({folder}/claims.csv)."
    )
    return "\n\n".join(parts)


def _data(arms: dict[str, ArmResult]) -> list[str]:
    """Tells what data the runs had; Debian's packages change, and so does the text that is made of them."""
    found = sorted(frozenset().union(*(arm.data for arm in arms.values())))
    if len(found) > 1:
        return [f"**Runs of {len(found)} data sets ({', '.join(found)}): their losses do not compare.**"]
    return [f"All on one data set: training and held-out text {found[0]}."] if found else []


def _claims(arms: dict[str, ArmResult], claims: list[dict[str, Any]]) -> list[str]:
    rows = [
        (
            claim["claim"],
            f"{claim['lower']} < {claim['higher']}",
            _signed(claim["gain"]),
            "" if claim["standard_error"] is None else f"{claim['standard_error']:.4f}, {claim['spread']}",
            claim["seeds"] or "",
            _paired(claim),
            claim["here"],
        )
        for claim in claims
    ]
    head = ("claim", "losses", "difference", "standard error", "seeds", "over the same seeds", "here")
    parts = [_table(head, rows)]
    pooled = pooled_deviation(arm.eval_loss for arm in arms.values())
    if pooled is not None:
        several = ", ".join(arm.name for arm in arms.values() if len(arm.eval_loss.values) > 1)
        parts.append(
            f"Over the seeds of {several} the loss has a pooled standard deviation of {pooled:.4f}. Where an "
            "arm has one seed, the standard error takes that deviation for its own ('pooled'): a guess, for "
            "arms of another width or length most of all."
        )
    counts = {verdict: sum(claim["here"] == verdict for claim in claims) for verdict in _verdicts(claims)}
    told = "; ".join(f"{verdict}: {count}" for verdict, count in counts.items())
    return [f"Of {len(claims)} statements, {told}.", *parts]


def _paired(claim: dict[str, Any]) -> str:
    gain, error = claim["gain_same_seeds"], claim["standard_error_same_seeds"]
    return _signed(gain) + ("" if error is None else f" ± {error:.4f}")


def _verdicts(claims: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(sorted((claim["here"] for claim in claims), key=lambda here: here == NOT_RUN)))


def _arms(experiment: Experiment, arms: dict[str, ArmResult]) -> str:
    rows = []
    for name, settings in experiment.arms.items():
        arm = arms.get(name)
        width = experiment.models[settings.model].width
        seeds = f"{len(arm.eval_loss.values) if arm else 0} of {len(settings.seeds)}"
        place = (name, str(width), f"{settings.steps:,}", seeds)
        rows.append((*place, *(_measured(arm, arms) if arm else ("",) * 5)))
    head = ("arm", "width", "steps", "seeds", "tokens of text", "held-out loss", "gain at equal FLOPs")
    return _table((*head, "step ratio at equal loss", "gain at equal data"), rows)


def _measured(arm: ArmResult, arms: dict[str, ArmResult]) -> tuple[str, ...]:
    deviation = arm.eval_loss.deviation
    loss = f"{arm.eval_loss.mean:.4f}" + (f" ({deviation:.4f})" if deviation is not None else "")
    read = f"{arm.tokens / 1e6:.1f} M"
    baselines = sorted(
        (one for one in arms.values() if not one.switch and one.settings.setting == arm.settings.setting),
        key=lambda one: one.steps,
    )
    if not arm.switch or not baselines:
        return read, loss, "", "", ""
    equal = [one.eval_loss.mean - arm.eval_loss.mean for one in baselines if one.steps == arm.steps]
    ladder = Ladder(tuple(baselines))
    ratio, data = ladder.steps_to(arm.eval_loss.mean), ladder.loss_at(arm.tokens)
    gain = _signed(data.value - arm.eval_loss.mean) if data.is_known else ""
    return read, loss, _signed(equal[0]) if equal else "", _ratio(ratio, arm.steps), gain


def _repetition(repetition: dict[str, dict[str, Spread]]) -> str:
    shares = [found["repeated_share"].mean for found in repetition.values()]
    head = (
        "arm",
        f"a pair of neighbours repeated ({max(shares):.0%} of the held-out tokens)",
        "all other tokens",
        "random tokens, first time",
        "the same, second time",
    )
    columns = ("repeated_loss", "other_loss", "random_loss", "random_again_loss")
    rows = [(arm, *(f"{found[name].mean:.3f}" for name in columns)) for arm, found in repetition.items()]
    return _table(head, rows)


def _ratio(reading: Reading, steps: int) -> str:
    bound = {"beyond": "above ", "before": "below "}.get(reading.kind, "")
    return f"{bound}{reading.value / steps:.2f}"


def _best(sweep: Sweep) -> str:
    pairs = zip(sweep.sizes, sweep.losses, strict=True)
    losses = ", ".join(f"s = {size}: {loss.mean:.4f}" for size, loss in pairs)
    return f"- {sweep.label}: lowest at s = {sweep.best} ({losses})"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.4f}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
