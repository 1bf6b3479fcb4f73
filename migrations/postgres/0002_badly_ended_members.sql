-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_flow_badly_ended_idx" ON "ff_exec_core" ("partition_key", "flow_id", "execution_id")
    WHERE "ff_exec_core"."flow_id" IS NOT NULL AND "ff_exec_core"."public_state" IN ('failed', 'cancelled', 'expired');

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (2, '0002_badly_ended_members', (extract(epoch from clock_timestamp()) * 1000)::bigint, TRUE) ON CONFLICT  DO NOTHING;
