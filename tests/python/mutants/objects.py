"""What made decisions, what follows from the entries, and what the archive says of itself."""

from mutants.base import FIRST, HEARTBEAT, NEWEST, Threat, flip, mutant, resign
from mutants.forger import NEXT_ARCHIVER, Forger, sha256

# What made decisions.


def object_of(archive: Forger, column: str) -> str:
    return archive.table(NEWEST)[column][0].as_py()


@mutant(Threat.REPLACED, "object")
def model_replaced(archive):
    archive.write(f"models/{object_of(archive, 'model_sha256')}", b"another model\n")


@mutant(Threat.REPLACED, "object")
def model_missing(archive):
    archive.remove(f"models/{object_of(archive, 'model_sha256')}")


@mutant(Threat.REPLACED, "object")
def package_replaced(archive):
    """The list of its files names the same files under other digests."""
    archive.alter(f"models/{object_of(archive, 'package_sha256')}", lambda data: flip(data, 0))


@mutant(Threat.REPLACED, "object")
def file_of_a_package_missing(archive):
    lines = archive.read(f"models/{object_of(archive, 'package_sha256')}").decode().splitlines()
    [digest] = [each.split()[0] for each in lines if each.endswith("  model.toml")]
    archive.remove(f"models/{digest}")


@mutant(Threat.REPLACED, "object")
def policy_replaced(archive):
    path = f"policies/{object_of(archive, 'policy_sha256')}.txt"
    archive.alter(path, lambda data: data.replace(b"review 0.1", b"review 0.2"))


@mutant(Threat.REPLACED, "object")
def policy_missing(archive):
    archive.remove(f"policies/{object_of(archive, 'policy_sha256')}.txt")


@mutant(Threat.REPLACED, "object")
def runtime_replaced(archive):
    archive.write(f"runtimes/{object_of(archive, 'runtime_sha256')}.json", b"{}\n")


@mutant(Threat.REPLACED, "object")
def configuration_missing(archive):
    archive.remove(f"configs/{object_of(archive, 'config_sha256')}.toml")


@mutant(Threat.REPLACED, "object")
def schema_of_the_input_replaced(archive):
    archive.write(f"schemas/{object_of(archive, 'input_schema')}.avsc", b"{}\n")


@mutant(Threat.REPLACED, "object")
def context_replaced(archive):
    archive.alter(f"contexts/{archive.entry(NEWEST)['context']}.arrows", lambda data: flip(data, 100))


@mutant(Threat.REPLACED, "object")
def columns_text_replaced(archive):
    """Two columns of one kind exchange their names, so that rows would read otherwise."""
    exchange = {b"score:f32": b"margin:f32", b"margin:f32": b"score:f32"}
    path = f"columns/{archive.entry(NEWEST)['columns']}.txt"
    archive.alter(path, lambda data: b"".join(exchange.get(each, each) + b"\n" for each in data.splitlines()))


@mutant(Threat.REPLACED, "object")
def columns_text_missing(archive):
    archive.remove(f"columns/{archive.entry(FIRST)['columns']}.txt")


def shadow_of(archive: Forger) -> str:
    return object_of(archive, "shadow_1_package_sha256")


@mutant(Threat.REPLACED, "object")
def package_of_a_shadow_missing(archive):
    archive.remove(f"models/{shadow_of(archive)}")


@mutant(Threat.REPLACED, "object")
def model_of_a_shadow_missing(archive):
    lines = archive.read(f"models/{shadow_of(archive)}").decode().splitlines()
    [digest] = [each.split()[0] for each in lines if each.endswith("  model.onnx")]
    archive.remove(f"models/{digest}")


@mutant(Threat.REPLACED, "object")
def object_that_no_row_names_is_another(archive):
    archive.write(f"models/{sha256(b'this')}", b"that")


@mutant(Threat.REPLACED, "object")
def object_without_a_digest(archive):
    """As a file manager leaves it."""
    archive.write("configs/.DS_Store", b"\0")


# What follows from the entries.


@mutant(Threat.DERIVED, "tile")
def tile_altered(archive):
    archive.alter("ledger/tile/0/000", lambda data: flip(data, 32 * HEARTBEAT))


@mutant(Threat.DERIVED, "tile")
def upper_tile_altered(archive):
    archive.alter("ledger/tile/1/000.p/1", lambda data: flip(data, 0))


@mutant(Threat.DERIVED, "tile")
def partial_tile_altered(archive):
    archive.alter("ledger/tile/0/001.p/2", lambda data: flip(data, 40))


@mutant(Threat.DERIVED, "tile")
def bundle_altered(archive):
    archive.alter("ledger/tile/entries/000", lambda data: data.replace(b'"n":100,', b'"n":101,'))


@mutant(Threat.DERIVED, "tile")
def bundle_cut_off(archive):
    archive.alter("ledger/tile/entries/001.p/2", lambda data: data[:-1])


@mutant(Threat.DERIVED, "entry-order")
def fold_altered(archive):
    archive.alter("ledger/state/256", lambda data: data.replace(b'"partition":1', b'"partition":7', 1))


@mutant(Threat.DERIVED, "entry-order")
def fold_of_another_history(archive):
    """The entry names it, and all is signed; but it is not the fold of the entries."""
    archive.alter("ledger/state/256", lambda data: data.replace(b'"partition":1', b'"partition":7', 1))
    said = {"state": sha256(archive.read("ledger/state/256"))}
    archive.put_entry(256, archive.entry(256) | said, NEXT_ARCHIVER)
    resign(archive)


@mutant(Threat.DERIVED, "entry-order")
def entry_that_names_no_fold(archive):
    entry = archive.entry(256)
    del entry["state"]
    archive.put_entry(256, entry, NEXT_ARCHIVER)
    resign(archive)


@mutant(Threat.DERIVED, "entry-order")
def fold_of_more_entries_than_there_are(archive):
    archive.write("ledger/state/512", archive.read("ledger/state/256"))


@mutant(Threat.DERIVED, "entry-order")
def fold_of_no_number(archive):
    archive.write("ledger/state/junk", archive.read("ledger/state/256"))


@mutant(Threat.DERIVED, "entry-order")
def fold_of_all_entries_that_no_entry_will_name(archive):
    archive.write(f"ledger/state/{archive.entries()}", archive.read("ledger/state/256"))


@mutant(Threat.DERIVED, "entry-order")
def fold_of_no_entries(archive):
    archive.write("ledger/state/0", archive.read("ledger/state/256"))


@mutant(Threat.DERIVED, "tile")
def tile_beyond_the_entries(archive):
    archive.write("ledger/tile/0/007", archive.read("ledger/tile/0/000"))


@mutant(Threat.DERIVED, "tile")
def bundle_beyond_the_entries(archive):
    archive.write("ledger/tile/entries/007", archive.read("ledger/tile/entries/000"))


@mutant(Threat.DERIVED, "tile")
def tile_under_another_level(archive):
    archive.write("ledger/tile/00/000", archive.read("ledger/tile/0/000"))


@mutant(Threat.DERIVED, "tile")
def tile_under_another_number(archive):
    archive.write("ledger/tile/0/x000/000", archive.read("ledger/tile/0/000"))


@mutant(Threat.DERIVED, "tile")
def whole_tile_under_the_name_of_a_part(archive):
    archive.write("ledger/tile/0/000.p/256", archive.read("ledger/tile/0/000"))


# Another archive.


@mutant(Threat.FOREIGN, "archive")
def archive_document_missing(archive):
    archive.remove("archive.json")


@mutant(Threat.FOREIGN, "archive")
def archive_of_another_format(archive):
    archive.alter("archive.json", lambda data: data.replace(b'"format":2', b'"format":3'))


@mutant(Threat.FOREIGN, "archive")
def archive_whose_id_does_not_follow(archive):
    archive.alter("archive.json", lambda data: data.replace(b'"cluster_id":"cluster"', b'"cluster_id":"another"'))


@mutant(Threat.FOREIGN, "archive")
def archive_document_that_names_another_topic(archive):
    archive.alter("archive.json", lambda data: data.replace(b'"payments.evidence"', b'"refunds.evidence"'))


@mutant(Threat.FOREIGN, "archive")
def archive_document_with_a_key_too_many(archive):
    archive.alter("archive.json", lambda data: data.replace(b"}\n", b',"owner":"another bank"}\n'))


@mutant(Threat.FOREIGN, "archive")
def archive_document_written_otherwise(archive):
    archive.alter("archive.json", lambda data: data.replace(b'":', b'": '))


@mutant(Threat.FOREIGN, "archive")
def archive_document_with_a_line_too_many(archive):
    archive.alter("archive.json", lambda data: data + b"\n")
