package wasi

import "slices"

// pageSize is how much of a file one piece of memory holds.
const pageSize = 64 << 10

// content is what a file holds, in pages, so that growing copies little and
// holes take nothing. A page that is missing or short has zeros in the rest.
type content struct {
	size  uint64
	pages [][]byte
}

// contentOf returns a file of data, which it shares and which must not change.
func contentOf(data []byte) content {
	c := content{size: uint64(len(data))}
	if len(data) > 0 {
		c.pages = slices.Collect(slices.Chunk(data, pageSize))
	}
	return c
}

// read copies what there is at offset to p and returns how much.
func (c *content) read(p []byte, offset uint64) int {
	if offset >= c.size {
		return 0
	}
	n := int(min(uint64(len(p)), c.size-offset))
	for p = p[:n]; len(p) > 0; {
		page, at := c.page(offset)
		k := min(len(p), pageSize-at)
		copied := 0
		if at < len(page) {
			copied = copy(p[:k], page[at:])
		}
		clear(p[copied:k])
		p, offset = p[k:], offset+uint64(k)
	}
	return n
}

// page returns the page that offset is in, and where in it.
func (c *content) page(offset uint64) ([]byte, int) {
	i, at := offset/pageSize, int(offset%pageSize)
	if i >= uint64(len(c.pages)) {
		return nil, at
	}
	return c.pages[i], at
}

// write puts p at offset.
func (c *content) write(p []byte, offset uint64) {
	for len(p) > 0 {
		i, at := int(offset/pageSize), int(offset%pageSize)
		k := min(len(p), pageSize-at)
		if i >= len(c.pages) {
			c.pages = append(c.pages, make([][]byte, i+1-len(c.pages))...)
		}
		page := c.pages[i]
		if at+k > len(page) {
			page = extend(page, at, at+k)
			c.pages[i] = page
		}
		copy(page[at:], p[:k])
		p, offset = p[k:], offset+uint64(k)
		c.size = max(c.size, offset)
	}
}

// takes returns how many bytes a write of n bytes at offset allocates or clears
// besides those it writes. It is the same everywhere: a guest pays for it.
func (c *content) takes(offset, n uint64) (bytes uint64) {
	for n > 0 {
		page, at := c.page(offset)
		k := min(n, uint64(pageSize-at))
		if room := allocates(page, at+int(k)); room > 0 {
			bytes += uint64(room)
		} else {
			bytes += uint64(max(at-len(page), 0))
		}
		offset, n = offset+k, n-k
	}
	return bytes
}

// allocates returns how many bytes extend does: less than twice n, and never
// more than a page.
func allocates(page []byte, n int) int {
	if n <= cap(page) {
		return 0
	}
	return min(max(n, 2*len(page)), pageSize)
}

// extend returns page with n bytes, those up to at that it did not have zeros,
// and those from there to be written.
func extend(page []byte, at, n int) []byte {
	if room := allocates(page, n); room > 0 {
		larger := make([]byte, n, room)
		copy(larger, page)
		return larger
	}
	if had := len(page); had < at {
		clear(page[had:at])
	}
	return page[:n]
}

// leaves returns how many bytes a cut to size copies, so as not to keep a page
// of which less than half is left. A guest pays for them, too.
func (c *content) leaves(size uint64) int {
	page, rest := c.page(size)
	if rest < len(page) && 2*rest < cap(page) {
		return rest
	}
	return 0
}

// resize cuts the file or adds a hole.
func (c *content) resize(size uint64) {
	if size < c.size {
		copied := c.leaves(size)
		full := (size + pageSize - 1) / pageSize
		if full < uint64(len(c.pages)) {
			clear(c.pages[full:])
			c.pages = c.pages[:full]
		}
		if page, rest := c.page(size); rest > 0 && rest < len(page) {
			page = page[:rest]
			if copied > 0 {
				// Not a clone, whose capacity is for Go to choose: see takes.
				page = append(make([]byte, 0, copied), page...)
			}
			c.pages[full-1] = page
		}
		if 4*len(c.pages) < cap(c.pages) {
			c.pages = slices.Clone(c.pages)
		}
	}
	c.size = size
}
