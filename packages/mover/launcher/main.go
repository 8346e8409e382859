// Command launcher stands in front of a worker, beside it, and before it:
//
//	launcher install DIR [NAME...]                 puts this program and the directories into DIR
//	launcher run --dir DIR [options] -- ARGV...    waits for DIR/go, runs the worker, says how it ended
//	launcher keep [--restarts N] -- ARGV...        process 1 of the mover's container
//
// What run leaves in DIR is described in docs/decisions/0014-files-of-an-attempt.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"time"
)

// Exit codes of our own; all others are the worker's, 128 + n for signal n.
const (
	exitUsage    = 2
	exitFailed   = 125 // we could not do our part; the worker never ran
	exitCanceled = 143 // stopped before the worker started
)

var nameGrammar = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$`)

func init() {
	// A worker ends with the thread that started it (Pdeathsig), so that thread must be the main one.
	runtime.LockOSThread()
}

func main() {
	if len(os.Args) < 2 {
		os.Exit(usage("say install, run or keep"))
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	switch os.Args[1] {
	case "install":
		flags.Parse(os.Args[2:])
		if flags.NArg() == 0 {
			os.Exit(usage("install needs a directory"))
		}
		os.Exit(install(flags.Arg(0), flags.Args()[1:]))
	case "keep":
		restarts := flags.Int("restarts", 20, "how often the mover is started again")
		flags.Parse(os.Args[2:])
		os.Exit(keep(needed(flags), *restarts))
	case "run":
		os.Exit(run(runOptions(flags)))
	default:
		os.Exit(usage("there is no use " + os.Args[1]))
	}
}

func runOptions(flags *flag.FlagSet) options {
	o := options{}
	flags.StringVar(&o.dir, "dir", "", "the attempt's directory")
	flags.StringVar(&o.name, "name", "", "the attempt's name; the last part of dir where not given")
	flags.StringVar(&o.scratch, "scratch", "", "HOME and TMPDIR of the worker; DIR/tmp where not given")
	walltime := flags.Float64("walltime", 0, "seconds that the worker may run; 0 is any time")
	grace := flags.Float64("grace", 30, "seconds between SIGTERM and SIGKILL")
	flags.Int64Var(&o.logCap, "log-cap", 100<<20, "bytes of the log")
	flags.Int64Var(&o.disk, "disk", 0, "bytes that may lie in dir; the worker is stopped at 95 %; 0 is any")
	flags.Parse(os.Args[2:])
	o.argv = needed(flags)
	o.walltime, o.grace = seconds(*walltime), seconds(*grace)
	if o.name == "" {
		o.name = filepath.Base(filepath.Clean(o.dir))
	}
	if o.scratch == "" {
		o.scratch = filepath.Join(o.dir, "tmp")
	}
	switch {
	case !filepath.IsAbs(o.dir) || !filepath.IsAbs(o.scratch):
		os.Exit(usage("--dir and --scratch must be absolute paths"))
	case !nameGrammar.MatchString(o.name):
		os.Exit(usage("--name must be letters, digits, '.', '_' and '-'"))
	case !(*walltime >= 0) || !(*grace >= 0) || o.logCap < 0 || o.disk < 0: // no number is not >= 0
		os.Exit(usage("limits must be numbers, and not negative"))
	}
	return o
}

// needed returns the argv behind the options.
func needed(flags *flag.FlagSet) []string {
	if flags.NArg() == 0 {
		os.Exit(usage(flags.Name() + " needs a command behind --"))
	}
	return flags.Args()
}

// seconds bounds what a request may say, so that nothing overflows; a year is no limit.
func seconds(s float64) time.Duration {
	return time.Duration(min(max(s, 0), 365*24*3600) * float64(time.Second))
}

func usage(mistake string) int {
	say("%s; usage: launcher install DIR [NAME...] | run --dir DIR [options] -- ARGV... | keep -- ARGV...", mistake)
	return exitUsage
}

func say(format string, values ...any) {
	fmt.Fprintf(os.Stderr, "launcher: "+format+"\n", values...)
}
