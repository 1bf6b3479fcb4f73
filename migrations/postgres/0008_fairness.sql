-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
CREATE TABLE IF NOT EXISTS "ff_fair_lane" (
    "lane_id" text COLLATE "C" NOT NULL,
    "turns" jsonb NOT NULL,
    "version" bigint NOT NULL,
    PRIMARY KEY ("lane_id")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_fair_weight" (
    "lane_id" text COLLATE "C" NOT NULL,
    "fairness_key" text COLLATE "C" NOT NULL,
    "weight" integer NOT NULL,
    "set_by" text COLLATE "C" NOT NULL,
    "set_at_ms" bigint NOT NULL,
    PRIMARY KEY ("lane_id", "fairness_key")
);

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (8, '0008_fairness', (extract(epoch from clock_timestamp()) * 1000)::bigint, TRUE) ON CONFLICT  DO NOTHING;
