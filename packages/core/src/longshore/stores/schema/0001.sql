-- Times are microseconds since 1970 in UTC; trees are JSON.

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs (
  id          TEXT PRIMARY KEY,
  tenant      TEXT NOT NULL,
  workflow    TEXT NOT NULL,
  version     TEXT NOT NULL,
  backend     TEXT NOT NULL,
  created_at  INTEGER NOT NULL,
  state       TEXT NOT NULL,
  seq         INTEGER NOT NULL,
  attempt     INTEGER NOT NULL,
  parameters  TEXT NOT NULL,
  resources   TEXT NOT NULL,
  inputs      TEXT NOT NULL,
  dispatched  INTEGER NOT NULL,
  stop        TEXT,
  outcome     TEXT,
  reason      TEXT,
  products    TEXT NOT NULL,
  progress    TEXT,
  enforced    TEXT NOT NULL,
  unconfirmed INTEGER NOT NULL,
  purged      INTEGER NOT NULL,
  started_at  INTEGER,
  finished_at INTEGER,
  updated_at  INTEGER,
  next_what   TEXT,
  next_by     INTEGER,
  key         TEXT,
  fingerprint TEXT
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX jobs_by_key ON jobs (tenant, key) WHERE key IS NOT NULL;
CREATE INDEX jobs_by_tenant ON jobs (tenant, id);
CREATE INDEX jobs_unfinished ON jobs (backend, id)
  WHERE state IN ('QUEUED', 'STAGING_IN', 'RUNNING', 'STAGING_OUT');
CREATE INDEX jobs_waiting ON jobs (backend, id) WHERE state = 'QUEUED' AND dispatched = 0;
CREATE INDEX jobs_stopping ON jobs (backend, id)
  WHERE stop IS NOT NULL AND dispatched = 1 AND state IN ('QUEUED', 'STAGING_IN', 'RUNNING');
CREATE INDEX jobs_due ON jobs (next_by) WHERE next_by IS NOT NULL;

CREATE TABLE events (
  position INTEGER PRIMARY KEY,
  job_id   TEXT NOT NULL,
  seq      INTEGER NOT NULL,
  type     TEXT NOT NULL,
  at       INTEGER NOT NULL,
  data     TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX events_by_job ON events (job_id, seq);

CREATE TABLE transfers (
  job_id   TEXT NOT NULL,
  attempt  INTEGER NOT NULL,
  kind     TEXT NOT NULL,
  name     TEXT NOT NULL,
  state    TEXT NOT NULL,
  document TEXT NOT NULL,
  PRIMARY KEY (job_id, attempt, kind, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE workflows (
  id       TEXT NOT NULL,
  version  TEXT NOT NULL,
  origin   TEXT NOT NULL,
  offered  INTEGER NOT NULL,
  document TEXT NOT NULL,
  PRIMARY KEY (id, version)
) STRICT, WITHOUT ROWID;
