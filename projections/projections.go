package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// Projections are the read models: filled by Run, read by the queries. They
// are safe for concurrent use.
type Projections struct {
	db       *Database
	opener   Opener
	log      *slog.Logger
	progress progress
	labels   *auditLabelCache

	mu         sync.Mutex
	projecting bool
	failure    *Failure
}

// New makes sure of the tables. Those that are missing or that another release
// made differently are made anew, to be filled by Run. The opener is the event
// store's vault. Logger nil means that of the database.
func New(ctx context.Context, db *Database, opener Opener, logger *slog.Logger) (*Projections, error) {
	if logger == nil {
		logger = db.logger
	}
	p := &Projections{db: db, opener: opener, log: logger, labels: newAuditLabelCache()}
	if err := p.ensure(ctx, true); err != nil {
		return nil, err
	}
	checkpoints, err := p.checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	p.progress.advance(lowest(checkpoints))
	return p, nil
}

// Models are the names of the read models.
func (p *Projections) Models() []string {
	names := make([]string, len(models))
	for i, m := range models {
		names[i] = m.name
	}
	return names
}

// Position is how far every read model is known to be filled.
func (p *Projections) Position() uint64 { return p.progress.at() }

// Wait returns once every read model is filled up to the position, by whatever
// process on the same database, or with the error of ctx.
func (p *Projections) Wait(ctx context.Context, position uint64) error {
	return p.progress.wait(ctx, position)
}

// State tells how projecting goes.
func (p *Projections) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	state := State{Position: p.progress.at(), Projecting: p.projecting}
	if p.failure != nil {
		failure := *p.failure
		state.Failure = &failure
	}
	return state
}

// A checkpoint says how far a read model is filled. The generation counts how
// often its tables were made anew, so that a projector notices that they are
// no longer those that it knows.
type checkpoint struct {
	position   uint64
	generation int64
	layout     string
}

const checkpointsTable = `CREATE TABLE IF NOT EXISTS projection_checkpoints (
	model TEXT PRIMARY KEY, position BIGINT NOT NULL, generation BIGINT NOT NULL, layout TEXT NOT NULL)`

// ensure makes the tables that are missing. Tables of another layout are made
// anew if replace is set, and are an error otherwise.
func (p *Projections) ensure(ctx context.Context, replace bool) error {
	err := p.db.arrange(ctx, func(t transaction) error {
		if err := t.do(ctx, checkpointsTable); err != nil {
			return err
		}
		have, err := t.tables(ctx)
		if err != nil {
			return err
		}
		checkpoints, err := readCheckpoints(ctx, t)
		if err != nil {
			return err
		}
		for _, m := range models {
			checkpoint, known := checkpoints[m.name]
			complete := known
			for _, s := range m.shapes {
				complete = complete && have[s.name]
			}
			switch {
			case complete && checkpoint.layout == m.layout():
				continue
			case complete && !replace:
				return fmt.Errorf("projections: another release of Roster has changed the tables of %s; run one release on one database", m.name)
			}
			p.log.Info("making the tables of a read model", "model", m.name, "replacing", known)
			if err := m.create(ctx, t, p.db.types(), checkpoint.generation+1); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("projections: making the tables: %w", err)
	}
	return nil
}

// create makes the tables of the model, empty, in place of those that there
// may be.
func (m *model) create(ctx context.Context, t transaction, types sqlTypes, generation int64) error {
	var statements []string
	for _, s := range m.shapes {
		statements = append(statements, "DROP TABLE IF EXISTS "+s.name, s.create("", types))
		statements = append(statements, s.keyIndex("", generation)...)
		statements = append(statements, s.otherIndexes("", generation)...)
	}
	for _, sql := range statements {
		if _, err := t.exec(ctx, sql); err != nil {
			return err
		}
	}
	return t.do(ctx, `INSERT INTO projection_checkpoints (model, position, generation, layout) VALUES ($1, 0, $2, $3)
		ON CONFLICT (model) DO UPDATE SET position = 0, generation = excluded.generation, layout = excluded.layout`,
		m.name, generation, m.layout())
}

func readCheckpoints(ctx context.Context, q querier) (map[string]checkpoint, error) {
	checkpoints := map[string]checkpoint{}
	err := q.query(ctx, "SELECT model, position, generation, layout FROM projection_checkpoints", nil, func(r row) error {
		var name string
		var position int64
		var c checkpoint
		err := r.scan(&name, &position, &c.generation, &c.layout)
		c.position = uint64(position)
		checkpoints[name] = c
		return err
	})
	return checkpoints, err
}

// checkpoints gives those of all models, or an error if one is missing or of
// another layout.
func (p *Projections) checkpoints(ctx context.Context) (map[string]checkpoint, error) {
	var checkpoints map[string]checkpoint
	err := p.db.read(ctx, func(q querier) error {
		var err error
		checkpoints, err = readCheckpoints(ctx, q)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("projections: reading the checkpoints: %w", err)
	}
	for _, m := range models {
		if c, ok := checkpoints[m.name]; !ok || c.layout != m.layout() {
			return nil, errors.New("projections: the tables are not those of this release of Roster; run one release on one database")
		}
	}
	p.labels.generation.Store(checkpoints[auditModel.name].generation)
	return checkpoints, nil
}

// lowest is the position that all models have reached.
func lowest(checkpoints map[string]checkpoint) uint64 {
	position := checkpoints[models[0].name].position
	for _, m := range models {
		position = min(position, checkpoints[m.name].position)
	}
	return position
}
