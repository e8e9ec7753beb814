"""Packing puts exactly one end-of-text after every document and loses nothing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tstdata.packing import documents_with, pack, without_documents

documents = st.lists(st.lists(st.integers(2, 60_000), max_size=6), max_size=8)


def flat(texts: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    ids = np.array([one for text in texts for one in text], np.uint32)
    return ids, np.array([len(text) for text in texts], np.int64)


@given(documents, st.sampled_from([None, 1]), st.sampled_from(["uint16", "uint32"]))
def test_packed_documents_are_the_documents_each_closed_once(texts, bos_id, dtype):
    packed = pack(*flat(texts), 0, bos_id, dtype)
    begin = [] if bos_id is None else [bos_id]
    closed = [[*begin, *text, 0] for text in texts]
    assert packed.tokens.tolist() == [one for text in closed for one in text]
    assert packed.lengths.tolist() == [len(text) for text in closed]
    assert packed.tokens.dtype == dtype


@given(documents, st.integers(2, 9))
def test_the_documents_with_a_token_are_all_that_have_it_and_the_others_stay(texts, token):
    texts = [[one % 10 for one in text] for text in texts]
    ids, lengths = flat(texts)
    hits = documents_with(token, ids, lengths)
    assert hits.tolist() == [index for index, text in enumerate(texts) if token in text]
    left, left_lengths = without_documents(hits, ids, lengths)
    kept = [text for text in texts if token not in text]
    assert left.tolist() == [one for text in kept for one in text]
    assert left_lengths.tolist() == [len(text) for text in kept]
