package sandbox

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spare-network/spare/node/sandbox/meter"
	"github.com/spare-network/spare/protocol"
)

// cache holds compiled code on disk: one directory for each module, which is
// exactly what an executor gets to see, beside a MAC over its files. Code is
// executed as it is, so what the node did not write itself is never used.
//
//	Dir/DIGEST-PLATFORM/mac
//	Dir/DIGEST-PLATFORM/code/module          metered
//	Dir/DIGEST-PLATFORM/code/wazero-.../KEY  machine code
type cache struct {
	dir      string
	key      []byte
	most     atomic.Int64 // bytes
	platform string       // of this executable: 16 hexadecimal characters
	logger   *slog.Logger

	mu      sync.Mutex
	entries map[protocol.Digest]*entry
	flights map[protocol.Digest]chan struct{} // closed when its compilation ends
	dropped int                               // entries so far
}

// entry is one compiled module.
type entry struct {
	dir  string
	size int64
	used time.Time
	pins int // executors that are being started from it
}

// code is the directory that executors get to see.
func (e *entry) code() string { return filepath.Join(e.dir, codeDir) }

const (
	macFile = "mac"
	codeDir = "code"
	scratch = "new-" // prefix of directories that are no entries yet
)

// openCache reads what is in dir. Code for other platforms, profiles and
// versions is removed, and so are the leavings of a crash.
func openCache(dir string, key []byte, most int64, ceilings meter.Ceilings, logger *slog.Logger) (*cache, error) {
	platform := protocol.DigestOf(fmt.Appendf(nil, "%s %s %s profile %d meter %d %+v",
		defaultEngine().name(), runtime.GOOS, runtime.GOARCH, protocol.Profile, meter.Version, ceilings))
	c := &cache{
		dir: dir, key: key, platform: platform.String()[:16], logger: logger,
		entries: make(map[protocol.Digest]*entry), flights: make(map[protocol.Digest]chan struct{}),
	}
	c.most.Store(most)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open compile cache: %w", err)
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open compile cache: %w", err)
	}
	for _, d := range list {
		text, platform, _ := strings.Cut(d.Name(), "-")
		digest, err := protocol.ParseDigest(text)
		ours := err == nil
		if ours && platform == c.platform {
			if e, err := readEntry(dir, d.Name()); err == nil {
				c.entries[digest] = e
				continue
			}
		}
		if ours || strings.HasPrefix(d.Name(), scratch) {
			c.remove(d.Name())
		}
	}
	c.evict(nil)
	return c, nil
}

func readEntry(dir, name string) (*entry, error) {
	dir = filepath.Join(dir, name)
	size, err := dirSize(filepath.Join(dir, codeDir))
	if err != nil {
		return nil, err
	}
	mac, err := os.Stat(filepath.Join(dir, macFile))
	if err != nil {
		return nil, err
	}
	return &entry{dir: dir, size: int64(size), used: mac.ModTime()}, nil
}

// has reports whether the module is compiled.
func (c *cache) has(digest protocol.Digest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries[digest] != nil
}

// usage returns how many modules are compiled, and the bytes of their code.
func (c *cache) usage() (modules int, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.entries {
		bytes += e.size
	}
	return len(c.entries), bytes
}

// recent lists at most n compiled modules, the last used first.
func (c *cache) recent(n int) []protocol.Digest {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]protocol.Digest, 0, len(c.entries))
	for d := range c.entries {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b protocol.Digest) int {
		return cmp.Or(c.entries[b].used.Compare(c.entries[a].used), slices.Compare(a[:], b[:]))
	})
	return list[:min(n, len(list))]
}

// claim returns the module's authentic code, pinned until release; or nil and
// the right to compile it, which ends with settle; or, when somebody else is
// compiling it, a channel to wait on.
func (c *cache) claim(digest protocol.Digest) (e *entry, wait <-chan struct{}) {
	for {
		c.mu.Lock()
		e = c.entries[digest]
		if flight := c.flights[digest]; flight != nil {
			c.mu.Unlock()
			return nil, flight
		}
		if e == nil {
			c.flights[digest] = make(chan struct{})
			c.mu.Unlock()
			return nil, nil
		}
		e.pins++
		e.used = time.Now()
		used := e.used
		c.mu.Unlock()

		err := c.authenticate(e.dir, digest)
		if err == nil {
			// Only the order of use after a restart depends on it.
			_ = os.Chtimes(filepath.Join(e.dir, macFile), time.Time{}, used)
			return e, nil
		}
		c.logger.Warn("compiled code is not what this node wrote", "module", digest.String(), "err", err)
		c.release(e)
		c.drop(digest, e)
	}
}

// release ends the pin that claim set.
func (c *cache) release(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.pins--
}

// settle ends the right to compile, and wakes those who wait for it.
func (c *cache) settle(digest protocol.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.flights[digest])
	delete(c.flights, digest)
}

// drop removes an entry. Its directory is out of the way when drop unlocks, so
// that a new compilation may take its place at once.
func (c *cache) drop(digest protocol.Digest, e *entry) {
	c.mu.Lock()
	away := ""
	if c.entries[digest] == e {
		away = c.take(digest, e)
	}
	c.mu.Unlock()
	if away != "" {
		c.remove(away)
	}
}

// take forgets an entry and returns the name of what is to be removed. It is
// called with mu held.
func (c *cache) take(digest protocol.Digest, e *entry) (away string) {
	delete(c.entries, digest)
	c.dropped++
	away = fmt.Sprintf("%sold-%d", scratch, c.dropped)
	if os.Rename(e.dir, filepath.Join(c.dir, away)) != nil {
		away = filepath.Base(e.dir)
	}
	return away
}

func (c *cache) remove(name string) {
	if err := os.RemoveAll(filepath.Join(c.dir, name)); err != nil {
		c.logger.Warn("compiled code cannot be removed", "err", err)
	}
}

// scratch makes an empty directory for a compile worker.
func (c *cache) scratch() (string, error) {
	dir, err := os.MkdirTemp(c.dir, scratch)
	if err != nil {
		return "", fmt.Errorf("make room for compiled code: %w", err)
	}
	if err := os.Mkdir(filepath.Join(dir, codeDir), 0o700); err != nil {
		return "", errors.Join(fmt.Errorf("make room for compiled code: %w", err), os.RemoveAll(dir))
	}
	return dir, nil
}

// adopt takes the code that a compile worker left in dir, a scratch, into the
// cache.
func (c *cache) adopt(dir string, digest protocol.Digest) error {
	mac, size, err := c.mac(dir, digest)
	if err != nil {
		return err
	}
	if size > c.most.Load() {
		return protocol.Errorf(protocol.CodeRefused, "the module's compiled code has %d bytes, this node keeps no more than %d",
			size, c.most.Load())
	}
	if err := os.WriteFile(filepath.Join(dir, macFile), mac, 0o600); err != nil {
		return fmt.Errorf("seal compiled code: %w", err)
	}
	home := filepath.Join(c.dir, digest.String()+"-"+c.platform)
	if err := os.RemoveAll(home); err != nil { // what could not be removed before
		return fmt.Errorf("keep compiled code: %w", err)
	}
	if err := os.Rename(dir, home); err != nil {
		return fmt.Errorf("keep compiled code: %w", err)
	}
	e := &entry{dir: home, size: size, used: time.Now()}
	c.mu.Lock()
	c.entries[digest] = e
	c.mu.Unlock()
	c.evict(e)
	return nil
}

// evict removes the entries not used for longest until the rest fits, except
// keep: it is about to be used, and would be compiled again and again for as
// long as all others are pinned.
func (c *cache) evict(keep *entry) {
	for {
		away := c.takeExcess(keep)
		if away == "" {
			return
		}
		c.remove(away)
	}
}

// takeExcess takes the entry to go next, which nobody has pinned and which is
// not keep, or returns "".
func (c *cache) takeExcess(keep *entry) (away string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var total int64
	var oldest protocol.Digest
	var e *entry
	for d, x := range c.entries {
		total += x.size
		if x.pins == 0 && x != keep && (e == nil || x.used.Before(e.used)) {
			oldest, e = d, x
		}
	}
	if total <= c.most.Load() || e == nil {
		return ""
	}
	c.logger.Debug("compiled code is removed to make room", "module", oldest.String(), "bytes", e.size)
	return c.take(oldest, e)
}

// bound changes how many bytes are kept.
func (c *cache) bound(most int64) {
	c.most.Store(most)
	c.evict(nil)
}

// authenticate checks that this node wrote the code in an entry's directory.
//
// The executor opens the file by itself afterwards. Nothing but the node
// itself may write here, so what this guards against is what happened while it
// did not run, and disks that forget.
func (c *cache) authenticate(dir string, digest protocol.Digest) error {
	want, err := os.ReadFile(filepath.Join(dir, macFile))
	if err != nil {
		return err
	}
	got, _, err := c.mac(dir, digest)
	if err != nil {
		return err
	}
	if !hmac.Equal(got, want) {
		return errors.New("its MAC is wrong")
	}
	return nil
}

// mac returns the HMAC-SHA-256 over the module, the platform, and the names and
// bytes of the files of code in dir, and their size in bytes.
func (c *cache) mac(dir string, digest protocol.Digest) ([]byte, int64, error) {
	h := hmac.New(sha256.New, c.key)
	if _, err := fmt.Fprintf(h, "spare/code/2\x00%s\x00%s\x00", digest, c.platform); err != nil {
		return nil, 0, err
	}
	var total int64
	files, found := 0, 0
	root := os.DirFS(filepath.Join(dir, codeDir))
	// WalkDir goes in lexical order. A compile worker is not to be trusted: it
	// may have left anything.
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if found++; found > maxCodeFiles || !d.IsDir() && !d.Type().IsRegular() {
			return errors.New("it has files that no engine writes")
		}
		if d.IsDir() {
			return nil
		}
		files++
		if info, err := d.Info(); err != nil || info.Size() > c.most.Load() {
			return fmt.Errorf("it has more bytes than are kept of all modules (%w)", cmp.Or(err, errTooLarge))
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // it was only read
		sum := sha256.New()
		size, err := io.Copy(sum, f)
		if err != nil {
			return err
		}
		total += size
		_, err = fmt.Fprintf(h, "%d\x00%s\x00%d\x00%x", len(name), name, size, sum.Sum(nil))
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read compiled code: %w", err)
	}
	if files == 0 {
		return nil, 0, fmt.Errorf("read compiled code: %w", errStale)
	}
	return h.Sum(nil), total, nil
}

// maxCodeFiles bounds the files and directories of one module's code.
const maxCodeFiles = 8

var errTooLarge = errors.New("too large")
