"""Files that are altered, gone, or too many."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mutants.base import (
    AFTER_BREAK,
    BREAK,
    FIRST,
    HEARTBEAT,
    LAST,
    NEWEST,
    SECOND,
    Threat,
    edit,
    flip,
    mutant,
    row_of,
    set_row,
)
from mutants.forger import Forger, grouped

# A file that is edited.


@mutant(Threat.EDITED, "file-rows")
def byte_flipped_in_data(archive):
    """In a column that is not compressed: the file reads as well as before."""
    path = archive.segment(FIRST)
    salt = archive.table(FIRST)["row_salt"][3].as_py()
    archive.alter(path, lambda data: flip(data, data.index(salt)))


@mutant(Threat.EDITED, "file-unreadable")
def compressed_page_destroyed(archive):
    path = archive.segment(FIRST)
    archive.alter(path, lambda data: flip(data, data.index(bytes.fromhex("28b52ffd")), 255))


@mutant(Threat.EDITED, "file-bytes")
def byte_flipped_in_footer(archive):
    path = archive.segment(FIRST)
    head = archive.entry(FIRST)["head"].encode()
    archive.alter(path, lambda data: flip(data, data.index(head)))


@mutant(Threat.EDITED, "file-unreadable")
def byte_flipped_in_magic(archive):
    archive.alter(archive.segment(FIRST), lambda data: flip(data, len(data) - 1))


@mutant(Threat.EDITED, "file-unreadable")
def file_cut_off(archive):
    archive.alter(archive.segment(FIRST), lambda data: data[:-100])


@mutant(Threat.EDITED, "file-unreadable")
def file_emptied(archive):
    archive.write(archive.segment(FIRST), b"")


def end_of_data(path: Path) -> int:
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(at) for at in range(group.num_columns)]
    return max(
        (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size for column in columns
    )


def say_of_score_time(archive: Forger, alter: Callable[[bytes], bytes]) -> None:
    """Alters the greatest score time where statistics say it, and nowhere else."""
    path = archive.segment(FIRST)
    end, data = end_of_data(archive.folder / path), archive.read(path)
    time = archive.entry(FIRST)["max_time"].to_bytes(8, "little")
    assert time in data[end:]
    archive.write(path, data[:end] + data[end:].replace(time, alter(time)))


@mutant(Threat.EDITED, "file-bytes")
def byte_flipped_in_statistics(archive):
    say_of_score_time(archive, lambda time: flip(time, 0))


@mutant(Threat.TRICKED, "file-bytes")
def statistics_mislead(archive):
    """They say that no row is as new as the newest: who filters by time does not see it."""
    time = archive.entry(FIRST)["min_time"].to_bytes(8, "little")
    say_of_score_time(archive, lambda _: time)


# A file that is written again.


@mutant(Threat.REWRITTEN, "file-bytes")
def compressed_otherwise(archive):
    archive.put_table(FIRST, archive.table(FIRST), compression="snappy")


@mutant(Threat.REWRITTEN, "file-bytes")
def columns_in_another_order(archive):
    table = archive.table(FIRST)
    archive.put_table(FIRST, table.select(table.column_names[::-1]))


@mutant(Threat.REWRITTEN, "file-rows")
def score_edited_by_one_ulp(archive):
    table = archive.table(FIRST)
    row = row_of(table, "score", 0.5)
    edit(archive, FIRST, "score", set_row(row, float(np.nextafter(np.float32(0.5), np.float32(1)))))


@mutant(Threat.REWRITTEN, "file-rows")
def row_dropped(archive):
    table = archive.table(FIRST)
    archive.put_table(FIRST, table.take([at for at in range(table.num_rows) if at != 2]))


@mutant(Threat.REWRITTEN, "file-rows")
def last_row_dropped(archive):
    table = archive.table(FIRST)
    archive.put_table(FIRST, table.slice(0, table.num_rows - 1))


@mutant(Threat.REWRITTEN, "file-rows")
def rows_swapped(archive):
    table = archive.table(FIRST)
    archive.put_table(FIRST, table.take([1, 0, *range(2, table.num_rows)]))


@mutant(Threat.REWRITTEN, "file-rows")
def row_duplicated(archive):
    table = archive.table(FIRST)
    archive.put_table(FIRST, table.take([0, *range(table.num_rows)]))


@mutant(Threat.REWRITTEN, "file-rows")
def last_row_duplicated(archive):
    """A tree whose odd leaf is paired with itself would have the same root."""
    table = archive.table(FIRST)
    assert table.num_rows % 2 == 1
    archive.put_table(FIRST, table.take([*range(table.num_rows), table.num_rows - 1]))


@mutant(Threat.REWRITTEN, "file-rows")
def null_for_empty_text(archive):
    row = row_of(archive.table(FIRST), "event_currency", "")
    edit(archive, FIRST, "event_currency", set_row(row, None))


@mutant(Threat.REWRITTEN, "file-rows")
def zero_for_minus_zero(archive):
    edit(archive, FIRST, "margin", lambda values: [value if value is None else value + 0.0 for value in values])


@mutant(Threat.REWRITTEN, "file-rows")
def decision_edited(archive):
    row = row_of(archive.table(FIRST), "decision", "decline")
    edit(archive, FIRST, "decision", set_row(row, "approve"))


# A file that tells readers something else.


@mutant(Threat.TRICKED, "file-columns")
def column_injected(archive):
    table = archive.table(FIRST)
    archive.put_table(FIRST, table.append_column("decision_final", pa.array(["approve"] * table.num_rows)))


@mutant(Threat.TRICKED, "file-columns")
def column_twice(archive):
    table = archive.table(FIRST)
    archive.put_table(FIRST, table.append_column("decision", pa.array(["approve"] * table.num_rows)))


@mutant(Threat.TRICKED, "file-columns")
def column_removed(archive):
    archive.put_table(FIRST, archive.table(FIRST).drop_columns(["margin"]))


@mutant(Threat.TRICKED, "file-columns")
def column_renamed(archive):
    table = archive.table(FIRST)
    names = ["score_" if name == "score" else name for name in table.column_names]
    archive.put_table(FIRST, table.rename_columns(names))


@mutant(Threat.TRICKED, "file-columns")
def column_of_another_kind(archive):
    table = archive.table(FIRST)
    at = table.column_names.index("score")
    archive.put_table(FIRST, table.set_column(at, "score", table["score"].cast(pa.float64())))


@mutant(Threat.TRICKED, "file-rows")
def columns_exchanged(archive):
    """Two of one kind exchange their names."""
    table = archive.table(FIRST)
    other = {"score": "margin", "margin": "score"}
    archive.put_table(FIRST, table.rename_columns([other.get(name, name) for name in table.column_names]))


# Files and entries that are gone, or another's.


@mutant(Threat.DELETED, "file-missing")
def file_deleted(archive):
    archive.remove(archive.segment(FIRST))


@mutant(Threat.DELETED, "file-missing")
def newest_signed_file_deleted(archive):
    """It is the last of its stream, and below the checkpoint: not in flight."""
    archive.remove(archive.segment(NEWEST))


@mutant(Threat.DELETED, "entry-missing")
def entry_deleted(archive):
    archive.remove(f"ledger/entry/{HEARTBEAT}")


@mutant(Threat.DELETED, "entry-missing")
def history_of_a_partition_deleted(archive):
    """Its entries, with their files."""
    for n in (6, BREAK, AFTER_BREAK, LAST):
        path = archive.entry(n).get("path")
        if path and n != LAST:
            archive.remove(path)
        archive.remove(f"ledger/entry/{grouped(n)}")


@mutant(Threat.DELETED, "file-missing")
def files_of_a_partition_deleted(archive):
    for n in (6, AFTER_BREAK):
        archive.remove(archive.segment(n))


@mutant(Threat.MISTAKEN, "file-missing", "file-foreign")
def file_renamed(archive):
    path = archive.segment(FIRST)
    archive.write(path.replace("-5.parquet", "-6.parquet"), archive.read(path))
    archive.remove(path)


@mutant(Threat.MISTAKEN, "file-rows")
def file_replaced_by_another_entrys(archive):
    """Of the same columns."""
    archive.write(archive.segment(NEWEST), archive.read(archive.segment(SECOND)))


@mutant(Threat.MISTAKEN, "file-rows")
def files_exchanged(archive):
    one, two = archive.segment(NEWEST), archive.segment(SECOND)
    first, second = archive.read(one), archive.read(two)
    archive.write(one, second)
    archive.write(two, first)


@mutant(Threat.DOUBLED, "file-foreign")
def file_copied_to_another_day(archive):
    path = archive.segment(FIRST)
    archive.write(path.replace("dt=2023-11-14", "dt=2023-11-15"), archive.read(path))


@mutant(Threat.DOUBLED, "file-foreign")
def staged_file_left_beside_its_segment(archive):
    path = archive.segment(FIRST)
    archive.write(path + "#1", archive.read(path))


@mutant(Threat.DOUBLED, "file-foreign")
def file_that_is_no_segment(archive):
    archive.write("segments/notes.txt", b"hello\n")
