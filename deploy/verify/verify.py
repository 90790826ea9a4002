"""An independent verifier of an evidence archive, written from ARCHIVE.md (format 2) and the golden archive alone.

    verify.py ARCHIVE (--trust TRUST.toml | --key VKEY) [--checkpoint FILE]... [--no-age] [--output json]
    verify.py --proof FILE --key VKEY [--output json]
It checks identity, entries, checkpoints (also those that were kept), tiles, objects, and of every file bytes, columns,
roots, coverage, counts and decisions, and goes on after a finding (section 11). It does not replay models, ask what
rules ask, read Kafka, check commitments, or compare times, positions and event ids of rows with their entry. Exit:
0 verified, 2 usage, 4 findings. Its author had not seen probity's code, and follows the contract where that grew.
"""
import argparse, base64, hashlib, json, math, re, struct, sys, time, tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple
import pyarrow as pa, pyarrow.parquet as parquet
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

def form(text: str, **others: Any) -> dict[str, Any]:
    return {name: others.get(name, kind) for name, _, kind in (item.partition(":") for item in text.split())}

GROUP_ROWS, FIRST_HEAD, HARMLESS = 131072, "0" * 64, ("in-flight", "gap")
STREAM = form("cluster_id:text topic:text topic_id:text partition:count")
RANGES = [form("topic:text topic_id:text partition:count first:count next:count")]
FORMS = {
    "segment": form("stream first:count next:count coverage prev_head:digest head:digest rows:count scored:count "
                    "rejected:count gaps:count columns:digest row_root:digest group_roots min_id:nullable "
                    "max_id:nullable sha256:digest bytes:count path:text context:digest min_time:count max_time:count "
                    "writer:text", stream=STREAM, coverage=RANGES, group_roots=["digest"]),
    "break": form("stream first:count next:count coverage head:digest reason:text operator:text",
                  stream=STREAM, coverage=RANGES),
    "reseal": form("entry:count sha256:digest bytes:count"), "heartbeat": {},
    "key": form("act role key:text", act=("add", "retire"), role=("log", "archiver", "scorer", "operator")),
    "event": form("kind:text instance:text facts:facts")}
ARCHIVE = form("format:count archive_id:digest cluster_id:text evidence_topic:text evidence_topic_id:text")
PROOF = form("format columns:text cells:text row:count row_path entry:text entry_path checkpoint:text",
             format=("probity-proof/1",), row_path=["digest"], entry_path=["digest"])
SIGNERS = {"segment": ["archiver"], "reseal": ["archiver"], "heartbeat": ["archiver"], "break": ["operator"],
           "key": ["log"], "event": ["archiver", "scorer", "operator"]}
SUFFIXES = {"columns": ".txt", "contexts": ".arrows", "models": "", "policies": ".txt", "runtimes": ".json",
            "configs": ".toml", "schemas": ".avsc"}
NAMED = {"model_sha256": "models", "package_sha256": "models", "policy_sha256": "policies",
         "runtime_sha256": "runtimes", "config_sha256": "configs", "input_schema": "schemas"}
TILED = form("input_topic_id:text partition:int offset:int next_offset:int kind:text")
DECIDED = form("kind:text policy_sha256:text score:f32 decision:text threshold:f64 rule:text")
JUDGED = TILED | DECIDED | dict.fromkeys(NAMED, "text")
KINDS = {"bool": "bool", "int32": "int", "int64": "int", "date32[day]": "date", "float": "f32", "double": "f64",
         **dict.fromkeys(["string", "large_string", "string_view"], "text"), "binary": "bytes", "large_binary": "bytes"}
TILE = r"(entries|0|[1-9][0-9]?)/([x0-9/]+)(?:\.p/([1-9][0-9]{0,2}))?"
SHADOW = re.compile("shadow_[0-9]+_package_sha256")
PLAIN = {"text": pa.large_binary(), "date": pa.int32(), "time": pa.int64()}
CELLS: dict[str, Callable[[Any], bytes]] = {
    "bool": lambda value: b"\x01" if value else b"\x00", "int": lambda value: value.to_bytes(8, "big", signed=True),
    "f32": lambda value: struct.pack(">f", value) if value == value else bytes.fromhex("7fc00000"),
    "f64": lambda value: struct.pack(">d", value) if value == value else bytes.fromhex("7ff8000000000000"),
    "bytes": lambda value: len(value).to_bytes(4, "big") + value,
    "decimal": lambda value: value[::-1]}  # Arrow holds the unscaled number in little-endian order
CELLS |= {"text": CELLS["bytes"], "date": CELLS["int"], "time": CELLS["int"]}
sha256: Callable[[bytes], bytes] = lambda data: hashlib.sha256(data).digest()

def require(holds: object, what: str) -> None:
    if not holds:
        raise ValueError(what)

def node(left: bytes | None, right: bytes | None) -> bytes | None:
    return None if left is None or right is None else sha256(b"\x01" + left + right)

class Tree:
    """The complete subtrees over a list of hashes (RFC 6962), by height. A hash that is not known is None."""
    def __init__(self, leaves: list[bytes | None]) -> None:
        self.levels = [leaves]
        while len(below := self.levels[-1]) > 1:
            self.levels.append([node(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])

    def root(self, size: int) -> bytes | None:
        peaks = [level[(size >> height) - 1] for height, level in enumerate(self.levels) if size >> height & 1]
        return reduce(lambda right, left: node(left, right), peaks) if peaks else sha256(b"")

def root_of_path(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    """Where a path of inclusion (RFC 6962, 2.1.1) leads to; None if its length does not fit."""
    if size <= 1 or not path:
        return leaf if size == 1 and not path else None
    if index < (left_size := 1 << (size - 1).bit_length() - 1):
        return node(root_of_path(leaf, index, left_size, path[:-1]), path[-1])
    return node(path[-1], root_of_path(leaf, index - left_size, size - left_size, path[:-1]))

def decode_base64(text: str) -> bytes:
    require(base64.b64encode(data := base64.b64decode(text, validate=True)).decode() == text, "base64 is not canonical")
    return data

class Key(NamedTuple):
    name: str
    hash: bytes
    public: bytes
    def signed(self, text: bytes, signature: bytes) -> bool:
        with suppress(InvalidSignature, ValueError):
            return Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text) is None
        return False

def parse_key(text: str) -> Key:
    name, hash_text, material = (text.split("+", 2) + ["", ""])[:3]
    data = decode_base64(material)
    digest = sha256(name.encode() + b"\n" + data)[:4]
    require(re.fullmatch(r"\S+", name) and len(data) == 33 and data[0] == 1, "it is no Ed25519 key")
    require(digest.hex() == hash_text, "the hash of the key is not its own")
    return Key(name, digest, data[1:])

class Note:
    """A signed note (section 3)."""
    def __init__(self, data: bytes) -> None:
        text, separator, lines = data.rpartition(b"\n\n")
        require(separator and lines.endswith(b"\n"), "it is no signed note")
        self.text, self.signatures = text.decode() + "\n", list[tuple[str, bytes]]()
        for line in lines[:-1].decode().split("\n"):
            require(match := re.fullmatch(r"— (\S+) (\S+)", line), "a line of a signature is malformed")
            self.signatures.append((match[1], decode_base64(match[2])))

    def signed_by(self, keys: Iterable[Key]) -> bool:
        """One of the keys has signed, and no signature in the name of one of them is false."""
        claims = [(key, blob[4:]) for key in keys for name, blob in self.signatures if (name, blob[:4]) == key[:2]]
        return bool(claims) and all(key.signed(self.text.encode(), signature) for key, signature in claims)

def conforms(value: Any, form: Any) -> bool:
    if isinstance(form, dict):
        return isinstance(value, dict) and list(value) == list(form) and all(conforms(value[k], form[k]) for k in form)
    if isinstance(form, list):
        return isinstance(value, list) and all(conforms(item, form[0]) for item in value)
    if isinstance(form, tuple):
        return isinstance(value, str) and value in form
    return {"count": type(value) is int and 0 <= value < 2**63, "text": isinstance(value, str),
            "digest": isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None,
            "nullable": value is None or isinstance(value, str),
            "facts": isinstance(value, dict) and conforms(list(value.values()), ["text"])}[form]

def parse_line(text: str) -> dict[str, Any]:
    require(isinstance(value := json.loads(text), dict), "it is no object of JSON")
    canonical = json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n"
    require(canonical == text, "it is not one line of JSON without blanks")
    return value

def parse_entry(note: Note) -> dict[str, Any]:
    entry = parse_line(note.text)
    n, kind = entry.get("n"), entry.get("type")
    require(conforms(n, "count") and conforms(kind, tuple(FORMS)), "it has no number, or no known type")
    state = "state:digest " if n > 0 and n % 256 == 0 else ""
    head = form(f"n:count archive:digest time:count {state}type:text")
    require(conforms(entry, head | FORMS[kind]), f"its keys and values are not those of a {kind}")
    return entry

def read_checkpoint(data: bytes, origin: str, log_keys: Callable[[int], Iterable[Key]]) -> tuple[int, bytes]:
    note = Note(data)
    match = re.fullmatch(r"([^\n]+)\n(0|[1-9][0-9]{0,17})\n([^\n]{44})\n", note.text)
    require(match and match[1] == origin, "it is no checkpoint of this archive")
    require(note.signed_by(log_keys(int(match[2]))), "no key of role log has signed it")
    return int(match[2]), decode_base64(match[3])

def grouped(number: int) -> str:
    """A number as it stands in paths: 1234067 is x001/x234/067."""
    *groups, last = (group.zfill(3) for group in f"{number:,}".split(","))
    return "/".join(["x" + group for group in groups] + [last])

def parse_columns(data: bytes) -> dict[str, str]:
    require(data.endswith(b"\n"), "the columns text does not end with a newline")
    columns: dict[str, str] = {}
    for line in data.decode()[:-1].split("\n"):
        name, _, kind = line.partition(":")
        numbers = re.fullmatch(r"decimal\(([1-9][0-9]?),(0|[1-9][0-9]?)\)", kind)
        known = int(numbers[2]) <= int(numbers[1]) <= 38 if numbers else kind in CELLS and kind != "decimal"
        require(known and re.fullmatch(r"[^\x00-\x1f\x7f-\x9f]+", name) and name not in columns, f"malformed: {line!r}")
        columns[name] = kind
    return columns

def kind_of(column_type: pa.DataType) -> str:
    """The kind of a type of Arrow, or what Arrow calls it."""
    if pa.types.is_dictionary(column_type):
        return kind_of(column_type.value_type)
    if pa.types.is_decimal128(column_type):
        return f"decimal({column_type.precision},{column_type.scale})"
    if pa.types.is_timestamp(column_type) and column_type.unit == "us" and column_type.tz:
        return "time"
    return "bytes" if pa.types.is_fixed_size_binary(column_type) else KINDS.get(str(column_type), str(column_type))

def cells_of(column: pa.Array, kind: str) -> list[bytes]:
    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    column = column.cast(PLAIN.get(kind, column.type))
    column = column.view(pa.binary(16)) if kind.startswith("decimal") else column
    encode = CELLS[kind.partition("(")[0]]
    return [b"\x00" if value is None else b"\x01" + encode(value) for value in column.to_pylist()]

def parse_policy(data: bytes) -> tuple[float, float, dict[str, str]]:
    """Its bounds, and the decisions that its rules ask for, by name (section 9)."""
    number = r"([0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)\n"
    lines = rf"probity policy ([12])\nversion [^\n]*\nreview {number}decline {number}((?:rule [^\n]*\n)*)"
    require(match := re.fullmatch(lines, data.decode()), "it is no policy")
    rules: dict[str, str] = {}
    for line in match[4].split("\n")[:-1]:
        rule = re.fullmatch(r"rule ([A-Za-z0-9._+-]{1,64}) (review|decline) (\".*\")", line)
        require(rule and json.dumps(json.loads(rule[3]), ensure_ascii=False) == rule[3], f"malformed: {line!r}")
        rules[rule[1]] = rule[2]
    require(match[4].count("\n") == len(rules) <= 64 and bool(rules) == (match[1] == "2"), "its rules cannot be")
    return float(match[2]), float(match[3]), rules

def bundle_hashes(data: bytes) -> list[bytes]:
    hashes, position = [], 0
    while position < len(data):
        start = position + 2
        position = start + int.from_bytes(data[position:start], "big")
        require(position <= len(data), "the bundle is cut off")
        hashes.append(sha256(b"\x00" + data[start:position]))
    return hashes

class Stream:
    """What the fold knows of one stream (section 4)."""
    def __init__(self) -> None:
        self.tip, self.head, self.last = 0, FIRST_HEAD, -1
        self.ends: dict[tuple[str, int], int] = {}

def ranges_of(entry: dict[str, Any]) -> dict[tuple[str, int], tuple[int, int]]:
    return {(item["topic_id"], item["partition"]): (item["first"], item["next"]) for item in entry["coverage"]}

class Verifier:
    def __init__(self, folder: Path, trusted: list[Key]) -> None:
        self.folder, self.log_name, self.rows = folder, trusted[0].name, 0
        self.findings: list[dict[str, str]] = []
        self.keys: dict[str, set[Key]] = {"log": set(trusted), "archiver": set(), "scorer": set(), "operator": set()}
        self.log_keys: list[frozenset[Key]] = []  # by the number of entries before
        self.entries: dict[int, dict[str, Any]] = {}
        self.streams: dict[str, Stream] = {}
        self.forms: dict[int, list[tuple[str, int]]] = {}  # digest and length of each form of a segment's file
        self.policies: dict[str, tuple[float, float, dict[str, str]] | None] = {}

    def find(self, name: str, subject: str, what: object) -> None:
        subject, text = (" ".join(str(part).split()) for part in (subject, what))
        self.findings.append({"name": name, "object": subject, "what": text[:300]})

    @contextmanager
    def finding(self, name: str, subject: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, OSError, RecursionError) as error:
            self.find(name, subject, error)

    def below(self, folder: str) -> list[str]:
        return [path for path in self.files if path.startswith(folder)]

    def read(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()

    def verify(self, kept: list[tuple[str, bytes]], max_age: float | None) -> int | None:
        paths = {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()}
        self.files = dict.fromkeys(sorted(paths))
        self.read_archive()
        self.count = self.count_entries()
        self.tree = Tree([self.fold(n, f"ledger/entry/{grouped(n)}") for n in range(self.count)])
        topics = {json.loads(stream)["topic"] for stream in self.streams}
        if "evidence_topic" in self.archive and topics - {self.archive["evidence_topic"]}:
            self.find("archive", "archive.json", "the entries are of another topic")
        self.log_keys.append(frozenset(self.keys["log"]))
        newest = self.check_checkpoints(kept)
        last = self.entries.get((newest or 0) - 1)
        if max_age is not None and last and (age := time.time() - last["time"] / 1e6) > max_age:
            self.find("checkpoint-old", f"ledger/cp/{newest}", f"it is {age:.0f} seconds old")
        self.check_log(newest or 0)
        self.check_tiles()
        self.objects = {path: self.check_object(path) for folder in SUFFIXES for path in self.below(folder + "/")}
        self.check_files(newest or 0)
        return newest

    def count_entries(self) -> int:
        """One beyond the last entry that is there. A name far beyond all others does not count."""
        numbers = {path: int("0" + re.sub("[^0-9]", "", path)) for path in self.below("ledger/entry/")}
        own = {n for path, n in numbers.items() if path == f"ledger/entry/{grouped(n)}"}
        far = 2 * len(own) + 256
        for path, n in numbers.items():
            if path != f"ledger/entry/{grouped(n)}":
                self.find("entry-malformed", path, "it has no entry's name")
            elif n >= far:
                self.find("entry-missing", path, "the entries before it are not there")
        return max((n for n in own if n < far), default=-1) + 1

    def read_archive(self) -> None:
        self.archive: dict[str, Any] = {}
        with self.finding("archive", "archive.json"):
            archive = parse_line(self.read("archive.json").decode())
            require(conforms(archive, ARCHIVE) and archive["format"] == 2, "it is not of format 2")
            name = f"{archive['cluster_id']}\n{archive['evidence_topic_id']}"
            require(sha256(name.encode()).hex() == archive["archive_id"], "its id does not follow")
            self.archive = archive

    def fold(self, n: int, path: str) -> bytes | None:
        """Reads and applies entry n; returns the hash of its leaf, or None if it is not there."""
        self.log_keys.append(frozenset(self.keys["log"]))
        if path not in self.files:
            return None
        data, before = self.read(path), len(self.findings)
        with self.finding("entry-malformed", path):
            require(len(data) < 2**16, "it is longer than a bundle can hold")
            note = Note(data)
            entry = self.entries[n] = parse_entry(note)
            with self.finding("entry-signature", path):
                keys = [key for role in SIGNERS[entry["type"]] for key in self.keys[role]]
                require(note.signed_by(keys), f"no key that may sign a {entry['type']} has signed it")
            with self.finding("entry-order", path):
                self.check_order(n, entry)
            self.apply(n, entry, len(self.findings) == before)
        return sha256(b"\x00" + data)

    def stream(self, entry: dict[str, Any]) -> Stream:
        return self.streams.setdefault(json.dumps(entry["stream"]), Stream())

    def check_order(self, n: int, entry: dict[str, Any]) -> None:
        self.archive.setdefault("archive_id", entry["archive"])
        require(entry["n"] == n and entry["archive"] == self.archive["archive_id"], "number or archive is another")
        if entry["type"] in ("segment", "break"):
            self.check_stream(entry, 1 if entry["type"] == "segment" else 0)
        if entry["type"] == "segment":
            self.check_segment_entry(n, entry)
        elif entry["type"] == "break":
            require(entry["reason"] and entry["operator"], "it has no reason or no operator")
        elif entry["type"] == "key":
            parse_key(entry["key"])
        elif entry["type"] == "reseal":
            sealed = self.entries.get(entry["entry"], {"type": "nothing"})
            is_last = sealed["type"] == "segment" and self.stream(sealed).last == entry["entry"]
            require(is_last, "it is not of the last segment of a stream")
            require((entry["sha256"], entry["bytes"]) not in self.forms[entry["entry"]], "the segment has these bytes")

    def check_stream(self, entry: dict[str, Any], least: int) -> None:
        stream, ranges = self.stream(entry), ranges_of(entry)
        names = "{cluster_id}\n{topic_id}".format(**entry["stream"]).encode()
        require(sha256(names).hex() == entry["archive"], "its stream is of another topic than the archive's")
        require({name[1] for name in ranges} <= {entry["stream"]["partition"]}, "it covers another partition's input")
        require(entry["first"] == stream.tip, f"first is {entry['first']}, the tip {stream.tip}")
        require(entry["next"] >= entry["first"] + least, "next is not beyond first")
        require(len(entry["coverage"]) == len(ranges) >= least, "coverage is empty, or names an input twice")
        for name, (first, following) in ranges.items():
            require(first == stream.ends.get(name, first), f"coverage of {name} begins at {first}, not where it ended")
            require(following >= first + least, f"coverage of {name} is empty")

    def check_segment_entry(self, n: int, entry: dict[str, Any]) -> None:
        require(entry["prev_head"] == self.stream(entry).head, "prev_head is not the head")
        require(entry["rows"] == entry["scored"] + entry["rejected"] + entry["gaps"] > 0, "rows are not their sum")
        groups: list[bytes | None] = [bytes.fromhex(root) for root in entry["group_roots"]]
        require(len(groups) == -(-entry["rows"] // GROUP_ROWS), "group_roots are not as many as groups")
        require(Tree(groups).root(len(groups)) == bytes.fromhex(entry["row_root"]), "group_roots do not fold")
        name = f"{entry['stream']['topic']}-{entry['stream']['partition']}-{entry['first']:020}-{n}.parquet"
        require(re.fullmatch(r"segments/dt=\d{4}-\d\d-\d\d/" + re.escape(name), entry["path"], re.A), "path is another")

    def apply(self, n: int, entry: dict[str, Any], faultless: bool) -> None:
        """A segment or break that does not follow is applied too, so that its fault is not found again and again."""
        if entry["type"] in ("segment", "break"):
            stream = self.stream(entry)
            stream.tip, stream.head = entry["next"], entry["head"]
            stream.ends |= {name: following for name, (_, following) in ranges_of(entry).items()}
        if entry["type"] == "segment":
            stream.last, self.forms[n] = n, [(entry["sha256"], entry["bytes"])]
        elif entry["type"] == "break":
            self.find("gap", f"ledger/entry/{grouped(n)}", f"{entry['operator']}: {entry['reason']}")
        elif entry["type"] == "reseal" and faultless:
            self.forms[entry["entry"]].append((entry["sha256"], entry["bytes"]))
        elif entry["type"] == "key" and faultless:
            (set.add if entry["act"] == "add" else set.discard)(self.keys[entry["role"]], parse_key(entry["key"]))

    def check_checkpoints(self, kept: list[tuple[str, bytes]]) -> int | None:
        """Returns the size of the newest checkpoint."""
        origin = f"{self.log_name}/{self.archive.get('archive_id')}"
        own = dict.fromkeys(path for path in self.files if re.match("ledger/checkpoint$|ledger/cp/", path))
        signed, keys_at = [], lambda size: self.log_keys[min(size, self.count)]
        for source, data in [*((path, self.read(path)) for path in own), *kept]:
            with self.finding("checkpoint-signature", source):
                signed.append((source, *read_checkpoint(data, origin, keys_at)))
        roots: dict[int, bytes] = {}
        for source, size, root in signed:
            if source not in own and size > self.count:
                self.find("rollback", source, f"it has {size} entries, the log {self.count}")
            elif size <= self.count and self.tree.root(size) not in (root, None):
                name = "checkpoint-root" if source in own else "checkpoint-fork"
                self.find(name, source, "its root is not that of the entries")
            if roots.setdefault(size, root) != root:
                self.find("checkpoint-fork", source, f"two checkpoints of size {size} have different roots")
            if source.startswith("ledger/cp/") and source != f"ledger/cp/{size}":
                self.find("checkpoint-signature", source, f"it is of {size} entries")
        if not any(source in own for source, _, _ in signed):
            self.find("checkpoint-missing", "ledger/cp", "no checkpoint is signed by a trusted key")
        return max((size for source, size, _ in signed if source in own or size <= self.count), default=None)

    def check_log(self, newest: int) -> None:
        missing = [n for n, leaf in enumerate(self.tree.levels[0]) if leaf is None]
        for n in missing + [self.count] * (newest > self.count):
            self.find("entry-missing", f"ledger/entry/{grouped(n)}", f"it is not there; the checkpoint is of {newest}")
        states = {f"ledger/state/{n}": entry.get("state") for n, entry in self.entries.items() if n % 256 == 0}
        for path in self.below("ledger/state/"):
            is_next = path == f"ledger/state/{self.count}" and self.count % 256 == 0
            if not is_next and states.get(path) != sha256(self.read(path)).hex():
                self.find("entry-order", path, "no entry names it")

    def check_tiles(self) -> None:
        for path in self.below("ledger/tile/"):
            with self.finding("tile", path):
                match = re.fullmatch(TILE, path.removeprefix("ledger/tile/"))
                kind, number, part = match.groups() if match else ("", "", "256")
                first, width = 256 * int("0" + re.sub("[x/]", "", number)), int(part or 256)
                require(number == grouped(first // 256) and part != "256", "it has no tile's name")
                level, data = 0 if kind == "entries" else 8 * int(kind), self.read(path)
                hashes = bundle_hashes(data) if kind == "entries" else [data[i:i + 32] for i in range(0, len(data), 32)]
                expected = self.tree.levels[level][first:first + width] if level < len(self.tree.levels) else []
                require(len(hashes) == len(expected) == width, "it is not as wide as its name says, or as the log")
                require(all(b in (a, None) for a, b in zip(hashes, expected)), "it is not that of the entries")

    def check_object(self, path: str) -> bool:
        folder, name = path.split("/", 1)
        digest = sha256(self.read(path)).hex()
        if name != digest + SUFFIXES[folder]:
            self.find("object", path, f"its digest is {digest}")
        return name == digest + SUFFIXES[folder]

    def object(self, folder: str, digest: str | None) -> bytes | None:
        """An object by its digest; None, and found once, if it lacks."""
        path = f"{folder}/{digest}{SUFFIXES[folder]}"
        if path not in self.objects:
            self.objects[path] = False
            self.find("object", path, "it is missing")
        return self.read(path) if self.objects[path] else None

    def check_files(self, newest: int) -> None:
        segments = {n: entry for n, entry in self.entries.items() if entry["type"] == "segment"}
        in_flight = [f"{self.count - newest} entries beyond the checkpoint"]
        for n, entry in segments.items():
            if entry["path"] in self.files:
                self.check_file(n, entry, entry["path"])
            elif n < newest or n != self.stream(entry).last:
                self.find("file-missing", entry["path"], f"entry {n} names it")
            else:
                in_flight.append(f"entry {n} lacks its file")
        if self.count > newest:
            self.find("in-flight", f"ledger/entry/{grouped(newest)}", "; ".join(in_flight))
        for path in sorted(set(self.below("segments/")) - {entry["path"] for entry in segments.values()}):
            self.find("file-foreign", path, "it is no entry's")

    def check_file(self, n: int, entry: dict[str, Any], path: str) -> None:
        text, _ = self.object("columns", entry["columns"]), self.object("contexts", entry["context"])
        if text is None:
            return
        with self.finding("file-columns", path):
            columns = parse_columns(text)
            require(JUDGED.items() <= ({"rule": "text"} | columns).items(), "the columns text lacks some of section 6")
            try:
                file = parquet.ParquetFile(self.folder / path)
                kinds = [(item.name, kind_of(item.type)) for item in file.schema_arrow]
                same = sorted(kinds) == sorted(columns.items())
                leaves, rows = self.read_rows(file, columns, b"\x00" + sha256(text)) if same else ([], {})
            except Exception as error:  # pyarrow raises errors of many kinds on a damaged file
                return self.find("file-unreadable", path, f"{type(error).__name__}: {error}")
            require(same, f"not those of the columns text: {sorted(set(kinds) ^ set(columns.items()))}")
            self.check_rows(n, entry, path, leaves, rows)

    def read_rows(self, file: parquet.ParquetFile, columns: dict[str, str], prefix: bytes) -> tuple[list, dict]:
        """The hashes of the rows, and the values of the columns that are judged."""
        leaves: list[bytes] = []
        rows: dict[str, list[Any]] = {name: [] for name in [*JUDGED, *filter(SHADOW.fullmatch, columns)]}
        for batch in file.iter_batches(batch_size=16384):
            cells = [cells_of(batch.column(name), kind) for name, kind in columns.items()]
            leaves += [sha256(prefix + b"".join(row)) for row in zip(*cells)]
            for name in rows:
                rows[name] += batch.column(name).to_pylist() if name in columns else [None] * len(batch)
        return leaves, rows

    def check_rows(self, n: int, entry: dict[str, Any], path: str, leaves: list, rows: dict[str, list[Any]]) -> None:
        self.rows += len(leaves)
        groups = [leaves[i:i + GROUP_ROWS] for i in range(0, len(leaves), GROUP_ROWS)]
        roots = [Tree(group).root(len(group)).hex() for group in groups]
        root = Tree(leaves).root(len(leaves)).hex()
        if (len(leaves), roots, root) != (entry["rows"], entry["group_roots"], entry["row_root"]):
            return self.find("file-rows", path, "its rows are not those of the roots")
        with (self.folder / path).open("rb") as file:
            if (hashlib.file_digest(file, "sha256").hexdigest(), file.tell()) not in self.forms[n]:
                self.find("file-bytes", path, "it has the rows of the entry, but other bytes")
        with self.finding("rows", path):
            check_tiling(entry, rows)
        with self.finding("policy", path):
            for at, row in enumerate(zip(*(rows[name] for name in DECIDED))):
                require(self.is_decided(*row[1:]) if row[0] == "scored" else set(row[2:]) == {None}, f"decision {at}")
        for name, folder in (dict.fromkeys(rows.keys() - JUDGED.keys(), "models") | NAMED).items():
            for digest in sorted(set(map(str, rows[name]))):
                lines = (self.object(folder, digest) or b"").decode(errors="replace").splitlines()
                for line in lines if name.endswith("package_sha256") else ():
                    self.object("models", line.removeprefix("\\")[:64])

    def is_decided(self, digest: str, score: float | None, *said: Any) -> bool:
        """The policy, or a rule of it, makes this of the score. A policy that lacks is found as an object."""
        if digest not in self.policies:
            text = self.object("policies", digest)
            self.policies[digest] = None if text is None else parse_policy(text)
        if (policy := self.policies[digest]) is None or score is None or not math.isfinite(score):
            return policy is None
        review, decline, rules = policy
        reached = [("decline", decline)] * (score >= decline) + [("review", review)] * (score >= review)
        (by_score, bound), (decision, threshold, rule) = (reached + [("approve", None)])[0], said
        is_stricter = rule in rules and rules[rule] == decision and by_score not in (decision, "decline")
        return said == (by_score, bound, None) or is_stricter and threshold is None

def check_tiling(entry: dict[str, Any], rows: dict[str, list[Any]]) -> None:
    ranges = ranges_of(entry)
    ends = {name: first for name, (first, _) in ranges.items()}
    for row, (topic_id, partition, offset, following, kind) in enumerate(zip(*(rows[name] for name in TILED))):
        require(None not in (partition, offset, following), f"row {row} has no partition or no offset")
        is_one = kind in ("scored", "rejected") and following == offset + 1
        require(is_one or kind == "gap" and following > offset, f"row {row} is no {kind} of [{offset}, {following})")
        require(ends.get((topic_id, partition)) == offset, f"row {row} does not tile the coverage")
        ends[topic_id, partition] = following
    require(ends == {name: following for name, (_, following) in ranges.items()}, "the rows end before the coverage")
    for kind, name in (("scored", "scored"), ("rejected", "rejected"), ("gap", "gaps")):
        require(rows["kind"].count(kind) == entry[name], f"there are not {entry[name]} rows of kind {kind}")

def is_row(cells: bytes, kinds: list[str]) -> bool:
    """Whether these are the cells of one row, each of its kind, and nothing after them."""
    for kind in kinds:
        length = {"bool": 1, "f32": 4, "decimal": 16}.get(kind.partition("(")[0], 8)
        length = 4 + int.from_bytes(cells[1:5], "big") if kind in ("text", "bytes") else length
        length = 1 if cells[:1] == b"\x00" else 1 + length
        if cells[:1] not in (b"\x00", b"\x01") or len(cells) < length:
            return False
        cells = cells[length:]
    return not cells

def check_proof(verifier: Verifier, subject: str, data: bytes, key: Key) -> None:
    """The proof of one row (section 10). Its first fault gets the name that is nearest."""
    name = "proof"
    try:
        proof = json.loads(data)
        require(isinstance(proof, dict) and conforms({k: proof.get(k) for k in PROOF}, PROOF), "it has not this form")
        row_path, entry_path = ([bytes.fromhex(text) for text in proof[k]] for k in ("row_path", "entry_path"))
        columns, note, cells = proof["columns"].encode(), proof["entry"].encode(), bytes.fromhex(proof["cells"])
        name = "entry-malformed"
        entry = parse_entry(Note(note))
        require(entry["type"] == "segment", "it is no entry of a segment")
        name, origin = "checkpoint-signature", f"{key.name}/{entry['archive']}"
        size, root = read_checkpoint(proof["checkpoint"].encode(), origin, lambda size: [key])
        name, leaf = "checkpoint-root", sha256(b"\x00" + note)
        found = root_of_path(leaf, entry["n"], size, entry_path) if entry["n"] < size else None
        require(found == root, "no such entry in the log")
        name = "file-columns"
        require(sha256(columns).hex() == entry["columns"], "the columns are not those of the entry")
        require(is_row(cells, list(parse_columns(columns).values())), "the cells are not those of the columns")
        name, leaf = "file-rows", sha256(b"\x00" + sha256(columns) + cells)
        found = root_of_path(leaf, proof["row"], entry["rows"], row_path) if proof["row"] < entry["rows"] else None
        require(found == bytes.fromhex(entry["row_root"]), "no such row in the segment")
    except (ValueError, RecursionError) as error:
        verifier.find(name, subject, error)

def read_trust(path: str) -> tuple[list[Key], float | None]:
    trust = tomllib.loads(Path(path).read_text())
    keys = [parse_key(text) for text in trust["log"]]
    require(len({key.name for key in keys}) == 1, "log keys are none, or not of one name")
    if "max_age" not in trust:
        return keys, None
    require(match := re.fullmatch(r"([0-9]+)(ms|[smh])", trust["max_age"]), "max_age is malformed")
    return keys, int(match[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[match[2]]

def main() -> int:
    parser = argparse.ArgumentParser(description="Verifies an archive of evidence, or the proof of one row.")
    parser.add_argument("archive", nargs="?", type=Path)
    parser.add_argument("--proof", type=Path)
    trust = parser.add_mutually_exclusive_group(required=True)
    trust.add_argument("--trust")
    trust.add_argument("--key")
    parser.add_argument("--checkpoint", action="append", default=[])
    parser.add_argument("--no-age", action="store_true")
    parser.add_argument("--output", choices=["text", "json"], default="text")
    options, newest = parser.parse_args(), None
    try:
        require(bool(options.archive) != bool(options.proof), "give an archive, or --proof")
        require(options.proof or options.archive.is_dir(), f"{options.archive} is no folder")
        require(options.key or not options.proof, "a proof needs --key")
        keys, max_age = ([parse_key(options.key)], None) if options.key else read_trust(options.trust)
        kept = [(str(Path(path).absolute()), Path(path).read_bytes()) for path in options.checkpoint]
        _notes = [Note(data) for _, data in kept]  # what is none is wrong usage, and no finding
        proof = options.proof.read_bytes() if options.proof else b""
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        parser.error(str(error))
    verifier = Verifier(options.archive, keys)
    if options.proof:
        check_proof(verifier, str(options.proof), proof, keys[0])
    else:
        newest = verifier.verify(kept, None if options.no_age else max_age)
    sys.stdout.reconfigure(errors="backslashreplace")
    told = [finding for finding in verifier.findings if finding["name"] in HARMLESS]
    lists: dict[str, Any] = {"findings": [each for each in verifier.findings if each not in told], "told": told}
    count = len(lists["findings"])
    if options.output == "json":
        print(json.dumps(lists | {"rows": verifier.rows, "entries": len(verifier.entries), "checkpoint": newest}))
    else:
        for finding in verifier.findings:
            print("{name} {object}: {what}".format(**finding))
        print(f"{count} findings" if count else "verified")
    return 4 if count else 0

if __name__ == "__main__":
    sys.exit(main())
