package protocol

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// grantContext names the purpose of a Grant's signature: see sign.go.
const grantContext = "spare/grant/1\x00"

// SignGrant lets the grantee read a blob, until expires, at those who have it
// from the owner of the key.
func SignGrant(net NetworkID, key crypto.PrivKey, blob Digest, grantee peer.ID, expires time.Time) (*Grant, error) {
	grantor, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("sign grant: %w", err)
	}
	g := &Grant{Grantor: grantor.String(), ExpiresUnixMs: expires.UnixMilli()}
	if g.Signature, err = key.Sign(g.signed(net, blob, grantee)); err != nil {
		return nil, fmt.Errorf("sign grant: %w", err)
	}
	return g, nil
}

// Open checks that the grant lets grantee read the blob at that time, and
// returns who has signed it.
func (g *Grant) Open(net NetworkID, blob Digest, grantee peer.ID, now time.Time) (peer.ID, error) {
	grantor, err := parsePeer(g.GetGrantor())
	if err != nil {
		return "", err
	}
	key, err := grantor.ExtractPublicKey()
	if err != nil {
		return "", fmt.Errorf("%w: the peer ID %s holds no key", ErrMalformed, grantor)
	}
	if ok, err := key.Verify(g.signed(net, blob, grantee), g.Signature); err != nil || !ok {
		return "", fmt.Errorf("%w: grant is not signed by %s", ErrMalformed, grantor)
	}
	if now.UnixMilli() > g.ExpiresUnixMs {
		return "", fmt.Errorf("%w: grant has expired", ErrMalformed)
	}
	return grantor, nil
}

// signed is what a grant is a signature of: fields of fixed size, then the
// grantee.
func (g *Grant) signed(net NetworkID, blob Digest, grantee peer.ID) []byte {
	b := append([]byte(nil), blob[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(g.ExpiresUnixMs))
	return signedBytes(grantContext, net, append(b, grantee...))
}
