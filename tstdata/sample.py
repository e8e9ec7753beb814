"""The sample: documents from all over the corpus, which a fast encoder must get right before it is used."""

import itertools
from collections.abc import Iterator, Sequence

from .documents import Document, read_documents
from .pieces import find_span
from .tasks import Task

_DOCUMENTS, _CHARACTERS = 32, 2048
_MOST_TASKS = 16
# Of a task so much is read, and not a line, or a document, that begins behind it; and of each of its files so
# many documents, or what should have been some.
_BYTES = 1 << 20
_MOST_FOUND = 64


def sample_texts(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Returns the beginnings of some 32 documents: the first ones of tasks all over the corpus.

    What can't be read is left to its task to tell.
    """
    chosen = tasks[:: max(1, -(-len(tasks) // _MOST_TASKS))]
    each = -(-_DOCUMENTS // max(1, len(chosen)))
    found = itertools.chain.from_iterable(itertools.islice(_first_texts(task, each), each) for task in chosen)
    return tuple(text[:_CHARACTERS] for text in found)


def _first_texts(task: Task, most_pieces: int) -> Iterator[str]:
    left = _BYTES
    for one in task.pieces[:most_pieces]:
        try:
            span = find_span(one.file, one.piece.beginning(left))
            for found in itertools.islice(read_documents(one.file, span=span), _MOST_FOUND):
                if isinstance(found, Document):
                    yield found.text
                    left -= len(found.text)
                if left <= 0:
                    return
        except (ValueError, OSError):
            continue
