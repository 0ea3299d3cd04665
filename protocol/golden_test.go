package protocol

import (
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden keeps the bytes on the wire and under signatures: a change of one
// makes old and new nodes misread each other and takes a new version.
func TestGolden(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(t *testing.T) ([]byte, error)
	}{
		{"spec", func(t *testing.T) ([]byte, error) { return sampleSpec().Marshal() }},
		{"signed-offer", func(t *testing.T) ([]byte, error) {
			key, id := sampleKey(t, 2)
			signed, err := SignOffer(sampleNetwork, key, sampleOffer(id))
			if err != nil {
				return nil, err
			}
			return proto.MarshalOptions{Deterministic: true}.Marshal(signed)
		}},
		{"receipt-batch", func(t *testing.T) ([]byte, error) {
			second := sampleReceipt(t)
			second.Nonce = []byte("another nonce 16")
			return ReceiptBatchBytes(sampleNetwork, []*Receipt{sampleReceipt(t), second})
		}},
		{"ask-frame", func(t *testing.T) ([]byte, error) { return appendFrame(nil, sampleAsk(t), MaxTaskMessage) }},
		{"reply-frame", func(t *testing.T) ([]byte, error) { return appendFrame(nil, sampleReply(t), MaxTaskMessage) }},
		{"result-digest", func(t *testing.T) ([]byte, error) {
			d := ResultDigest(sampleResult(), Profile)
			return d[:], nil
		}},
		{"network-id", func(t *testing.T) ([]byte, error) { return sampleNetwork[:], nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.make(t)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", test.name+".golden")
			if *update {
				if err := os.WriteFile(path, []byte(hexLines(got)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if hexLines(got) != string(want) {
				t.Errorf("the bytes have changed; got\n%swant\n%s", hexLines(got), want)
			}
		})
	}
}

// hexLines writes 32 bytes a line.
func hexLines(b []byte) string {
	var s strings.Builder
	for len(b) > 0 {
		n := min(len(b), 32)
		s.WriteString(hex.EncodeToString(b[:n]) + "\n")
		b = b[n:]
	}
	return s.String()
}

func TestProtocolIDs(t *testing.T) {
	id := sampleNetwork
	short := hex.EncodeToString(id[:16])
	for got, want := range map[string]string{
		string(TaskStream.ID(id)):     "/spare/" + short + "/task/1.0.0",
		string(LivenessStream.ID(id)): "/spare/" + short + "/liveness/1.0.0",
		string(OutputStream.ID(id)):   "/spare/" + short + "/output/1.0.0",
		string(BlobStream.ID(id)):     "/spare/" + short + "/blob/1.0.0",
		string(BookStream.ID(id)):     "/spare/" + short + "/book/1.0.0",
		string(EchoStream.ID(id)):     "/spare/" + short + "/echo/1.0.0",
		string(HandshakeProtocol):     "/spare/handshake/1.0.0",
		string(id.DHTPrefix()):        "/spare/" + short,
		id.OfferTopic():               "/spare/" + short + "/offers/1",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
