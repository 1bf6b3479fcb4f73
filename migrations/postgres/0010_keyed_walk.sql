-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_keyed_idx" ON "ff_exec_core" ("lane_id", "priority" DESC, "claimable_since_ms", "created_at_ms", "execution_id")
    WHERE ("ff_exec_core"."required_capabilities" [1] COLLATE "C" < ' ') AND "ff_exec_core"."is_claimable" IS NOT NULL;

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (10, '0010_keyed_walk', (extract(epoch from clock_timestamp()) * 1000)::bigint, TRUE) ON CONFLICT  DO NOTHING;
