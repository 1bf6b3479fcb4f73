"""What the client computes by itself, against the examples that the engine computed."""

import json
import re
import unittest

from flowfabric import errors, rules, statements


class Vectors(unittest.TestCase):
    def setUp(self):
        self.vectors = statements.load("sqlite")["vectors"]

    def test_both_catalogues_have_the_same_statements_and_examples(self):
        postgres, sqlite = statements.load("postgres"), statements.load("sqlite")
        self.assertEqual(postgres["vectors"], sqlite["vectors"])
        names = [[s["name"] for s in catalogue["statements"]] for catalogue in (postgres, sqlite)]
        self.assertEqual(*names)

    def test_every_refusal_of_the_catalogue_has_an_error(self):
        for dialect in ("postgres", "sqlite"):
            for statement in statements.load(dialect)["statements"]:
                for reason in statement.get("reasons", ()):
                    self.assertIn(reason["refusal"], errors.REFUSALS)

    def test_no_text_has_a_mark_that_is_no_placeholder(self):
        for statement in statements.load("postgres")["statements"]:
            for step in statement["steps"] + statement.get("reasons", []):
                marks = {int(mark) for mark in re.findall(r"\$(\d+)", step["sql"])}
                self.assertLessEqual(marks, set(range(1, len(step["params"]) + 1)))
                for literal in re.findall(r"'(?:[^']|'')*'", step["sql"]):
                    self.assertNotIn("$", literal)

    def test_partitions_and_digests(self):
        for vector in self.vectors["partitions"]:
            self.assertEqual(rules.partition(vector["lane"]), vector["partition"])
        for vector in self.vectors["key_digests"]:
            digest = rules.key_digest(vector["namespace"], vector["kind"], vector["key"])
            self.assertEqual(digest, vector["digest"])

    def test_tokens(self):
        for vector in self.vectors["tokens"]:
            secret = bytes.fromhex(vector["secret_hex"])
            token = rules.sign(secret, vector["kid"], vector["execution_id"], vector["waitpoint_id"])
            self.assertEqual(token, vector["token"])

    def test_retries(self):
        for vector in self.vectors["retries"]:
            delay = rules.retry_delay_ms(vector["policy"], vector["class"], vector["retries"],
                                         vector["draw"])
            self.assertEqual(delay, vector["delay_ms"], vector)

    def test_messages(self):
        for vector in self.vectors["messages"]:
            self.assertEqual(rules.kept_message(vector["message"]), vector["kept"])

    def test_conditions(self):
        for vector in self.vectors["conditions"]:
            holds = rules.holds(vector["condition"], vector["member_map"])
            self.assertEqual(holds, vector["holds"], vector)

    def test_the_defaults_of_a_policy(self):
        self.assertEqual(rules.stored_policy({}, []), self.vectors["default_policy"])
        stored = rules.stored_policy({"retry_policy": {}}, [])
        self.assertEqual(stored["retry_policy"], self.vectors["default_retry_policy"])

    def test_a_policy_that_makes_no_sense_is_refused(self):
        for policy, field in [
            ({"budget_ids": []}, "budget_ids"),
            ({"retry_policy": {"max_retries": -1}}, "max_retries"),
            ({"retry_policy": {"backoff": {"type": "never"}}}, "backoff.type"),
            ({"retry_policy": {"backoff": {"type": "fixed"}}}, "delay_ms"),
            ({"timeout_policy": {"attempt_timeout_ms": 0}}, "attempt_timeout_ms"),
        ]:
            with self.assertRaisesRegex(errors.FlowFabricError, field):
                rules.stored_policy(policy, [])
        self.assertTrue(json.dumps(rules.stored_policy({}, ["gpu"])))
