"""Laws of the weights in a bag that are not a plain formula: the fitted ones, and a list of one's own."""

import pytest
import torch

from composer_algo import bag_weights, multi_hot_cross_entropy


def test_fitted_weights_are_the_mutual_information_at_each_distance_over_their_sum():
    information = [3.63 + 1.35, 3.63 + 1.35 * 2**-1.25, 3.63 + 1.35 * 3**-1.25]
    expected = [value / sum(information) for value in information]
    assert bag_weights("fitted", 3).tolist() == pytest.approx(expected, rel=1e-6)


def test_fitted_weights_fall_with_distance_and_stay_above_the_constants_share():
    weights = bag_weights("fitted", 64)
    assert (weights.diff() < 0).all()
    assert (weights / weights[0]).min() > 3.63 / (3.63 + 1.35)


def test_only_the_ratios_of_a_list_matter():
    assert bag_weights([6, 2, 0], 3).tolist() == bag_weights((0.75, 0.25, 0.0), 3).tolist() == [0.75, 0.25, 0]


def test_list_of_a_names_numbers_gives_the_names_loss():
    logits, targets = torch.randn(5, 11), torch.randint(0, 11, (5, 4))
    named, listed = bag_weights("power_law", 4), bag_weights([1 / i for i in (1, 2, 3, 4)], 4)
    losses = [multi_hot_cross_entropy(logits, targets, weights).item() for weights in (named, listed)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize(
    ("weighting", "said"),
    [
        ([1, 2], r"\[1, 2\] has 2 numbers; bag_size 3.*Give 3 numbers"),
        ([1, -1, 2], r"-1 at place 1.*at least 0"),
        ([1, 2, float("nan")], r"nan at place 2.*finite"),
        ([float("inf"), 2, 1], r"inf at place 0.*finite"),
        ([1, "2", 3], r"'2' at place 1"),
        ([0, 0, 0], r"zero everywhere.*Make one number positive"),
        ("linear", r"'linear'.*fitted, or a list"),
        (3, r"weighting is 3;"),
    ],
)
def test_weightings_that_cannot_be_are_refused_with_the_rule(weighting, said):
    with pytest.raises(ValueError, match=said):
        bag_weights(weighting, 3)
