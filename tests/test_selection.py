"""Which documents a dataset holds: enough characters, the first so many, and one side of a holdout."""

import shutil

import orjson
import pytest
import xxhash
from test_append import ids_of
from test_prepare import tree, write_jsonl

import tstdata
from tstdata import tasks

TEXTS = [f"text {n} " * (n % 5) for n in range(400)]


@pytest.fixture
def corpus_of(tmp_path):
    """Writes texts into four files."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(4):
        write_jsonl(folder / f"{number}.jsonl", TEXTS[number * 100 : number * 100 + 100])
    return folder


def texts_of(dataset, tokenizer) -> list[str]:
    ids = ids_of(dataset)
    texts, start = [], 0
    for place, one in enumerate(ids):
        if one == 0:
            texts.append(tokenizer.decode(ids[start:place], skip_special_tokens=False))
            start = place + 1
    return texts


def test_documents_of_fewer_characters_are_left_out_and_counted(
    corpus_of, tmp_path, tokenizer_dir, tokenizer
):
    card = tstdata.prepare(corpus_of, tmp_path / "out", tokenizer_dir, 8, min_chars=8).card
    kept = [text for text in TEXTS if len(text) >= 8]
    assert texts_of(tmp_path / "out", tokenizer) == kept
    assert (card.num_documents, card.num_short) == (len(kept), len(TEXTS) - len(kept))


@pytest.mark.parametrize("limit", [100, 101])
def test_the_first_documents_are_taken_and_the_workers_change_no_byte(
    corpus_of, tmp_path, tokenizer_dir, tokenizer, monkeypatch, limit
):
    trees = []
    for workers, task_bytes in ((1, 4 << 20), (1, 300), (2, 300)):
        monkeypatch.setattr(tasks, "_TASK_BYTES", task_bytes)
        out = tmp_path / f"{workers}-{task_bytes}"
        tstdata.prepare(corpus_of, out, tokenizer_dir, 8, limit=limit, workers=workers)
        trees.append(tree(out))
    assert texts_of(out, tokenizer) == TEXTS[:limit]
    assert tstdata.verify(out).ok
    assert trees[0] == trees[1] == trees[2]


def test_a_limit_reads_no_further_than_it_must(corpus_of, tmp_path, tokenizer_dir, monkeypatch):
    monkeypatch.setattr(tasks, "_TASK_BYTES", 10)
    (corpus_of / "9.jsonl").write_bytes(b"{")
    assert tstdata.prepare(corpus_of, tmp_path / "out", tokenizer_dir, 8, limit=150).card.num_documents == 150


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_bad_input_is_judged_up_to_the_task_of_the_last_document(
    corpus_of, tmp_path, tokenizer_dir, monkeypatch, workers
):
    monkeypatch.setattr(tasks, "_TASK_BYTES", 300)
    lines = (corpus_of / "2.jsonl").read_bytes().splitlines(keepends=True)
    (corpus_of / "2.jsonl").write_bytes(b"".join([*lines[:60], b"{\n", *lines[60:90], b"[\n", *lines[90:]]))
    arguments = (tokenizer_dir, 8)
    for limit in (240, 250, 255):
        found = tstdata.prepare(corpus_of, tmp_path / str(limit), *arguments, limit=limit, workers=workers)
        assert found.card.num_documents == limit
    for limit in (265, None):
        with pytest.raises(ValueError, match=r"2\.jsonl line 61"):
            tstdata.prepare(corpus_of, tmp_path / f"bad {limit}", *arguments, limit=limit, workers=workers)


def test_a_holdout_shares_out_every_document_by_its_text_alone(corpus_of, tmp_path, tokenizer_dir, tokenizer):
    report = tstdata.prepare(corpus_of, tmp_path / "out", tokenizer_dir, 8, holdout=0.2, min_chars=1)
    kept = [text for text in TEXTS if text]
    held = [text for text in kept if xxhash.xxh64_intdigest(text.encode()) / 2**64 < 0.2]
    assert texts_of(tmp_path / "out" / "val", tokenizer) == held
    assert texts_of(tmp_path / "out" / "train", tokenizer) == [text for text in kept if text not in held]
    assert 0.1 < len(held) / len(kept) < 0.3
    assert (report.card.recipe.part, report.val.card.recipe.part) == ("train", "val")
    assert report.card.num_short + report.val.card.num_short == TEXTS.count("")
    for part in ("train", "val"):
        assert tstdata.verify(tmp_path / "out" / part).ok
        dataset = tstdata.StreamingBagDataset(
            local=str(tmp_path / "out"), split=part, bag_size=1, superposition_batches=0, batch_size=1
        )
        assert dataset.card == tstdata.DatasetCard.load(tmp_path / "out" / part)
        dataset.close()


def test_a_holdout_is_appended_to_and_asked_for_again_as_two_datasets(corpus_of, tmp_path, tokenizer_dir):
    out = tmp_path / "out"
    more = write_jsonl(tmp_path / "more.jsonl", [f"more {n}" for n in range(90)])
    tstdata.prepare(corpus_of, out, tokenizer_dir, 8, holdout=0.2)
    report = tstdata.prepare(more, out, tokenizer_dir, 8, holdout=0.2, append=True)
    assert report.card.parts[1].num_documents + report.val.card.parts[1].num_documents == 90
    assert report.val.card.parts[1].num_documents > 0
    before = tree(out)
    assert tstdata.prepare(corpus_of, out, tokenizer_dir, 8, holdout=0.2).already_done
    assert tree(out) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"min_chars": -1}, "--min-chars 0 or more"),
        ({"limit": 0}, "--limit 1000"),
        ({"holdout": 1.0}, "--holdout 0.001"),
        ({"max_whole": 0}, "max_whole is 0; give --max-whole"),
        ({"on_error": "ignore"}, "on_error is 'ignore'; it can be one of fail, skip"),
        ({"split": ""}, "split is empty"),
    ],
)
def test_what_can_not_be_meant_is_refused_before_any_work(corpus_of, tmp_path, tokenizer_dir, changes, words):
    with pytest.raises(ValueError, match=words):
        tstdata.prepare(corpus_of, tmp_path / "out", tokenizer_dir, 8, **changes)
    assert not (tmp_path / "out").exists()


def test_a_holdout_that_takes_nothing_says_so(corpus_of, tmp_path, tokenizer_dir):
    with pytest.raises(ValueError, match=r"hold 0 tokens in all for val, .* small --holdout may take none"):
        tstdata.prepare(corpus_of, tmp_path / "out", tokenizer_dir, 8, holdout=1e-9)


@pytest.mark.parametrize("begun", [False, True])
def test_a_holdout_is_not_put_into_another_dataset(corpus_of, tmp_path, tokenizer_dir, begun):
    out = tmp_path / "out"
    tstdata.prepare(corpus_of, out, tokenizer_dir, 8)
    if begun:
        (out / ".prepare").mkdir()
        (out / ".prepare" / "request.json").write_bytes(b"{}")
        (out / "dataset.json").unlink()
    before = tree(out)
    with pytest.raises(FileExistsError, match="is, or was begun as, a dataset without --holdout"):
        tstdata.prepare(corpus_of, out, tokenizer_dir, 8, holdout=0.3)
    assert tree(out) == before


def test_documents_of_which_none_is_left_are_accounted_for(tmp_path, tokenizer_dir):
    source = tmp_path / "a.jsonl"
    source.write_bytes(b'{"body": "x"}\n' * 5 + b'{"text": "short"}\n' * 3)
    with pytest.raises(
        ValueError,
        match=r"5 documents were rejected, .* first: no key 'text'.* 3 documents have .*--min-chars\.$",
    ):
        tstdata.prepare(source, tmp_path / "out", tokenizer_dir, 8, on_error="skip", min_chars=9)


def test_a_holdout_may_stand_beside_its_sources_and_goes_into_no_file(corpus_of, tmp_path, tokenizer_dir):
    tstdata.prepare(corpus_of, tmp_path, tokenizer_dir, 8, holdout=0.3)
    assert (tmp_path / "val" / "dataset.json").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="is a file"):
        tstdata.prepare(corpus_of, tmp_path / "file", tokenizer_dir, 8, holdout=0.3)


def test_a_limit_that_ended_the_workers_does_not_end_the_holdout(
    corpus_of, tmp_path, tokenizer_dir, monkeypatch
):
    monkeypatch.setattr(tasks, "_TASK_BYTES", 300)
    (corpus_of / "3.jsonl").write_bytes(b"{")
    train = sum(xxhash.xxh64_intdigest(text.encode()) / 2**64 >= 0.2 for text in TEXTS[:300])
    for limit in (train - 10, train - 5, train):  # The bad task is begun with that of the last of them.
        out = tmp_path / f"out {limit}"
        # Val has fewer documents than that before the bad line.
        with pytest.raises(ValueError, match=r"3\.jsonl line 1"):
            tstdata.prepare(corpus_of, out, tokenizer_dir, 8, limit=limit, holdout=0.2, workers=3)
        assert tstdata.DatasetCard.load(out / "train").num_documents == limit
        assert not (out / "val" / "dataset.json").exists()


def test_an_output_may_be_a_file_uri_and_lie_in_its_source(corpus_of, tmp_path, tokenizer_dir):
    inside = corpus_of / "made of it"
    first = tstdata.prepare(corpus_of, f"file://{inside}", tokenizer_dir, 8)
    assert inside.is_dir()
    assert tstdata.prepare(corpus_of, inside, tokenizer_dir, 8).already_done
    assert first.card == tstdata.DatasetCard.load(inside)
    shutil.rmtree(inside)


def test_a_changed_selection_or_key_in_the_same_output_is_refused_by_name(corpus_of, tmp_path, tokenizer_dir):
    out = tmp_path / "out"
    tstdata.prepare(corpus_of, out, tokenizer_dir, 8)
    for changes, words in (({"min_chars": 3}, "min_chars was 0, now 3"), ({"limit": 5}, "limit was None")):
        with pytest.raises(ValueError, match=words):
            tstdata.prepare(corpus_of, out, tokenizer_dir, 8, **changes)
    for path in corpus_of.glob("*.jsonl"):
        lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
        path.write_bytes(b"".join(orjson.dumps({**line, "body": line["text"]}) + b"\n" for line in lines))
    tstdata.prepare(corpus_of, tmp_path / "two", tokenizer_dir, 8)
    with pytest.raises(ValueError, match="was read by the key 'text', now 'body'"):
        tstdata.prepare(f"{corpus_of}::body", tmp_path / "two", tokenizer_dir, 8)


def test_what_holds_the_two_datasets_of_a_holdout_is_told_from_others(tmp_path, tokenizer_dir, capsys):
    texts = [f"text number {number} of a few words" for number in range(200)]
    source, out = write_jsonl(tmp_path / "a.jsonl", texts), tmp_path / "out"
    tstdata.prepare(source, out, tokenizer_dir, 4, holdout=0.2)
    with pytest.raises(
        FileNotFoundError, match=r"two datasets of a holdout\. Give .*out/train or .*out/val\."
    ):
        tstdata.DatasetCard.load(out)
    with pytest.raises(FileExistsError, match=r"of a holdout\..* --holdout included"):
        tstdata.prepare(source, out, tokenizer_dir, 4)
    assert tstdata.prepare(source, out, tokenizer_dir, 4, holdout=0.2).already_done
