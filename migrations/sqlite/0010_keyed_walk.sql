-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_keyed_idx" ON "ff_exec_core" ("lane_id", "priority" DESC, "claimable_since_ms", "created_at_ms", "execution_id")
    WHERE "ff_exec_core"."lifecycle_phase" IN ('submitted', 'runnable', 'pending', 'eligible', 'blocked') AND "ff_exec_core"."eligibility_state" IN ('eligible_now', 'pending_claim') AND json_extract((CASE WHEN (json_valid("ff_exec_core"."required_capabilities")) THEN "ff_exec_core"."required_capabilities" END), '$[0]') < ' ';

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (10, '0010_keyed_walk', CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER), TRUE) ON CONFLICT  DO NOTHING;
