"""`tst eval` with the harness's own tasks on tiny local datasets in the formats of the hub's."""

import json
import shutil
from pathlib import Path

import pytest
from by_hand import right_answers
from local_tasks import mmlu_subjects
from tst_tools import cli

from tstruns.evaluation import evaluate


def test_accuracies_are_those_of_adding_up_log_probabilities_by_hand(model, data):
    right, documents = right_answers(model, data / "allenai" / "ai2_arc" / "ARC-Easy" / "test.jsonl")
    results = evaluate(model, ["arc_easy", "arc_challenge"], data)["results"]
    assert results["arc_easy"]["acc,none"] == pytest.approx(right / documents)
    assert 0 < right < documents
    # The same documents under another name.
    assert results["arc_challenge"]["acc,none"] == results["arc_easy"]["acc,none"]


def test_data_that_changed_are_read_as_they_are_now(model, data, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(data / "allenai", copy / "allenai")
    questions = copy / "allenai" / "ai2_arc" / "ARC-Easy" / "test.jsonl"
    accuracies = []
    for answer in "ABCD":
        documents = [{**json.loads(line), "answerKey": answer} for line in questions.read_text().splitlines()]
        questions.write_text("".join(json.dumps(document) + "\n" for document in documents))
        accuracies.append(evaluate(model, ["arc_easy"], copy)["results"]["arc_easy"]["acc,none"])
    # Each question has one of the four for its answer.
    assert sum(accuracies) == pytest.approx(1)


def test_the_command_prints_a_table_and_writes_json(model, data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(model.parent)
    tasks = "hellaswag,arc_easy,mmlu_anatomy,mmlu_astronomy"
    out = tmp_path / "results.json"
    command = ["eval", model.name, "--tasks", tasks, "--data", str(data), "--out", str(out)]
    assert cli.main(command) == 0
    table = capsys.readouterr().out
    results = json.loads(out.read_text())
    assert set(results["results"]) == set(tasks.split(","))
    assert set(results["n-shot"].values()) == {0}
    assert all(task.removeprefix("mmlu_") in table for task in tasks.split(","))
    assert Path.cwd() == model.parent


def test_the_paper_s_eight_tasks_run_on_local_copies_and_mmlu_is_the_mean_over_its_questions(model, data):
    tasks = ["arc_easy", "arc_challenge", "boolq", "hellaswag", "mmlu", "openbookqa", "piqa", "winogrande"]
    found = evaluate(model, tasks, data)
    assert set(tasks) <= set(found["results"])
    assert all(0 <= found["results"][task]["acc,none"] <= 1 for task in tasks)
    # Each subject has as many questions as any other.
    subjects = [found["results"][f"mmlu_{name}"]["acc,none"] for name in mmlu_subjects()]
    assert len(subjects) == 57
    assert found["groups"]["mmlu"]["acc,none"] == pytest.approx(sum(subjects) / 57)


def test_an_unknown_task_and_absent_data_are_told_before_anything_is_evaluated(model, data):
    with pytest.raises(ValueError, match="the harness has no task 'helaswag'; did you mean 'hellaswag'"):
        evaluate(model, ["helaswag"], data)
    with pytest.raises(ValueError, match=r"none of the [\d,]+ names known here is like it"):
        evaluate(model, ["qqqqqqqqqqqq"], data)
    with pytest.raises(FileNotFoundError, match=r"lacks the data of a task: .*sciq"):
        evaluate(model, ["sciq"], data)
    with pytest.raises(FileNotFoundError, match="holds no config"):
        evaluate(data, ["piqa"], data)
