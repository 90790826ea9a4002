"""Histories that are made again, checkpoints that are not right, and logs that are cut off."""

import numpy as np

from mutants.base import HEARTBEAT, LAST, NEWEST, SECOND, Threat, mutant, replaced, resign, row_of, set_row
from mutants.forger import FOREIGN_LOG, LOG, NEXT_ARCHIVER, NEXT_LOG, Forger, grouped, note, sha256


def decide_otherwise(archive: Forger) -> None:
    """Another score with the decision that it gets, committed anew by who has the archiver's key."""
    table = archive.table(NEWEST)
    row = row_of(table, "decision", "review")
    table = replaced(table, "score", set_row(row, 0.0))
    table = replaced(table, "decision", set_row(row, "approve"))
    table = replaced(table, "threshold", set_row(row, None))
    archive.commit(NEWEST, table, NEXT_ARCHIVER)


# Whole histories.


@mutant(Threat.STOLEN, "checkpoint-root")
def decision_altered_with_the_archivers_key(archive):
    decide_otherwise(archive)
    archive.retile()


@mutant(Threat.STOLEN, "checkpoint-root")
def history_made_again_with_the_archivers_key(archive):
    """A log of other entries that are all consistent, with the checkpoints that were there."""
    for n in range(SECOND + 1, 256):
        entry = archive.entry(n)
        archive.put_entry(n, entry | {"time": entry["time"] + 1}, NEXT_ARCHIVER)
    archive.retile()


@mutant(Threat.STOLEN, "checkpoint-signature", "checkpoint-missing")
def history_made_again_under_a_log_key_of_the_forger(archive):
    decide_otherwise(archive)
    archive.retile()
    for size in archive.sizes():
        archive.put_checkpoint(size, FOREIGN_LOG)


@mutant(Threat.STOLEN, "file-rows")
def decision_altered_in_the_file_alone(archive):
    path = f"ledger/entry/{grouped(NEWEST)}"
    said = archive.read(path)
    decide_otherwise(archive)
    archive.write(path, said)


@mutant(Threat.WRONG, "policy")
def decision_that_the_policy_does_not_give(archive):
    """With every signature and every root as it should be."""
    table = archive.table(NEWEST)
    row = row_of(table, "decision", "decline")
    table = replaced(table, "decision", set_row(row, "review"))
    table = replaced(table, "threshold", set_row(row, 0.1))
    archive.commit(NEWEST, table, NEXT_ARCHIVER)
    resign(archive)


@mutant(Threat.WRONG, "policy")
def threshold_that_the_policy_does_not_have(archive):
    table = archive.table(NEWEST)
    row = row_of(table, "decision", "review")
    archive.commit(NEWEST, replaced(table, "threshold", set_row(row, 0.2)), NEXT_ARCHIVER)
    resign(archive)


@mutant(Threat.WRONG, "policy")
def score_rounded_before_it_is_compared(archive):
    """0.9 in 32 bits is less than 0.9: a review, and no decline."""
    table = archive.table(NEWEST)
    row = row_of(table, "score", float(np.float32(0.9)))
    table = replaced(table, "decision", set_row(row, "decline"))
    table = replaced(table, "threshold", set_row(row, 0.9))
    archive.commit(NEWEST, table, NEXT_ARCHIVER)
    resign(archive)


@mutant(Threat.WRONG, "policy")
def score_that_is_no_number_and_is_approved(archive):
    """It is below every threshold, and above none."""
    table = archive.table(NEWEST)
    row = row_of(table, "decision", "review")
    table = replaced(table, "score", set_row(row, float("nan")))
    table = replaced(table, "decision", set_row(row, "approve"))
    table = replaced(table, "threshold", set_row(row, None))
    archive.commit(NEWEST, table, NEXT_ARCHIVER)
    resign(archive)


@mutant(Threat.SPLIT, "checkpoint-fork", kept=True)
def history_made_again_with_all_keys(archive):
    """Nothing in it is wrong. Who kept a checkpoint knows."""
    decide_otherwise(archive)
    resign(archive)


@mutant(Threat.SPLIT, "checkpoint-fork", kept=True)
def longer_history_that_another_was_kept_of(archive):
    decide_otherwise(archive)
    resign(archive)
    archive.drop_entries(LAST)
    archive.seal(NEXT_LOG)


@mutant(Threat.SPLIT, "checkpoint-fork")
def two_checkpoints_of_one_size(archive):
    hashes = archive.hashes(NEWEST + 1)
    hashes[HEARTBEAT] = bytes(32)
    archive.write("ledger/checkpoint", archive.checkpoint(NEWEST + 1, NEXT_LOG, hashes=hashes))


# Checkpoints.


@mutant(Threat.FORGED, "checkpoint-root")
def checkpoint_of_another_root(archive):
    """Signed by the log key, and the only one of its size."""
    hashes = archive.hashes(NEWEST + 1)
    hashes[HEARTBEAT] = bytes(32)
    checkpoint = archive.checkpoint(NEWEST + 1, NEXT_LOG, hashes=hashes)
    archive.write(f"ledger/cp/{NEWEST + 1}", checkpoint)
    archive.write("ledger/checkpoint", checkpoint)


@mutant(Threat.FORGED, "checkpoint-root")
def older_checkpoint_of_another_root(archive):
    hashes = archive.hashes(13)
    hashes[7] = bytes(32)
    archive.write("ledger/cp/13", archive.checkpoint(13, LOG, NEXT_LOG, hashes=hashes))


@mutant(Threat.FORGED, "checkpoint-signature")
def root_altered_under_its_signature(archive):
    lines = archive.read(f"ledger/cp/{NEWEST + 1}").decode().split("\n")
    lines[2] = archive.checkpoint(17, NEXT_LOG).decode().split("\n")[2]
    archive.write(f"ledger/cp/{NEWEST + 1}", "\n".join(lines).encode())


@mutant(Threat.FORGED, "checkpoint-signature")
def checkpoint_of_a_foreign_key(archive):
    archive.write(f"ledger/cp/{NEWEST + 1}", archive.checkpoint(NEWEST + 1, FOREIGN_LOG))


@mutant(Threat.FORGED, "checkpoint-signature")
def checkpoint_that_claims_more_than_anybody_can_look_for(archive):
    lines = archive.read(f"ledger/cp/{NEWEST + 1}").decode().split("\n")
    lines[1] = str(10**17)
    archive.write("ledger/checkpoint", "\n".join(lines).encode())


@mutant(Threat.FORGED, "checkpoint-signature")
def checkpoint_of_another_archive(archive):
    """By the right key, of the right root: somebody signs for several archives."""
    text = archive.read(f"ledger/cp/{NEWEST + 1}").decode().partition("\n\n")[0] + "\n"
    head, _, rest = text.partition("\n")
    other = f"{LOG.name}/{sha256(b'another')}\n{rest}"
    assert head != other.partition("\n")[0]
    archive.write(f"ledger/cp/{NEWEST + 1}", note(other, NEXT_LOG))


@mutant(Threat.FORGED, "checkpoint-missing")
def no_checkpoint(archive):
    for path in archive.paths("ledger/cp/*") + ["ledger/checkpoint"]:
        archive.remove(path)


# The end of the log.


def drop_log(archive: Forger, size: int) -> None:
    """Removes tiles, folds and checkpoints beyond this size, as if there had never been more."""
    for path in archive.paths("ledger/tile/**/*") + archive.paths("ledger/state/*"):
        archive.remove(path)
    for later in [later for later in archive.sizes() if later > size]:
        archive.remove(f"ledger/cp/{later}")
    archive.retile()
    archive.write("ledger/checkpoint", archive.read(f"ledger/cp/{size}"))


@mutant(Threat.TRUNCATED, "entry-missing")
def entries_cut_off(archive):
    archive.drop_entries(200)


@mutant(Threat.TRUNCATED, "rollback", kept=True)
def entries_cut_off_with_their_checkpoints(archive):
    archive.drop_entries(17)
    drop_log(archive, 17)


@mutant(Threat.TRUNCATED, "rollback", "file-foreign", kept=True)
def files_left_where_the_log_is_cut_off(archive):
    files = {path: archive.read(path) for path in archive.paths("segments/**/*")}
    archive.drop_entries(17)
    drop_log(archive, 17)
    for path, data in files.items():
        archive.write(path, data)


@mutant(Threat.RESTORED, "rollback", kept=True)
def restored_from_a_backup(archive):
    """All as it was when the log had 13 entries."""
    archive.drop_entries(13)
    drop_log(archive, 13)


@mutant(Threat.RESTORED, "checkpoint-fork", kept=True)
def restored_from_a_backup_and_gone_on(archive):
    """Other entries took the numbers of those that were lost, and were signed for."""
    archive.drop_entries(NEWEST)
    for _ in range(3):
        archive.append("heartbeat", {}, NEXT_ARCHIVER)
    state = archive.read("ledger/state/256")
    drop_log(archive, 17)
    archive.write("ledger/state/256", state)
    archive.put_tiles(archive.entries())
    archive.put_checkpoint(archive.entries(), NEXT_LOG)


@mutant(Threat.SILENT, "checkpoint-old", max_age="26h")
def no_checkpoint_for_long(archive):
    """The newest entry is of the year 2100, but nobody has signed for it."""
    archive.append("heartbeat", {"time": 4_102_444_800_000_000}, NEXT_ARCHIVER)
