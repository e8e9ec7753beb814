"""What the runs say of each of the paper's claims: by how much, and with what spread over seeds."""

import math
from collections.abc import Mapping
from typing import Any

from experiment import Experiment

from tstruns.arms import Spread

HEAD = ("claim", "lower", "higher", "gain", "standard error", "seeds", "here")


def claim_rows(experiment: Experiment, losses: Mapping[str, Spread]) -> list[dict[str, Any]]:
    """Returns a row for each claim of which both arms have been run; `losses` are final ones by arm."""
    rows = []
    for claim in experiment.claims:
        if claim.lower not in losses or claim.higher not in losses:
            continue
        lower, higher = losses[claim.lower], losses[claim.higher]
        gain = higher.mean - lower.mean
        errors = [spread.standard_error for spread in (lower, higher)]
        error = math.hypot(*errors) if None not in errors else None
        values = (
            claim.claim,
            claim.lower,
            claim.higher,
            round(gain, 5),
            None if error is None else round(error, 5),
            f"{len(lower.values)} and {len(higher.values)}",
            _verdict(gain, error),
        )
        rows.append(dict(zip(HEAD, values, strict=True)))
    return rows


def _verdict(gain: float, error: float | None) -> str:
    side = "as claimed" if gain > 0 else "the other way"
    if error is None:
        return f"{side}, spread unknown"
    return side if abs(gain) > 2 * error else f"{side}, within two standard errors"
