"""The accounting tool finds each fault that is planted, and finds nothing in healthy books."""

import unittest
from dataclasses import replace

import planted
from books.judge import judge
from books.model import GAP, SCORED, Books, DeadLetter, Row, Source


class Faults(unittest.TestCase):
    def setUp(self) -> None:
        self.books = planted.healthy()

    def findings(self) -> set[str]:
        return set(judge(self.books).counts)

    def without_archive(self) -> Books:
        self.books.archive = None
        return self.books

    def forget(self, partition: int, first: int, end: int) -> None:
        """Nothing was published of the events of a range."""
        forgotten = {Source(planted.TOPIC, partition, offset) for offset in range(first, end)}
        self.books.scores = [each for each in self.books.scores if each.source not in forgotten]
        self.books.dead_letters = [each for each in self.books.dead_letters if each.source not in forgotten]

    def test_healthy_books_agree(self) -> None:
        self.assertEqual(self.findings(), set())
        self.assertEqual(judge(self.without_archive()).counts, {})

    def test_nothing_was_read_yet(self) -> None:
        empty = Books(planted.TOPIC, {0: planted.Input(5, 5, [])}, {0: None}, [], [], {0: []})
        self.assertEqual(judge(empty).counts, {})

    def test_failed_seek_after_an_abort(self) -> None:
        """The second batch was aborted, and the consumer went on behind it."""
        messages = self.without_archive().evidence[0]
        aborted = messages.pop(1)
        messages[1].prev_head = messages[0].head
        self.forget(0, aborted.first, aborted.next)
        self.assertEqual(self.findings(), {"missing", "gap_missing", "evidence_does_not_join"})

    def test_skipped_range_passed_off_as_a_gap(self) -> None:
        message = self.without_archive().evidence[1][2]
        message.rows = [Row(GAP, message.first, message.next)]
        self.forget(1, message.first, message.next)
        self.assertEqual(self.findings(), {"event_in_gap"})

    def test_revoke_in_the_gather(self) -> None:
        """The partition moved with records in the batch: old and new owner both published them."""
        messages = self.without_archive().evidence[0]
        again = replace(messages[-1], position=99, prev_head=messages[-1].head, head=b"n" * 32)
        messages.append(again)
        self.books.scores += [planted.score(0, row.offset) for row in again.rows if row.kind == SCORED]
        self.books.dead_letters.append(DeadLetter(Source(planted.TOPIC, 0, 33), altered=False))
        self.assertEqual(
            self.findings(),
            {"twice", "gap_twice", "evidence_does_not_join", "scored_twice", "score_id_twice", "dead_letter_twice"},
        )

    def test_event_with_two_rows(self) -> None:
        messages = self.without_archive().evidence[0]
        messages.append(replace(messages[0], position=99, first=39, next=40, prev_head=messages[-1].head))
        self.books.committed[0] = 40
        self.assertEqual(self.findings(), {"twice", "evidence_invalid"})

    def test_control_record_without_a_gap(self) -> None:
        message = self.without_archive().evidence[0][1]
        message.first += 1
        del message.rows[0]
        self.assertEqual(self.findings(), {"gap_missing", "evidence_does_not_join"})

    def test_evidence_of_a_partition_that_the_input_lacks(self) -> None:
        del self.books.input[1]
        self.assertEqual(self.findings(), {"row_without_event"})

    def test_rescored_range(self) -> None:
        """A range was scored again by another model: other score ids, no other evidence."""
        again = [replace(score, score_id=score.score_id + "'") for score in self.books.scores[:5]]
        self.books.scores += again
        found = judge(self.books)
        self.assertEqual(found.counts, {"scored_twice": 5})
        self.assertEqual(found.examples["scored_twice"][0], "payments 0@0")

    def test_end_of_the_input_was_not_read(self) -> None:
        self.books.input[0].offsets.append(40)
        self.books.input[0].end = 41
        self.assertEqual(self.findings(), {"missing"})

    def test_more_than_ten_examples_are_counted_but_not_shown(self) -> None:
        self.books.input[0].offsets.extend(range(40, 60))
        self.books.input[0].end = 60
        found = judge(self.books).report()["missing"]
        self.assertEqual((found["count"], len(found["examples"])), (20, 10))

    def test_score_without_evidence(self) -> None:
        self.books.scores.append(planted.score(0, 77))
        self.assertEqual(self.findings(), {"score_without_evidence"})

    def test_evidence_without_score(self) -> None:
        del self.books.scores[4]
        self.assertEqual(self.findings(), {"missing_score"})

    def test_score_of_another_topic(self) -> None:
        score = self.books.scores[0]
        self.books.scores[0] = replace(score, source=replace(score.source, topic="other"))
        self.assertEqual(self.findings(), {"score_without_evidence", "missing_score"})

    def test_score_in_another_partition(self) -> None:
        self.books.scores[0] = replace(self.books.scores[0], partition=1)
        self.assertEqual(self.findings(), {"score_in_other_partition"})

    def test_dead_letter_absent_and_altered(self) -> None:
        self.books.dead_letters[0] = replace(self.books.dead_letters[0], altered=True)
        del self.books.dead_letters[1]
        self.assertEqual(self.findings(), {"dead_letter_altered", "missing_dead_letter"})

    def test_dead_letter_of_a_scored_event(self) -> None:
        self.books.dead_letters.append(DeadLetter(Source(planted.TOPIC, 0, 0), altered=False))
        self.assertEqual(self.findings(), {"dead_letter_without_evidence"})

    def test_row_of_an_aborted_record(self) -> None:
        self.books.input[0].offsets.remove(4)
        self.assertEqual(self.findings(), {"row_without_event"})

    def test_commit_behind_the_evidence(self) -> None:
        self.books.committed[1] = 29
        self.assertEqual(self.findings(), {"commit_differs"})

    def test_evidence_rewritten(self) -> None:
        self.without_archive().evidence[0][2].head = b"x" * 32
        self.assertEqual(self.findings(), {"evidence_does_not_join"})

    def test_evidence_that_does_not_start_with_nothing(self) -> None:
        self.without_archive().evidence[0][0].prev_head = b"x" * 32
        self.assertEqual(self.findings(), {"evidence_does_not_join"})

    def test_evidence_rows_out_of_order(self) -> None:
        rows = self.without_archive().evidence[0][1].rows
        rows[1], rows[2] = rows[2], rows[1]
        self.assertEqual(self.findings(), {"evidence_invalid"})

    def test_evidence_with_a_fault_of_its_own(self) -> None:
        self.books.evidence[0][1].faults.append("9 rows, the header says 8")
        self.assertEqual(self.findings(), {"evidence_invalid"})


class ArchiveFaults(unittest.TestCase):
    def setUp(self) -> None:
        self.books = planted.healthy()
        self.archive = self.books.archive

    def findings(self) -> set[str]:
        return set(judge(self.books).counts)

    def lose(self, rows: list[tuple[int, Row]]) -> None:
        for seen in (self.archive.by_pyarrow, self.archive.by_duckdb):
            for row in rows:
                seen.remove(row)

    def rows_of(self, n: int) -> list[tuple[int, Row]]:
        entry = self.archive.entries[n]
        return [(entry.partition, row) for row in entry.file_rows]

    def test_last_entry_absent(self) -> None:
        self.lose(self.rows_of(3))
        del self.archive.entries[3], self.archive.files[3]
        self.assertEqual(self.findings(), {"not_archived", "archive_mismatch"})

    def test_entry_in_the_middle_absent(self) -> None:
        del self.archive.entries[2]
        self.assertEqual(self.findings(), {"ledger_does_not_join", "file_without_entry"})

    def test_number_of_the_ledger_absent(self) -> None:
        self.archive.holes.append(2)
        self.assertEqual(self.findings(), {"ledger_has_hole"})

    def test_two_archivers_wrote_the_same_range(self) -> None:
        """Entry and file of a zombie beside those of its successor."""
        again = replace(self.archive.entries[3], n=4, path="segments/dt=2026-01-02/4.parquet")
        rows = self.rows_of(3)
        self.archive.entries.append(again)
        self.archive.files.append(again.path)
        self.archive.by_pyarrow += rows
        self.archive.by_duckdb += rows
        self.assertEqual(self.findings(), {"ledger_does_not_join", "archived_twice"})

    def test_staged_file_left_in_the_folder(self) -> None:
        self.archive.files.append("segments/dt=2026-01-01/.3.parquet")
        self.archive.by_pyarrow += self.rows_of(3)
        self.assertEqual(self.findings(), {"file_without_entry", "archived_twice", "readers_disagree"})

    def test_entry_without_file(self) -> None:
        self.lose(self.rows_of(1))
        self.archive.entries[1].file_sha256 = None
        self.archive.files.remove(self.archive.entries[1].path)
        self.assertEqual(self.findings(), {"entry_without_file", "archive_mismatch"})

    def test_file_is_another_one(self) -> None:
        self.archive.entries[1].file_sha256 = "ff"
        self.assertEqual(self.findings(), {"archive_mismatch"})

    def test_file_lacks_a_row(self) -> None:
        self.archive.entries[1].file_rows = self.archive.entries[1].file_rows[:-1]
        self.assertEqual(self.findings(), {"archive_mismatch"})

    def test_row_that_nobody_published(self) -> None:
        row = (0, Row(SCORED, 1000, 1001))
        self.archive.by_pyarrow.append(row)
        self.archive.by_duckdb.append(row)
        self.assertEqual(self.findings(), {"archive_mismatch"})

    def test_entry_says_other_than_its_messages(self) -> None:
        for change in ({"coverage": (0, 1)}, {"prev_head": b"x" * 32}, {"head": b"x" * 32}, {"rows": 1}):
            with self.subTest(**change):
                self.books = planted.healthy()
                entries = self.books.archive.entries
                entries[0] = replace(entries[0], **change)
                self.assertEqual(self.findings(), {"archive_mismatch"})

    def test_entry_of_no_evidence(self) -> None:
        """The evidence topic was emptied behind the archive."""
        entry = self.archive.entries[3]
        empty = replace(entry, n=4, first=entry.next, next=entry.next + 2, path="segments/4", file_rows=[])
        self.archive.entries.append(empty)
        self.archive.files.append(empty.path)
        self.assertEqual(self.findings(), {"archive_mismatch"})

    def test_two_entries_for_one_file(self) -> None:
        self.archive.entries[1].path = self.archive.entries[0].path
        self.assertEqual(self.findings(), {"archive_mismatch", "file_without_entry"})


if __name__ == "__main__":
    unittest.main()
