package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/mail"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	baselinePG = "baseline-pg"
	dsnEnv     = "ROSTER_LOAD_DSN"

	// pgConnections is where the baseline is fastest on two cores: with fewer,
	// fewer commits share a flush to disk; with more, they only switch.
	pgConnections = 64
)

//go:embed baseline_pg.sql
var pgSchema string

// pgServer is what a team would write instead of Roster: a handler for each
// call, and one transaction for each command, at the usual isolation, that
// checks the session, the permission and the seat under a lock on the team and
// writes the invitation and its audit row. It has no idempotency keys, no
// sealed personal data and no message to send.
type pgServer struct{ pool *pgxpool.Pool }

func servePGBaseline(ctx context.Context) error {
	config, err := pgxpool.ParseConfig(os.Getenv(dsnEnv))
	if err != nil {
		return err
	}
	config.MaxConns = pgConnections
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	s := &pgServer{pool}
	router := chi.NewMux()
	router.Post("/v1/teams/{team}/invitations", handled(s.invite))
	router.Get("/v1/teams/{team}/members", handled(s.members))
	router.Get("/v1/teams/{team}/audit-events", handled(s.audit))
	return serve(ctx, router)
}

// status is an error that is answered with.
type status int

func (s status) Error() string { return http.StatusText(int(s)) }

func handled(handle func(r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		result, err := handle(r)
		code := http.StatusOK
		var known status
		var taken *pgconn.PgError
		switch {
		case errors.As(err, &known):
			code = int(known)
		case errors.As(err, &taken) && taken.Code == "23505":
			code = http.StatusConflict
		case err != nil:
			code = http.StatusInternalServerError
			fmt.Fprintln(os.Stderr, "baseline:", err)
		case r.Method == http.MethodPost:
			code = http.StatusCreated
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		if err == nil {
			_ = json.NewEncoder(w).Encode(result)
		}
	}
}

// credentials are the hash of the token and the team of a request.
func credentials(r *http.Request) ([]byte, uuid.UUID, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, uuid.Nil, status(http.StatusUnauthorized)
	}
	team, err := uuid.Parse(chi.URLParam(r, "team"))
	if err != nil {
		return nil, uuid.Nil, status(http.StatusNotFound)
	}
	hash := sha256.Sum256([]byte(token))
	return hash[:], team, nil
}

type pgInvitation struct {
	ID        uuid.UUID `json:"id"`
	Email     string    `json:"email"`
	Name      string    `json:"name"`
	Role      string    `json:"role"`
	Status    string    `json:"status"`
	ExpiresAt time.Time `json:"expires_at"`
	InvitedBy uuid.UUID `json:"invited_by"`
	URL       string    `json:"url"`
}

var pgRoles = map[string]bool{"owner": true, "admin": true} // who may invite

func (s *pgServer) invite(r *http.Request) (any, error) {
	tokenHash, team, err := credentials(r)
	if err != nil {
		return nil, err
	}
	var in struct{ Email, Name, Role string }
	body := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 64<<10))
	body.DisallowUnknownFields()
	if body.Decode(&in) != nil || (in.Role != "member" && in.Role != "admin") {
		return nil, status(http.StatusUnprocessableEntity)
	}
	address, err := mail.ParseAddress(in.Email)
	if err != nil {
		return nil, status(http.StatusUnprocessableEntity)
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	secretHash := sha256.Sum256(secret)
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	out := pgInvitation{
		ID: id, Email: strings.ToLower(address.Address), Name: in.Name, Role: in.Role, Status: "pending",
		URL: "http://localhost/invite/" + base64.RawURLEncoding.EncodeToString(secret),
	}
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	now := time.Now().UTC()
	out.ExpiresAt = now.Add(7 * 24 * time.Hour)

	ctx := r.Context()
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var role string
		var seats *int
		// The lock on the team keeps two invitations from taking one seat.
		err := tx.QueryRow(ctx, `SELECT s.user_id, m.role, t.seats
			FROM sessions s JOIN members m ON m.user_id = s.user_id JOIN teams t ON t.id = m.team_id
			WHERE s.token_hash = $1 AND s.expires_at > $2 AND m.team_id = $3 FOR UPDATE OF t`,
			tokenHash, now, team).Scan(&out.InvitedBy, &role, &seats)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return status(http.StatusNotFound)
		case err != nil:
			return err
		case !pgRoles[role]:
			return status(http.StatusForbidden)
		}
		if seats != nil {
			var taken int
			err := tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM members WHERE team_id = $1)
				+ (SELECT count(*) FROM invitations WHERE team_id = $1 AND status = 'pending' AND expires_at > $2)`,
				team, now).Scan(&taken)
			if err != nil {
				return err
			}
			if taken >= *seats {
				return status(http.StatusConflict)
			}
		}
		if _, err := tx.Exec(ctx, `INSERT INTO invitations
			(id, team_id, email, name, role, token_hash, status, invited_by, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, 'pending', $7, $8, $9)`,
			out.ID, team, out.Email, out.Name, out.Role, secretHash[:], out.InvitedBy, now, out.ExpiresAt); err != nil {
			return err
		}
		event, err := uuid.NewV7()
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO audit_events
			(id, team_id, at, action, actor_id, target_type, target_id, before, after, ip, user_agent, request_id)
			VALUES ($1, $2, $3, 'member.invited', $4, 'invitation', $5, NULL, $6, $7, $8, $9)`,
			event, team, now, out.InvitedBy, out.ID, map[string]string{"role": out.Role, "status": out.Status},
			host, r.UserAgent(), event.String())
		return err
	})
	return out, err
}

// member finds out who asks and what they are in the team.
func (s *pgServer) member(ctx context.Context, tokenHash []byte, team uuid.UUID) (role string, err error) {
	err = s.pool.QueryRow(ctx, `SELECT m.role FROM sessions s JOIN members m ON m.user_id = s.user_id
		WHERE s.token_hash = $1 AND s.expires_at > $2 AND m.team_id = $3`, tokenHash, time.Now(), team).Scan(&role)
	if errors.Is(err, pgx.ErrNoRows) {
		err = status(http.StatusNotFound)
	}
	return role, err
}

// pgPage is a list and where the next page begins.
type pgPage[T any] struct {
	Data []T `json:"data"`
	Page struct {
		NextToken string `json:"next_token"`
	} `json:"page"`
}

// newPage takes the extra row off, which only tells that there is more.
func newPage[T any](rows []T, token func(last *T) string) (page pgPage[T]) {
	page.Data = rows[:min(len(rows), pageSize)]
	if len(rows) > pageSize {
		page.Page.NextToken = token(&rows[pageSize-1])
	}
	return page
}

type pgMember struct {
	UserID   uuid.UUID `json:"user_id"`
	Email    string    `json:"email"`
	Name     string    `json:"name"`
	Role     string    `json:"role"`
	JoinedAt time.Time `json:"joined_at"`
}

func (s *pgServer) members(r *http.Request) (any, error) {
	tokenHash, team, err := credentials(r)
	if err != nil {
		return nil, err
	}
	if _, err := s.member(r.Context(), tokenHash, team); err != nil {
		return nil, err
	}
	at, id := time.Unix(0, 0), uuid.Nil
	if token := r.URL.Query().Get("page_token"); token != "" {
		micros, last, _ := strings.Cut(token, ".")
		number, err := strconv.ParseInt(micros, 10, 64)
		if err != nil {
			return nil, status(http.StatusUnprocessableEntity)
		}
		if id, err = uuid.Parse(last); err != nil {
			return nil, status(http.StatusUnprocessableEntity)
		}
		at = time.UnixMicro(number)
	}
	rows, err := s.pool.Query(r.Context(), `SELECT m.user_id, u.email, u.name, m.role, m.joined_at
		FROM members m JOIN users u ON u.id = m.user_id
		WHERE m.team_id = $1 AND (m.joined_at, m.user_id) > ($2, $3)
		ORDER BY m.joined_at, m.user_id LIMIT $4`, team, at, id, pageSize+1)
	if err != nil {
		return nil, err
	}
	members, err := pgx.CollectRows(rows, pgx.RowToStructByPos[pgMember])
	return newPage(members, func(m *pgMember) string { return fmt.Sprintf("%d.%s", m.JoinedAt.UnixMicro(), m.UserID) }), err
}

type pgEntry struct {
	ID         uuid.UUID       `json:"id"`
	At         time.Time       `json:"at"`
	Action     string          `json:"action"`
	ActorID    uuid.UUID       `json:"actor_id"`
	ActorName  *string         `json:"actor_name"`
	ActorEmail *string         `json:"actor_email"`
	IP         string          `json:"ip"`
	UserAgent  string          `json:"user_agent"`
	TargetType string          `json:"target_type"`
	TargetID   uuid.UUID       `json:"target_id"`
	TargetName *string         `json:"target_name"`
	Before     json.RawMessage `json:"before"`
	After      json.RawMessage `json:"after"`
	RequestID  string          `json:"request_id"`
}

// audit is the first page of a filtered log; the load asks for no other.
func (s *pgServer) audit(r *http.Request) (any, error) {
	tokenHash, team, err := credentials(r)
	if err != nil {
		return nil, err
	}
	role, err := s.member(r.Context(), tokenHash, team)
	if err != nil {
		return nil, err
	}
	if !pgRoles[role] {
		return nil, status(http.StatusForbidden)
	}
	sql := `SELECT e.id, e.at, e.action, e.actor_id, a.name, a.email, e.ip, e.user_agent,
			e.target_type, e.target_id, t.name, e.before, e.after, e.request_id
		FROM audit_events e LEFT JOIN users a ON a.id = e.actor_id LEFT JOIN users t ON t.id = e.target_id
		WHERE e.team_id = $1`
	args := []any{team}
	for _, filter := range [...]struct{ name, sql string }{
		{"actor", "e.actor_id = "}, {"action", "e.action = "}, {"target", "e.target_id = "}, {"from", "e.at >= "}, {"to", "e.at <= "},
	} {
		if value := r.URL.Query().Get(filter.name); value != "" {
			args = append(args, value)
			sql += " AND " + filter.sql + "$" + strconv.Itoa(len(args))
		}
	}
	args = append(args, pageSize+1)
	rows, err := s.pool.Query(r.Context(), sql+" ORDER BY e.at DESC, e.id DESC LIMIT $"+strconv.Itoa(len(args)), args...)
	if err != nil {
		return nil, err
	}
	entries, err := pgx.CollectRows(rows, pgx.RowToStructByPos[pgEntry])
	return newPage(entries, func(e *pgEntry) string { return e.ID.String() }), err
}
