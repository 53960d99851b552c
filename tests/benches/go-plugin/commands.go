package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Starts the plugins, prints their process ids when all are ready, and answers each command with one line of nanoseconds:
//
//	call grpc|rpc SIZE WARM_UP COUNT   round trips with SIZE bytes each way
//	start COUNT                        plugins, one after the other, from nothing to ready; their end is not counted
//	overrun DEADLINE LENGTH COUNT      from the deadline to the answer, of calls that sleep for LENGTH (all in nanoseconds)
//
// The end of standard input ends everything.
func host(count int) {
	clients := make([]*plugin.Client, count)
	echoers := make([]Echoer, count)
	var all sync.WaitGroup
	for number := range clients {
		all.Add(1)
		go func(number int) {
			defer all.Done()
			clients[number], echoers[number] = start("grpc")
		}(number)
	}
	all.Wait()
	ids := make([]int64, count)
	for number, client := range clients {
		ids[number] = int64(client.ReattachConfig().Pid)
	}
	answer(ids)

	byProtocol := map[string]Echoer{"grpc": echoers[0]}
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		line := commands.Text()
		var protocol string
		var size, warmUp, count int
		var deadline, length time.Duration
		if _, err := fmt.Sscanf(line, "call %s %d %d %d", &protocol, &size, &warmUp, &count); err == nil {
			if byProtocol[protocol] == nil {
				client, echoer := start(protocol)
				clients = append(clients, client)
				byProtocol[protocol] = echoer
			}
			answer(calls(byProtocol[protocol], size, warmUp, count))
		} else if _, err := fmt.Sscanf(line, "start %d", &count); err == nil {
			answer(starts(count))
		} else if _, err := fmt.Sscanf(line, "overrun %d %d %d", &deadline, &length, &count); err == nil {
			answer(overruns(echoers[0].(*grpcEchoer), deadline, length, count))
		} else {
			must(fmt.Errorf("the command %q is not known", line))
		}
	}
	must(commands.Err())
	for _, client := range clients {
		client.Kill()
	}
}

func answer(numbers []int64) {
	fmt.Println(strings.Trim(fmt.Sprint(numbers), "[]"))
}

func calls(echoer Echoer, size, warmUp, count int) []int64 {
	body := bytes.Repeat([]byte("v"), size)
	took := make([]int64, 0, count)
	for number := 0; number < warmUp+count; number++ {
		begun := time.Now()
		back, err := echoer.Echo(body)
		if number >= warmUp {
			took = append(took, nanoseconds(begun))
		}
		must(err)
		if len(back) != size {
			must(fmt.Errorf("%d of %d bytes came back", len(back), size))
		}
	}
	return took
}

func starts(count int) []int64 {
	took := make([]int64, count)
	for number := range took {
		begun := time.Now()
		client, _ := start("grpc")
		took[number] = nanoseconds(begun)
		client.Kill()
	}
	return took
}

func overruns(echoer *grpcEchoer, deadline, length time.Duration, count int) []int64 {
	took := make([]int64, count)
	for number := range took {
		begun := time.Now()
		err := echoer.sleep(deadline, length)
		took[number] = nanoseconds(begun) - int64(deadline)
		if status.Code(err) != codes.DeadlineExceeded {
			must(fmt.Errorf("a call that sleeps beyond its deadline answered %v", err))
		}
	}
	return took
}
