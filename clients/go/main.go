// Command build builds a Dockerfile through a daemon and writes the result to a file, with BuildKit's own client library.
//
//	go run . --addr unix:///run/cooper/cooperd.sock --target dev -o dev.tar .
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sync/errgroup"
)

// pairs collects NAME=VALUE options that may be repeated.
type pairs map[string]string

func (p pairs) String() string { return fmt.Sprint(map[string]string(p)) }

func (p pairs) Set(text string) error {
	name, value, found := strings.Cut(text, "=")
	if !found {
		return errors.New("expected NAME=VALUE")
	}
	p[name] = value
	return nil
}

type options struct {
	addr, file, target, tag, kind, output, path string
	args, contexts                              pairs
}

func parse() (options, error) {
	o := options{args: pairs{}, contexts: pairs{}}
	addr := os.Getenv("BUILDKIT_HOST")
	if addr == "" {
		addr = "unix:///run/cooper/cooperd.sock"
	}
	flag.StringVar(&o.addr, "addr", addr, "the daemon's address")
	flag.StringVar(&o.file, "f", "Dockerfile", "name of the Dockerfile in PATH")
	flag.StringVar(&o.target, "target", "", "the stage to build (default: the last)")
	flag.Var(o.args, "build-arg", "NAME=VALUE; repeated")
	flag.Var(o.contexts, "build-context", "NAME=PATH, a further folder; repeated")
	flag.StringVar(&o.tag, "t", "", "name of the image in the result")
	flag.StringVar(&o.kind, "type", client.ExporterDocker, "what is written: docker, oci or tar")
	flag.StringVar(&o.output, "o", "", "the file to write")
	flag.Parse()
	if flag.NArg() != 1 || o.output == "" {
		flag.Usage()
		return o, errors.New("expected -o FILE and one PATH")
	}
	o.path = flag.Arg(0)
	return o, nil
}

// request says what to build, from which folders, and where the result goes.
func request(o options, result io.WriteCloser) (client.SolveOpt, error) {
	attributes := map[string]string{"filename": o.file}
	if o.target != "" {
		attributes["target"] = o.target
	}
	for name, value := range o.args {
		attributes["build-arg:"+name] = value
	}
	folders := map[string]string{"context": o.path, "dockerfile": o.path}
	for name, path := range o.contexts {
		attributes["context:"+name] = "local:" + name
		folders[name] = path
	}
	mounts := map[string]fsutil.FS{}
	for name, path := range folders {
		folder, err := fsutil.NewFS(path)
		if err != nil {
			return client.SolveOpt{}, err
		}
		mounts[name] = folder
	}
	naming := map[string]string{}
	if o.tag != "" {
		naming["name"] = o.tag
	}
	return client.SolveOpt{
		Frontend:      "dockerfile.v0",
		FrontendAttrs: attributes,
		LocalMounts:   mounts,
		Exports: []client.ExportEntry{{
			Type:   o.kind,
			Attrs:  naming,
			Output: func(map[string]string) (io.WriteCloser, error) { return result, nil },
		}},
	}, nil
}

func build(ctx context.Context, o options) (map[string]string, error) {
	daemon, err := client.New(ctx, o.addr)
	if err != nil {
		return nil, err
	}
	defer daemon.Close()
	unfinished := o.output + ".part"
	file, err := os.Create(unfinished)
	if err != nil {
		return nil, err
	}
	defer os.Remove(unfinished)
	what, err := request(o, file)
	if err != nil {
		return nil, err
	}
	display, err := progressui.NewDisplay(os.Stderr, progressui.AutoMode)
	if err != nil {
		return nil, err
	}
	var answer *client.SolveResponse
	statuses := make(chan *client.SolveStatus)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		var err error
		answer, err = daemon.Solve(ctx, nil, what, statuses)
		return err
	})
	group.Go(func() error {
		_, err := display.UpdateFrom(context.WithoutCancel(ctx), statuses)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return answer.ExporterResponse, os.Rename(unfinished, o.output)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o, err := parse()
	if err == nil {
		var answer map[string]string
		answer, err = build(ctx, o)
		for _, name := range slices.Sorted(maps.Keys(answer)) {
			fmt.Printf("%s=%s\n", name, answer[name])
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
