package subscribers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"sync"
	"time"

	"roster/eventstore"
)

// Mailbox is a Sender that sends nothing: it keeps the messages in a folder,
// in a file that ordinary mail programs open and the page /dev/mailbox shows.
// It is for development, where no mail server is configured. The file is not
// synced to disk.
//
// The folder belongs to one process. What somebody does to the file meanwhile,
// such as to empty it, is noticed.
//
// What comes out of it is as hostile as what people put into names. Its HTML
// belongs into a sandboxed document of its own, never into the markup of a
// page.
type Mailbox struct {
	folder    *os.Root
	from      string // as a header has it
	most      int    // messages in a file
	mostBytes int64  // in a file

	mu       sync.Mutex
	present  *mbox         // nil when it has to be opened again
	previous []place       // in the file before it
	arrived  chan struct{} // closed and replaced with each message
}

// The present file becomes the previous one when it is full, and the one
// before that goes.
const (
	presentMbox  = "mailbox.mbox"
	previousMbox = "mailbox.old.mbox"

	// maxMboxMessages and maxMboxBytes are what a file holds. Of messages up
	// to 13 KB, which is three times their usual size, the newest 5,000 are always
	// there, and never more than 128 MiB of any.
	maxMboxMessages = 5000
	maxMboxBytes    = 64 << 20

	mailboxPrefix = "msg"

	// MaxMailboxList is how many messages are listed at most.
	MaxMailboxList = 1000
)

// ErrNoMail means that the mailbox has no such message, or no longer.
var ErrNoMail = errors.New("mailbox: there is no such message")

// OpenMailbox opens the folder, which it makes if it isn't there, for messages
// from this sender.
func OpenMailbox(folder, from string) (*Mailbox, error) {
	sender, err := parseFrom(from)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("mailbox: making the folder for messages: %w", err)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, fmt.Errorf("mailbox: opening the folder for messages: %w", err)
	}
	box := &Mailbox{folder: root, from: sender.String(), most: maxMboxMessages, mostBytes: maxMboxBytes, arrived: make(chan struct{})}
	if err := box.look(); err != nil {
		_ = root.Close()
		return nil, err
	}
	return box, nil
}

// Close ends the use of the folder.
func (b *Mailbox) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.folder.Close()
	if b.present != nil {
		err = errors.Join(err, b.present.file.Close())
		b.present = nil
	}
	return err
}

// String names the mailbox, for the log.
func (b *Mailbox) String() string { return "mailbox in " + b.folder.Name() }

// look makes sure that what is known of the files is true. The caller holds
// the lock.
func (b *Mailbox) look() (err error) {
	if b.present != nil {
		if b.present.untouched(b.folder, presentMbox) {
			return nil
		}
		_ = b.present.file.Close()
		b.present = nil
	}
	if b.previous, err = b.lookBack(); err != nil {
		return fmt.Errorf("mailbox: reading the earlier messages: %w", err)
	}
	if b.present, err = openMbox(b.folder, presentMbox); err != nil {
		return fmt.Errorf("mailbox: opening the file of messages: %w", err)
	}
	return nil
}

// lookBack finds the messages of the previous file.
func (b *Mailbox) lookBack() ([]place, error) {
	file, err := b.folder.Open(previousMbox)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	messages, _, err := scanMbox(file)
	return messages, err
}

// AtOnce is one: there is nobody to wait for, and what is left of the processors
// is for commands.
func (b *Mailbox) AtOnce() int { return 1 }

// letterBuffers are what a message is put together in.
type letterBuffers struct {
	source bytes.Buffer
	record []byte
}

var letterBufferPool = sync.Pool{New: func() any { return new(letterBuffers) }}

// Send keeps the message.
func (b *Mailbox) Send(ctx context.Context, message Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now := time.Now()
	checked, err := check(message)
	if err != nil {
		return err
	}
	buffers := letterBufferPool.Get().(*letterBuffers)
	defer letterBufferPool.Put(buffers)
	id := eventstore.NewID(mailboxPrefix)
	buffers.source.Reset()
	writeSource(&buffers.source, checked, b.from, now, id)
	buffers.record = appendRecord(buffers.record[:0], id, now, buffers.source.Bytes())
	if err := b.keep(id, buffers.record); err != nil {
		return &DeliveryError{Detail: "The mailbox folder can't be written to.", Cause: err}
	}
	return nil
}

func (b *Mailbox) keep(id string, record []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.look(); err != nil {
		return err
	}
	if len(b.present.messages) >= b.most || b.present.size > 0 && b.present.size+int64(len(record)) > b.mostBytes {
		if err := b.turn(); err != nil {
			return err
		}
	}
	if err := b.present.append(id, record); err != nil {
		return err
	}
	close(b.arrived)
	b.arrived = make(chan struct{})
	return nil
}

// turn makes the present file the previous one and begins another.
func (b *Mailbox) turn() error {
	if err := b.folder.Rename(presentMbox, previousMbox); err != nil {
		return err
	}
	b.previous = b.present.messages
	_ = b.present.file.Close()
	var err error
	b.present, err = openMbox(b.folder, presentMbox)
	return err
}

// Arrived is closed when the next message has arrived. Whoever waits for one
// asks for it before looking whether it is there.
func (b *Mailbox) Arrived() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.arrived
}

// view is the mailbox at one moment. It is read without the lock, so that
// nobody who reads holds up the mail.
type view struct {
	places [2][]place  // in the present and in the previous file
	files  [2]*os.File // nil for one that isn't there
}

func (b *Mailbox) view() (*view, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.look(); err != nil {
		return nil, err
	}
	v := &view{places: [2][]place{b.present.messages, b.previous}}
	for i, name := range []string{presentMbox, previousMbox} {
		file, err := b.folder.Open(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			v.close()
			return nil, fmt.Errorf("mailbox: opening the files of messages: %w", err)
		}
		v.files[i] = file
	}
	return v, nil
}

func (v *view) close() {
	for _, file := range v.files {
		if file != nil {
			_ = file.Close()
		}
	}
}

// newest goes through the messages, the newest first.
func (v *view) newest() iter.Seq2[place, io.ReaderAt] {
	return func(yield func(place, io.ReaderAt) bool) {
		for i, file := range v.files {
			if file == nil {
				continue
			}
			for _, message := range slices.Backward(v.places[i]) {
				if !yield(message, file) {
					return
				}
			}
		}
	}
}

// List gives the newest messages, the newest first, at most MaxMailboxList.
func (b *Mailbox) List(limit int) ([]MailSummary, error) {
	limit = min(max(limit, 0), MaxMailboxList)
	v, err := b.view()
	if err != nil {
		return nil, err
	}
	defer v.close()
	list := []MailSummary{}
	for message, file := range v.newest() {
		if len(list) == limit {
			break
		}
		content, err := message.content(file)
		if errors.Is(err, ErrNoMail) {
			continue // taken out by hand
		}
		if err != nil {
			return nil, fmt.Errorf("mailbox: reading %s: %w", message.id, err)
		}
		list = append(list, summaryOf(message.id, content))
	}
	return list, nil
}

// Get gives one message.
func (b *Mailbox) Get(id string) (Mail, error) {
	v, err := b.view()
	if err != nil {
		return Mail{}, err
	}
	defer v.close()
	for message, file := range v.newest() {
		if message.id != id {
			continue
		}
		content, err := message.content(file)
		if errors.Is(err, ErrNoMail) {
			break
		}
		if err != nil {
			return Mail{}, fmt.Errorf("mailbox: reading %s: %w", id, err)
		}
		mail, _ := parseMail(id, unquoted(content)) // as much as can be made out of it
		return mail, nil
	}
	return Mail{}, ErrNoMail
}
