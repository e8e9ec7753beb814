"""Laws of the switch: which batch it is, and when that cannot be known."""

import pytest

from composer_algo.agreement import BagData, Settings, settle_bag_size, settle_switch
from composer_algo.phase import RunLength, Schedule, parse_time, switch_batch, token_share_warning


def test_schedule_has_bags_before_the_switch_and_tokens_from_it_on():
    schedule = Schedule(bag_size=6, switch_batch=3)
    assert [schedule.bag_size_at(batch) for batch in range(5)] == [6, 6, 6, 1, 1]
    assert [schedule.phase_at(batch) for batch in range(5)] == [1, 1, 1, 2, 2]


def test_switch_at_batch_zero_has_no_superposition_phase():
    assert Schedule(bag_size=6, switch_batch=0).phase_at(0) == 2


@pytest.mark.parametrize(
    ("duration", "max_duration", "batch"),
    [
        ("6000ba", "9ba", 6000),
        ("0ba", None, 0),
        ("6e3ba", None, 6000),
        ("0.3dur", "100ba", 30),
        # 0.29 * 100 and 0.7 * 10 are 28.999... and 7.000...1 in floating point.
        ("0.29dur", "100ba", 29),
        ("0.7dur", "10ba", 7),
        ("0dur", "100ba", 0),
        ("1dur", "100ba", 100),
        ("0.5dur", "5ba", 3),
        ("0.333dur", "10ba", 3),
    ],
)
def test_switch_is_exact_in_batches(duration, max_duration, batch):
    assert switch_batch(duration, RunLength(max_duration)) == batch


@pytest.mark.parametrize(
    ("run", "batch"),
    [
        (RunLength("1ep", epoch_batches=50, growth=6), 20),
        (RunLength("3ep", epoch_batches=50, growth=1), 60),
        (RunLength("800sp", batch_rows=8, growth=6), 40),
        # 0.4 of the tokens, at 8 rows of 6 * 32 tokens a superposed batch.
        (RunLength("153600tok", batch_rows=8, seq_len=32, growth=6), 40),
    ],
)
def test_share_of_a_run_not_in_batches_is_worked_out_where_it_is_exact(run, batch):
    assert switch_batch("0.4dur", run) == batch


@pytest.mark.parametrize(
    "run",
    [
        RunLength(None),
        RunLength("1ep", growth=6),
        RunLength("2ep", epoch_batches=50, growth=6),
        RunLength("800sp"),
        RunLength("153600tok", batch_rows=8),
        RunLength("100sec", epoch_batches=50, batch_rows=8, seq_len=32),
    ],
)
def test_share_of_a_run_whose_batches_are_unknown_is_refused(run):
    with pytest.raises(ValueError, match=r"'0.4dur' is a share of .* in batches"):
        switch_batch("0.4dur", run)


@pytest.mark.parametrize("duration", ["3ep", "1000tok", "1000sp", "10sec", "1iter"])
def test_unit_that_names_no_exact_batch_is_refused_with_the_units_that_do(duration):
    with pytest.raises(ValueError, match=rf"'{duration}'.*6000ba.*0.3dur"):
        switch_batch(duration, RunLength("100ba", 10, 8, 32))


@pytest.mark.parametrize("duration", ["1.5dur", "30dur"])
def test_share_above_one_is_refused(duration):
    with pytest.raises(ValueError, match="at most 1"):
        switch_batch(duration, RunLength("100ba"))


def test_fraction_of_a_batch_is_refused():
    with pytest.raises(ValueError, match="batches are whole"):
        switch_batch("10.5ba", RunLength("100ba"))


@pytest.mark.parametrize("text", ["", "6000", "ba", "-3ba", "0.3 of the run", 6000, None])
def test_what_is_no_time_string_is_refused(text):
    with pytest.raises(ValueError, match="Composer time string"):
        parse_time(text, "duration")


def test_share_of_tokens_is_said_to_be_another_share_of_steps():
    run = RunLength("153600tok", batch_rows=8, seq_len=32, growth=6)
    message = token_share_warning("0.4dur", run)
    # 40 superposed batches read 61,440 tokens; the other 92,160 are 360 ordinary batches.
    assert message is not None
    assert "40.0% of the TOKENS but only 10.0% of the optimizer steps" in message
    assert "batch 40" in message


@pytest.mark.parametrize(
    ("duration", "run"),
    [
        ("40ba", RunLength("153600tok", batch_rows=8, seq_len=32, growth=6)),
        ("0.4dur", RunLength("100ba", batch_rows=8, seq_len=32, growth=6)),
        ("0.4dur", RunLength("153600tok", batch_rows=8, seq_len=32, growth=1)),
    ],
)
def test_share_of_steps_is_not_warned_of(duration, run):
    assert token_share_warning(duration, run) is None


DATA = BagData(bag_size=6, superposition_batches=40, seq_len=32)
RUN = RunLength("100ba", growth=6)
SAVED = {
    "bag_size": 6,
    "switch_batch": 40,
    "duration": "0.4dur",
    "weighting": "uniform",
    "mode": "full",
    "alternative": None,
    "recovery_rows": None,
}


def settings(bag_size=None, duration=None, weighting="uniform", mode="full"):
    return Settings(bag_size, duration, weighting, mode)


def test_bag_size_and_switch_come_from_the_dataset_when_not_given():
    assert settle_bag_size(settings(), DATA, None) == 6
    assert settle_switch(settings(), DATA, None, RUN, 6) == Schedule(6, 40)


def test_output_only_takes_bag_size_and_switch_from_the_algorithm():
    plain = BagData(bag_size=1, superposition_batches=0, seq_len=32)
    chosen = settings(4, "10ba", mode="output_only")
    assert settle_bag_size(chosen, plain, None) == 4
    assert settle_switch(chosen, plain, None, RUN, 4) == Schedule(4, 10)


def test_bag_size_that_disagrees_with_the_dataset_is_refused_naming_both():
    with pytest.raises(ValueError, match=r"bag_size 4 .* bag_size 6"):
        settle_bag_size(settings(4), DATA, None)


@pytest.mark.parametrize("duration", ["30ba", "0.3dur"])
def test_switch_that_disagrees_with_the_dataset_is_refused_naming_both(duration):
    with pytest.raises(ValueError, match=r"batch 30 .* batch 40"):
        settle_switch(settings(duration=duration), DATA, None, RUN, 6)


def test_output_only_over_bag_rows_is_refused():
    with pytest.raises(ValueError, match=r"output_only.*superposition_batches 40"):
        settle_switch(settings(4, "10ba", mode="output_only"), DATA, None, RUN, 4)


def test_bag_size_that_nobody_gives_is_asked_for():
    with pytest.raises(ValueError, match="no bag_size"):
        settle_bag_size(settings(), None, None)


def test_switch_that_nobody_gives_is_asked_for():
    with pytest.raises(ValueError, match="no duration"):
        settle_switch(settings(6), None, None, RUN, 6)


def test_share_of_the_run_stays_the_saved_batch_when_the_run_grows():
    longer = RunLength("1000ba", growth=6)
    assert settle_switch(settings(duration="0.4dur"), DATA, SAVED, longer, 6).switch_batch == 40


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (settings(duration="0.5dur"), "switch_batch 40 .* switch_batch 50"),
        (settings(duration="41ba"), "switch_batch 40 .* switch_batch 41"),
        (settings(duration="40ba", weighting="power_law"), "weighting 'uniform' .* weighting 'power_law'"),
        (settings(duration="40ba", mode="input_only"), "mode 'full' .* mode 'input_only'"),
    ],
)
def test_setting_changed_on_resume_is_refused_naming_both(changed, said):
    with pytest.raises(ValueError, match=said):
        settle_switch(changed, None, SAVED, RUN, 6)


def test_bag_size_changed_on_resume_is_refused_naming_both():
    with pytest.raises(ValueError, match=r"bag_size 6 .* bag_size 4"):
        settle_bag_size(settings(4), None, SAVED)


def test_same_switch_in_another_unit_is_no_change():
    assert settle_switch(settings(duration="40ba"), DATA, SAVED, RUN, 6).switch_batch == 40


def test_run_that_ends_before_its_recovery_phase_is_warned_of(caplog):
    settle_switch(settings(duration="40ba"), DATA, None, RunLength("40ba"), 6)
    assert "no recovery phase" in caplog.text
