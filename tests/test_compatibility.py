"""Other libraries' readers of MDS read bag shards. LLM Foundry's is tested in tests/foundry."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from handmade_shards import tokens_of_row, write_shards
from references import read_rows_with_streaming

ROWS = (23, 17, 9)


def read_with_litdata(dataset: Path) -> list[list[int]]:
    """Reads all rows with litData, which needs to be told what `ndarray:uint16:L` is; see docs/format.md."""
    import litdata
    from litdata.streaming.item_loader import PyTreeLoader
    from litdata.streaming.serializers import Serializer

    class Ids(Serializer):
        def setup(self, encoding):
            self.dtype = np.dtype(encoding.split(":")[1])

        def serialize(self, item):
            raise NotImplementedError

        def deserialize(self, data):
            return np.frombuffer(data, self.dtype)

        def can_serialize(self, item):
            return False

    class Rows(PyTreeLoader):
        def _data_format_to_key(self, encoding):
            return encoding.partition(":")[0]

    rows = litdata.StreamingDataset(
        str(dataset), shuffle=False, serializers={"ndarray": Ids()}, item_loader=Rows()
    )
    return [row["tokens"].tolist() for row in rows]


@pytest.mark.filterwarnings("ignore")
def test_litdata_reads_the_rows_of_compressed_shards(tmp_path):
    dataset = write_shards(tmp_path / "bags", ROWS, compression="zstd")
    assert read_with_litdata(dataset) == [tokens_of_row(row) for row in range(sum(ROWS))]


@pytest.mark.filterwarnings("ignore")
def test_litdata_reads_what_prepare_wrote(small_dataset, compressed_dataset, tmp_path):
    copy = tmp_path / "copy"  # litData unpacks shards where they lie, and deletes them packed.
    shutil.copytree(compressed_dataset, copy)
    assert read_with_litdata(copy) == read_rows_with_streaming(small_dataset)


@pytest.mark.filterwarnings("ignore")
def test_litdata_does_not_read_uncompressed_shards(tmp_path):
    """Once it does, docs/format.md is to say so."""
    dataset = write_shards(tmp_path / "bags", ROWS)
    with pytest.raises(TypeError):
        read_with_litdata(dataset)
