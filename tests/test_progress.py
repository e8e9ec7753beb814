"""Progress: nothing counted is lost on the way, and a bar shows it."""

import random

import pytest

from tstdata import progress
from tstdata.progress import Progress, Telling


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when told to."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_all_amounts_are_told_in_few_messages(clock):
    draw, told = random.Random(5), []
    telling = Telling(lambda *amounts: told.append(amounts))
    amounts = [(draw.randrange(9), draw.randrange(9)) for _ in range(1000)]
    for one in amounts:
        clock[0] += 0.001
        telling.advance(*one)
    telling.tell()
    assert tuple(map(sum, zip(*told, strict=True))) == tuple(map(sum, zip(*amounts, strict=True)))
    assert 2 <= len(told) <= 1 + 1000 * 0.001 / 0.25


def test_what_is_told_is_not_told_again(clock):
    told = []
    telling = Telling(lambda *amounts: told.append(amounts))
    for num_bytes in (3, 0, 5):
        telling.advance(num_bytes, 2 * num_bytes)
        telling.tell()
    assert told == [(3, 6), (0, 0), (5, 10)]


def test_the_bar_shows_bytes_and_the_rate_of_tokens(capsys):
    with Progress("reading", 4_000_000, True) as bar:
        bar.advance(1_000_000)
        before = capsys.readouterr().err
        for _ in range(3):
            bar.advance(1_000_000, 500_000)
        bar._bar.refresh()
        after = capsys.readouterr().err
    assert "reading:   0%" in before
    assert "tokens/s" not in before
    assert "4.00M/4.00M" in after
    assert "tokens/s" in after


def test_a_silent_bar_says_nothing(capsys):
    with Progress("reading", 10, False) as bar:
        bar.advance(10, 10)
    assert capsys.readouterr() == ("", "")
