-- Keys of requirements that begin with a token, those of budgets and keys, come behind all others:
-- the first bit of their digest is set. So a search passes over them at once.

-- statement
DROP INDEX IF EXISTS "ff_exec_core_claim_idx";

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_claim_idx" ON "ff_exec_core" ("lane_id", ((CASE WHEN (cardinality("required_capabilities") = (0)) THEN CAST('' AS bytea) ELSE set_bit(sha256(CAST(replace(CAST(jsonb_object(array_replace("required_capabilities", NULL, ''), "required_capabilities") AS text), chr(92), repeat(chr(92), 2)) AS bytea)), 7, (CASE WHEN ("required_capabilities" [1] COLLATE "C" < ' ') THEN 1 ELSE 0 END)) END)), "priority" DESC, "claimable_since_ms", "created_at_ms", "execution_id")
    WHERE "ff_exec_core"."is_claimable" IS NOT NULL;

-- statement
DROP INDEX IF EXISTS "ff_exec_core_due_idx";

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_due_idx" ON "ff_exec_core" ("lane_id", ((CASE WHEN (cardinality("required_capabilities") = (0)) THEN CAST('' AS bytea) ELSE set_bit(sha256(CAST(replace(CAST(jsonb_object(array_replace("required_capabilities", NULL, ''), "required_capabilities") AS text), chr(92), repeat(chr(92), 2)) AS bytea)), 7, (CASE WHEN ("required_capabilities" [1] COLLATE "C" < ' ') THEN 1 ELSE 0 END)) END)), "eligible_at_ms", "execution_id")
    WHERE "ff_exec_core"."is_delayed" IS NOT NULL;

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (11, '0011_token_lists', (extract(epoch from clock_timestamp()) * 1000)::bigint, TRUE) ON CONFLICT  DO NOTHING;
