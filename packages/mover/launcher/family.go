package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	accessExecute    = 1
	sweepLimit       = 10 * time.Second
	prSetDumpable    = 4
	prSetChildReaper = 36
)

// refusal is what a shell answers where a command cannot be executed, and the reason's code.
type refusal struct {
	code   int
	reason string
}

var (
	notFound      = refusal{127, "command-not-found"}
	notExecutable = refusal{126, "command-not-executable"}
	refusals      = map[error]refusal{
		syscall.ENOENT: notFound, syscall.ENOTDIR: notFound, syscall.EACCES: notExecutable,
		syscall.ENOEXEC: notExecutable, syscall.EISDIR: notExecutable, syscall.E2BIG: notExecutable,
	}
)

// family is a child in a session of its own, and all that descends from it: orphans come to us.
type family struct {
	pid  int
	code int // 128 + n for signal n
	over bool
}

func prctl(option, value uintptr) error {
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, option, value, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// start finds and starts a program; the error is the system's number that says why not.
func start(argv, env []string, files []uintptr) (*family, error) {
	path, err := look(argv[0])
	if err != nil {
		return nil, err
	}
	// whoever waits for our lock to go takes the worker for ended: it must not outlive us
	attributes := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{Env: env, Files: files, Sys: attributes})
	return &family{pid: pid}, err
}

// look finds a command as a shell does.
func look(command string) (string, error) {
	if strings.Contains(command, "/") {
		return command, nil
	}
	search, set := os.LookupEnv("PATH")
	if !set {
		search = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	problem := syscall.ENOENT
	for _, dir := range filepath.SplitList(search) {
		path := filepath.Join(dir, command)
		if status, err := os.Stat(path); err != nil || status.IsDir() {
			continue
		}
		if syscall.Access(path, accessExecute) == nil {
			return path, nil
		}
		problem = syscall.EACCES
	}
	return "", problem
}

// ended takes in whoever ended, and says whether the child is among them.
func (f *family) ended() bool {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil || pid <= 0:
			return f.over
		case pid == f.pid && status.Signaled():
			f.over, f.code = true, 128+int(status.Signal())
		case pid == f.pid:
			f.over, f.code = true, status.ExitStatus()
		}
	}
}

// kill ends all that can be found.
func (f *family) kill() {
	if !f.over { // after that, the number may be another's
		syscall.Kill(-f.pid, syscall.SIGKILL)
	}
	for _, pid := range descendants() {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// sweep ends what the child left behind.
func (f *family) sweep() {
	for until := time.Now().Add(sweepLimit); time.Now().Before(until); time.Sleep(2 * time.Millisecond) {
		if _, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err == syscall.ECHILD {
			return
		}
		f.kill()
	}
}

func descendants() (found []int) {
	entries, _ := os.ReadDir("/proc")
	children := map[string][]string{}
	for _, entry := range entries {
		stat, _ := os.ReadFile("/proc/" + entry.Name() + "/stat")
		// the name before the last parenthesis may hold anything; behind it: state, parent
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 1 {
			parent := string(fields[1])
			children[parent] = append(children[parent], entry.Name())
		}
	}
	for waiting := children[fmt.Sprint(os.Getpid())]; len(waiting) > 0; waiting = waiting[1:] {
		pid, _ := strconv.Atoi(waiting[0])
		found = append(found, pid)
		waiting = append(waiting, children[waiting[0]]...)
	}
	return found
}
