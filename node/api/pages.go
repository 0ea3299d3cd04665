package api

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"

	"github.com/spare-network/spare/protocol"
)

// mostListed bounds one answer that is an array.
const mostListed = 1000

// pageInput asks for a part of an array.
type pageInput struct {
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"1000"`
	After string `query:"after" maxLength:"128" doc:"What the last one that is known is called; only those after it are listed"`
}

// part is a part of an array, whose header says where the next one is (RFC 8288).
type part[T any] struct {
	Link string `header:"Link" doc:"<URL>; rel=\"next\" when there is more"`
	Body []T
}

// cut returns the part of a list that is asked for; name names its elements. A list
// may change from one part to the next.
func cut[T any](list []T, path string, in *pageInput, name func(T) string) (*part[T], error) {
	if in.After != "" {
		i := slices.IndexFunc(list, func(v T) bool { return name(v) == in.After })
		if i < 0 {
			return nil, protocol.Errorf(protocol.CodeNotFound, "%q is not in the list, or no longer", protocol.SafeText(in.After)).
				WithHint("ask for it from its start")
		}
		list = list[i+1:]
	}
	p := &part[T]{Body: some(list)}
	if limit := cmp.Or(in.Limit, mostListed); len(list) > limit {
		p.Body = list[:limit]
		next := url.Values{"limit": {strconv.Itoa(limit)}, "after": {name(list[limit-1])}}
		p.Link = "<" + prefix + path + "?" + next.Encode() + `>; rel="next"`
	}
	return p, nil
}

func cutOffers(offers []Offer, path string, in *pageInput) (*part[Offer], error) {
	p, err := cut(offers, path, in, func(o Offer) string { return o.Provider })
	if err != nil {
		return nil, err
	}
	for i := range p.Body {
		p.Body[i].Warm = some(p.Body[i].Warm)
	}
	return p, nil
}
