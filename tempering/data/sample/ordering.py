"""Writing the rows of a part again in another order, without holding them.

The rows are copied into one uncompressed Arrow file that is mapped into memory, from which groups are
taken in the new order: what is held is the order itself (8 bytes a row) and one group.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempering.data.rows import Values
from tempering.data.shards import GROUP_ROWS, ShardWriter, groups_of, shards_of, writing

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def reorder(place: Path, fixed: "pa.Schema", order: "np.ndarray") -> None:
    """Give the rows of the part in the folder `place` the order `order` (row numbers).

    Args:
        fixed: the columns every row has.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    # All rows into one file that is read by row number without being loaded.
    shards, sizes = shards_of(place), list[int]()
    copy = place.with_name(f".tmp-{place.name}.arrow")
    schema = pq.read_schema(shards[0])
    with pa.OSFile(str(copy), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for path in shards:
            for group in groups_of(path):
                for batch in group.combine_chunks().to_batches():
                    writer.write_batch(batch)
                    sizes.append(batch.num_rows)

    # Back into shards, a group at a time.
    ends = np.cumsum(sizes)
    with pa.memory_map(str(copy)) as mapped, writing(rows=ShardWriter(place, fixed)) as writers:
        reader = pa.ipc.open_file(mapped)
        for start in range(0, len(order), GROUP_ROWS):
            for row in _taken(reader, ends, np.asarray(order[start : start + GROUP_ROWS])):
                writers["rows"].add(row)
    copy.unlink()


def _taken(reader: Any, ends: "np.ndarray", numbers: "np.ndarray") -> list[Values]:
    """The rows of these numbers; from each batch at once, as taking from all would first join them.

    Args:
        ends: (batches,) number of the row after the last of each batch.
    """
    import numpy as np
    import pyarrow as pa

    batches = np.searchsorted(ends, numbers, side="right")
    rows: dict[int, Values] = {}
    for index in np.unique(batches):
        batch = reader.get_batch(int(index))
        wanted = np.flatnonzero(batches == index)
        local = numbers[wanted] - (ends[index] - batch.num_rows)
        rows.update(zip(wanted.tolist(), batch.take(pa.array(local)).to_pylist(), strict=True))
    return [rows[place] for place in range(len(numbers))]
