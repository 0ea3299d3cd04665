package protocol

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
)

func TestTreeHasEachByteOnce(t *testing.T) {
	for _, size := range []int{0, 1, LeafSize - 1, LeafSize, LeafSize + 1, 5*LeafSize + 7} {
		whole := bytes.Repeat([]byte("0123456789a"), size/11+1)[:size]
		tree, d, err := ReadTree(bytes.NewReader(whole))
		if err != nil || d != DigestOf(whole) || tree.Size != int64(size) {
			t.Fatalf("%d bytes: tree of %d with the digest %s: %v", size, tree.Size, d, err)
		}
		again, err := ParseTree(uint64(size), tree.Bytes())
		if err != nil || !slices.Equal(again.Leaves, tree.Leaves) {
			t.Fatalf("%d bytes: the tree is read otherwise: %v", size, err)
		}
		var joined []byte
		for i, d := range tree.Leaves {
			at, n := tree.Leaf(i)
			if DigestOf(whole[at:][:n]) != d {
				t.Errorf("%d bytes: leaf %d is another", size, i)
			}
			joined = append(joined, whole[at:][:n]...)
		}
		if !bytes.Equal(joined, whole) {
			t.Errorf("%d bytes: the leaves have %d", size, len(joined))
		}
	}
}

func TestGrantIsForOneBlobOnePeerAndAWhile(t *testing.T) {
	key, grantor := sampleKey(t, 2)
	_, grantee := sampleKey(t, 3)
	now, blob := time.UnixMilli(1e12), DigestOf([]byte("blob"))
	g, err := SignGrant(sampleNetwork, key, blob, grantee, now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if by, err := g.Open(sampleNetwork, blob, grantee, now); err != nil || by != grantor {
		t.Fatalf("by %s: %v", by, err)
	}
	later := proto.CloneOf(g)
	later.ExpiresUnixMs += 1e6
	other := proto.CloneOf(g)
	other.Grantor = grantee.String()
	for what, open := range map[string]func() error{
		"another blob":    func() error { _, err := g.Open(sampleNetwork, DigestOf(nil), grantee, now); return err },
		"another peer":    func() error { _, err := g.Open(sampleNetwork, blob, grantor, now); return err },
		"another network": func() error { _, err := g.Open(NetworkID{}, blob, grantee, now); return err },
		"later":           func() error { _, err := g.Open(sampleNetwork, blob, grantee, now.Add(time.Hour)); return err },
		"lengthened":      func() error { _, err := later.Open(sampleNetwork, blob, grantee, now); return err },
		"another grantor": func() error { _, err := other.Open(sampleNetwork, blob, grantee, now); return err },
		"none":            func() error { var none *Grant; _, err := none.Open(sampleNetwork, blob, grantee, now); return err },
	} {
		if err := open(); err == nil {
			t.Errorf("%s: the grant holds", what)
		} else {
			wantMalformed(t, err)
		}
	}
}

func FuzzParseTree(f *testing.F) {
	tree, _, err := ReadTree(bytes.NewReader(make([]byte, 3*LeafSize+1)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint64(tree.Size), tree.Bytes())
	f.Add(uint64(MaxBlob)+1, []byte{})
	f.Add(^uint64(0), []byte{})
	f.Fuzz(func(t *testing.T, size uint64, leaves []byte) {
		tree, err := ParseTree(size, leaves)
		if err != nil {
			wantMalformed(t, err)
			return
		}
		var sum int64
		for i := range tree.Leaves {
			at, n := tree.Leaf(i)
			if at != sum || n <= 0 || n > LeafSize {
				t.Fatalf("leaf %d of %d bytes at %d", i, n, at)
			}
			sum += int64(n)
		}
		if sum != tree.Size || uint64(sum) != size || !bytes.Equal(tree.Bytes(), leaves) {
			t.Fatalf("a tree of %d bytes has leaves of %d", size, sum)
		}
	})
}

func FuzzParseListing(f *testing.F) {
	l := &Listing{Files: []*File{
		{Path: "a", Blob: &Blob{Digest: digestBytes("a"), Size: 1}},
		{Path: "b/c", Blob: &Blob{Digest: digestBytes("c"), Size: MaxBlob}},
	}}
	b, err := proto.Marshal(l)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := ParseListing(b); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ParseListing(b)
		if err != nil {
			wantMalformed(t, err)
			return
		}
		seen := ""
		for _, f := range l.Files {
			if f.Path <= seen || CheckPath("/in", "/in/"+f.Path) != nil || f.Blob.Sum().IsZero() && len(f.Blob.Digest) != 32 {
				t.Fatalf("%q after %q", f.Path, seen)
			}
			seen = f.Path
		}
	})
}

func TestListingsAreBounded(t *testing.T) {
	file := func(path string) *File { return &File{Path: path, Blob: &Blob{Digest: digestBytes(path), Size: 1}} }
	for what, files := range map[string][]*File{
		"empty":          {},
		"absolute":       {file("/a")},
		"climbing":       {file("../a")},
		"twice":          {file("a"), file("a")},
		"unsorted":       {file("b"), file("a")},
		"in a file":      {file("a"), file("a/b")},
		"deep in a file": {file("a/b"), file("a/b/c/d")},
		"inline":         {{Path: "a", Blob: NewBlob([]byte("x"))}},
		"without a blob": {{Path: "a"}},
	} {
		b, err := proto.Marshal(&Listing{Files: files})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseListing(b); err == nil {
			t.Errorf("%s: the listing is taken", what)
		} else {
			wantMalformed(t, err)
		}
	}
}

func TestDirectoriesHaveCIDsOfTheirOwn(t *testing.T) {
	d := DigestOf([]byte("listing"))
	for _, listing := range []bool{false, true} {
		text := DataCID(d, listing)
		if got, is, err := ParseDataCID(text); err != nil || got != d || is != listing {
			t.Errorf("%s is read as %s, %v: %v", text, got, is, err)
		}
	}
	if _, err := ParseDigest(DataCID(d, true)); err == nil {
		t.Error("a directory passes for a file")
	}
}
