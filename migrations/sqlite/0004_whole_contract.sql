-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
ALTER TABLE "ff_lane_registry" ADD COLUMN "state" TEXT NOT NULL DEFAULT 'active';

-- statement
ALTER TABLE "ff_lane_registry" ADD COLUMN "state_reason" TEXT;

-- statement
ALTER TABLE "ff_lane_registry" ADD COLUMN "state_by" TEXT;

-- statement
ALTER TABLE "ff_lane_registry" ADD COLUMN "state_since_ms" INTEGER;

-- statement
ALTER TABLE "ff_lane_registry" ADD COLUMN "state_until_ms" INTEGER;

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (4, '0004_whole_contract', CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER), TRUE) ON CONFLICT  DO NOTHING;
