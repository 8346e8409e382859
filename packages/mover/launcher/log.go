package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	logName   = "log"
	noteRoom  = 160
	pipeSize  = 1 << 20
	chunkSize = 256 << 10
	drainTime = 2 * time.Second
)

// workLog takes the worker's output from a pipe into the file log, at most cap bytes, and passes it on.
type workLog struct {
	input   int // the end of the pipe that is the worker's
	pipe    *os.File
	file    *os.File
	mutex   sync.Mutex // of what follows
	limit   int64      // of what is written at once
	size    int64
	room    int // at the end of the cap: for what is held, or for a note where more came
	held    []byte
	cut     int64
	broken  error
	done    chan struct{}
	isAlone atomic.Bool // nothing is passed on any more
}

func openLog(dir string, limit int64) (*workLog, error) {
	flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC | os.O_APPEND | syscall.O_NOFOLLOW
	file, err := os.OpenFile(filepath.Join(dir, logName), flags, 0o600)
	if err != nil {
		return nil, err
	}
	ends := make([]int, 2)
	if err = syscall.Pipe2(ends, syscall.O_CLOEXEC); err != nil {
		return nil, err
	}
	syscall.Syscall(syscall.SYS_FCNTL, uintptr(ends[1]), syscall.F_SETPIPE_SZ, pipeSize) // a help only
	if err = syscall.SetNonblock(ends[0], true); err != nil {                            // for a deadline
		return nil, err
	}
	l := &workLog{input: ends[1], pipe: os.NewFile(uintptr(ends[0]), "worker"), file: file}
	l.limit, l.done = limit, make(chan struct{})
	if limit >= 2*noteRoom {
		l.room, l.limit = noteRoom, limit-noteRoom
	}
	return l, nil
}

// follow takes what comes until nobody can write any more.
func (l *workLog) follow() {
	l.copy(true)
	close(l.done)
}

// copy takes what comes to the pipe's end, or to its deadline.
func (l *workLog) copy(passOn bool) {
	chunk := make([]byte, chunkSize)
	for {
		n, err := l.pipe.Read(chunk)
		l.add(chunk[:n])
		if n > 0 && passOn && !l.isAlone.Load() {
			if _, failed := os.Stdout.Write(chunk[:n]); failed != nil {
				passOn = false // whoever read it is gone; the log is what counts
			}
		}
		if err != nil || (passOn && l.isAlone.Load()) {
			return
		}
	}
}

// add writes what the log has room for, and counts the rest.
func (l *workLog) add(output []byte) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if n := min(int64(len(output)), l.limit-l.size); n > 0 && l.broken == nil {
		written, err := l.file.Write(output[:n])
		l.size, l.broken = l.size+int64(written), err
		output = output[written:]
	}
	if free := l.room - len(l.held); l.broken == nil && free > 0 {
		n := min(len(output), free)
		l.held = append(l.held, output[:n]...)
		output = output[n:]
	}
	l.cut += int64(len(output))
}

// finish ends the log when nothing of the worker is left, and says what it lacks.
func (l *workLog) finish() (cut int64, message string) {
	l.pipe.SetReadDeadline(time.Now().Add(drainTime)) // somebody else may hold the other end open
	select {
	case <-l.done:
	case <-time.After(drainTime + time.Second): // our own output blocks
	}
	l.isAlone.Store(true)
	l.pipe.SetReadDeadline(time.Now().Add(drainTime))
	l.copy(false) // what is left in the pipe is for the log alone
	l.mutex.Lock()
	if l.broken == nil && l.cut == 0 {
		_, l.broken = l.file.Write(l.held)
		if l.broken == nil {
			return 0, ""
		}
	}
	l.cut += int64(len(l.held))
	why := fmt.Sprintf("it has its full size of %d bytes", l.limit+int64(l.room))
	if l.broken != nil {
		why = errors.Unwrap(l.broken).Error()
	}
	message = fmt.Sprintf("%d more bytes of output are not in this log: %s", l.cut, why)
	if l.room > 0 { // to the last byte of the cap: by its size alone, a log is seen to be cut
		fmt.Fprintf(l.file, "%-*s\n", l.room-1, "\n[longshore: "+message+"]")
	}
	return l.cut, message
}
