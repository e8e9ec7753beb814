"""Warmup-stable-decay against the dumbest formula, and what Composer makes of it."""

from types import SimpleNamespace

import pytest
from composer.core import Time, Timestamp, TimeUnit

from tstruns.schedule import warmup_stable_decay


def at(batch: int, max_duration: str, epoch_batches: int | None = None) -> SimpleNamespace:
    """What a schedule sees of Composer's State, 100 tokens a batch."""
    timestamp = Timestamp(batch=batch, token=batch * 100, epoch=0)
    return SimpleNamespace(
        timestamp=timestamp,
        max_duration=Time.from_timestring(max_duration),
        dataloader_len=None if epoch_batches is None else Time(epoch_batches, TimeUnit.BATCH),
    )


def reference(t: int, total: int, warmup: int, decay: int, alpha_f: float) -> float:
    if t < warmup:
        return t / warmup
    if t <= total - decay:
        return 1.0
    return 1.0 - (1.0 - alpha_f) * (t - (total - decay)) / decay


@pytest.mark.parametrize(
    ("warmup", "decay", "alpha_f"), [(10, 20, 0.0), (0, 20, 0.1), (10, 0, 0.0), (40, 60, 0.5)]
)
@pytest.mark.parametrize("unit", ["ba", "dur", "tok"])
def test_schedule_is_the_formula_at_every_batch(warmup, decay, alpha_f, unit):
    times = {
        "ba": ("100ba", f"{warmup}ba", f"{decay}ba"),
        "dur": ("100ba", f"{warmup / 100}dur", f"{decay / 100}dur"),
        "tok": ("10000tok", f"{warmup * 100}tok", f"{decay * 100}tok"),
    }
    max_duration, t_warmup, t_decay = times[unit]
    schedule = warmup_stable_decay(t_warmup, t_decay, alpha_f)
    for batch in range(100):
        expected = reference(batch, 100, warmup, decay, alpha_f)
        assert schedule(at(batch, max_duration)) == pytest.approx(expected, abs=1e-12), batch


def test_epochs_are_counted_in_batches():
    schedule = warmup_stable_decay("0.1dur", "1ep")
    values = [schedule(at(batch, "2ep", epoch_batches=50)) for batch in range(100)]
    assert values == pytest.approx([reference(batch, 100, 10, 50, 0.0) for batch in range(100)])


def test_a_share_of_the_run_is_rounded_and_not_cut():
    # 0.29 * 100 is 28.999999999999996 in floating point.
    assert warmup_stable_decay("0.29dur", "0ba")(at(29, "100ba")) == 1.0


def test_a_longer_run_keeps_the_past_of_a_schedule_in_batches():
    schedule = warmup_stable_decay("10ba", "20ba")
    assert [schedule(at(b, "100ba")) for b in range(80)] == [schedule(at(b, "200ba")) for b in range(80)]
