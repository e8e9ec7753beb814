"""Packing puts exactly one end-of-text after every document and loses nothing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tstdata.packing import find_document_with, pack

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


@given(documents, st.integers(2, 60_000))
def test_the_document_with_a_token_is_the_first_that_has_it(texts, token):
    first = next((index for index, text in enumerate(texts) if token in text), None)
    assert find_document_with(token, *flat(texts)) == first
