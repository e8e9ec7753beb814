"""Which runs are one arm of `tst compare`, and what an arm is called."""

from finished_runs import write

from tstruns.arms import group_into_arms
from tstruns.finished_run import load_run


def test_arms_are_named_by_what_differs(tmp_path):
    base = {"name": "adamw", "lr": 0.001}
    folders = [
        write(tmp_path / "a", 3.0),
        write(tmp_path / "b", 3.0, config={"optimizer": base}),
        write(tmp_path / "c", 3.0, bag_size=4, switch=30),
        write(
            tmp_path / "d",
            3.0,
            config={
                "algorithms": {
                    "token_superposition": {
                        "bag_size": 3,
                        "duration": "25ba",
                        "mode": "output_only",
                        "weighting": "power_law",
                    },
                    "reinitialise_embeddings": {},
                }
            },
            summary={"superposition_steps": 25},
        ),
        write(tmp_path / "e", 3.0, bag_size=4, switch=30, seed=2),
    ]
    arms = group_into_arms([load_run(folder) for folder in folders])
    assert {arm.name: len(arm.runs) for arm in arms} == {
        "baseline, lr 0.004": 1,
        "baseline, lr 0.001": 1,
        "TST s=3 r=0.25 output-only power law re-initialised, lr 0.004": 1,
        "TST s=4 r=0.3, lr 0.004": 2,
    }


def test_what_changes_no_loss_parts_no_arm(tmp_path):
    quiet = write(tmp_path / "a", 3.0, config={"progress_bar": False, "save_interval": "10ba"})
    folders = [quiet, write(tmp_path / "b", 3.1, seed=2, config={"eval_interval": "7ba"})]
    (arm,) = group_into_arms([load_run(folder) for folder in folders])
    assert arm.eval_loss.values == (3.0, 3.1)
