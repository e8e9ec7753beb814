"""The reproduction's report, made from its two tables: claims, comparisons, bag sizes, what is missing."""

import csv
import math
import re
import statistics
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks" / "reproduction"))

from claims import claim_rows  # noqa: E402
from experiment import TABLES, load_table  # noqa: E402
from page import markers, write_between_markers  # noqa: E402
from report import write_report  # noqa: E402
from results import write_csv  # noqa: E402

TABLE = load_table("main")
# Final losses by arm and seed; all else of the table has not been run.
LOSSES = {
    "baseline": (3.00, 3.02, 2.98),
    "s2": (2.90, 2.91, 2.89),
    "baseline-1.25x": (2.94,),
    "baseline-1.5x": (2.86,),
    "s4": (2.95,),
    "s6": (3.1,),
    "half-rate-baseline": (2.96,),
    "half-rate-s2": (2.93,),
}


def write_tables(folder: Path) -> None:
    """Writes results.csv and curves.csv as runs would leave them: a loss that falls by 0.1 an evaluation."""
    totals, evaluations = [], []
    for arm, losses in LOSSES.items():
        kind = TABLE.arms[arm]
        switch = round(kind.ratio * kind.steps)
        for seed, loss in enumerate(losses, 1):
            tokens = TABLE.rows * TABLE.seq_len * (kind.steps + switch * (kind.bag_size - 1))
            totals.append({"arm": arm, "seed": seed, "tokens": tokens, "eval_loss": loss})
            for left in (3, 2, 1, 0):
                step = kind.steps * (4 - left) // 4
                evaluations.append({"arm": arm, "seed": seed, "step": step, "eval_loss": loss + left / 10})
    split = {"repeated_share": 0.25, "other_loss": 3.1, "random_loss": 11.0, "random_again_loss": 9.0}
    repetition = [
        {"arm": "s4", "seed": seed, **split, "repeated_loss": loss} for seed, loss in ((1, 1.0), (2, 1.2))
    ]
    write_csv(folder / "repetition.csv", repetition)
    write_csv(folder / "results.csv", totals)
    write_csv(folder / "curves.csv", evaluations)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report's directory; its page lies beside it."""
    folder = tmp_path_factory.mktemp("docs") / "reproduction" / "main"
    folder.mkdir(parents=True)
    first, last = markers("main")
    other = "\n".join(markers("scale"))
    folder.parent.with_suffix(".md").write_text(f"# Mine\n\n{other}\n{first}\nold\n{last}\nThe end.\n")
    write_tables(folder)
    write_report(TABLE, folder)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return folder.parent.with_suffix(".md").read_text()


def cells(page: str, first: str) -> list[str]:
    """The line of a table that begins with this cell."""
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def first_claim(**losses: tuple[float, ...]) -> dict:
    return claim_rows(TABLE, {arm: dict(enumerate(values, 1)) for arm, values in losses.items()})[0]


def verdict(lower: tuple[float, ...], higher: tuple[float, ...], **others: tuple[float, ...]) -> tuple:
    row = first_claim(s2=lower, baseline=higher, **others)
    return row["gain"], row["spread"], row["here"]


def test_a_claim_holds_when_the_gain_is_beyond_two_standard_errors():
    assert verdict((2.8, 2.8), (2.9, 2.9)) == (0.1, "own seeds", "as claimed")
    assert verdict((2.9, 2.9), (2.8, 2.8)) == (-0.1, "own seeds", "the other way")
    assert verdict((2.7, 2.9), (2.8, 3.0)) == (0.1, "own seeds", "no difference within two standard errors")


def test_an_arm_of_one_seed_takes_the_pooled_deviation_for_its_own():
    assert verdict((2.8,), (2.9,)) == (0.1, "unknown", "as claimed, spread unknown")
    several = {"s3": (2.0, 2.1), "s4": (3.0, 3.1, 3.2)}
    by_hand = math.sqrt((statistics.variance(several["s3"]) + 2 * statistics.variance(several["s4"])) / 3)
    row = first_claim(s2=(2.8,), baseline=(2.9,), **several)
    assert row["standard_error"] == pytest.approx(by_hand * math.sqrt(2), abs=1e-5)
    assert verdict((2.8,), (2.9,), **several) == (0.1, "pooled", "no difference within two standard errors")
    assert verdict((2.5,), (2.9,), **several) == (0.4, "pooled", "as claimed")


def test_over_the_same_seeds_the_gain_is_the_mean_of_the_differences():
    row = first_claim(s2=(2.8, 2.5), baseline=(2.9, 2.7, 1.0))
    assert row["gain_same_seeds"] == pytest.approx(0.15)
    assert row["standard_error_same_seeds"] == pytest.approx(
        statistics.stdev([0.1, 0.2]) / math.sqrt(2), abs=1e-5
    )
    assert first_claim(s2=(2.8,), baseline=(2.9, 2.7))["standard_error_same_seeds"] is None


def test_every_claim_is_in_the_table_and_one_that_was_not_run_says_so(folder, page):
    with (folder / "claims.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["claim"] for row in rows] == [claim.claim for claim in TABLE.claims]
    for row in rows:
        run = {row["lower"], row["higher"]} <= set(LOSSES)
        assert (row["here"] != "not run yet") == run == (row["gain"] != "")
        assert cells(page, row["claim"])[-1] == row["here"]
    first = cells(page, "TST ends below the baseline at equal FLOPs")
    assert first[1:3] == ["s2 < baseline", "+0.1000"]
    assert first[4:] == ["3 and 3", "+0.1000 ± 0.0058", "as claimed"]


def test_an_arm_has_its_gains_and_its_step_ratio(page):
    ratio = 20000 * (24000 / 20000) ** ((2.94 - 2.90) / (2.94 - 2.86)) / 16000
    # s = 2 for 0.3 of the steps reads what 20,800 ordinary steps read.
    data = 2.94 - 0.08 * math.log(20800 / 20000) / math.log(24000 / 20000) - 2.90
    assert cells(page, "s2") == [
        *(
            "s2",
            "64",
            "16,000",
            "3 of 3",
            "42.6 M",
            "2.9000 (0.0100)",
            "+0.1000",
            f"{ratio:.2f}",
            f"{data:+.4f}",
        )
    ]
    assert cells(page, "s6")[-3:] == ["-0.1000", "below 1.00", ""]
    # An arm of another peak rate is held to the baseline of that rate.
    assert cells(page, "half-rate-s2")[-3:] == ["+0.0300", "above 1.00", ""]
    assert cells(page, "baseline-2x") == ["baseline-2x", "64", "32,000", "0 of 1", "", "", "", "", ""]


def test_the_page_tells_where_in_a_row_the_loss_lies(page):
    (line,) = [line for line in page.splitlines() if "a pair of neighbours repeated (" in line]
    assert "(25% of the held-out tokens)" in line
    assert "| s4 | 1.100 | 3.100 | 11.000 | 9.000 |" in page


def test_the_page_says_how_much_of_the_table_is_there(page):
    assert f"**12 of {len(TABLE.runs())} runs.**" in page
    assert "has not been run" in page


def test_the_best_bag_size_is_told_for_each_width(page):
    assert (
        "width 64, 16,000 steps: lowest at s = 2 (s = 1: 3.0000, s = 2: 2.9000, s = 4: 2.9500, s = 6: 3.1000)"
        in page
    )
    # One bag size alone, that of half the rate, shows no shape.
    assert page.count("lowest at s = ") == 1


def test_only_what_is_between_the_markers_is_replaced_and_links_lead_somewhere(folder, page):
    assert page.startswith("# Mine\n\n")
    assert page.endswith(f"{markers('main')[1]}\nThe end.\n")
    assert "old" not in page
    for target in re.findall(r"\]\(([^)]+)\)", page):
        assert (folder.parent.parent / target).is_file(), target
    before = {path: path.read_bytes() for path in [*folder.iterdir(), folder.parent.with_suffix(".md")]}
    write_report(TABLE, folder)
    assert {path: path.read_bytes() for path in before} == before


def test_a_page_without_its_markers_is_refused_and_left_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("precious")
    with pytest.raises(ValueError, match=r"page\.md lacks the lines"):
        write_between_markers(page, "main", "results")
    assert page.read_text() == "precious"


def test_the_committed_page_can_take_results(tmp_path):
    page = tmp_path / "reproduction.md"
    page.write_text((ROOT / "docs" / "reproduction.md").read_text())
    for table in TABLES:
        write_between_markers(page, table, f"results of {table}")
    assert all(f"\n\nresults of {table}\n\n" in page.read_text() for table in TABLES)


def test_runs_of_two_data_sets_are_told(tmp_path):
    for data, told in (("aa aa", "All on one data set: training and held-out text aa."), ("aa bb", "do not")):
        folder = tmp_path / data / "main"
        folder.mkdir(parents=True)
        folder.parent.with_suffix(".md").write_text("\n".join(markers("main")))
        names = zip(("baseline", "s2"), data.split(), strict=True)
        rows = [{"arm": arm, "seed": 1, "tokens": 9, "eval_loss": 3, "data": one} for arm, one in names]
        write_csv(folder / "results.csv", rows)
        write_csv(
            folder / "curves.csv",
            [{"arm": row["arm"], "seed": 1, "step": 16000, "eval_loss": 3} for row in rows],
        )
        write_report(TABLE, folder)
        assert told in folder.parent.with_suffix(".md").read_text()


def test_figures_are_files_of_their_own_with_a_name_for_each_line(folder):
    for name, labels in (
        ("curves.svg", ["baseline (3 seeds)", "s2 (3 seeds)", "baseline-1.25x (1 seed)"]),
        ("loss-over-s.svg", ["width 64, 16,000 steps"]),
    ):
        text = (folder / name).read_text()
        assert text.startswith("<svg ")
        assert all(f">{label}</text>" in text for label in labels)
        used = set(re.findall(r"var\((--[\w-]+)\)", text))
        assert used <= set(re.findall(r"(--[\w-]+): #", text))
        assert "http" not in text.replace("http://www.w3.org/", "")
