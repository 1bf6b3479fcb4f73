-- On Postgres, requirements that begin with a token get other keys in two indexes. Nothing changes
-- here.

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (11, '0011_token_lists', CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(3)) DIV 1000 AS SIGNED), TRUE) ON DUPLICATE KEY UPDATE "version" = "version";
