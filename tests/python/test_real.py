"""The parts of tests/real that need neither the data set nor Kafka: what is learnt from, what is sent, what
is compared."""

import json
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path

import numpy

REAL = Path(__file__).resolve().parents[1] / "real"
sys.path.append(str(REAL))

import choose  # found by the line before
import compare
import dataset

ROWS = 50
HEADER = ",".join(f'"{name}"' for name in dataset.COLUMNS)


def line(row: int, time: str = "", amount: str = "149.62", truth: int = 0) -> str:
    components = [f"{row}.{component}123456789" for component in range(28)]
    return ",".join([time or str(row), *components, amount, f'"{truth}"'])


def table(lines: list[str]) -> dataset.Transactions:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "creditcard.csv"
        path.write_text("\n".join([HEADER, *lines]) + "\n")
        return dataset.read(path)


class Split(unittest.TestCase):
    def test_the_last_part_follows_the_first(self) -> None:
        whole = dataset.Transactions([""] * 284_807, *[numpy.array([])] * 4)
        early, last = whole.early(), whole.last()
        self.assertEqual((early.start, early.stop), (0, 227_845))
        self.assertEqual((last.start, last.stop), (227_845, 284_807))

    def test_rows_that_repeat_are_counted(self) -> None:
        early = [line(row) for row in range(8)]
        early[3] = early[2]
        self.assertEqual(table([*early, early[7], line(9)]).repeats(), (2, 1))

    def test_choosing_sees_neither_the_last_part_nor_the_future(self) -> None:
        transactions = table([line(row, truth=row % 2) for row in range(ROWS)])
        early = transactions.early()
        fitted, asked = set(), set()

        def fit(rows, fraud, settings, rounds):
            fitted.update(rows[:, 0].astype(int))

            def predict(rows, count):
                asked.update(rows[:, 0].astype(int))
                return rows[:, 0]

            return predict

        rows = transactions.features()[early]
        choose.choose(rows, transactions.fraud[early], [{}, {}], [1, 2], fit, lambda fraud, scores: 0.0)
        self.assertEqual(fitted, set(range(32)))
        self.assertEqual(asked, set(range(32, 40)))

    def test_the_best_is_chosen_and_of_equals_the_first(self) -> None:
        grid = [{"worth": 1}, {"worth": 3}, {"worth": 2}]
        rows, fraud = numpy.zeros((10, 1)), numpy.zeros(10, dtype=bool)

        def fit(rows, fraud, settings, rounds):
            return lambda rows, count: numpy.full(len(rows), settings["worth"] * min(count, 20))

        choice = choose.choose(rows, fraud, grid, [10, 20, 30], fit, lambda fraud, scores: scores[0])
        self.assertEqual((choice.settings, choice.rounds), ({"worth": 3}, 20))
        self.assertEqual((choice.measured, choice.tried, list(choice.scores)), (60, 9, [60, 60]))


class Amounts(unittest.TestCase):
    def test_every_amount_in_cents_is_exact(self) -> None:
        for cents in range(100_000):
            text = f"{cents // 100}.{cents % 100:02}".rstrip("0").rstrip(".")
            self.assertEqual(dataset.minor_units(text), cents)
        self.assertEqual(dataset.minor_units("1e+05"), 10_000_000)
        self.assertEqual(dataset.minor_units("90071992547409.93"), 9_007_199_254_740_993)

    def test_parts_of_a_cent_are_an_error(self) -> None:
        with self.assertRaisesRegex(ValueError, "parts of a cent"):
            table([line(0), line(1, amount="0.005")])


class Events(unittest.TestCase):
    def test_an_event_has_the_fields_of_the_schema(self) -> None:
        schema = json.loads((REAL / "creditcard.avsc").read_text())
        sent = json.loads(dataset.event(7, line(7)))
        self.assertEqual(list(sent), [field["name"] for field in schema["fields"]])
        self.assertEqual((sent["transaction_id"], sent["amount_minor"]), ("7", 14962))

    def test_the_truth_is_not_sent(self) -> None:
        self.assertEqual(dataset.event(7, line(7, truth=0)), dataset.event(7, line(7, truth=1)))

    def test_numbers_keep_their_digits(self) -> None:
        text = line(7, time="1e+05").replace("7.3123456789", "-6.58e-09")
        sent = dataset.event(7, text).decode()
        self.assertIn('"Time":1e+05,', sent)
        self.assertIn('"V4":-6.58e-09,', sent)
        self.assertIn('"event_time":1378093600000000,', sent)


class Features(unittest.TestCase):
    def test_the_package_has_the_same_features_in_the_same_order(self) -> None:
        package = tomllib.loads((REAL / "model.toml").read_text())
        self.assertEqual([feature["name"] for feature in package["feature"]], dataset.FEATURES)

    def test_values(self) -> None:
        features = table([line(0, time="86399"), line(1, time="86400"), line(2, time="172792")]).features()
        self.assertEqual(features.dtype, numpy.float32)
        self.assertEqual(list(features[:, 0]), [86399, 0, 86392])
        self.assertEqual(features[0, 1], numpy.float32(149.62))
        self.assertEqual(features[2, -1], numpy.float32(2.27123456789))

    def test_rows_out_of_time_are_an_error(self) -> None:
        with self.assertRaisesRegex(ValueError, "order of time"):
            table([line(0, time="2"), line(1, time="1")])


class Compare(unittest.TestCase):
    def test_missing_repeated_and_foreign_ids_are_counted(self) -> None:
        self.assertEqual(compare.not_once([3, 5, 4], range(3, 6)), 0)
        self.assertEqual(compare.not_once([3, 5], range(3, 6)), 1)
        self.assertEqual(compare.not_once([3, 4, 4, 5], range(3, 6)), 1)
        self.assertEqual(compare.not_once([3, 4, 5, 6], range(3, 6)), 1)

    def test_the_last_bit_and_the_sign_of_zero_count(self) -> None:
        left = numpy.array([0.1, 0.0, numpy.nan, 1.0], dtype=numpy.float32)
        right = numpy.array([numpy.nextafter(left[0], left[3]), -0.0, numpy.nan, 1.0], dtype=numpy.float32)
        self.assertEqual(compare.different_bits(left, left.copy()), 0)
        self.assertEqual(compare.different_bits(left, right), 2)
        with self.assertRaises(ValueError):
            compare.different_bits(left, left.astype(numpy.float64))

    def test_chunks_have_the_recorded_size_and_rows_keep_their_place(self) -> None:
        rows = numpy.arange(7, dtype=numpy.float32)[:, None]
        sizes = numpy.array([4, 1, 4, 4, 1, 4, 4])
        seen = []

        def run(chunk):
            seen.append(list(chunk[:, 0]))
            return [chunk[:, 0] * 2, chunk[:, 0] * 3]

        double, triple = compare.in_chunks(rows, sizes, run)
        self.assertEqual(seen, [[1], [4], [0, 2, 3, 5], [6, 6, 6, 6]])
        self.assertEqual(list(double), list(range(0, 14, 2)))
        self.assertEqual(list(triple), list(range(0, 21, 3)))

    def test_decisions_compare_doubles(self) -> None:
        # The nearest float to 0.422 lies below it.
        scores = numpy.array([0.422, numpy.nextafter(numpy.float32(0.422), 1), 0.1, 0.05], dtype=numpy.float32)
        decided = compare.decisions(scores, review=0.1, decline=0.422)
        self.assertEqual(list(decided), ["review", "decline", "review", "approve"])


if __name__ == "__main__":
    unittest.main()
