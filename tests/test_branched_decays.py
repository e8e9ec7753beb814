"""Decays branched from a constant-rate stem by `tst train`, and read as a ladder by `tst compare`."""

from pathlib import Path

import pytest
from finished_runs import of, rows_of
from small_run import metrics_without_times, run, write_run

from tstruns.compare import compare
from tstruns.finished_run import load_run

# Streaming leaves the closing of a shard it has checked to the garbage collector.
pytestmark = pytest.mark.filterwarnings(r"ignore:unclosed file .*\.mds:ResourceWarning")
PLAIN = (
    "train_loader.dataset.bag_size=1",
    "train_loader.dataset.superposition_batches=0",
    "algorithms.token_superposition=null",
)
WHOLE = "scheduler={name: wsd, t_warmup: 2ba, t_decay: 4ba}"


@pytest.fixture(scope="module")
def folder(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TST at 12 batches; a stem of 16, decays of 4 off it at 8 and 12; and whole runs of their lengths."""
    folder = tmp_path_factory.mktemp("branched")
    file = write_run(folder, small_dataset)

    def go(name: str, *overrides: str) -> None:
        run(file, f"run_dir={folder / name}", *overrides)

    go("tst", WHOLE)
    stem = ("scheduler.name=constant_with_warmup", "scheduler.t_decay=null", "save_interval=4ba")
    go("stem", *PLAIN, *stem, "max_duration=16ba")
    for start in (8, 12):
        steps = f"max_duration={start + 4}ba"
        load = f"load_path={folder}/stem/checkpoints/ep0-ba{start}-rank0.pt"
        go(f"branch{start}", *PLAIN, WHOLE, load, steps)
        go(f"whole{start}", *PLAIN, WHOLE, steps)
    return folder


def test_a_branch_ends_as_the_run_that_was_trained_from_its_start(folder):
    for start in (8, 12):
        branch, whole = (metrics_without_times(folder / f"{kind}{start}") for kind in ("branch", "whole"))
        assert branch == whole[start:]
        assert branch[-1]["lr"] < branch[0]["lr"] == 4e-3
        ends = [load_run(folder / f"{kind}{start}") for kind in ("branch", "whole")]
        assert len({(end.steps, end.tokens, end.flops, end.eval_loss) for end in ends}) == 1


def test_branches_are_a_ladder_for_all_three_comparisons_and_the_stem_is_none(folder, tmp_path):
    names = ("tst", "stem", "branch8", "branch12")
    compare([folder / name for name in names], tmp_path / "out")
    compare([folder / name for name in ("tst", "whole8", "whole12")], tmp_path / "whole")
    branched, whole = (rows_of(tmp_path / name / "comparisons.csv") for name in ("out", "whole"))
    assert [row["comparison"] for row in branched] == ["equal_flops", "equal_loss", "equal_data"]
    assert of(branched, "equal_loss")["baseline"] == "12, 16 steps, branched"
    assert of(branched, "equal_flops")["baseline"].startswith("baseline, 12 steps, branched from ep0-ba8")
    for kind in ("equal_flops", "equal_loss", "equal_data"):
        for number in ("baseline_loss", "gain", "ratio", "reading", "flops_ratio"):
            assert of(branched, kind)[number] == of(whole, kind)[number]
    assert "constant-rate stem, 16 steps" in (tmp_path / "out" / "report.html").read_text()
