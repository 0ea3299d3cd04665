package protocol

import (
	"fmt"
	"path"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"google.golang.org/protobuf/proto"
)

// listingCodec tells the CID of a directory from that of a file. It is of the
// range that the table of multicodecs leaves for private use.
const listingCodec = 0x300053

// DataCID returns the CID of data that a node keeps: a file's, which is
// [Digest.CID], or of a Listing that of a directory.
func DataCID(d Digest, listing bool) string {
	if !listing {
		return d.CID()
	}
	mh, err := multihash.Encode(d[:], multihash.SHA2_256)
	if err != nil {
		panic("protocol: a sha2-256 is always a valid multihash: " + err.Error())
	}
	return cid.NewCidV1(listingCodec, mh).String()
}

// ParseDataCID reads what [DataCID] writes.
func ParseDataCID(s string) (d Digest, listing bool, err error) {
	c, err := cid.Decode(s)
	if err != nil {
		return d, false, fmt.Errorf("%w: %.100q is no CID", ErrMalformed, s)
	}
	if listing = c.Type() == listingCodec; listing {
		c = cid.NewCidV1(cid.Raw, c.Hash())
	}
	d, err = ParseDigest(c.String())
	return d, listing, err
}

// ParseListing reads a directory and checks it: each path relative, clean and
// fit to be shown, sorted, no file within another, and none inline.
func ParseListing(b []byte) (*Listing, error) {
	l := new(Listing)
	if len(b) > MaxListing {
		return nil, fmt.Errorf("%w: listing of %d bytes", ErrMalformed, len(b))
	}
	if err := proto.Unmarshal(b, l); err != nil {
		return nil, fmt.Errorf("%w: listing: %w", ErrMalformed, err)
	}
	return l, l.Validate()
}

// Validate checks every bound of a Listing.
func (l *Listing) Validate() error {
	if len(l.Files) == 0 || len(l.Files) > MaxInputs {
		return fmt.Errorf("%w: listing of %d files", ErrMalformed, len(l.Files))
	}
	files := make(map[string]bool, len(l.Files))
	for i, f := range l.Files {
		if err := CheckPath(InputDir, InputDir+"/"+f.GetPath()); err != nil {
			return err
		}
		if i > 0 && f.Path <= l.Files[i-1].Path {
			return fmt.Errorf("%w: the listing is not sorted", ErrMalformed)
		}
		if err := f.Blob.Validate(); err != nil || len(f.Blob.Inline) > 0 || f.Blob.Size > MaxBlob {
			return fmt.Errorf("%w: file %s of the listing", ErrMalformed, f.Path)
		}
		files[f.Path] = true
	}
	for _, f := range l.Files {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			if files[dir] {
				return fmt.Errorf("%w: a file of the listing is within another", ErrMalformed)
			}
		}
	}
	return nil
}
