package domain

import (
	"iter"
	"math/bits"
)

// Permission names what may be done to what, as resource:action
// ("orders:update").
type Permission string

// MaxPermissions is how many permissions one role catalog may define. It
// bounds a PermissionSet to four machine words, so that a set is copied and
// compared without allocating. The largest of the built-in catalogs has fewer
// than 64.
const MaxPermissions = 256

// PermissionSet is a set of the permissions of one role catalog, as bits in
// the order in which the catalog lists them. Sets of different catalogs must
// not be mixed.
type PermissionSet [MaxPermissions / 64]uint64

// Has tells whether the permission at this index is in the set.
func (s *PermissionSet) Has(index int) bool { return s[index>>6]&(1<<(index&63)) != 0 }

// Add puts the permission at this index into the set.
func (s *PermissionSet) Add(index int) { s[index>>6] |= 1 << (index & 63) }

// Remove takes the permission at this index out of the set.
func (s *PermissionSet) Remove(index int) { s[index>>6] &^= 1 << (index & 63) }

// Union gives the permissions that are in either set.
func (s PermissionSet) Union(other PermissionSet) PermissionSet {
	for i := range s {
		s[i] |= other[i]
	}
	return s
}

// Minus gives the permissions of s that are not in other.
func (s PermissionSet) Minus(other PermissionSet) PermissionSet {
	for i := range s {
		s[i] &^= other[i]
	}
	return s
}

// Within tells whether every permission of s is also in other.
func (s PermissionSet) Within(other PermissionSet) bool { return s.Minus(other).Empty() }

// Empty tells whether there is no permission in the set.
func (s PermissionSet) Empty() bool { return s == PermissionSet{} }

// All yields the indices of the set in ascending order.
func (s PermissionSet) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for word, set := range s {
			for set != 0 {
				if !yield(word<<6 + bits.TrailingZeros64(set)) {
					return
				}
				set &= set - 1
			}
		}
	}
}
