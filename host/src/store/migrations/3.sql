DROP INDEX jobs_queued;
CREATE INDEX jobs_queued ON jobs (kind, next_run, id) WHERE state = 'queued';
