package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	attemptName = "attempt.jsonl"
	attemptSize = 8192
	messageSize = 500
)

// seen is what is known of the worker: members of longshore's Observation.
type seen struct {
	Phase     string   `json:"phase"`
	Outcome   *outcome `json:"outcome,omitempty"`
	Reason    string   `json:"reason,omitempty"`
	Message   string   `json:"message,omitempty"`
	StartedAt string   `json:"started_at,omitempty"`
	EndedAt   string   `json:"ended_at,omitempty"`
}

type outcome struct {
	Kind   string `json:"kind"`
	Code   int    `json:"exit_code"`
	By     string `json:"by,omitempty"`
	Why    string `json:"why,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// care is what only we know: who asked the worker to stop, and how many bytes the log lacks.
type care struct {
	Stop   *stopNote `json:"stop,omitempty"`
	LogCut int64     `json:"log_cut,omitempty"`
}

// stopNote says who (stop, walltime or disk), how (the signal that came, or what was seen), when.
type stopNote struct {
	By  string `json:"by"`
	How string `json:"how"`
	At  string `json:"at"`
}

// attempt is the attempt's file. It is locked for as long as this process lives: the lock is
// close-on-exec, so that no worker inherits it, and goes with whatever kills us.
type attempt struct {
	file *os.File
	name string
	key  []byte
	end  int64
	seen seen
	care care
}

// openAttempt locks the file and writes its first lines. It gets its whole size at once: what comes
// later is written over zeros in place, so that no full disk can keep an end from being written.
func openAttempt(o options) (*attempt, error) {
	path := filepath.Join(o.dir, attemptName)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("another launcher works here: %w", err)
	}
	first := []byte{0}
	if file.ReadAt(first, 0); first[0] != 0 {
		return nil, errors.New("an attempt was begun here before; it is never begun twice")
	}
	a := &attempt{file: file, name: o.name, seen: seen{Phase: "waiting"}}
	order := map[string]any{"walltime": o.walltime.Seconds(), "grace": o.grace.Seconds(), "log_cap": o.logCap}
	content := append(a.line(order), a.line([]any{a.seen, a.care})...)
	a.end = int64(len(content))
	_, err = file.WriteAt(append(content, make([]byte, attemptSize-len(content))...), 0)
	return a, err
}

// line says whose it is and proves that it is whole; with a key, also that no worker wrote it.
func (a *attempt) line(value any) []byte {
	body, _ := json.Marshal(value) // of strings and numbers: that cannot fail
	proven := append([]byte(a.name), body...)
	proof := fmt.Sprint(crc32.ChecksumIEEE(proven))
	if len(a.key) > 0 {
		mac := hmac.New(sha256.New, a.key)
		mac.Write(proven)
		proof = fmt.Sprintf(`"%x"`, mac.Sum(nil))
	}
	return fmt.Appendf(nil, "[\"%s\",%s,%s]\n", a.name, proof, body)
}

// note writes down what is known now.
func (a *attempt) note() error {
	a.seen.Message = a.seen.Message[:min(len(a.seen.Message), messageSize)]
	n, err := a.file.WriteAt(a.line([]any{a.seen, a.care}), a.end)
	a.end += int64(n)
	return err
}

// close writes down, durably, how it ended; only then may the lock go.
func (a *attempt) close() {
	err := a.note()
	if err == nil {
		err = syscall.Fdatasync(int(a.file.Fd()))
	}
	if err != nil {
		say("cannot write down how it ended: %v", err)
	}
}

func now() string {
	return time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
}
