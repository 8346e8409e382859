package main

import (
	"io/fs"
	"path/filepath"
	"syscall"
	"time"
)

const (
	diskLook  = 2 * time.Second
	diskShare = 0.95
)

// watchDisk tells once when more than its share of limit bytes lies below dir. What the worker hides
// from us is not counted; for that the engine has a limit of its own.
func watchDisk(dir string, limit int64) <-chan struct{} {
	told := make(chan struct{}, 1)
	if limit == 0 {
		return told
	}
	go func() {
		for {
			begin := time.Now()
			if float64(bytesBelow(dir)) > diskShare*float64(limit) {
				told <- struct{}{}
				return
			}
			time.Sleep(max(diskLook, 20*time.Since(begin))) // many files cost no more than 5 % of a CPU
		}
	}()
	return told
}

func bytesBelow(dir string) (bytes int64) {
	filepath.WalkDir(dir, func(path string, _ fs.DirEntry, _ error) error {
		var status syscall.Stat_t
		if syscall.Lstat(path, &status) == nil {
			bytes += status.Blocks * 512
		}
		return nil
	})
	return bytes
}

// isFull says whether nobody can write to dir any more.
func isFull(dir string) bool {
	var disk syscall.Statfs_t
	return syscall.Statfs(dir, &disk) == nil && disk.Bavail == 0
}
