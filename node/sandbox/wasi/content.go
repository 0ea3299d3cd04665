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
		if missing := at + k - len(page); missing > 0 {
			page = extend(page, at+k)
			c.pages[i] = page
		}
		copy(page[at:], p[:k])
		p, offset = p[k:], offset+uint64(k)
		c.size = max(c.size, offset)
	}
}

// extend returns page with zeros up to n bytes. What it allocates is less than
// twice as much, and never more than a page.
func extend(page []byte, n int) []byte {
	if n > cap(page) {
		larger := make([]byte, len(page), min(max(n, 2*len(page)), pageSize))
		copy(larger, page)
		page = larger
	}
	from := len(page)
	page = page[:n]
	clear(page[from:])
	return page
}

// resize cuts the file or adds a hole.
func (c *content) resize(size uint64) {
	if size < c.size {
		full := (size + pageSize - 1) / pageSize
		if full < uint64(len(c.pages)) {
			clear(c.pages[full:])
			c.pages = c.pages[:full]
		}
		if rest := int(size % pageSize); rest > 0 && full == uint64(len(c.pages)) {
			if last := &c.pages[full-1]; rest < len(*last) {
				*last = (*last)[:rest]
				if 2*rest < cap(*last) {
					*last = slices.Clone(*last)
				}
			}
		}
		if 4*len(c.pages) < cap(c.pages) {
			c.pages = slices.Clone(c.pages)
		}
	}
	c.size = size
}

// bytes returns all of the file in one piece, and releases the pages that it
// copies.
func (c *content) bytes() []byte {
	if len(c.pages) == 1 && uint64(len(c.pages[0])) == c.size {
		return c.pages[0]
	}
	b := make([]byte, c.size)
	for i, page := range c.pages {
		copy(b[i*pageSize:], page)
		c.pages[i] = nil
	}
	c.pages = nil
	if len(b) > 0 {
		c.pages = slices.Collect(slices.Chunk(b, pageSize))
	}
	return b
}
