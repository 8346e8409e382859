package main

import (
	"errors"
	"os"
	"path/filepath"
)

// install puts this program into dir, whole or not at all, and makes the directories named.
func install(dir string, names []string) int {
	if err := copySelf(dir, filepath.Join(dir, "launcher")); err != nil {
		say("cannot install into %s: %v", dir, err)
		return exitFailed
	}
	for _, name := range append([]string{"tmp"}, names...) {
		if !filepath.IsLocal(name) {
			return usage("the directory " + name + " is not below " + dir)
		}
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			say("cannot make %s: %v", name, err)
			return exitFailed
		}
	}
	return 0
}

func copySelf(dir, path string) error {
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	if err = os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	draft := filepath.Join(dir, ".launcher.draft")
	defer os.Remove(draft) // it has another name where all went well
	// closed before it gets its name: what is open for writing cannot be executed
	if err = writeNew(draft, program); err != nil {
		return err
	}
	return os.Rename(draft, path)
}

func writeNew(path string, content []byte) error {
	os.Remove(path)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o555)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	// the mode once more, whatever the umask; durable, lest a program of zeros is found later
	return errors.Join(err, file.Chmod(0o555), file.Sync(), file.Close())
}
