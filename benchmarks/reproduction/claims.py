"""What the runs say of each of the paper's claims: by how much, and with what spread over seeds."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from experiment import Experiment

from tstruns.arms import Spread

NOT_RUN = "not run yet"


NUMBERS = ("gain", "standard_error", "seeds", "spread", "gain_same_seeds", "standard_error_same_seeds")


def claim_rows(experiment: Experiment, losses: Mapping[str, Mapping[int, float]]) -> list[dict[str, Any]]:
    """Returns a row for each claim; `losses` are the final ones by arm and seed.

    The standard error is that of the two arms' own seeds, taken as independent, where both have several. With
    one seed of either it is that of the deviation pooled over all arms that have several, and `spread` says
    so. Beside it the gain over the seeds that both have: a seed gives both arms their first weights.
    """
    spreads = {arm: Spread(tuple(by_seed.values())) for arm, by_seed in losses.items()}
    pooled = pooled_deviation(spreads.values())
    rows = []
    for claim in experiment.claims:
        row: dict[str, Any] = {"claim": claim.claim, "lower": claim.lower, "higher": claim.higher}
        lower, higher = spreads.get(claim.lower), spreads.get(claim.higher)
        if lower is None or higher is None:
            rows.append({**row, **dict.fromkeys(NUMBERS), "here": NOT_RUN})
            continue
        gain = higher.mean - lower.mean
        error, spread = _standard_error(lower, higher, pooled)
        paired = same_seeds(losses[claim.lower], losses[claim.higher])
        values = (gain, error, f"{len(lower.values)} and {len(higher.values)}", spread, *paired)
        rounded = [round(value, 5) if isinstance(value, float) else value for value in values]
        row |= {**dict(zip(NUMBERS, rounded, strict=True)), "here": verdict(gain, error)}
        rows.append(row)
    return rows


def pooled_deviation(spreads: Iterable[Spread]) -> float | None:
    """Returns the standard deviation over seeds, pooled over all arms of several; None if there are none."""
    several = [spread for spread in spreads if spread.deviation is not None]
    freedom = sum(len(spread.values) - 1 for spread in several)
    squares = sum((len(spread.values) - 1) * spread.deviation**2 for spread in several)
    return math.sqrt(squares / freedom) if several else None


def same_seeds(lower: Mapping[int, float], higher: Mapping[int, float]) -> tuple[float | None, float | None]:
    """Returns the mean gain over the seeds that both arms have, and its standard error; None: not known."""
    shared = sorted(set(lower) & set(higher))
    if not shared:
        return None, None
    gains = Spread(tuple(higher[seed] - lower[seed] for seed in shared))
    return gains.mean, gains.standard_error


def _standard_error(lower: Spread, higher: Spread, pooled: float | None) -> tuple[float | None, str]:
    own = [spread.standard_error for spread in (lower, higher)]
    if None not in own:
        return math.hypot(*own), "own seeds"
    if pooled is None:
        return None, "unknown"
    return pooled * math.sqrt(1 / len(lower.values) + 1 / len(higher.values)), "pooled"


def verdict(gain: float, error: float | None) -> str:
    """Returns in words what a difference says of the claim that it is above 0."""
    side = "as claimed" if gain > 0 else "the other way"
    if error is None:
        return f"{side}, spread unknown"
    return side if abs(gain) > 2 * error else "no difference within two standard errors"
