package store

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/spare-network/spare/protocol"
)

const (
	identityFile = "identity.key"
	networkDir   = "networks"
	keyDir       = "keys"
	tokenFile    = "api-token"

	maxSecretFile = 4 << 10
	maxNameLen    = 32
	keyLen        = 32
)

// Identity returns the node's Ed25519 key, which is made when it is absent.
func (s *Store) Identity() (crypto.PrivKey, error) {
	data, _, err := s.secret(identityFile, func() ([]byte, error) {
		key, _, err := crypto.GenerateEd25519Key(rand.Reader)
		if err != nil {
			return nil, err
		}
		return crypto.MarshalPrivateKey(key)
	})
	if err != nil {
		return nil, err
	}
	key, err := parseIdentity(data)
	if err != nil {
		return nil, fileError("use", s.path(identityFile), err).
			WithHint("restore it from a copy, or remove it and get a new identity")
	}
	return key, nil
}

func parseIdentity(data []byte) (crypto.PrivKey, error) {
	key, err := crypto.UnmarshalPrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("not a private key: %w", err)
	}
	if key.Type() != crypto.Ed25519 {
		return nil, errors.New("not an Ed25519 key")
	}
	return key, nil
}

// CheckNetworkName returns an error for what [Store.NetworkSecret] does not take.
func CheckNetworkName(name string) error { return checkName("network name", name) }

// NetworkSecret returns the secret of the network name, and true when it was
// made because it was absent. A name is 1 to 32 lower-case letters, digits and
// hyphens.
func (s *Store) NetworkSecret(name string) (secret protocol.NetworkSecret, made bool, err error) {
	if err := CheckNetworkName(name); err != nil {
		return secret, false, err
	}
	file := path.Join(networkDir, name+".secret")
	data, made, err := s.secret(file, func() ([]byte, error) {
		return append(hex.AppendEncode(nil, randomBytes(len(secret))), '\n'), nil
	})
	if err != nil {
		return secret, false, err
	}
	secret, err = parseNetworkSecret(data)
	if err != nil {
		return secret, false, fileError("use", s.path(file), err).
			WithHint("copy the file again from a member of the network, or remove it and get a new network")
	}
	return secret, made, nil
}

// parseNetworkSecret reads 64 hexadecimal characters; people may have added
// space around them.
func parseNetworkSecret(data []byte) (secret protocol.NetworkSecret, err error) {
	text := strings.TrimSpace(string(data))
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(secret) {
		return secret, fmt.Errorf("not %d hexadecimal characters", 2*len(secret))
	}
	return protocol.NetworkSecret(raw), nil
}

// Key returns the 32 random bytes that go by name, which are made when they
// are absent. The names are those of networks.
func (s *Store) Key(name string) ([]byte, error) {
	if err := checkName("key name", name); err != nil {
		return nil, err
	}
	file := path.Join(keyDir, name+".key")
	key, _, err := s.secret(file, func() ([]byte, error) { return randomBytes(keyLen), nil })
	if err != nil {
		return nil, err
	}
	if len(key) != keyLen {
		return nil, fileError("use", s.path(file), fmt.Errorf("%d bytes instead of %d", len(key), keyLen)).
			WithHint("remove it and start again")
	}
	return key, nil
}

// APIToken returns the token by which programs of this user prove to the node's
// API on TCP who they are. It is made when it is absent.
func (s *Store) APIToken() (string, error) {
	data, _, err := s.secret(tokenFile, func() ([]byte, error) {
		return append(hex.AppendEncode(nil, randomBytes(keyLen)), '\n'), nil
	})
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(data))
	if raw, err := hex.DecodeString(token); err != nil || len(raw) != keyLen {
		return "", fileError("use", s.path(tokenFile), fmt.Errorf("not %d hexadecimal characters", 2*keyLen)).
			WithHint("remove it and start again: a new one is made")
	}
	return token, nil
}

// secret returns the content of a file, or writes what generate returns when
// there is no such file.
func (s *Store) secret(name string, generate func() ([]byte, error)) (data []byte, made bool, err error) {
	s.secrets.Lock()
	defer s.secrets.Unlock()
	data, err = readFile(s.root, name, maxSecretFile)
	if err == nil {
		return data, false, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fileError("read", s.path(name), err)
	}
	if data, err = generate(); err != nil {
		return nil, false, fmt.Errorf("make %s: %w", name, err)
	}
	if err := writeFile(s.root, name, data); err != nil {
		return nil, false, fileError("write", s.path(name), err)
	}
	return data, true, nil
}

func checkName(what, name string) error {
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789-"
	if name == "" || len(name) > maxNameLen || strings.Trim(name, allowed) != "" {
		return protocol.Errorf(protocol.CodeBadRequest, "%s %.40q cannot be", what, name).
			WithHint("use 1 to %d lower-case letters, digits and hyphens", maxNameLen)
	}
	return nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}
