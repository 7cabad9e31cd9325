package postgrestest

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestStartGivesEachTestItsOwnSchema(t *testing.T) {
	for range 2 {
		conn, err := pgx.Connect(t.Context(), Start(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "CREATE TABLE mine (id BIGINT)"); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
