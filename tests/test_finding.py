"""Text found in a dataset, and how long its documents are, against the corpus itself."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from tst_tools import cli

import tstdata
from tstdata import finding, histograms
from tstdata.dataset_files import DatasetFiles
from tstdata.finding import Search
from tstdata.shard_reading import read_tokens


def search(dataset, text: str, most_found: int = 1000, most_tokens: int = 1 << 40, start: int = 0):
    one = Search(DatasetFiles(dataset), tstdata.DatasetCard.load(dataset), text, most_tokens, start)
    return list(one.run(most_found)), one


def row_text(dataset, tokenizer, first: int, last: int) -> str:
    card = tstdata.DatasetCard.load(dataset)
    ids = read_tokens(DatasetFiles(dataset), card, first * card.seq_len, (last + 1) * card.seq_len)
    return tokenizer.decode(ids.tolist(), skip_special_tokens=False)


@pytest.mark.parametrize(
    "text", ["import", "async def", "na\u0308i", "\U0001f469\u200d\U0001f4bb", "no such text"]
)
@pytest.mark.parametrize("window", [1 << 20, 50])
def test_all_documents_that_hold_a_text_are_found_and_no_others(
    small_dataset, corpus, tokenizer, monkeypatch, text, window
):
    monkeypatch.setattr(finding, "_WINDOW", window)
    found, done = search(small_dataset, text)
    assert done.is_done
    assert len(found) == sum(text in one for one in corpus[1])
    for one in found:
        assert text in one.context
        if one.last_row < tstdata.DatasetCard.load(small_dataset).num_rows:
            assert text in row_text(small_dataset, tokenizer, one.first_row, one.last_row)
            assert one.last_row - one.first_row <= 1


def test_a_search_stops_where_it_was_told_and_goes_on_from_there(small_dataset):
    everything, _ = search(small_dataset, "import")
    for limits in ({"most_tokens": 5_000}, {"most_tokens": 1}, {"most_found": 1}, {"most_found": 2}):
        found, starts, is_done = [], [0], False
        while not is_done:
            some, state = search(small_dataset, "import", start=starts[-1], **limits)
            found += some
            is_done = state.is_done
            assert is_done or state.next_token > starts[-1]
            starts.append(state.next_token)
        assert len(starts) > 3
        assert found == everything
    some, state = search(small_dataset, "import", most_found=3)
    assert some == everything[:3]
    assert not state.is_done


def test_the_histograms_count_every_document(small_dataset, corpus, monkeypatch):
    files, card = DatasetFiles(small_dataset), tstdata.DatasetCard.load(small_dataset)
    tokens, characters = histograms.document_histograms(files, card)
    lengths = pq.read_table(small_dataset / "documents")["num_tokens"].to_numpy()
    for histogram, sizes in ((tokens, lengths), (characters, np.array([len(text) for text in corpus[1]]))):
        expected = [
            int(((sizes >= low) & (sizes < high)).sum())
            for low, high in zip(histogram.edges, histogram.edges[1:], strict=False)
        ]
        if histogram is tokens or max(sizes) < 1 << 14:
            assert histogram.counts == expected
        assert sum(histogram.counts) == len(sizes)
    assert tokens.lines()[0] == f"tokens a document ({len(lengths):,} documents)"
    assert max(line.count("#") for line in tokens.lines()) == 40


def test_the_command_finds_and_shows_histograms_and_the_largest_sources(small_dataset, capsys):
    assert cli.main(["inspect", str(small_dataset), "--find", "import", "--hits", "2"]) == 0
    out = capsys.readouterr().out
    assert "2 documents found; not searched to the end: go on with --find-from" in out
    assert cli.main(["inspect", str(small_dataset), "--find", "import", *out.split()[-2:]]) == 0
    rest = capsys.readouterr().out.splitlines()
    assert not set(out.splitlines()[:2]) & set(rest)
    assert "a.jsonl line " in out
    assert cli.main(["inspect", str(small_dataset), "--find", "import", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["found"][0]["place_kind"] == "line"
    assert cli.main(["inspect", str(small_dataset)]) == 0
    out = capsys.readouterr().out
    assert "tokens a document" in out
    assert "characters a document" in out
    sizes = [int(line.split()[-2].replace(",", "")) for line in out.splitlines() if line.endswith(" tokens")]
    assert sizes == sorted(sizes, reverse=True)
    assert cli.main(["inspect", str(small_dataset), "--find", ""]) == 2
    assert cli.main(["inspect", str(small_dataset), "--find", "import", "--row", "-1"]) == 2
    assert "row -1 is not in" in capsys.readouterr().err
    for option, least in (("--hits", 1), ("--find-tokens", 1), ("--find-from", 0)):
        command = ["inspect", str(small_dataset), "--find", "import", option]
        for number, words in ((least - 1, f"is too little; the least is {least}."), ("few", "invalid whole")):
            with pytest.raises(SystemExit, match="2"):
                cli.main([*command, str(number)])
            assert words in capsys.readouterr().err


def test_a_text_across_the_border_of_two_windows_is_found(small_dataset, corpus, tokenizer, monkeypatch):
    monkeypatch.setattr(finding, "_WINDOW", 50)
    text = max(corpus[1], key=len)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    for border in (50, 500):
        across = tokenizer.decode(ids[border - 6 : border + 6])
        found, _ = search(small_dataset, across)
        assert len(found) == sum(across in one for one in corpus[1]) >= 1
