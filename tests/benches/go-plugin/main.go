// A host and its plugin by HashiCorp's go-plugin, the rival of Capstan's isolated drivers in `make bench`.
//
//	go-plugin-echo plugin grpc|rpc   the plugin: answers the bytes that it is sent. The host starts it.
//	go-plugin-echo host N            the host: starts N gRPC plugins at once, then takes commands on standard input.
//
// Built from Debian's packages alone (`.ci/setup bench` installs them), with GO111MODULE=off and GOPATH=/usr/share/gocode.
// The settings are go-plugin's defaults, apart from its log, which is thrown away. `commands.go` has the commands.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	if len(os.Args) == 3 {
		switch os.Args[1] {
		case "plugin":
			serve(os.Args[2])
			return
		case "host":
			if count, err := strconv.Atoi(os.Args[2]); err == nil && count > 0 {
				host(count)
				return
			}
		}
	}
	fmt.Fprintln(os.Stderr, "usage: go-plugin-echo plugin grpc|rpc | host N")
	os.Exit(64)
}

// The benchmark has nothing to measure where something went wrong.
func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "go-plugin-echo:", err)
		os.Exit(1)
	}
}

func nanoseconds(since time.Time) int64 { return time.Since(since).Nanoseconds() }
