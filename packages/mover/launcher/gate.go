package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	goName   = "go"
	stopName = "stop"
)

// changes tells that something may have changed in dir: as the kernel says, and every second, since
// not every file system does; where no watch is to be had, often enough for nobody to wait.
func changes(dir string) <-chan struct{} {
	told := make(chan struct{}, 1)
	tell := func() {
		select {
		case told <- struct{}{}:
		default:
		}
	}
	pause := time.Second
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC)
	if err == nil {
		_, err = syscall.InotifyAddWatch(fd, dir, syscall.IN_MOVED_TO|syscall.IN_CLOSE_WRITE)
	}
	if err != nil {
		pause = 50 * time.Millisecond
	} else {
		go func() {
			events := make([]byte, 4096)
			for n, err := 1, error(nil); n > 0 && err == nil; n, err = syscall.Read(fd, events) {
				tell()
			}
		}()
	}
	go func() {
		for range time.Tick(pause) {
			tell()
		}
	}()
	return told
}

// takeGo returns the key in the file go, and removes it: it is not for the worker.
func takeGo(dir string) ([]byte, error) {
	path := filepath.Join(dir, goName)
	text, _ := readSmall(path)
	return bytes.TrimSpace(text), os.Remove(path)
}

// readStop returns the grace of the request to stop; one cut short by a kill has none.
func readStop(dir string) (grace time.Duration, there bool) {
	text, there := readSmall(filepath.Join(dir, stopName))
	request := struct {
		Grace float64 `json:"grace"`
	}{}
	if json.Unmarshal(text, &request) != nil {
		request.Grace = 0
	}
	return seconds(request.Grace), there
}

// readSmall follows no link and waits for no pipe: a worker may have put one there.
func readSmall(path string) ([]byte, bool) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, false
	}
	defer file.Close()
	if status, err := file.Stat(); err != nil || !status.Mode().IsRegular() {
		return nil, false
	}
	text, err := io.ReadAll(io.LimitReader(file, 4096))
	return text, err == nil
}
