"""Writes Parquet files again as other tools do: the same rows in other bytes.

    python rewrite.py FILE…

Of `x.parquet`, DuckDB makes `x.duckdb.parquet`, and pyarrow `x.pyarrow.parquet` with the columns in
another order. Compressions and sizes of row groups vary.
"""

import sys

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

COMPRESSIONS = ("zstd", "snappy", "uncompressed")
# What pyarrow is to store in another way; it notes that beside the columns.
STORED = (
    {pa.string(): pa.dictionary(pa.int32(), pa.string())},
    {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()},
    {},
)


def main() -> None:
    database = duckdb.connect()
    for number, file in enumerate(sys.argv[1:]):
        compression = COMPRESSIONS[number % 3]
        written = file.removesuffix("parquet")
        database.execute(
            f"COPY (SELECT * FROM read_parquet('{file}')) TO '{written}duckdb.parquet' "
            f"(FORMAT parquet, COMPRESSION {compression})"
        )
        table = pq.ParquetFile(file).read()
        names = table.column_names
        table = table.select(names[1::2] + names[::2])
        fields = [pa.field(field.name, STORED[number // 3 % 3].get(field.type, field.type)) for field in table.schema]
        pq.write_table(
            table.cast(pa.schema(fields)),
            f"{written}pyarrow.parquet",
            compression="none" if compression == "uncompressed" else compression,
            row_group_size=100 + 1000 * number,
            use_dictionary=number % 2 == 0,
        )


if __name__ == "__main__":
    main()
