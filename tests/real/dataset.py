"""The ULB credit-card set: its rows, how they are split by time, and what is sent of them.

Pure: knows neither Kafka nor models. Features are computed here a second time, from the CSV file and in
another language, so that those of probity can be compared with them.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy
import pyarrow.csv

SOURCE = "Worldline and the machine learning group of ULB, https://www.kaggle.com/datasets/mlg-ulb/creditcardfraud"
LICENCE = "Open Database License (ODbL) 1.0"
CITATION = (
    "Andrea Dal Pozzolo, Olivier Caelen, Reid A. Johnson and Gianluca Bontempi: Calibrating Probability "
    "with Undersampling for Unbalanced Classification. IEEE Symposium on Computational Intelligence and "
    "Data Mining (CIDM), 2015"
)

COMPONENTS = [f"V{i}" for i in range(1, 29)]
COLUMNS = ["Time", *COMPONENTS, "Amount", "Class"]
FEATURES = ["time_of_day", "amount", *(name.lower() for name in COMPONENTS)]
# What the model may learn from; the rest is later, and is only scored.
EARLY_SHARE = 0.8
SECONDS_OF_DAY = 86400
# The set says September 2013 and no day.
START_MICROS = int(datetime(2013, 9, 1, tzinfo=UTC).timestamp()) * 1_000_000


@dataclass
class Transactions:
    """All rows in the order of time, which is that of the file."""

    lines: list[str]
    time: numpy.ndarray
    components: numpy.ndarray
    amount_minor: numpy.ndarray
    fraud: numpy.ndarray

    def __len__(self) -> int:
        return len(self.lines)

    def early(self) -> slice:
        return slice(0, int(len(self) * EARLY_SHARE))

    def last(self) -> slice:
        return slice(self.early().stop, len(self))

    def features(self) -> numpy.ndarray:
        """What the model is fed, in the order of FEATURES."""
        columns = [numpy.fmod(self.time, SECONDS_OF_DAY), self.amount_minor / 100.0, *self.components.T]
        return numpy.column_stack([column.astype(numpy.float32) for column in columns])

    def repeats(self) -> tuple[int, int]:
        """How many rows are like an earlier one, and how many of the last part like one of the early part."""
        early = set(self.lines[self.early()])
        return len(self) - len(set(self.lines)), sum(line in early for line in self.lines[self.last()])

    def event(self, row: int) -> bytes:
        return event(row, self.lines[row])


def read(path: Path) -> Transactions:
    options = pyarrow.csv.ConvertOptions(column_types={"Amount": "string", "Time": "double"})
    table = pyarrow.csv.read_csv(path, convert_options=options)
    if table.column_names != COLUMNS:
        raise ValueError(f"{path}: the columns are {table.column_names}")
    time = table["Time"].to_numpy()
    if (numpy.diff(time) < 0).any():
        raise ValueError(f"{path}: not in the order of time")
    lines = path.read_text().splitlines()[1:]
    amounts = [minor_units(text) for text in table["Amount"].to_pylist()]
    return Transactions(
        lines=lines,
        time=time,
        components=numpy.column_stack([table[name].to_numpy() for name in COMPONENTS]),
        amount_minor=numpy.array(amounts, dtype=numpy.int64),
        fraud=table["Class"].to_numpy() == 1,
    )


def minor_units(amount: str) -> int:
    """Cents of an amount in euro, exactly; an amount with parts of a cent is an error."""
    cents = Decimal(amount).scaleb(2)
    if cents != cents.to_integral_value():
        raise ValueError(f"an amount of {amount} has parts of a cent")
    return int(cents)


def event(row: int, line: str) -> bytes:
    """A row as the JSON that is sent. Numbers keep the digits that they have in the file; the truth
    stays behind."""
    time, *components, amount, _truth = line.split(",")
    if len(components) != len(COMPONENTS):
        raise ValueError(f"row {row} has {len(components) + 3} columns")
    micros = START_MICROS + int(Decimal(time) * 1_000_000)
    fields = [f'"transaction_id":"{row}"', f'"event_time":{micros}', f'"Time":{time}']
    fields += [f'"{name}":{text}' for name, text in zip(COMPONENTS, components, strict=True)]
    fields += [f'"amount_minor":{minor_units(amount)}', '"currency":"EUR"']
    return f"{{{','.join(fields)}}}".encode()
