// Ledgercheck verifies the transparency log in an archive's ledger folder.
//
//	ledgercheck [-older CHECKPOINT] LEDGER VERIFIER-KEY...
//
// It shares no code with probity. Signatures, trees, tiles and proofs are those of
// golang.org/x/mod/sumdb, the libraries of Go's checksum database; what is written here is how C2SP
// tlog-tiles and tlog-checkpoint differ from that database: the paths, and the text of a checkpoint.
//
// It believes every checkpoint in LEDGER/cp that one of the keys has signed if each extends the one
// before, proves each record under the largest of them, and prints how many it checked. With -older it
// also proves that the log extends a checkpoint that somebody kept. Exit status 1 and a sentence say
// what does not hold.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	older := flag.String("older", "", "a `checkpoint` that was kept: the log must extend it")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: ledgercheck [-older CHECKPOINT] LEDGER VERIFIER-KEY...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() < 2 {
		flag.Usage()
		os.Exit(2)
	}
	counts, err := check(flag.Arg(0), flag.Args()[1:], *older)
	if err != nil {
		fmt.Fprintf(os.Stderr, "ledgercheck: %v\n", err)
		os.Exit(1)
	}
	fmt.Printf("%d records proven, %d checkpoints consistent\n", counts.records, counts.checkpoints)
}

type counts struct {
	records     int64
	checkpoints int
}

func check(ledger string, keys []string, older string) (counts, error) {
	verifiers, err := parseKeys(keys)
	if err != nil {
		return counts{}, err
	}
	log := &log{folder: ledger, verifiers: verifiers}
	checkpoints, err := log.checkpoints()
	if err != nil {
		return counts{}, err
	}
	if err := log.checkHint(checkpoints); err != nil {
		return counts{}, err
	}
	head := checkpoints[len(checkpoints)-1]
	if older != "" {
		old, err := log.open(older)
		if err != nil {
			return counts{}, err
		}
		if err := log.checkExtends(old, head); err != nil {
			return counts{}, err
		}
	}
	for i := 1; i < len(checkpoints); i++ {
		if err := log.checkExtends(checkpoints[i-1], checkpoints[i]); err != nil {
			return counts{}, err
		}
	}
	if err := log.checkRecords(head); err != nil {
		return counts{}, err
	}
	return counts{records: head.tree.N, checkpoints: len(checkpoints)}, nil
}

func parseKeys(keys []string) (note.Verifiers, error) {
	var verifiers []note.Verifier
	for _, key := range keys {
		verifier, err := note.NewVerifier(key)
		if err != nil {
			return nil, fmt.Errorf("%q is no verifier key: %w", key, err)
		}
		verifiers = append(verifiers, verifier)
	}
	return note.VerifierList(verifiers...), nil
}

// A log is the folder of a ledger, and whose signatures count.
type log struct {
	folder    string
	verifiers note.Verifiers
}

// A checkpoint is what a signed checkpoint says.
type checkpoint struct {
	path   string
	origin string
	tree   tlog.Tree
}

func (c checkpoint) String() string {
	return fmt.Sprintf("%s (%d records, root %v)", c.path, c.tree.N, c.tree.Hash)
}

// open reads a checkpoint and verifies its signature.
func (l *log) open(path string) (checkpoint, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return checkpoint{}, err
	}
	signed, err := note.Open(data, l.verifiers)
	if err != nil {
		return checkpoint{}, fmt.Errorf("%s cannot be believed: %w", path, err)
	}
	opened, err := parseCheckpoint(signed.Text)
	if err != nil {
		return checkpoint{}, fmt.Errorf("%s is no checkpoint: %w", path, err)
	}
	opened.path = path
	return opened, nil
}

func parseCheckpoint(text string) (checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[0] == "" {
		return checkpoint{}, errors.New("it is not origin, size and root")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return checkpoint{}, fmt.Errorf("its size is %q", lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return checkpoint{}, fmt.Errorf("its root is %q", lines[2])
	}
	return checkpoint{origin: lines[0], tree: tlog.Tree{N: size, Hash: root}}, nil
}

// checkpoints opens all checkpoints, each named by its size, the smallest first.
func (l *log) checkpoints() ([]checkpoint, error) {
	folder := filepath.Join(l.folder, "cp")
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var checkpoints []checkpoint
	for _, entry := range entries {
		opened, err := l.open(filepath.Join(folder, entry.Name()))
		if err != nil {
			return nil, err
		}
		if entry.Name() != strconv.FormatInt(opened.tree.N, 10) || opened.tree.N == 0 {
			return nil, fmt.Errorf("%v is named by another size, or of no record", opened)
		}
		checkpoints = append(checkpoints, opened)
	}
	if len(checkpoints) == 0 {
		return nil, fmt.Errorf("%s has no checkpoint", folder)
	}
	sort.Slice(checkpoints, func(i, j int) bool { return checkpoints[i].tree.N < checkpoints[j].tree.N })
	return checkpoints, nil
}

// checkHint checks that the file that names the latest checkpoint says what one of them says.
func (l *log) checkHint(checkpoints []checkpoint) error {
	hint, err := l.open(filepath.Join(l.folder, "checkpoint"))
	if err != nil {
		return err
	}
	for _, known := range checkpoints {
		if hint.origin == known.origin && hint.tree == known.tree {
			return nil
		}
	}
	return fmt.Errorf("%v is none of the checkpoints in cp", hint)
}

// checkExtends proves from the tiles of the newer checkpoint that it extends the older one.
func (l *log) checkExtends(older, newer checkpoint) error {
	if older.origin != newer.origin {
		return fmt.Errorf("%v is of log %q, and %v of log %q", older, older.origin, newer, newer.origin)
	}
	if older.tree.N < 1 || older.tree.N > newer.tree.N {
		return fmt.Errorf("%v cannot extend %v: their sizes do not allow it", newer, older)
	}
	proof, err := tlog.ProveTree(newer.tree.N, older.tree.N, l.hashes(newer))
	if err != nil {
		return fmt.Errorf("the tiles give no proof that %v extends %v: %w", newer, older, err)
	}
	if err := tlog.CheckTree(proof, newer.tree.N, newer.tree.Hash, older.tree.N, older.tree.Hash); err != nil {
		return fmt.Errorf("%v does not extend %v: %w", newer, older, err)
	}
	return nil
}

// checkRecords proves each record of the log, and that the bundles hold the same records.
func (l *log) checkRecords(head checkpoint) error {
	hashes := l.hashes(head)
	var bundle [][]byte
	for n := int64(0); n < head.tree.N; n++ {
		record, err := os.ReadFile(filepath.Join(l.folder, "entry", number(n)))
		if err != nil {
			return err
		}
		proof, err := tlog.ProveRecord(head.tree.N, n, hashes)
		if err != nil {
			return fmt.Errorf("the tiles give no proof of record %d: %w", n, err)
		}
		hash := tlog.RecordHash(record)
		if err := tlog.CheckRecord(proof, head.tree.N, head.tree.Hash, n, hash); err != nil {
			return fmt.Errorf("record %d is not in the log of %v: %w", n, head, err)
		}
		if n%width == 0 {
			if bundle, err = l.bundle(n/width, head.tree.N); err != nil {
				return err
			}
		}
		if !bytes.Equal(record, bundle[n%width]) {
			return fmt.Errorf("record %d is another one in its bundle", n)
		}
	}
	return nil
}

// bundle reads the records of a tile of level 0.
func (l *log) bundle(index, size int64) ([][]byte, error) {
	tile := tlog.Tile{H: height, N: index, W: width}
	if rest := size - index*width; rest < width {
		tile.W = int(rest)
	}
	path, data, err := l.read("entries", tile)
	if err != nil {
		return nil, err
	}
	var records [][]byte
	for len(data) >= 2 {
		length := int(data[0])<<8 | int(data[1])
		if data = data[2:]; len(data) < length {
			break
		}
		records = append(records, data[:length])
		data = data[length:]
	}
	if len(data) != 0 || len(records) != tile.W && len(records) != width {
		return nil, fmt.Errorf("%s is no bundle of %d records", path, tile.W)
	}
	return records, nil
}

func (l *log) hashes(of checkpoint) tlog.HashReader {
	return tlog.TileHashReader(of.tree, &tiles{log: l, known: map[tlog.Tile][]byte{}})
}

// What C2SP tlog-tiles fixes and Go leaves open.
const (
	height = 8
	width  = 1 << height
)

// number is how paths spell a number.
func number(n int64) string {
	path := tlog.Tile{H: height, N: n, W: width}.Path()
	return strings.TrimPrefix(path, "tile/8/0/")
}

// read reads a tile, or the full tile of which it is the beginning: a log may remove partial ones then.
func (l *log) read(level string, tile tlog.Tile) (path string, data []byte, err error) {
	path = filepath.Join(l.folder, "tile", level, number(tile.N))
	if tile.W < width {
		partial := fmt.Sprintf("%s.p/%d", path, tile.W)
		data, err = os.ReadFile(partial)
		if !errors.Is(err, os.ErrNotExist) {
			return partial, data, err
		}
	}
	data, err = os.ReadFile(path)
	return path, data, err
}

// tiles gives Go's library the tiles of a log, and keeps those that the library saves: the ones it has
// verified. Version 0.20.0 takes some full tiles for verified that it has not looked at, where the tree
// has several complete subtrees in one tile. Later versions, which need a newer Go than Debian 12 has,
// look at all. Nothing here relies on it: each proof that is made from tiles is checked.
type tiles struct {
	log   *log
	known map[tlog.Tile][]byte
}

func (t *tiles) Height() int { return height }

func (t *tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var data [][]byte
	for _, tile := range wanted {
		hashes, err := t.readTile(tile)
		if err != nil {
			return nil, err
		}
		data = append(data, hashes)
	}
	return data, nil
}

func (t *tiles) readTile(tile tlog.Tile) ([]byte, error) {
	if data, ok := t.known[tile]; ok {
		return data, nil
	}
	path, data, err := t.log.read(strconv.Itoa(tile.L), tile)
	if err != nil {
		return nil, err
	}
	size := tile.W * tlog.HashSize
	if len(data) != size && len(data) != width*tlog.HashSize {
		return nil, fmt.Errorf("%s has %d bytes", path, len(data))
	}
	return data[:size], nil
}

func (t *tiles) SaveTiles(verified []tlog.Tile, data [][]byte) {
	for i, tile := range verified {
		t.known[tile] = data[i]
	}
}
