-- The people, teams and history that Roster is given too. Ids are numbers in
-- the form of a UUID, which is as kind to the indexes as ids can be.
CREATE FUNCTION id(kind int, n bigint) RETURNS uuid IMMUTABLE PARALLEL SAFE LANGUAGE sql AS
	$$ SELECT (lpad(to_hex(kind), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid $$;

-- Owners (1), each with a session and teams (2) of their own.
INSERT INTO users SELECT id(1, n), 'owner-' || n || '@example.com', 'Ada Lovelace'
	FROM generate_series(0, {accounts} - 1) n;
INSERT INTO sessions SELECT sha256(('token-' || n)::bytea), id(1, n), now() + interval '30 days'
	FROM generate_series(0, {accounts} - 1) n;
INSERT INTO teams SELECT id(2, n), 'Team', {seats} FROM generate_series(0, {accounts} * {teams} - 1) n;
INSERT INTO members SELECT id(2, n), id(1, n / {teams}), 'owner', now() FROM generate_series(0, {accounts} * {teams} - 1) n;

-- The members (3) of the first team, and its log (4), an entry every 300 µs:
-- everybody was invited, everybody joined, then admins changed roles.
INSERT INTO users SELECT id(3, n), 'member-' || n || '@example.com', 'Member ' || n
	FROM generate_series(0, {members} - 1) n;
INSERT INTO members SELECT id(2, 0), id(3, n), CASE WHEN n < {admins} THEN 'admin' ELSE 'member' END,
	'2026-01-01'::timestamptz + n * interval '300 us' FROM generate_series(0, {members} - 1) n;
INSERT INTO audit_events SELECT id(4, n), id(2, 0), '2026-01-01'::timestamptz + n * interval '300 us',
		'member.' || CASE WHEN n < {members} THEN 'invited' ELSE 'joined' END,
		CASE WHEN n < {members} THEN id(1, 0) ELSE id(3, n - {members}) END, 'member', id(3, n % {members}),
		NULL, '{"role":"member"}', '203.0.113.7', '{agent}', id(4, n)::text
	FROM generate_series(0, 2 * {members} - 1) n;
INSERT INTO audit_events SELECT id(4, n), id(2, 0), '2026-01-01'::timestamptz + n * interval '300 us',
		'role.changed', id(3, CASE WHEN n < {audit} - {singles} THEN n / {bulk} ELSE n END % {admins}),
		'member', id(3, {admins} + n % ({members} - {admins})),
		'{"role":"member"}', '{"role":"viewer"}', '203.0.113.7', '{agent}', id(4, n)::text
	FROM generate_series(2 * {members}, {audit} - 1) n;
