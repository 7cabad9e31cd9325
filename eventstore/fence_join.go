package eventstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	nodesStream = "NODES"
	nodesPrefix = "roster.nodes."

	// forgetAfter is when the traces of nodes that are gone vanish. It is
	// much longer than any lease, so that what has vanished is over.
	forgetAfter = time.Minute
)

// Contents of the messages in NODES. All but alive are the last of a node.
const (
	stateAlive  = "alive"
	stateLeft   = "left"
	stateFenced = "fenced"
)

func nodesConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              nodesStream,
		Description:       "Leases of the nodes.",
		Subjects:          []string{nodesPrefix + "*"},
		Storage:           jetstream.FileStorage, // or a restart of the servers would forget who serves
		Replicas:          max(replicas, 1),
		MaxMsgsPerSubject: 1,
		MaxAge:            forgetAfter,
		Discard:           jetstream.DiscardNew,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxConsumers:      -1,
		MaxMsgSize:        1024,
	}
}

// Join makes this process a node and returns when it may serve. That takes a
// moment, or up to three seconds when another node died less than a minute
// ago without leaving. From then on the node keeps its lease, and joins again
// by itself if it was fenced, until Close.
func (n *Nodes) Join(ctx context.Context) error {
	if n == nil {
		return nil
	}
	if err := ensure(ctx, n.js, nodesConfig(n.replicas), true); err != nil {
		return err
	}
	var err error
	n.tail, err = startTail(ctx, n.js, tailConfig{stream: nodesStream, replay: true, message: n.heard})
	if err != nil {
		return err
	}
	n.life, n.stop = context.WithCancel(context.WithoutCancel(ctx))
	n.stopped.Go(n.keepJoined)
	n.stopped.Go(func() { n.everyTick(n.renew) })
	n.stopped.Go(func() { n.everyTick(n.check) })
	if err := n.AwaitServing(ctx); err != nil {
		err = fmt.Errorf("eventstore: joining the other nodes: %w", errors.Join(ctx.Err(), err))
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewAttempt)
		defer cancel()
		return errors.Join(err, n.Close(leave))
	}
	return nil
}

// Close stops serving and leaves, so that no peer has to wait for the lease
// to run out.
func (n *Nodes) Close(ctx context.Context) error {
	if n == nil || n.stop == nil {
		return nil
	}
	n.serving.Store(false)
	n.stop()
	n.mu.Lock()
	id, revision := n.id, n.revision
	n.forget()
	n.mu.Unlock()
	n.stopped.Wait()
	n.tail.close()
	if revision == 0 {
		return nil
	}
	_, err := n.publish(ctx, id, stateLeft, revision)
	for errors.Is(err, ErrConflict) {
		// The last renewal was stored, though its acknowledgement wasn't
		// waited for; or the node was fenced and is gone already.
		if revision, err = n.ownRevision(ctx, id); err == nil {
			_, err = n.publish(ctx, id, stateLeft, revision)
		}
	}
	if err != nil && !errors.Is(err, errFenced) {
		return fmt.Errorf("eventstore: leaving the other nodes, who will notice in %s: %w", n.timing.lease, err)
	}
	return nil
}

// keepJoined joins and, whenever there is reason to, joins again.
func (n *Nodes) keepJoined() {
	for {
		err := n.join()
		if err != nil && n.life.Err() == nil {
			n.log.Warn("joining the other nodes failed, trying again", "err", err)
			select {
			case <-time.After(joinPause):
				continue
			case <-n.life.Done():
			}
		}
		select {
		case <-n.rejoin:
		case <-n.life.Done():
			return
		}
	}
}

// join goes on from wherever the node stands until it serves.
func (n *Nodes) join() error {
	ctx, abort := context.WithCancel(n.life)
	defer abort()
	n.mu.Lock()
	n.abort = abort
	announced, known, phase := n.revision != 0, n.known, n.phase
	n.mu.Unlock()
	if phase == caughtUp {
		return nil
	}
	if !announced {
		if err := n.announce(ctx); err != nil {
			return err
		}
	}
	if !known {
		if err := n.becomeKnown(ctx); err != nil {
			return err
		}
	}
	return n.catchUp(ctx)
}

// announce takes a place among the nodes, under a new id each time: what was
// said of an old one stays true.
func (n *Nodes) announce(ctx context.Context) error {
	id := strings.ToLower(rand.Text())
	requests, err := n.js.Conn().Subscribe(requestSubject(id), n.answer)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.id, n.requests = id, requests
	n.mu.Unlock()
	sent := n.now()
	revision, err := n.publish(ctx, id, stateAlive, 0)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case err != nil:
		// If it was stored all the same, it stays a node that nobody renews.
		n.forget()
		return fmt.Errorf("announcing this node: %w", err)
	case ctx.Err() != nil:
		n.forget()
		return ctx.Err()
	}
	n.revision = revision
	n.extend(sent)
	return nil
}

// becomeKnown returns when every peer has heard of this node, and this node
// of every peer that was announced before it.
func (n *Nodes) becomeKnown(ctx context.Context) error {
	n.mu.Lock()
	announced := n.revision
	n.mu.Unlock()
	if err := n.tail.wait(ctx, announced); err != nil {
		return err
	}
	if err := n.askAll(ctx, n.currentPeers(), Marks{nodesStream: announced}); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if ctx.Err() == nil {
		n.known = true
	}
	return ctx.Err()
}

// catchUp asks where the streams end and waits for the followers to be there.
// What peers ask for meanwhile is promised to them and waited for afterwards,
// so that a node with much to read doesn't keep them waiting.
func (n *Nodes) catchUp(ctx context.Context) error {
	if err := n.enter(ctx, catchingUp); err != nil {
		return err
	}
	ends := Marks{}
	for name, f := range n.followers {
		end, err := f.end(ctx)
		if err != nil {
			return fmt.Errorf("asking where %s ends: %w", name, err)
		}
		ends[name] = end
	}
	if err := n.waitFor(ctx, ends); err != nil {
		return err
	}
	if err := n.enter(ctx, confirming); err != nil {
		return err
	}
	// Nobody adds to the promises any more.
	if err := n.waitFor(ctx, n.targets); err != nil {
		return err
	}
	return n.enter(ctx, caughtUp)
}

// enter takes the next step, unless the joining was aborted.
func (n *Nodes) enter(ctx context.Context, next phase) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	n.phase = next
	switch next {
	case catchingUp:
		n.targets = Marks{}
	case caughtUp:
		n.serving.Store(true)
		n.log.Info("serving", "node", n.id, "peers", len(n.peers))
	}
	n.broadcast()
	return nil
}

func (n *Nodes) waitFor(ctx context.Context, marks Marks) error {
	for name, position := range marks {
		if err := n.followers[name].wait(ctx, position); err != nil {
			return fmt.Errorf("waiting for %s to reach %d: %w", name, position, err)
		}
	}
	return nil
}

// broadcast wakes who waits for a change; mu is held.
func (n *Nodes) broadcast() {
	close(n.changed)
	n.changed = make(chan struct{})
}
