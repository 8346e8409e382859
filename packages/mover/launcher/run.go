package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

type options struct {
	dir, name, scratch string
	walltime, grace    time.Duration
	logCap, disk       int64
	argv               []string
}

// Whatever an engine sends to stop a container: SIGTERM, or what the worker's image declares.
var stopSignals = []os.Signal{
	syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT,
	syscall.SIGUSR1, syscall.SIGUSR2, syscall.Signal(37), // SIGRTMIN+3
}

// listen returns the signals to stop, and those of children that ended. SIGPIPE is heard and not
// ignored: then a lost reader is an error to us, and the default again for a worker.
func listen() (stops, ends chan os.Signal) {
	stops, ends = make(chan os.Signal, 8), make(chan os.Signal, 1)
	signal.Notify(stops, stopSignals...)
	signal.Notify(ends, syscall.SIGCHLD)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return stops, ends
}

// launch is one worker between its order and its end.
type launch struct {
	options
	attempt *attempt
	log     *workLog
	worker  *family
	stops   chan os.Signal
	ends    chan os.Signal
	changed <-chan struct{}
	killAt  time.Time
}

// run does all of it and returns the exit code.
func run(o options) int {
	l := &launch{options: o, changed: changes(o.dir)}
	l.stops, l.ends = listen()
	var err error
	if l.attempt, err = openAttempt(o); err != nil {
		say("cannot begin in %s: %v", o.dir, err)
		return exitFailed
	}
	// From here on nobody with our uid can look into us, where the key will be.
	if err = errors.Join(prctl(prSetDumpable, 0), prctl(prSetChildReaper, 1)); err != nil {
		return l.giveUp(exitFailed, "internal", fmt.Sprintf("cannot prepare: %v", err))
	}
	stopped := l.await()
	if l.attempt.key, err = takeGo(o.dir); stopped {
		return l.giveUp(exitCanceled, "canceled", "stopped before the worker started")
	}
	if err == nil {
		err = l.prepare()
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return l.giveUp(exitFailed, "disk", fmt.Sprintf("cannot prepare: %v", err))
	}
	if err != nil {
		return l.giveUp(exitFailed, "internal", fmt.Sprintf("cannot prepare: %v", err))
	}
	return l.work()
}

// giveUp writes down that the worker never ran, and why.
func (l *launch) giveUp(code int, reason, message string) int {
	say("%s", message)
	l.attempt.seen = seen{Phase: "ended", Reason: reason, Message: message}
	l.attempt.close()
	return code
}

// await returns when the file go is there, or says that the attempt is to end instead.
func (l *launch) await() (stopped bool) {
	for {
		select { // what came first counts first
		case <-l.stops:
			return true
		default:
		}
		if _, stop := readStop(l.dir); stop {
			return true
		}
		if _, there := readSmall(filepath.Join(l.dir, goName)); there {
			return false
		}
		select {
		case <-l.changed:
		case <-l.ends: // process 1 takes in strangers too
			(&family{}).ended()
		case <-l.stops:
			return true
		}
	}
}

// prepare does what can fail before a worker is started, and ends with the note that it may run.
func (l *launch) prepare() (err error) {
	if l.log, err = openLog(l.dir, l.logCap); err != nil {
		return err
	}
	if err = os.MkdirAll(l.scratch, 0o700); err != nil {
		return err
	}
	l.attempt.seen = seen{Phase: "running", StartedAt: now()}
	return l.attempt.note()
}

// work runs the worker and writes down how it ended.
func (l *launch) work() int {
	err := l.start()
	refused, isRefused := refusals[err]
	if err != nil && !isRefused {
		return l.giveUp(exitFailed, "internal", fmt.Sprintf("cannot start the worker: %v", err))
	}
	if err == nil {
		l.watch()
		l.worker.sweep()
	}
	a, end := l.attempt, outcome{Kind: "exited", Code: refused.code, Reason: refused.reason}
	a.care.LogCut, a.seen.Message = l.log.finish()
	if err == nil {
		l.explain(&end)
	}
	a.seen.Phase, a.seen.Outcome, a.seen.EndedAt = "staging-out", &end, now()
	a.close()
	return end.Code
}

// start starts the worker, or leaves a sentence in the log about why that cannot be.
func (l *launch) start() error {
	defer syscall.Close(l.log.input)
	nothing, err := syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(nothing)
	env := []string{"HOME=" + l.scratch, "TMPDIR=" + l.scratch}
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "HOME=") && !strings.HasPrefix(entry, "TMPDIR=") {
			env = append(env, entry)
		}
	}
	files := []uintptr{uintptr(nothing), uintptr(l.log.input), uintptr(l.log.input)}
	if l.worker, err = start(l.argv, env, files); err != nil {
		syscall.Write(l.log.input, []byte(l.argv[0]+": "+err.Error()+"\n"))
	}
	go l.log.follow()
	return err
}

// watch returns when the worker has ended, stopping it where it must.
func (l *launch) watch() {
	disk := watchDisk(l.dir, l.disk)
	var walltime <-chan time.Time // of the monotonic clock
	if l.walltime > 0 {
		walltime = time.After(l.walltime)
	}
	kill := time.NewTimer(time.Hour)
	kill.Stop()
	for !l.worker.ended() {
		ask := func() {}
		select {
		case <-l.ends:
		case number := <-l.stops:
			ask = func() { l.stop("stop", number.(syscall.Signal), number.String(), l.grace) }
		case <-l.changed:
			if grace, there := readStop(l.dir); there {
				ask = func() { l.stop("stop", syscall.SIGTERM, "file", grace) }
			}
		case <-walltime:
			ask = func() { l.stop("walltime", syscall.SIGTERM, l.walltime.String(), l.grace) }
		case <-disk:
			ask = func() { l.stop("disk", syscall.SIGTERM, fmt.Sprintf("%d bytes", l.disk), l.grace) }
		case <-kill.C:
			ask = func() {
				l.worker.kill()
				l.killAt = time.Now().Add(time.Second) // for what was born meanwhile
			}
		}
		if l.worker.ended() {
			return // before anybody asked it to
		}
		ask()
		if !l.killAt.IsZero() {
			kill.Reset(time.Until(l.killAt))
		}
	}
}

// stop asks the worker's processes to end, and notes who wanted it first, before they can know.
func (l *launch) stop(by string, number syscall.Signal, how string, grace time.Duration) {
	if at := time.Now().Add(grace); l.killAt.IsZero() || at.Before(l.killAt) {
		l.killAt = at
	}
	if l.attempt.care.Stop != nil {
		return
	}
	l.attempt.care.Stop = &stopNote{By: by, How: how, At: now()}
	if err := l.attempt.note(); err != nil {
		say("cannot write down who stopped the worker: %v", err)
	}
	syscall.Kill(-l.worker.pid, number)
}

func (l *launch) explain(end *outcome) {
	end.Code = l.worker.code
	if stop := l.attempt.care.Stop; stop != nil {
		end.Kind, end.By, end.Why = "stopped", stop.By, stop.By
		if stop.By != "stop" {
			end.Reason = stop.By
		}
	} else if end.Code != 0 && isFull(l.dir) {
		end.Reason = "disk"
	}
}
