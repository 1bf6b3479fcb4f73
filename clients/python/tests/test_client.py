"""The client on a real database, beside the program `ff`.

The Rust suite runs these tests on SQLite and on Postgres, and checks the rows afterwards. By hand:
FF_BIN=target/debug/ff python3 -m unittest discover -s tests -t .
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import unittest
import uuid

import flowfabric
from flowfabric import Client, rules

FF = os.environ.get("FF_BIN", "ff")
SCHEMA = os.environ.get("FF_TEST_SCHEMA", "")
NAMESPACE = os.environ.get("FF_TEST_NAMESPACE", "default")
DIRECTORY = tempfile.TemporaryDirectory()
DB = os.environ.get("FF_TEST_DB") or f"sqlite:{DIRECTORY.name}/ff.db"
WAITS = json.loads(os.environ.get("FF_TEST_WAITS", "null"))
"""Executions that wait for the signal `go` at the waitpoint `a`, made by the suite."""
STALE_LANE = os.environ.get("FF_TEST_STALE_LANE")
"""A lane with an execution whose lease a worker of the suite has lost."""


def connect():
    if DB.startswith("sqlite:"):
        return sqlite3.connect(DB.removeprefix("sqlite:"), timeout=30)
    import psycopg
    return psycopg.connect(DB, options=f"-c search_path={SCHEMA}")


def ff(*arguments, stdin=""):
    schema = ["--schema", SCHEMA] if SCHEMA else []
    done = subprocess.run([FF, "--db", DB, *schema, *arguments], input=stdin, text=True,
                          capture_output=True, timeout=60)
    assert done.returncode == 0, (arguments, done)
    return done.stdout


def setUpModule():
    if "FF_TEST_DB" not in os.environ:
        ff("migrate")


def tearDownModule():
    DIRECTORY.cleanup()


class Case(unittest.TestCase):
    def setUp(self):
        self.connection = connect()
        self.addCleanup(self.connection.close)
        self.client = Client(self.connection, namespace=NAMESPACE, worker="py")
        self.lane = f"py-{uuid.uuid4()}"

    def submit(self, **more):
        return self.client.submit("job", b"in", lane=self.lane, **more).execution_id

    def claim(self, **more):
        lease = self.client.claim(self.lane, **more)
        self.assertIsNotNone(lease)
        return lease

    def rows(self):
        """The number of our rows in every table, as another connection sees them."""
        other = connect()
        try:
            tables = ["exec_core", "attempt", "lane_registry", "completion_event", "lease_event",
                      "signal_event", "instance_tag_event", "idempotency_key"]
            counts = [other.execute(f"SELECT count(*) FROM ff_{table}").fetchone()[0]
                      for table in tables]
            other.rollback()
            return counts
        finally:
            other.close()


class Lives(Case):
    def test_an_execution_is_submitted_claimed_renewed_and_completed(self):
        tags = {"month": "11", "cairn.instance_id": "eu-1"}
        execution = self.submit(tags=tags)
        self.assertEqual(self.client.state(execution), "waiting")
        lease = self.claim()
        self.assertEqual((lease.execution_id, lease.kind, lease.payload, lease.tags),
                         (execution, "job", b"in", tags))
        renewed = self.client.renew(lease, 60_000)
        self.assertLess(lease.expires_at_ms, renewed.expires_at_ms)
        self.client.complete(renewed, "done")
        self.assertEqual(self.client.state(execution), "completed")
        self.assertEqual(self.client.result(execution), b"done")
        self.assertIsNone(self.client.claim(self.lane))

    def test_the_best_come_first_and_each_once(self):
        low, high = self.submit(), self.submit(priority=5)
        leases = self.client.claim_many(self.lane, limit=5)
        self.assertEqual([lease.execution_id for lease in leases], [high, low])
        self.assertEqual(len({lease.lease_id for lease in leases}), 2)
        self.assertEqual(self.client.claim_many(self.lane, limit=5), [])

    def test_a_policy_that_it_cannot_submit_with_is_refused_by_name(self):
        before = self.rows()
        for member, value in (("budget_ids", [str(uuid.uuid4())]), ("budget_estimate", {"t": 1}),
                              ("limit_keys", ["card"]), ("limit_weight", 2),
                              ("fairness_key", "shop"), ("dedup_window_ms", 1),
                              ("dedup_while_active", True), ("suspension_policy", {})):
            with self.assertRaisesRegex(flowfabric.Unsupported, f"^policy.{member}: .* `ff` does$"):
                self.submit(policy={member: value})
        with self.assertRaisesRegex(flowfabric.Unsupported, "^policy.timeout_policy.max_reclaim"):
            self.submit(policy={"timeout_policy": {"max_reclaim_count": 1}})
        self.connection.commit()
        self.assertEqual(self.rows(), before)

    def test_an_execution_with_a_limit_is_left_to_the_workers_of_ff(self):
        line = {"kind": "job", "payload": "", "lane": self.lane, "policy": {"limit_keys": ["card"]}}
        ff("submit", "-", stdin=json.dumps(line))
        self.assertIsNone(self.client.claim(self.lane))
        self.assertIsNone(self.client.claim(self.lane, capabilities=("gpu",)))
        self.connection.commit()

    def test_a_worker_without_the_capability_claims_nothing(self):
        execution = self.submit(capabilities=("gpu", 'a"b\\c'))
        self.assertIsNone(self.client.claim(self.lane))
        self.assertIsNone(self.client.claim(self.lane, capabilities=("gpu",)))
        lease = self.claim(capabilities=("cpu", "gpu", 'a"b\\c'))
        self.assertEqual(lease.execution_id, execution)

    def test_a_delayed_execution_waits(self):
        execution = self.submit(delay_ms=60_000, tags={"cairn.instance_id": "eu-1"})
        self.assertEqual(self.client.state(execution), "delayed")
        self.assertIsNone(self.client.claim(self.lane))

    def test_a_failure_is_retried_by_policy_and_ends(self):
        policy = {"retry_policy": {"max_retries": 2, "backoff": {"type": "fixed", "delay_ms": 0}}}
        execution = self.submit(policy=policy)
        self.assertEqual(self.client.fail(self.claim(), "first").attempt_index, 1)
        second = self.claim()
        self.assertEqual((second.attempt_index, second.retry_count), (1, 1))
        self.assertEqual(self.client.fail(second, "second").attempt_index, 2)
        self.assertIsNone(self.client.fail(self.claim(), "third"))
        self.assertEqual(self.client.state(execution), "failed")

    def test_a_failure_by_the_default_policy_is_retried_later_and_a_permanent_one_is_not(self):
        # Submitted within one millisecond, either may come first.
        self.submit()
        self.submit()
        retried, ended = self.claim(), self.claim()
        self.assertIsNotNone(self.client.fail(retried, "at first"))
        self.assertIsNone(self.client.fail(ended, "for good", "permanent"))
        self.assertEqual(self.client.state(retried.execution_id), "delayed")
        self.assertEqual(self.client.state(ended.execution_id), "failed")


class Refusals(Case):
    def test_a_lease_that_was_lost_changes_nothing(self):
        self.submit(policy={"retry_policy": {"backoff": {"type": "fixed", "delay_ms": 0}}})
        lease = self.claim()
        self.client.fail(lease, "lost")
        for call in (lambda: self.client.complete(lease), lambda: self.client.renew(lease),
                     lambda: self.client.fail(lease, "again")):
            with self.assertRaises(flowfabric.NotActive):
                call()
        self.claim()
        with self.assertRaises(flowfabric.StaleLease):
            self.client.complete(lease)

    def test_a_lease_that_expired_changes_nothing(self):
        self.submit()
        lease = self.claim(lease_ms=1)
        self.client._now = lambda: lease.expires_at_ms + 1
        for call in (lambda: self.client.complete(lease), lambda: self.client.renew(lease)):
            with self.assertRaises(flowfabric.LeaseExpired):
                call()

    def test_what_is_not_there_is_named(self):
        self.submit()
        lease = self.claim()
        other = flowfabric.Lease(**{**vars(lease), "attempt_index": 7})
        with self.assertRaisesRegex(flowfabric.NotFound, "no such attempt"):
            self.client.complete(other)
        other = flowfabric.Lease(**{**vars(lease), "execution_id": f"{{fp:1}}:{uuid.uuid4()}"})
        with self.assertRaisesRegex(flowfabric.NotFound, "no such execution"):
            self.client.renew(other)
        self.client.complete(lease)

    def test_bad_input_is_named(self):
        for field, call in [
            ("lane", lambda: self.client.submit("job", lane="")),
            ("kind", lambda: self.client.submit("a\0b")),
            ("priority", lambda: self.client.submit("job", priority=2**31)),
            ("execution_id", lambda: self.client.submit("job", execution_id="x")),
            ("limit", lambda: self.client.claim_many(limit=0)),
        ]:
            with self.assertRaisesRegex(flowfabric.InvalidInput, field):
                call()

    def test_a_repeated_submission_answers_with_the_first(self):
        first = self.client.submit("job", lane=self.lane, idempotency_key=self.lane)
        again = self.client.submit("job", lane=self.lane, idempotency_key=self.lane)
        self.assertEqual((again.execution_id, again.created), (first.execution_id, False))
        again = self.client.submit("job", lane=self.lane, execution_id=first.execution_id)
        self.assertFalse(again.created)
        later = self.client._now() + 2 * 86_400_000
        self.client._now = lambda: later
        third = self.client.submit("job", lane=self.lane, idempotency_key=self.lane)
        self.assertTrue(third.created)

    def test_a_closed_lane_takes_nothing(self):
        self.submit()
        self.connection.commit()
        ff("lanes", "drain", self.lane)
        with self.assertRaises(flowfabric.LaneClosed):
            self.submit()


class Transactions(Case):
    def test_a_rollback_leaves_no_row_and_no_event(self):
        before = self.rows()
        self.submit(tags={"cairn.instance_id": "eu-1"}, idempotency_key=self.lane)
        self.client.complete(self.claim(), b"done")
        self.submit()
        self.client.fail(self.claim(), "no")
        self.assertEqual(self.rows(), before)
        self.connection.rollback()
        self.assertEqual(self.rows(), before)

    def test_a_refusal_leaves_the_transaction_as_it_was(self):
        self.connection.execute("CREATE TEMP TABLE own (note TEXT)")
        self.connection.commit()
        self.submit()
        lease = self.claim()
        self.client.complete(lease)
        self.connection.execute("INSERT INTO own VALUES ('mine')")
        with self.assertRaises(flowfabric.NotActive):
            self.client.complete(lease)
        self.connection.execute("INSERT INTO own VALUES ('still mine')")
        self.connection.commit()
        self.assertEqual(self.connection.execute("SELECT count(*) FROM own").fetchone()[0], 2)
        self.assertEqual(self.client.state(lease.execution_id), "completed")

    def test_a_cursor_will_do_and_commits_only_where_asked(self):
        before = self.rows()
        Client(self.connection.cursor(), namespace=NAMESPACE).submit("job", lane=self.lane)
        self.assertEqual(self.rows(), before)
        self.connection.rollback()
        Client(self.connection, commit=True).submit("job", lane=self.lane)
        self.assertNotEqual(self.rows(), before)


class BesideTheProgram(Case):
    def test_ff_submits_and_python_completes_and_ff_reads(self):
        line = json.dumps({"kind": "echo", "payload": "from ff", "priority": 3})
        execution = ff("submit", "--lane", self.lane, "--ids", "-", stdin=line).strip()
        lease = self.claim()
        self.assertEqual((lease.execution_id, lease.payload), (execution, b"from ff"))
        self.client.complete(lease, b"from python")
        self.connection.commit()
        self.assertEqual(ff("result", execution), "from python")
        shown = json.loads(ff("--json", "show", execution))
        self.assertEqual(shown["execution"]["public_state"], "completed")
        events = [(event["event"], event.get("cause")) for event in shown["events"]]
        self.assertIn(("revoked", "completed"), events)

    def test_python_submits_and_a_worker_of_ff_completes_and_a_stale_lease_is_refused(self):
        lost, plain = self.submit(priority=1), self.submit(tags={"a": "b"})
        lease = self.claim(lease_ms=1)
        self.assertEqual(lease.execution_id, lost)
        self.connection.commit()
        ff("work", "--lane", self.lane, "--until-empty", "--", "cat")
        self.assertEqual(self.client.result(plain), b"in")
        self.assertEqual(self.client.result(lost), b"in")
        with self.assertRaises(flowfabric.NotActive):
            self.client.complete(lease, b"too late")
        with self.assertRaises(flowfabric.NotActive):
            self.client.fail(lease, "too late")

    def test_what_a_worker_of_the_suite_has_lost_is_done_here(self):
        if STALE_LANE is None:
            self.skipTest("only the Rust suite loses a lease")
        self.client.complete(self.client.claim(STALE_LANE), b"by python")
        self.connection.commit()


class Examples(unittest.TestCase):
    def test_the_block_of_the_readme_runs(self):
        with open("README.md", encoding="utf-8") as readme:
            block = readme.read().split("```python\n")[1].split("```")[0]
        with tempfile.TemporaryDirectory() as directory:
            file = os.path.join(directory, "shop.db")
            subprocess.run([FF, "--db", f"sqlite:{file}", "migrate"], check=True,
                           capture_output=True, timeout=60)
            shop = sqlite3.connect(file)
            shop.execute("CREATE TABLE orders (number TEXT PRIMARY KEY)")
            subprocess.run([sys.executable, "-c", block], check=True, cwd=directory, timeout=60,
                           env={**os.environ, "PYTHONPATH": os.getcwd()})
            self.assertEqual(shop.execute("SELECT number FROM orders").fetchall(), [("17",)])
            states = shop.execute("SELECT public_state FROM ff_exec_core").fetchall()
            shop.close()
        self.assertEqual(states, [("completed",)])

    def test_the_example_confirms_its_orders(self):
        with tempfile.TemporaryDirectory() as directory:
            file = os.path.join(directory, "shop.db")
            subprocess.run([FF, "--db", f"sqlite:{file}", "migrate"], check=True,
                           capture_output=True, timeout=60)
            printed = subprocess.run([sys.executable, "examples/order.py", file], check=True,
                                     capture_output=True, text=True, timeout=60,
                                     env={**os.environ, "PYTHONPATH": "."}).stdout
        self.assertEqual(printed.splitlines()[-1], "[('17', 'confirmed'), ('18', 'confirmed')]")


class Signals(Case):
    def setUp(self):
        super().setUp()
        if WAITS is None:
            self.skipTest("only the Rust suite makes executions that wait")

    def signal(self, wait, name, **more):
        return self.client.signal(wait["execution_id"], wait["waitpoint_id"], wait["token"], name,
                                  b"\0payload", source="ada", **more)

    def test_a_signal_is_collected_or_ends_the_wait(self):
        wait = WAITS[0]
        self.assertFalse(self.signal(wait, "other").resumed)
        self.assertEqual(self.client.state(wait["execution_id"]), "suspended")
        first = self.signal(wait, "other", idempotency_key="once")
        again = self.signal(wait, "go", idempotency_key="once")
        self.assertEqual((again.signal_id, again.duplicate), (first.signal_id, True))
        self.assertTrue(self.signal(wait, "go").resumed)
        self.assertEqual(self.client.state(wait["execution_id"]), "resumable")
        with self.assertRaises(flowfabric.NotFound):
            self.signal(wait, "go")
        self.connection.commit()

    def test_a_signal_resumes_later_and_rolls_back(self):
        wait = WAITS[1]
        before = self.rows()
        self.assertTrue(self.signal(wait, "go", resume_delay_ms=60_000).resumed)
        self.assertEqual(self.client.state(wait["execution_id"]), "delayed")
        self.connection.rollback()
        self.assertEqual(self.client.state(wait["execution_id"]), "suspended")
        self.assertEqual(self.rows(), before)

    def test_a_policy_may_keep_the_waitpoints_and_an_end_closes_them(self):
        for wait, end, state in ((WAITS[2], self.client.complete, "completed"),
                                 (WAITS[3], lambda lease: self.client.fail(lease, "no"), "delayed")):
            self.assertTrue(self.signal(wait, "go", idempotency_key="k", keep_key_ms=1_000).resumed)
            with self.assertRaises(flowfabric.NotSignalable):
                self.signal(wait, "go")
            for lease in self.client.claim_many(wait["lane"], limit=5):
                end(lease)
            self.assertEqual(self.client.state(wait["execution_id"]), state)
        self.connection.commit()

    def test_only_the_right_token_opens_a_waitpoint(self):
        wait = WAITS[1]
        kid, _, digits = wait["token"].partition(":")
        forged = rules.sign(b"guess", kid, wait["execution_id"], wait["waitpoint_id"])
        for token in (forged, f"other:{digits}", "nonsense", WAITS[0]["token"]):
            with self.assertRaises(flowfabric.TokenRefused) as refused:
                self.signal({**wait, "token": token}, "go")
            self.assertNotIn(digits, str(refused.exception))
        other = str(uuid.uuid4())
        with self.assertRaises(flowfabric.NotFound):
            self.signal({**wait, "waitpoint_id": other}, "go")


if __name__ == "__main__":
    unittest.main()
