package eventstore

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"roster/domain"
)

// The model of one stream: a list of commits that only grows at its end.
type (
	appendInput struct {
		stream  Stream
		version uint64
		id      domain.EventID
	}
	loadInput struct {
		stream Stream
		after  uint64
	}
	ids []domain.EventID
)

func streamOf(input any) Stream {
	if a, ok := input.(appendInput); ok {
		return a.stream
	}
	return input.(loadInput).stream
}

var streamModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := map[Stream][]porcupine.Operation{}
		for _, operation := range history {
			stream := streamOf(operation.Input)
			parts[stream] = append(parts[stream], operation)
		}
		var list [][]porcupine.Operation
		for _, part := range parts {
			list = append(list, part)
		}
		return list
	},
	Init: func() any { return ids(nil) },
	Step: func(state, input, output any) (bool, any) {
		stored := state.(ids)
		switch input := input.(type) {
		case appendInput:
			switch {
			case output.(bool) && input.version == uint64(len(stored))+1:
				return true, append(slices.Clip(stored), input.id)
			case output.(bool):
				return false, state
			}
			return input.version <= uint64(len(stored)), state // a conflict
		case loadInput:
			return slices.Equal(output.(ids), stored[min(int(input.after), len(stored)):]), state
		}
		return false, state
	},
	Equal: func(a, b any) bool { return slices.Equal(a.(ids), b.(ids)) },
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("%+v → %v", input, output)
	},
}

// testLinearizable records what clients see who append to and load two streams
// at once, and has it checked that some order of the calls explains it.
func testLinearizable(t *testing.T, s *Store) {
	const rounds, clients, calls = 6, 5, 12
	for range rounds {
		streams := []Stream{newStream(), newStream()}
		begin := time.Now()
		histories := make([][]porcupine.Operation, clients)
		var group sync.WaitGroup
		for client := range clients {
			group.Go(func() {
				call := func(input any, do func() (any, error)) {
					called := time.Since(begin).Nanoseconds()
					output, err := do()
					if err != nil {
						t.Error(err)
						return
					}
					histories[client] = append(histories[client], porcupine.Operation{
						ClientId: client, Input: input, Call: called, Output: output, Return: time.Since(begin).Nanoseconds(),
					})
				}
				known := map[Stream]*Commit{}
				for i := range calls {
					stream := streams[(i+client)%2]
					last := known[stream]
					var after uint64
					if last != nil {
						after = last.Version
					}
					if i%3 == client%3 {
						load := s.Load
						if i%2 == 0 {
							load = s.CatchUp
						}
						call(loadInput{stream, after}, func() (any, error) {
							commits, err := load(testContext(t), stream, after)
							var got ids
							for i := range commits {
								got = append(got, commits[i].ID())
								known[stream] = &commits[i]
							}
							return got, err
						})
						continue
					}
					commit := renamed(stream, last, "x")
					call(appendInput{stream, commit.Version, commit.ID()}, func() (any, error) {
						err := s.Append(testContext(t), commit)
						if errors.Is(err, ErrConflict) {
							return false, nil
						}
						if err == nil {
							known[stream] = commit
						}
						return true, err
					})
				}
			})
		}
		group.Wait()
		result := porcupine.CheckOperationsTimeout(streamModel, slices.Concat(histories...), testTimeout)
		if result != porcupine.Ok {
			t.Fatalf("the history is %s", result)
		}
	}
}
