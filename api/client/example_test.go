package client_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"roster/api/client"
)

func example(ctx context.Context, url, token, team, user string) error {
	roster, err := client.New(url, token)
	if err != nil {
		return err
	}
	for member, err := range roster.Members(ctx, team, client.MembersQuery{}) {
		if err != nil {
			return err
		}
		fmt.Println(member.Name, "is", member.Role)
	}

	// Answers from memory, kept current by the server: at most two seconds old,
	// nearly always some milliseconds.
	decisions, err := client.NewCache(roster, 2*time.Second)
	if err != nil {
		return err
	}
	defer decisions.Close()
	decision, err := decisions.Check(ctx, client.Question{Team: team, Subject: user, Permission: "orders:update"})
	if err != nil {
		return err
	}
	fmt.Println("allowed:", decision.Allowed, "because of the", decision.Reason, decision.Role)
	return nil
}

func Example() {
	server, err := startRoster()
	if err != nil {
		fmt.Println(err)
		return
	}
	owner, err := server.signUp()
	if err != nil {
		fmt.Println(err)
		return
	}
	member, err := server.join(owner, "manager")
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := example(context.Background(), server.url, operatorToken, owner.team, member.id); err != nil {
		fmt.Println(err)
	}
	if err := server.close(); err != nil {
		fmt.Println(err)
	}

	// Output:
	// A Person is owner
	// A Member is manager
	// allowed: true because of the role manager
}

// The README shows what runs above, word for word.
func TestTheReadmeShowsTheExample(t *testing.T) {
	code, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, from, found := strings.Cut(string(code), "\nfunc example(")
	shown, _, ended := strings.Cut(from, "\n}\n")
	if !found || !ended {
		t.Fatal("there is no example")
	}
	if !strings.Contains(string(readme), "func example("+shown+"\n}\n") {
		t.Error("the README shows another example")
	}
}
