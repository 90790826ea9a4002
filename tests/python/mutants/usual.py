"""What happens in usual life, and must not alarm."""

from mutants.base import IN_FLIGHT, NEWEST, Threat, mutant, next_break
from mutants.forger import FOREIGN, NEXT_ARCHIVER, NEXT_LOG, OPERATOR, note, sha256


@mutant(Threat.USUAL, "gap", "in-flight", kept=True)
def hint_of_an_older_checkpoint(archive):
    """As a slow writer leaves it that had signed less."""
    archive.write("ledger/checkpoint", archive.read("ledger/cp/17"))


@mutant(Threat.USUAL, "gap", "in-flight", kept=True)
def hint_missing(archive):
    archive.remove("ledger/checkpoint")


@mutant(Threat.USUAL, "gap", kept=True)
def nothing_in_flight(archive):
    archive.drop_entries(IN_FLIGHT)


@mutant(Threat.USUAL, "gap", "in-flight", kept=True)
def two_segments_without_file(archive):
    """The last of each of two streams."""
    archive.remove(archive.segment(IN_FLIGHT))


@mutant(Threat.USUAL, "gap", "in-flight", kept=True)
def another_break(archive):
    archive.append("break", next_break(archive), OPERATOR)


@mutant(Threat.USUAL, "gap", kept=True)
def file_of_a_reseal(archive):
    """Other bytes with the same rows, and an entry that says so."""
    archive.drop_entries(IN_FLIGHT)
    archive.put_table(NEWEST, archive.table(NEWEST), compression="snappy")
    data = archive.read(archive.segment(NEWEST))
    archive.append("reseal", {"entry": NEWEST, "sha256": sha256(data), "bytes": len(data)}, NEXT_ARCHIVER)
    archive.put_tiles(archive.entries())
    archive.put_checkpoint(archive.entries(), NEXT_LOG)


@mutant(Threat.USUAL, "gap", "in-flight", kept=True)
def superseded_tiles_removed(archive):
    for level in ("0", "entries"):
        for path in archive.paths(f"ledger/tile/{level}/000.p/*"):
            archive.remove(path)


@mutant(Threat.USUAL, "gap", "in-flight", kept=True)
def fold_missing(archive):
    """Who appended the entry before died."""
    archive.remove("ledger/state/256")


@mutant(Threat.USUAL, "gap", "in-flight", kept=True)
def fold_before_its_entry(archive):
    """Who made it died before the entry that names it, or is about to put it."""
    for _ in range(archive.entries(), 512):
        archive.append("heartbeat", {}, NEXT_ARCHIVER)
    archive.write("ledger/state/512", b"a fold\n")


@mutant(Threat.USUAL, "gap", "in-flight", kept=True)
def folders_of_the_store(archive):
    """What a crash leaves where no reader looks."""
    data = archive.read(archive.segment(NEWEST))
    archive.write(f".staging/{sha256(data)}-17-0", data)
    archive.write(".probe/create-if-absent", b"probe")


@mutant(Threat.USUAL, "gap", "in-flight", kept=True)
def checkpoint_with_a_witness(archive):
    """Others may sign beside us: what is not known does not count, for or against."""
    path = f"ledger/cp/{NEWEST + 1}"
    text = archive.read(path).decode().partition("\n\n")[0] + "\n"
    archive.write(path, note(text, FOREIGN, NEXT_LOG))
