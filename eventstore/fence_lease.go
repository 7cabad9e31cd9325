package eventstore

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
)

var errLagging = errors.New("a follower of this node is too far behind")

func (n *Nodes) everyTick(do func(context.Context)) {
	ticks, stop := n.ticker(n.timing.renew)
	defer stop()
	for {
		select {
		case <-ticks:
			do(n.life)
		case <-n.life.Done():
			return
		}
	}
}

// publish stores a state of a node if the last one was at the given revision;
// 0 means that there must be none.
func (n *Nodes) publish(ctx context.Context, id, state string, last uint64) (uint64, error) {
	if !n.js.Conn().IsConnected() {
		return 0, nats.ErrDisconnected // rather than have it sent at some later time
	}
	ctx, cancel := context.WithTimeout(ctx, renewAttempt)
	defer cancel()
	message := &nats.Msg{Subject: nodesPrefix + id, Header: nats.Header{}, Data: []byte(state)}
	expect(message, last)
	return store(ctx, n.js, message)
}

// renew keeps the lease. Whether it was acknowledged decides; until the next
// one is, the lease runs on from the last.
func (n *Nodes) renew(ctx context.Context) {
	n.mu.Lock()
	id, revision := n.id, n.revision
	n.mu.Unlock()
	if revision == 0 {
		return
	}
	sent := n.now()
	next, err := n.publish(ctx, id, stateAlive, revision)
	if errors.Is(err, ErrConflict) {
		// Either the acknowledgement of an earlier renewal was lost, or this
		// node was fenced.
		if revision, err = n.ownRevision(ctx, id); err == nil {
			sent = n.now()
			next, err = n.publish(ctx, id, stateAlive, revision)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.id != id:
	case err == nil:
		n.revision = next
		n.extend(sent)
	case errors.Is(err, errFenced):
		n.fenced()
	case ctx.Err() == nil:
		n.log.Warn("the lease of this node was not renewed", "node", id, "err", err)
	}
}

var errFenced = errors.New("fenced by another node")

// ownRevision gives the revision of this node's last renewal that was stored,
// or errFenced when somebody else has written in its place.
func (n *Nodes) ownRevision(ctx context.Context, id string) (uint64, error) {
	state, revision, err := n.lastOf(ctx, id)
	if err == nil && state != stateAlive {
		err = errFenced
	}
	return revision, err
}

// lastOf asks the leader for the last state of a node; "" when there is none.
func (n *Nodes) lastOf(ctx context.Context, id string) (state string, revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, renewAttempt)
	defer cancel()
	last, err := askForMessage(ctx, n.js, nodesStream, leaderQuestion{LastOf: nodesPrefix + id})
	if errors.Is(err, errNoMessage) {
		return "", 0, nil
	}
	return string(last.Data), last.Sequence, err
}

// extend makes the lease run from when the renewal was sent; mu is held.
func (n *Nodes) extend(sent time.Time) {
	until := sent.Add(n.timing.serve)
	n.lease.Store(&until)
	n.broadcast()
}

// fenced makes the node join again; mu is held.
func (n *Nodes) fenced() {
	n.log.Warn("fenced by another node: not serving until joined again", "node", n.id)
	n.forget()
	n.again()
}

// forget ends the membership; mu is held.
func (n *Nodes) forget() {
	n.serving.Store(false)
	n.lease.Store(nil)
	if n.requests != nil {
		if err := n.requests.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			n.log.Warn("unsubscribing", "err", err)
		}
	}
	n.id, n.revision, n.known, n.requests, n.phase = "", 0, false, nil, outside
	n.broadcast()
}

// again has the node join from where it stands; mu is held.
func (n *Nodes) again() {
	if n.abort != nil {
		n.abort()
	}
	for c := range n.answering {
		c.cancel()
	}
	select {
	case n.rejoin <- struct{}{}:
	default:
	}
}

// check looks after what is overdue: confirmations of this node, and leases
// of others.
func (n *Nodes) check(ctx context.Context) {
	n.mu.Lock()
	now := n.now()
	for c := range n.answering {
		if now.Sub(c.since) >= n.timing.lag {
			n.log.Warn("a follower is too far behind: not serving until it has caught up", "node", n.id, "waited", now.Sub(c.since))
			n.serving.Store(false)
			n.phase = outside
			n.again()
			n.broadcast()
			break
		}
	}
	var silent []peer
	for _, p := range n.peers {
		if now.Sub(p.heard) >= n.timing.lease {
			silent = append(silent, *p)
		}
	}
	n.mu.Unlock()

	for _, p := range silent {
		switch err := n.fence(ctx, p); {
		case err == nil:
			n.log.Warn("another node was silent for too long and is fenced", "node", p.id)
		case !errors.Is(err, ErrConflict) && ctx.Err() == nil:
			n.log.Warn("another node is silent and can't be fenced yet", "node", p.id, "err", err)
		}
	}
}

// fence takes the place of a silent peer. What becomes of it is heard through
// NODES, like everything else.
func (n *Nodes) fence(ctx context.Context, p peer) error {
	_, err := n.publish(ctx, p.id, stateFenced, p.revision)
	if !errors.Is(err, ErrConflict) {
		return err
	}
	// It has renewed its lease, or somebody else has fenced it, and that is
	// yet to be heard. Or its last renewal was so long ago that it vanished.
	state, _, asked := n.lastOf(ctx, p.id)
	switch {
	case asked != nil:
		return asked
	case state == "":
		_, err = n.publish(ctx, p.id, stateFenced, 0)
	}
	return err
}

// heard is called with every message of NODES, in their order.
func (n *Nodes) heard(subject string, position uint64, data []byte) {
	id := subject[len(nodesPrefix):]
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.peers[id]
	switch state := string(data); {
	case id == n.id && state == stateFenced:
		n.fenced()
	case id == n.id:
	case state == stateAlive && p == nil:
		n.peers[id] = &peer{id: id, revision: position, heard: n.now(), gone: make(chan struct{})}
		n.broadcast()
	case state == stateAlive && position > p.revision:
		p.revision, p.heard = position, n.now()
		n.broadcast()
	case state != stateAlive && p != nil:
		close(p.gone)
		delete(n.peers, id)
		n.broadcast()
	}
}
