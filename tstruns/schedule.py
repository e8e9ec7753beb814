"""Learning-rate schedules by their YAML names: our warmup-stable-decay and Composer's own."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from composer.core import State, Time

    from .config import Scheduler


def warmup_stable_decay(t_warmup: str, t_decay: str, alpha_f: float = 0.0) -> "Callable[..., float]":
    """Returns a Composer scheduler: linear warm-up, constant, linear decay.

    With t of T time units done, the multiplier of the peak learning rate is t / t_warmup while t < t_warmup;
    in the last t_decay it falls in a straight line from 1 to `alpha_f`, reached at t = T; between, it is 1.
    Composer's warm-up convention: the very first batch has learning rate 0.

    Args:
        t_warmup: Time string in any unit; `dur` is a share of max_duration.
        t_decay: Time string in max_duration's unit, or `dur`.
        alpha_f: Multiplier at the end, 0 to 1.
    """

    def multiplier(state: "State", ssr: float = 1.0) -> float:
        del ssr  # scale_schedule_ratio is not offered by tst train
        warmup, decay, total = (_resolve(time, state) for time in (t_warmup, t_decay, "1dur"))
        done = state.timestamp.get(warmup.unit).value
        if done < warmup.value:
            return float(done / warmup.value)
        left = total.value - state.timestamp.get(total.unit).value
        if left >= decay.value:
            return 1.0
        return float(alpha_f + (1 - alpha_f) * max(0, left) / decay.value)

    return multiplier


def _resolve(text: str, state: "State") -> "Time[int]":
    """Returns a time in absolute units; epochs become batches, since a schedule steps within them."""
    from composer.core import Time, TimeUnit

    time, end = Time.from_timestring(text), state.max_duration
    assert end is not None, "Composer sets max_duration before it asks for a learning rate"
    share = 1.0
    if time.unit == TimeUnit.DURATION:
        share, time = time.value, end
    if time.unit == TimeUnit.EPOCH:
        if state.dataloader_len is None:
            raise ValueError(
                f"{text!r} is in epochs, and this loader has no length; give the time in ba or tok"
            )
        time = Time(time.value * int(state.dataloader_len), TimeUnit.BATCH)
    return Time(round(share * time.value), time.unit)


def build_scheduler(section: "Scheduler") -> Any:
    """Returns the Composer scheduler a `scheduler` section names."""
    from composer import optim

    arguments = section.model_dump(exclude={"name"})
    named = {
        "wsd": warmup_stable_decay,
        "constant_with_warmup": optim.ConstantWithWarmupScheduler,
        "cosine_with_warmup": optim.CosineAnnealingWithWarmupScheduler,
        "linear_decay_with_warmup": optim.LinearWithWarmupScheduler,
    }
    return named[section.name](**arguments)
