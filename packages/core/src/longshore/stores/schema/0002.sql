-- Agreements and the hashes of their tokens. An agreement is due while its end is to be seen to.

ALTER TABLE jobs ADD COLUMN agreement TEXT;

CREATE INDEX jobs_by_agreement ON jobs (agreement, id) WHERE agreement IS NOT NULL AND purged = 0;

CREATE TABLE agreements (
  id       TEXT PRIMARY KEY,
  tenant   TEXT NOT NULL,
  state    TEXT NOT NULL,
  seq      INTEGER NOT NULL,
  due_at   INTEGER,
  document TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX agreements_by_tenant ON agreements (tenant, id);
CREATE INDEX agreements_due ON agreements (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE tokens (
  id        TEXT PRIMARY KEY,
  digest    TEXT NOT NULL UNIQUE,
  agreement TEXT,
  document  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tokens_by_agreement ON tokens (agreement, id);
