-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
ALTER TABLE "ff_lane_registry"
    ADD COLUMN IF NOT EXISTS "state" text COLLATE "C" NOT NULL DEFAULT 'active',
    ADD COLUMN IF NOT EXISTS "state_reason" text COLLATE "C",
    ADD COLUMN IF NOT EXISTS "state_by" text COLLATE "C",
    ADD COLUMN IF NOT EXISTS "state_since_ms" bigint,
    ADD COLUMN IF NOT EXISTS "state_until_ms" bigint;

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (4, '0004_whole_contract', (extract(epoch from clock_timestamp()) * 1000)::bigint, TRUE) ON CONFLICT  DO NOTHING;
