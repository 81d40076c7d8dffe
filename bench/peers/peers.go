// The same in Go: `peers echo` prints its port and serves until it is killed; `peers SUBJECT
// COUNT` prints the ns per operation.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Processor time, as the other benches, where one thread does the work; else the wall clock.
func now(processors int) int64 {
	if processors > 1 {
		return time.Now().UnixNano()
	}
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return used.Utime.Nano() + used.Stime.Nano()
}

func echo() {
	runtime.GOMAXPROCS(1)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		client, err := listener.Accept()
		if err != nil {
			continue
		}
		go func() {
			defer client.Close()
			buffer := make([]byte, 16384)
			for {
				got, err := client.Read(buffer)
				if err != nil {
					return
				}
				if _, err = client.Write(buffer[:got]); err != nil {
					return
				}
			}
		}()
	}
}

var sum int

func lock(n int) {
	var mutex sync.Mutex
	for i := 0; i < n; i++ {
		mutex.Lock()
		sum++
		mutex.Unlock()
	}
}

func spawn(n int) {
	done := make(chan struct{})
	for i := 0; i < n; i++ {
		go func() { done <- struct{}{} }()
		<-done
	}
}

func spawnBatches(n int) {
	for ; n > 0; n -= 1000 {
		var all sync.WaitGroup
		all.Add(1000)
		for i := 0; i < 1000; i++ {
			go func() { all.Done() }()
		}
		all.Wait()
	}
}

func yieldAmong(n, tasks int) {
	var all sync.WaitGroup
	all.Add(tasks)
	for t := 0; t < tasks; t++ {
		go func() {
			for i := 0; i < n/tasks; i++ {
				runtime.Gosched()
			}
			all.Done()
		}()
	}
	all.Wait()
}

func timer(n int) {
	for i := 0; i < n; i++ {
		time.NewTimer(time.Hour).Stop()
	}
}

// Bytes from the system, ns to start, ns to cancel and join, each per goroutine.
func sleepers(n int) {
	debug.SetGCPercent(-1)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	all, cancel := context.WithCancel(context.Background())
	var started, ended sync.WaitGroup
	started.Add(n)
	ended.Add(n)
	begun := time.Now()
	for i := 0; i < n; i++ {
		go func() {
			timer := time.NewTimer(time.Hour)
			started.Done()
			select {
			case <-timer.C:
			case <-all.Done():
				timer.Stop()
			}
			ended.Done()
		}()
	}
	started.Wait()
	asleep := time.Now()
	runtime.ReadMemStats(&after)
	cancelled := time.Now()
	cancel()
	ended.Wait()
	end := time.Now()
	each := float64(n)
	fmt.Printf("%.1f %.1f %.1f\n", float64(after.Sys-before.Sys)/each,
		float64(asleep.Sub(begun).Nanoseconds())/each,
		float64(end.Sub(cancelled).Nanoseconds())/each)
}

// Hand-overs per second, in millions, of a lock with about 46 ns of work under it.
func contend(tasks int) {
	var mutex sync.Mutex
	var over atomic.Bool
	var all sync.WaitGroup
	state, served := uint64(1), 0
	all.Add(tasks)
	begun := time.Now()
	for t := 0; t < tasks; t++ {
		go func() {
			for !over.Load() {
				mutex.Lock()
				for i := 0; i < 40; i++ {
					state = state*6364136223846793005 + 1442695040888963407
				}
				served++
				mutex.Unlock()
			}
			all.Done()
		}()
	}
	time.Sleep(100 * time.Millisecond)
	over.Store(true)
	took := time.Since(begun)
	all.Wait()
	fmt.Printf("%.3f\n", float64(served)*1e3/float64(took.Nanoseconds()))
}

// A message each way at a time, and a stream through a channel with room for 64.
func channel(n int) {
	messages := make(chan int, 64)
	for i := 0; i < n; i++ {
		messages <- i
		sum += <-messages
	}
}

func channelStream(n int) {
	messages := make(chan int, 64)
	done := make(chan struct{})
	go func() {
		for each := range messages {
			sum += each
		}
		close(done)
	}()
	for i := 0; i < n; i++ {
		messages <- i
	}
	close(messages)
	<-done
}

// One goroutine has a thread for itself, as what calls into C would have.
func answer(n int) {
	questions := make(chan int)
	answers := make(chan int)
	go func() {
		runtime.LockOSThread()
		for each := range questions {
			answers <- each
		}
		close(answers)
	}()
	for i := 0; i < n; i++ {
		questions <- i
		sum += <-answers
	}
	close(questions)
	<-answers
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "echo" {
		echo()
	}
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "peers echo, or peers SUBJECT COUNT")
		os.Exit(2)
	}
	count, _ := strconv.Atoi(os.Args[2])
	type subject struct {
		processors int
		run        func(int)
	}
	subjects := map[string]subject{
		"lock":          {1, lock},
		"spawn":         {1, spawn},
		"spawn-batches": {1, spawnBatches},
		"spawn-across":  {2, spawnBatches},
		"yield":         {1, func(n int) { yieldAmong(n, 1) }},
		"yield-100":     {1, func(n int) { yieldAmong(n, 100) }},
		"timer":         {1, timer},
		"channel":       {1, channel},
		"stream":        {1, channelStream},
		"stream-across": {2, channelStream},
		"answer":        {2, answer},
	}
	switch os.Args[1] {
	case "sleepers":
		runtime.GOMAXPROCS(1)
		sleepers(count)
		return
	case "contend":
		runtime.GOMAXPROCS(2)
		contend(count)
		return
	}
	chosen, known := subjects[os.Args[1]]
	if !known {
		fmt.Fprintln(os.Stderr, "there is no subject", os.Args[1])
		os.Exit(2)
	}
	runtime.GOMAXPROCS(chosen.processors)
	chosen.run(count/10 + 1000)
	begun := now(chosen.processors)
	chosen.run(count)
	fmt.Printf("%.3f\n", float64(now(chosen.processors)-begun)/float64(count))
}
