package subscribers

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"roster/domain"
)

// mbox is a file of messages in the form mboxrd, which ordinary mail programs
// open. A message begins with a separator, a line like
//
//	From msg_01k9xq…+0005123@mailbox Tue Nov 25 14:05:00 2025
//
// and ends with an empty line. Lines within that look like a separator are
// quoted with ">". In ours stand the id of the message and its length in bytes
// from the separator on, by which a message that a crash cut short is told from
// a whole one.
type mbox struct {
	file     *os.File
	info     os.FileInfo // which file it is
	size     int64       // as this process left it
	messages []place     // in the order of the file, which is the oldest first
}

// place is where a message stands in a file, from its separator to the empty
// line at its end.
type place struct {
	id             string
	offset, length int64
}

const (
	separatorStart = "From "
	mailboxHost    = "mailbox"

	// maxRecord is how much is read of one message. It is more than the longest
	// that is ever written, but not more than what somebody may have edited.
	maxRecord = 8 * maxBody
)

// openMbox opens the file, which it makes if it isn't there, and cuts off what
// a crash left at its end.
func openMbox(folder *os.Root, name string) (_ *mbox, err error) {
	file, err := folder.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
		}
	}()
	m := &mbox{file: file}
	if m.messages, m.size, err = scanMbox(file); err != nil {
		return nil, err
	}
	if m.info, err = file.Stat(); err != nil {
		return nil, err
	}
	if m.info.Size() > m.size {
		if err = file.Truncate(m.size); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// scanMbox finds the messages and where the last whole one ends. What other
// programs have put in between counts as whole and is not listed.
func scanMbox(file io.Reader) (messages []place, end int64, err error) {
	lines := bufio.NewReaderSize(file, 64<<10)
	var last place // without an id when it isn't ours
	var stated int64
	finish := func() {
		if last.id != "" {
			last.length = end - last.offset
			messages = append(messages, last)
		}
	}
	for at, whole := int64(0), true; ; {
		beginning := whole
		line, err := lines.ReadSlice('\n')
		if err == io.EOF { // what isn't a whole line is torn
			break
		}
		if whole = err == nil; !whole && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, 0, err
		}
		if beginning && whole && bytes.HasPrefix(line, []byte(separatorStart)) {
			finish()
			last.id, stated = readSeparator(line)
			last.offset = at
		}
		if at += int64(len(line)); whole {
			end = at
		}
	}
	if last.id != "" && end-last.offset < stated {
		return messages, last.offset, nil
	}
	finish()
	return messages, end, nil
}

// readSeparator gives what appendRecord has written into a separator. There is
// no id in those of other programs.
func readSeparator(line []byte) (id string, length int64) {
	_, line, _ = bytes.Cut(line, []byte(" "))
	sender, _, _ := bytes.Cut(line, []byte("@"+mailboxHost+" "))
	before, after, _ := bytes.Cut(sender, []byte("+"))
	length, err := strconv.ParseInt(string(after), 10, 64)
	if err != nil || !domain.ValidID(mailboxPrefix, string(before)) {
		return "", 0
	}
	return string(before), length
}

// appendRecord writes a message of CRLF lines in the form of the file.
func appendRecord(to []byte, id string, at time.Time, source []byte) []byte {
	begin := len(to)
	to = append(append(to, separatorStart...), id...)
	length := len(to)
	to = append(to, "+0000000@"+mailboxHost+" "...)
	to = at.UTC().AppendFormat(to, time.ANSIC)
	to = append(to, '\n')
	for len(source) > 0 {
		line, rest, _ := bytes.Cut(source, []byte("\n"))
		if looksLikeSeparator(line) {
			to = append(to, '>')
		}
		to = append(append(to, bytes.TrimSuffix(line, []byte("\r"))...), '\n')
		source = rest
	}
	to = append(to, '\n')
	copy(to[length:], fmt.Sprintf("+%07d", len(to)-begin))
	return to
}

// looksLikeSeparator tells whether a line is quoted, or has to be.
func looksLikeSeparator(line []byte) bool {
	if len(line) == 0 || line[0] != '>' && line[0] != 'F' {
		return false
	}
	return bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte(separatorStart))
}

// unquoted turns the lines of a message back into what they were.
func unquoted(content []byte) []byte {
	source := make([]byte, 0, len(content)+len(content)/32)
	for len(content) > 0 {
		line, rest, _ := bytes.Cut(content, []byte("\n"))
		if looksLikeSeparator(line) {
			line = bytes.TrimPrefix(line, []byte(">"))
		}
		source = append(append(source, line...), "\r\n"...)
		content = rest
	}
	return source
}

// untouched tells whether the file of that name is still the one that was
// opened, with nothing added and nothing taken away.
func (m *mbox) untouched(folder *os.Root, name string) bool {
	info, err := folder.Lstat(name)
	return err == nil && info.Size() == m.size && os.SameFile(info, m.info)
}

// append adds a message. After an error there is no part of it in the file, or
// one that the next look at it cuts off.
func (m *mbox) append(id string, record []byte) error {
	if _, err := m.file.Write(record); err != nil {
		_ = m.file.Truncate(m.size)
		return err
	}
	m.messages = append(m.messages, place{id: id, offset: m.size, length: int64(len(record))})
	m.size += int64(len(record))
	return nil
}

// content reads what stands between the separator and the empty line: a
// message with LF lines, still quoted. It is ErrNoMail when the file has
// changed and something else stands there.
func (p place) content(file io.ReaderAt) ([]byte, error) {
	record := make([]byte, min(p.length, maxRecord))
	if _, err := file.ReadAt(record, p.offset); err != nil && err != io.EOF {
		return nil, err
	}
	separator, content, _ := bytes.Cut(record, []byte("\n"))
	if id, _ := readSeparator(separator); id != p.id {
		return nil, ErrNoMail
	}
	return bytes.TrimSuffix(content, []byte("\n")), nil
}
