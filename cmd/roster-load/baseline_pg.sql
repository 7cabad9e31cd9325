-- What a team would keep in PostgreSQL, with an index for each list and filter.
CREATE TABLE users (
	id uuid PRIMARY KEY,
	email text NOT NULL UNIQUE,
	name text NOT NULL
);
CREATE TABLE sessions (
	token_hash bytea PRIMARY KEY,
	user_id uuid NOT NULL REFERENCES users,
	expires_at timestamptz NOT NULL
);
CREATE TABLE teams (
	id uuid PRIMARY KEY,
	name text NOT NULL,
	seats int -- no limit when null
);
CREATE TABLE members (
	team_id uuid NOT NULL REFERENCES teams,
	user_id uuid NOT NULL REFERENCES users,
	role text NOT NULL,
	joined_at timestamptz NOT NULL,
	PRIMARY KEY (team_id, user_id)
);
CREATE INDEX members_in_order ON members (team_id, joined_at, user_id);
CREATE TABLE invitations (
	id uuid PRIMARY KEY,
	team_id uuid NOT NULL REFERENCES teams,
	email text NOT NULL,
	name text NOT NULL,
	role text NOT NULL,
	token_hash bytea NOT NULL UNIQUE,
	status text NOT NULL,
	invited_by uuid NOT NULL REFERENCES users,
	created_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX invitations_pending ON invitations (team_id, email) WHERE status = 'pending';
CREATE TABLE audit_events (
	id uuid PRIMARY KEY,
	team_id uuid NOT NULL,
	at timestamptz NOT NULL,
	action text NOT NULL,
	actor_id uuid NOT NULL,
	target_type text NOT NULL,
	target_id uuid NOT NULL,
	before jsonb,
	after jsonb,
	ip text NOT NULL,
	user_agent text NOT NULL,
	request_id text NOT NULL
);
CREATE INDEX audit_events_in_order ON audit_events (team_id, at DESC, id DESC);
CREATE INDEX audit_events_by_actor ON audit_events (team_id, actor_id, at DESC, id DESC);
CREATE INDEX audit_events_by_action ON audit_events (team_id, action, at DESC, id DESC);
CREATE INDEX audit_events_by_target ON audit_events (team_id, target_id, at DESC, id DESC);
