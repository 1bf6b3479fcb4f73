"""Submits, claims, renews, completes, fails and signals inside the caller's own transaction."""

from __future__ import annotations

import dataclasses
import hmac
import json
import random
import uuid
from typing import Any

from . import rules
from .errors import (
    Contention, InvalidInput, LaneClosed, NotFound, NotSignalable, SignalLimitExceeded,
    TokenRefused, Unsupported, WaitpointClosed,
)
from .statements import Row, Statements

INSTANCE_TAG = "cairn.instance_id"
KEY_WINDOW_MS = 86_400_000
TRIES = 4


@dataclasses.dataclass(frozen=True)
class Submission:
    """The execution that a submission added, or the earlier one that it repeats."""

    execution_id: str
    created: bool


@dataclasses.dataclass(frozen=True)
class Lease:
    """The right to work on an execution until a time, Unix ms; and its input."""

    execution_id: str
    attempt_index: int
    epoch: int
    lease_id: uuid.UUID
    attempt_id: uuid.UUID
    expires_at_ms: int
    kind: str
    payload: bytes = dataclasses.field(repr=False)
    tags: dict[str, str] = dataclasses.field(repr=False)
    retry_policy: dict[str, Any] | None = dataclasses.field(repr=False)
    retry_count: int


@dataclasses.dataclass(frozen=True)
class Retry:
    """Another attempt of a failed execution."""

    attempt_index: int
    not_before_ms: int


@dataclasses.dataclass(frozen=True)
class Delivered:
    """A signal that was accepted, or the earlier one that it repeats."""

    signal_id: uuid.UUID
    duplicate: bool
    resumed: bool


class Client:
    """The operations, on a connection or cursor of sqlite3 or psycopg 3.

    Every call takes part in the transaction that is open on the connection, and opens one where
    there is none. It takes effect with your commit, and not at all with your rollback. Only with
    `commit=True` does each call commit by itself. A refusal raises, changes nothing, and leaves
    the transaction usable. Use one client per connection.
    """

    def __init__(self, connection: Any, *, namespace: str = "default", worker: str = "python",
                 instance: str | None = None, creator: str = "python", commit: bool = False):
        self.statements = Statements(connection)
        self.namespace = rules.checked_text("namespace", namespace)
        self.worker = rules.checked_text("worker", worker)
        self.instance = rules.checked_text("instance", instance or f"{worker}-{uuid.uuid4()}")
        self.creator = rules.checked_text("creator", creator, None)
        self.commit = commit

    def submit(self, kind: str, payload: bytes | str = b"", *, lane: str = "default",
               priority: int = 0, delay_ms: int = 0, tags: dict[str, str] | None = None,
               capabilities: tuple[str, ...] = (), policy: dict[str, Any] | None = None,
               idempotency_key: str = "", execution_id: str | None = None) -> Submission:
        """Adds an execution. Raises LaneClosed while its lane takes none.

        A repeated id, or an idempotency key that an earlier submission of the same kind holds (for
        a day), answers with the earlier execution and changes nothing.
        """
        lane, tags = rules.checked_lane(lane), dict(tags or {})
        rules.checked_text("kind", kind, None)
        rules.checked_text("idempotency_key", idempotency_key)
        for name, text in tags.items():
            rules.checked_text("tags", name)
            rules.checked_text("tags", text, None)
        if not -2**31 <= priority < 2**31:
            raise InvalidInput(f"priority: {priority} is no 32-bit integer")
        required = sorted({rules.checked_text("capabilities", one, None) for one in capabilities})
        if any(one == "" or one.startswith("\x01") for one in required):
            raise InvalidInput("capabilities: must not be empty nor begin with U+0001")
        stored = rules.stored_policy(policy or {}, required) if policy or required else None
        own = execution_id or rules.execution_id(rules.partition(lane), uuid.uuid4())
        partition_key, key = rules.execution_key(own)
        now = self._now()
        timeouts = (policy or {}).get("timeout_policy", {})
        deadline = timeouts.get("execution_deadline_ms")
        values: Row = {
            "now_ms": now, "partition_key": partition_key, "execution_id": key, "lane_id": lane,
            "execution_kind": kind, "namespace": self.namespace, "creator_identity": self.creator,
            "payload": _bytes(payload), "priority": priority, "tags": tags, "policy": stored,
            "required_capabilities": required, "instance_tag": tags.get(INSTANCE_TAG, ""),
            "attempt_timeout_ms": timeouts.get("attempt_timeout_ms"),
            "deadline_at_ms": None if deadline is None else now + deadline,
            "eligible_at_ms": now + delay_ms,
        }
        case = (".delayed" if delay_ms > 0 else "") + (".tagged" if tags.get(INSTANCE_TAG) else "")
        if idempotency_key:
            digest = rules.key_digest(self.namespace, kind, idempotency_key)
            values |= {"idempotency_key": idempotency_key, "key_digest": digest,
                       "key_partition": rules.partition(digest),
                       "key_expires_at_ms": now + KEY_WINDOW_MS}
        name = "submit.keyed" if idempotency_key else "submit"
        taken: Row = {}
        for _ in range(TRIES):
            over = ".taken_over" if taken else ""
            if self.statements.change(name + over + case, **values, **taken) is not None:
                return self._done(Submission(own, True))
            facts = self.statements.read(f"{name}.facts", **values)
            earlier, taken = _repeated(own, facts, now)
            if earlier is not None:
                return self._done(Submission(earlier, False))
            until = facts["lane.state_until_ms"]
            if facts["lane.state"] in ("draining", "disabled") and (until is None or now < until):
                raise LaneClosed(f"submit: lane {lane} is {facts['lane.state']}")
        raise Contention("submit: other submissions came first each time")

    def claim(self, lane: str = "default", *, lease_ms: int = 30_000,
              capabilities: tuple[str, ...] = ()) -> Lease | None:
        """Leases the best execution of the lane; None while there is none for this worker."""
        leases = self.claim_many(lane, limit=1, lease_ms=lease_ms, capabilities=capabilities)
        return leases[0] if leases else None

    def claim_many(self, lane: str = "default", *, limit: int, lease_ms: int = 30_000,
                   capabilities: tuple[str, ...] = ()) -> list[Lease]:
        """Leases up to `limit` executions of the lane, best first.

        Executions with budgets, limit keys or a fairness key are left to the workers of `ff`.
        """
        if not 1 <= limit <= 1_000 or not 1 <= lease_ms < 2**32:
            raise InvalidInput("limit: must be in 1..=1000, and lease_ms a positive 32-bit number")
        now = self._now()
        offered = [rules.checked_text("capabilities", one, None) for one in capabilities]
        if any(one.startswith("\x01") for one in offered):
            raise InvalidInput("capabilities: must not begin with U+0001")
        rows = self.statements.change(
            "claim.capable" if offered else "claim", now_ms=now, lane_id=rules.checked_lane(lane),
            worker_id=self.worker, worker_instance_id=self.instance, limit=limit,
            lease_expires_at_ms=now + lease_ms, capabilities=offered,
            lease_ids=[uuid.uuid4() for _ in range(limit)],
            attempt_ids=[uuid.uuid4() for _ in range(limit)]) or []
        return self._done([self._lease(row, now + lease_ms) for row in rows])

    def renew(self, lease: Lease, lease_ms: int = 30_000) -> Lease:
        """Extends the lease from now on, and answers with it as it is then."""
        now = self._now()
        expires = now + lease_ms
        self._fenced("renew", lease, now_ms=now, lease_expires_at_ms=expires)
        return self._done(dataclasses.replace(lease, expires_at_ms=expires))

    def complete(self, lease: Lease, result: bytes | str | None = None) -> None:
        """Ends the execution with its result. Raises if the lease is not the current one."""
        result = None if result is None else _bytes(result)
        self._fenced("complete", lease, now_ms=self._now(), result=result)
        self._done(None)

    def fail(self, lease: Lease, message: str, failure_class: str = "transient") -> Retry | None:
        """Ends the attempt. Answers with the next one, or None where the execution has failed.

        The retry policy of the execution decides, or the default one; the class is transient,
        infra_crash, timeout, permanent or cancelled.
        """
        if failure_class not in ("transient", "infra_crash", "timeout", "permanent", "cancelled"):
            raise InvalidInput(f"failure_class: {failure_class!r} is none")
        now, draw = self._now(), random.random()
        delay = rules.retry_delay_ms(lease.retry_policy, failure_class, lease.retry_count, draw)
        following = lease.attempt_index + 1
        branch = "end" if delay is None else "retry" if delay == 0 else "retry_later"
        self._fenced(f"fail.{branch}", lease, now_ms=now, failure_class=failure_class,
                     failure_message=rules.kept_message(message), next_attempt_index=following,
                     next_retry_count=lease.retry_count + 1, delay_until_ms=now + (delay or 0))
        return self._done(None if delay is None else Retry(following, now + delay))

    def signal(self, execution_id: str, waitpoint_id: uuid.UUID | str, token: str, name: str,
               payload: bytes | str | None = None, *, category: str = "external",
               source_type: str = "python", source: str = "", correlation_id: str = "",
               idempotency_key: str = "", keep_key_ms: int | None = None,
               resume_delay_ms: int | None = None) -> Delivered:
        """Delivers a signal to a waitpoint; the one that completes the condition resumes it."""
        partition_key, key = rules.execution_key(execution_id)
        waitpoint = uuid.UUID(str(waitpoint_id))
        for field, text in (("name", name), ("category", category), ("source_type", source_type),
                            ("source", source), ("correlation_id", correlation_id)):
            rules.checked_text(field, text, None)
        rules.checked_text("idempotency_key", idempotency_key)
        kid, signature_found, _ = token.partition(":")
        if not signature_found:
            raise TokenRefused("signal: the token is not <kid>:<hex>")
        keyed = ".keyed" if idempotency_key else ""
        body = None if payload is None else _bytes(payload)
        signal_id = uuid.uuid4()
        for _ in range(TRIES):
            now = self._now()
            facts = self.statements.read(
                f"signal.facts{keyed}", partition_key=partition_key, execution_id=key, kid=kid,
                waitpoint_id=waitpoint, idempotency_key=idempotency_key)
            earlier = _earlier_signal(facts, now, waitpoint)
            if facts["waitpoint"] is None and earlier is None:
                raise NotFound("signal: there is no such waitpoint, or it is closed")
            _authorise(facts, execution_id, key, waitpoint, kid, token, now)
            if earlier is not None:
                return self._done(Delivered(earlier, True, False))
            _check_signalable(facts, now)
            entry = {"signal_id": str(signal_id), "signal_name": name, "signal_category": category,
                     "source_type": source_type, "source_identity": source,
                     "correlation_id": correlation_id, "accepted_at": now,
                     "payload_hex": None if body is None else body.hex()}
            collected = dict(facts["suspension.member_map"])
            place = facts["waitpoint.waitpoint_key"]
            collected[place] = [*collected.get(place, []), entry]
            effect, delay = _effect(facts, collected, resume_delay_ms)
            keep = None if keep_key_ms is None else now + keep_key_ms
            if self.statements.change(
                    f"signal.{effect}{keyed}", now_ms=now, partition_key=partition_key,
                    execution_id=key, waitpoint_id=waitpoint, signal_id=signal_id,
                    source_identity=source, member_map=collected, version=facts["core.version"],
                    suspension_version=facts["suspension.version"], eligible_at_ms=now + delay,
                    idempotency_key=idempotency_key, key_expires_at_ms=keep) is not None:
                return self._done(Delivered(signal_id, False, effect != "collect"))
        raise Contention("signal: other signals came first each time")

    def state(self, execution_id: str) -> str:
        """The state of an execution, such as waiting, active or completed."""
        partition_key, key = rules.execution_key(execution_id)
        facts = self.statements.read("state", partition_key=partition_key, execution_id=key)
        if facts["core"] is None:
            raise NotFound(f"state: there is no execution {execution_id}")
        return facts["core.public_state"]

    def result(self, execution_id: str) -> bytes | None:
        """The result of an execution; None while there is none."""
        partition_key, key = rules.execution_key(execution_id)
        facts = self.statements.read("result", partition_key=partition_key, execution_id=key)
        return facts["core.result"]

    def _now(self) -> int:
        return self.statements.read("clock")["now_ms"]

    def _done(self, outcome: Any) -> Any:
        if self.commit:
            self.statements.connection.commit()
        return outcome

    def _lease(self, row: Row, expires_at_ms: int) -> Lease:
        partition_key, key = row["partition_key"], row["execution_id"]
        context = self.statements.read("context", partition_key=partition_key, execution_id=key)
        fields = context["core.raw_fields"]
        policy = row["policy->retry_policy"]
        return Lease(
            rules.execution_id(partition_key, key), row["attempt_index"], row["lease_epoch"],
            row["lease_id"], row["attempt_id"], expires_at_ms, fields.get("execution_kind", ""),
            context["core.payload"] or b"", fields.get("tags") or {},
            None if policy is None else json.loads(policy),
            max(int(row["raw_fields->retry_count"] or 0), 0))

    def _fenced(self, name: str, lease: Lease, **values: Any) -> None:
        """Applies a plan under the lease; where something is open, the one that closes it."""
        partition_key, key = rules.execution_key(lease.execution_id)
        values |= {"partition_key": partition_key, "execution_id": key, "lease_id": lease.lease_id,
                   "attempt_index": lease.attempt_index, "lease_epoch": lease.epoch,
                   "attempt_id": lease.attempt_id}
        if self.statements.change(name, **values) is not None:
            return
        for _ in range(TRIES):
            facts = self.statements.read("lease.facts", **values)
            if f"{name}.closing" not in self.statements.by_name:
                break
            values["version"] = facts["core.version"]
            is_open = facts["core.has_waitpoints"] or facts["core.has_reservations"]
            closing = f"{name}.closing" if is_open else name
            if self.statements.change(closing, **values) is not None:
                return
            error = self.statements.reason(name, **values)
            if not isinstance(error, Contention):
                raise error
        raise self.statements.reason(name, **values)


def _bytes(content: bytes | str) -> bytes:
    return content.encode() if isinstance(content, str) else bytes(content)


def _repeated(own: str, facts: Row, now: int) -> tuple[str | None, Row]:
    """The execution that a refused submission repeats; else the key that it may take over."""
    if facts["core"] is not None:
        return own, {}
    if facts.get("taken") is None:
        return None, {}
    taken = {"taken_partition_key": facts["taken.execution_partition"],
             "taken_execution_id": facts["taken.execution_id"],
             "taken_at_ms": facts["taken.taken_at_ms"]}
    holder = rules.execution_id(taken["taken_partition_key"], taken["taken_execution_id"])
    expires = facts["taken.expires_at_ms"]
    if expires is not None:
        return (holder, {}) if now < expires else (None, taken)
    if facts["holder"] is not None and facts["holder.lifecycle_phase"] in ("terminal", "cancelled"):
        raise Unsupported("submit: the key was held until its execution ended; `ff submit` takes it")
    return (holder, {}) if facts["holder"] is not None else (None, taken)


def _earlier_signal(facts: Row, now: int, waitpoint: uuid.UUID) -> uuid.UUID | None:
    """The signal that came first under the same idempotency key."""
    if facts.get("repeated") is None:
        return None
    expires = facts["repeated.expires_at_ms"]
    if expires is not None and expires <= now:
        return None
    if facts["waitpoint"] is None and facts["repeated.waitpoint_id"] != waitpoint:
        return None
    return facts["repeated.signal_id"]


def _authorise(facts: Row, execution_id: str, key: uuid.UUID, waitpoint: uuid.UUID, kid: str,
               token: str, now: int) -> None:
    """Checks the token against its key, and against the waitpoint where there is one."""
    if facts["key"] is None:
        raise TokenRefused(f"signal: there is no key {kid}")
    until = facts["key.verifies_until_ms"]
    if not facts["key.active"] and until is not None and until <= now:
        raise TokenRefused(f"signal: key {kid} was replaced and its grace is over")
    expected = rules.sign(facts["key.secret"], kid, execution_id, str(waitpoint))
    stored = expected if facts["waitpoint"] is None else facts["waitpoint.token"]
    if facts["waitpoint"] is not None and facts["waitpoint.execution_id"] != key:
        raise TokenRefused("signal: the waitpoint belongs to another execution")
    if not (hmac.compare_digest(token.encode(), expected.encode())
            and hmac.compare_digest(token.encode(), stored.encode())):
        raise TokenRefused("signal: the token is not the one of this waitpoint")


def _check_signalable(facts: Row, now: int) -> None:
    """Checks that the execution waits at this waitpoint."""
    until = facts["waitpoint.expires_at_ms"]
    if facts["waitpoint.state"] == "closed" or (until is not None and until < now):
        raise WaitpointClosed("signal: the waitpoint is closed, or its time is over")
    if facts["suspension"] is None or facts["core"] is None:
        raise NotFound("signal: there is no such execution, or it has no suspension")
    if facts["core.lifecycle_phase"] != "suspended":
        raise NotSignalable("signal: the execution does not wait")
    bound, since = facts["waitpoint.suspension_id"], facts["waitpoint.activated_at_ms"]
    is_bound = bound == facts["suspension.suspension_id"] if bound is not None else (
        since is None or facts["suspension.suspended_at_ms"] <= since)
    if facts["waitpoint.state"] != "active" or not is_bound:
        raise WaitpointClosed("signal: the execution does not wait at this waitpoint")
    policy = facts["core.policy"] or {}
    most = min(max(rules._whole(policy.get("max_signals_per_execution"), 10_000), 0), 1_000_000)
    if facts["suspension.signal_count"] >= most:
        raise SignalLimitExceeded(f"signal: the execution has received {most} signals")
    if facts["suspension.raises"] is not None:
        raise Unsupported("signal: the wait raises a budget; `ff signal` delivers it")


def _effect(facts: Row, collected: Row, resume_delay_ms: int | None) -> tuple[str, int]:
    """The effect of the signal as the name of its statement, and the delay of the execution."""
    if not rules.holds(facts["suspension.condition"], collected):
        return "collect", 0
    policy = facts["suspension.resume_policy"] or {}
    delay = resume_delay_ms if resume_delay_ms is not None else policy.get("resume_delay_ms") or 0
    keeps = policy.get("close_waitpoint_on_resume", True) is False
    return "resume" + ("_later" if delay else "") + ("_keeping" if keeps else ""), delay
