package main

import (
	"os"
	"syscall"
	"time"
)

const (
	pauseFirst = 100 * time.Millisecond
	pauseMax   = 5 * time.Second
)

// keep starts the mover, again where it dies, until it says by 0 that it is done. Whoever asks us to
// stop asks the mover: it has the time to bring home what there is, and is not started again.
func keep(argv []string, restarts int) int {
	stops, ends := listen()
	if err := prctl(prSetChildReaper, 1); err != nil {
		say("cannot become the parent of orphans: %v", err)
		return exitFailed
	}
	pause := pauseFirst
	for died := 1; ; died++ {
		code, stopped := once(argv, stops, ends)
		if code == 0 || stopped {
			return code
		}
		say("the mover ended with exit code %d", code)
		if died > restarts {
			say("the mover ended %d times; giving up", died)
			return code
		}
		if !rest(pause, stops, ends) {
			return exitCanceled
		}
		pause = min(2*pause, pauseMax)
	}
}

// once runs the mover to its end, and whatever it leaves behind.
func once(argv []string, stops, ends chan os.Signal) (code int, stopped bool) {
	mover, err := start(argv, os.Environ(), []uintptr{0, 1, 2})
	if err != nil {
		say("%s: %v", argv[0], err)
		if refused, known := refusals[err]; known {
			return refused.code, true // it will not be there the next time either
		}
		return exitFailed, false
	}
	for !mover.ended() {
		select {
		case <-ends:
		case number := <-stops:
			stopped = true
			syscall.Kill(-mover.pid, number.(syscall.Signal))
		}
	}
	mover.sweep()
	return mover.code, stopped
}

// rest waits; it says false when we are to stop.
func rest(pause time.Duration, stops, ends chan os.Signal) bool {
	over := time.After(pause)
	for {
		select {
		case <-over:
			return true
		case <-ends:
			(&family{}).ended()
		case <-stops:
			return false
		}
	}
}
