"""Entries that do not follow, or that nobody who may has signed."""

import json

import pyarrow as pa

from mutants.base import (
    AFTER_BREAK,
    BREAK,
    FIRST,
    HEARTBEAT,
    IN_FLIGHT,
    NEWEST,
    Threat,
    mutant,
    next_break,
    replaced,
    resign,
    set_row,
)
from mutants.forger import (
    ARCHIVER,
    FOREIGN,
    FOREIGN_LOG,
    LOG,
    NEXT_ARCHIVER,
    NEXT_LOG,
    OPERATOR,
    SCORER,
    Forger,
    grouped,
    line,
    note,
    sha256,
)

# Entries that do not follow, with all signatures as they should be.


def replace_in_flight(archive: Forger) -> tuple[dict, pa.Table]:
    """Removes what is in flight, and returns the first of it, for a forger who has all keys to put something else."""
    entry, table = archive.entry(IN_FLIGHT), archive.table(IN_FLIGHT)
    archive.drop_entries(IN_FLIGHT)
    return entry, table


@mutant(Threat.OVERLAP, "entry-order")
def segment_twice(archive):
    replace_in_flight(archive)
    entry, data = archive.entry(NEWEST), archive.read(archive.segment(NEWEST))
    path = entry["path"].replace(f"-{NEWEST}.", f"-{IN_FLIGHT}.")
    archive.write(path, data)
    archive.put_entry(IN_FLIGHT, entry | {"n": IN_FLIGHT, "path": path}, NEXT_ARCHIVER)
    archive.seal(NEXT_LOG)


@mutant(Threat.OVERLAP, "entry-order")
def segment_of_what_a_break_gave_up(archive):
    """Who still holds the lost messages commits them behind the operator's break."""
    replace_in_flight(archive)
    entry, data = archive.entry(AFTER_BREAK), archive.read(archive.segment(AFTER_BREAK))
    lost = archive.entry(BREAK)
    path = entry["path"].replace(f"-{AFTER_BREAK}.", f"-{IN_FLIGHT}.")
    archive.write(path, data)
    said = {"n": IN_FLIGHT, "path": path, "first": lost["first"], "next": entry["next"]}
    archive.put_entry(IN_FLIGHT, entry | said, NEXT_ARCHIVER)
    archive.seal(NEXT_LOG)


@mutant(Threat.OVERLAP, "entry-order")
def offsets_begin_anew(archive):
    """Of the same input topic: only one that was created again may."""
    entry, table = replace_in_flight(archive)
    count = table.num_rows
    table = replaced(table, "offset", lambda _: list(range(count)))
    table = replaced(table, "next_offset", lambda _: list(range(1, count + 1)))
    archive.put_entry(IN_FLIGHT, entry, NEXT_ARCHIVER)
    archive.commit(IN_FLIGHT, table, NEXT_ARCHIVER)
    archive.seal(NEXT_LOG)


@mutant(Threat.HOLE, "entry-order")
def hole_in_coverage(archive):
    """The archiver signs that offsets are covered from the second row on."""
    entry, table = replace_in_flight(archive)
    archive.put_entry(IN_FLIGHT, entry, NEXT_ARCHIVER)
    archive.commit(IN_FLIGHT, table.slice(1), NEXT_ARCHIVER)
    archive.seal(NEXT_LOG)


@mutant(Threat.HOLE, "entry-order")
def hole_in_positions(archive):
    entry, table = replace_in_flight(archive)
    archive.put_entry(IN_FLIGHT, entry | {"next": entry["next"] + 1}, NEXT_ARCHIVER)
    archive.commit(IN_FLIGHT, table, NEXT_ARCHIVER, first=entry["first"] + 1)
    archive.seal(NEXT_LOG)


@mutant(Threat.HOLE, "entry-order")
def chain_broken(archive):
    entry, table = replace_in_flight(archive)
    archive.put_entry(IN_FLIGHT, entry, NEXT_ARCHIVER)
    archive.commit(IN_FLIGHT, table, NEXT_ARCHIVER, prev_head=sha256(b"another message"))
    archive.seal(NEXT_LOG)


@mutant(Threat.HOLE, "rows")
def row_that_skips_an_offset(archive):
    table = archive.table(NEWEST)
    nexts = table["next_offset"].to_pylist()
    table = replaced(table, "next_offset", set_row(1, nexts[1] - 1))
    archive.commit(NEWEST, table, NEXT_ARCHIVER)
    resign(archive)


@mutant(Threat.HOLE, "rows")
def rows_do_not_reach_the_end(archive):
    table = archive.table(NEWEST)
    covered = archive.entry(NEWEST)["coverage"]
    archive.commit(NEWEST, table.slice(0, table.num_rows - 1), NEXT_ARCHIVER, coverage=covered)
    resign(archive)


@mutant(Threat.HOLE, "rows")
def reject_counted_as_scored(archive):
    entry = archive.entry(NEWEST)
    said = {"scored": entry["scored"] + 1, "rejected": entry["rejected"] - 1}
    archive.put_entry(NEWEST, entry | said, NEXT_ARCHIVER)
    resign(archive)


@mutant(Threat.HOLE, "entry-signature")
def break_by_the_archiver(archive):
    """Only an operator may say that evidence is missing."""
    archive.put_entry(BREAK, archive.entry(BREAK), ARCHIVER)


@mutant(Threat.HOLE, "entry-order")
def break_without_a_reason(archive):
    archive.append("break", next_break(archive) | {"reason": ""}, OPERATOR)


@mutant(Threat.REORDERED, "entry-order")
def entries_exchanged(archive):
    one, two = (f"ledger/entry/{n}" for n in (HEARTBEAT, HEARTBEAT + 1))
    first, second = archive.read(one), archive.read(two)
    archive.write(one, second)
    archive.write(two, first)


@mutant(Threat.REORDERED, "entry-order")
def entry_of_another_archive(archive):
    """Signed by the right key."""
    entry = archive.entry(HEARTBEAT) | {"archive": sha256(b"another cluster\nanother topic")}
    archive.put_entry(HEARTBEAT, entry, NEXT_ARCHIVER)


@mutant(Threat.REORDERED, "entry-order")
def segment_at_a_path_of_another_entry(archive):
    entry, table = replace_in_flight(archive)
    path = entry["path"].replace(f"-{IN_FLIGHT}.", "-999.")
    archive.put_entry(IN_FLIGHT, entry, NEXT_ARCHIVER)
    archive.commit(IN_FLIGHT, table, NEXT_ARCHIVER, path=path)
    archive.seal(NEXT_LOG)


@mutant(Threat.REORDERED, "entry-order")
def roots_of_row_groups_do_not_fold(archive):
    said = {"group_roots": [sha256(b"another")]}
    archive.put_entry(NEWEST, archive.entry(NEWEST) | said, NEXT_ARCHIVER)
    resign(archive)


@mutant(Threat.REORDERED, "entry-order")
def reseal_of_a_segment_that_is_not_the_last(archive):
    data = archive.read(archive.segment(FIRST))
    archive.append("reseal", {"entry": FIRST, "sha256": sha256(data + b" "), "bytes": len(data) + 1}, NEXT_ARCHIVER)


@mutant(Threat.REORDERED, "entry-malformed")
def entry_written_otherwise(archive):
    """With blanks: what is read would be the same."""
    text = json.dumps(archive.entry(HEARTBEAT)) + "\n"
    archive.write(f"ledger/entry/{HEARTBEAT}", note(text, NEXT_ARCHIVER))


@mutant(Threat.REORDERED, "entry-malformed")
def entry_with_a_key_too_many(archive):
    archive.put_entry(HEARTBEAT, archive.entry(HEARTBEAT) | {"note": "hello"}, NEXT_ARCHIVER)


@mutant(Threat.REORDERED, "entry-malformed")
def entry_with_keys_in_another_order(archive):
    entry = archive.entry(HEARTBEAT)
    archive.put_entry(HEARTBEAT, dict(reversed(entry.items())), NEXT_ARCHIVER)


# Entries that nobody who may has signed.


@mutant(Threat.UNSIGNED, "entry-malformed")
def entry_without_signature(archive):
    """Text, an empty line, and nothing: that is no note."""
    archive.write(f"ledger/entry/{HEARTBEAT}", note(line(archive.entry(HEARTBEAT))))


@mutant(Threat.UNSIGNED, "entry-signature")
def entry_of_a_foreign_key(archive):
    archive.put_entry(NEWEST, archive.entry(NEWEST), FOREIGN)


@mutant(Threat.UNSIGNED, "entry-signature")
def entry_of_a_foreign_key_in_flight(archive):
    """As the next archiver would find it, and the keeper of the log sign for it."""
    archive.append("heartbeat", {}, FOREIGN)


@mutant(Threat.UNSIGNED, "entry-signature")
def entry_altered_under_its_signature(archive):
    entry, path = archive.entry(NEWEST), f"ledger/entry/{grouped(NEWEST)}"
    said = {"rejected": entry["rejected"] - 1, "gaps": entry["gaps"] + 1}
    altered, text = line(entry | said), line(entry)
    archive.alter(path, lambda data: data.replace(text.encode(), altered.encode()))


@mutant(Threat.ROLE, "entry-signature")
def segment_by_a_scorer(archive):
    archive.put_entry(NEWEST, archive.entry(NEWEST), SCORER)


@mutant(Threat.ROLE, "entry-signature")
def key_by_an_archiver(archive):
    archive.append("key", {"act": "add", "role": "log", "key": FOREIGN_LOG.text}, NEXT_ARCHIVER)


@mutant(Threat.ROLE, "entry-signature")
def key_by_a_foreign_log_key(archive):
    archive.append("key", {"act": "add", "role": "archiver", "key": FOREIGN.text}, FOREIGN_LOG)


@mutant(Threat.RETIRED, "entry-signature")
def entry_of_a_retired_key(archive):
    archive.put_entry(NEWEST, archive.entry(NEWEST), ARCHIVER)
    resign(archive)


@mutant(Threat.RETIRED, "entry-signature")
def key_by_a_retired_log_key(archive):
    archive.append("key", {"act": "add", "role": "archiver", "key": FOREIGN.text}, LOG)


@mutant(Threat.RETIRED, "checkpoint-signature")
def checkpoint_of_a_retired_key(archive):
    archive.put_checkpoint(NEWEST + 1, LOG)


# Names and lengths.


@mutant(Threat.MISTAKEN, "entry-malformed")
def file_among_entries(archive):
    """As a file manager leaves it."""
    archive.write("ledger/entry/.DS_Store", b"\0")


@mutant(Threat.MISTAKEN, "entry-malformed")
def entry_under_two_names(archive):
    archive.write("ledger/entry/x000/007", archive.read("ledger/entry/007"))


@mutant(Threat.MISTAKEN, "entry-missing")
def entry_far_beyond_all_others(archive):
    archive.write("ledger/entry/x123/456", archive.read("ledger/entry/007"))


@mutant(Threat.MISTAKEN, "entry-malformed")
def entry_that_no_bundle_can_hold(archive):
    facts = {"why": "x" * 65_536}
    archive.append("event", {"kind": "stopped", "instance": "archiver-0", "facts": facts}, NEXT_ARCHIVER)


@mutant(Threat.MISTAKEN, "checkpoint-signature")
def checkpoint_under_another_size(archive):
    archive.write("ledger/cp/18", archive.read("ledger/cp/17"))
