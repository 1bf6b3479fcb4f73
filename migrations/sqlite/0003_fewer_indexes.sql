-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
DROP INDEX IF EXISTS "ff_completion_event_key";

-- statement
CREATE INDEX IF NOT EXISTS "ff_completion_event_pending_dispatch_idx" ON "ff_completion_event" ("event_id")
    WHERE "ff_completion_event"."dispatched_at_ms" IS NULL AND "ff_completion_event"."flow_id" IS NOT NULL;

-- statement
DROP INDEX IF EXISTS "ff_instance_tag_event_key";

-- statement
DROP INDEX IF EXISTS "ff_lease_event_key";

-- statement
DROP INDEX IF EXISTS "ff_operator_event_key";

-- statement
DROP INDEX IF EXISTS "ff_signal_event_key";

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (3, '0003_fewer_indexes', CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER), TRUE) ON CONFLICT  DO NOTHING;
