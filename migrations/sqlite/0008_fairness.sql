-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
CREATE TABLE IF NOT EXISTS "ff_fair_lane" (
    "lane_id" TEXT NOT NULL,
    "turns" TEXT NOT NULL,
    "version" INTEGER NOT NULL,
    PRIMARY KEY ("lane_id")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_fair_weight" (
    "lane_id" TEXT NOT NULL,
    "fairness_key" TEXT NOT NULL,
    "weight" INTEGER NOT NULL,
    "set_by" TEXT NOT NULL,
    "set_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("lane_id", "fairness_key")
);

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (8, '0008_fairness', CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER), TRUE) ON CONFLICT  DO NOTHING;
