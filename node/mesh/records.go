package mesh

import (
	"context"

	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/sync"

	"github.com/spare-network/spare/protocol"
)

// maxRecords bounds the records of the DHT that a node keeps in memory: those
// of as many providers as a Book has room for, each with its capability record
// and in all classes.
const maxRecords = protocol.MaxBookOffers * (1 + 4)

// boundedRecords is a datastore in memory that drops what it has no room for, so that
// a member cannot fill the memory with records under made-up keys. An error
// would make the DHT keep the record for another attempt. Providers are found
// by gossip as well.
type boundedRecords struct {
	*datastore.MapDatastore
	room int
}

func newBoundedRecords() datastore.Batching {
	return sync.MutexWrap(&boundedRecords{datastore.NewMapDatastore(), maxRecords})
}

// Put stores value under a key that is there, or when there is room.
func (r *boundedRecords) Put(ctx context.Context, key datastore.Key, value []byte) error {
	if known, err := r.Has(ctx, key); err != nil || !known {
		if err != nil || r.room == 0 {
			return err
		}
		r.room--
	}
	return r.MapDatastore.Put(ctx, key, value)
}

// Delete makes room.
func (r *boundedRecords) Delete(ctx context.Context, key datastore.Key) error {
	if known, err := r.Has(ctx, key); err != nil || !known {
		return err
	}
	r.room++
	return r.MapDatastore.Delete(ctx, key)
}

// Batch returns a batch that ends in Put and Delete.
func (r *boundedRecords) Batch(context.Context) (datastore.Batch, error) {
	return datastore.NewBasicBatch(r), nil
}
