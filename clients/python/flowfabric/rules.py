"""The few values that a client computes by itself, as the engine does.

Each function is pinned by the test vectors of the catalogue, which the engine's own code computes.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
import uuid
from typing import Any

from .errors import InvalidInput, Unsupported

FLOW_PARTITIONS = 256
MESSAGE_MAX_BYTES = 8 * 1024
PAUSE_MAX_MS = 365 * 86_400_000
DEFAULT_POLICY = {"priority": 0, "max_reclaim_count": 100, "max_replay_count": 10,
                  "budget_ids": [], "max_signals_per_execution": 10_000}
DEFAULT_BACKOFF = {"type": "exponential", "initial_delay_ms": 1_000, "max_delay_ms": 60_000,
                   "multiplier": 2.0, "jitter": False}


def partition(text: str) -> int:
    """The partition of an execution of that lane, or of the digest of an idempotency key."""
    return binascii.crc_hqx(text.encode(), 0) % FLOW_PARTITIONS


def key_digest(namespace: str, kind: str, key: str) -> str:
    """The digest of an idempotency key."""
    return hashlib.sha256("\0".join((namespace, kind, key)).encode()).hexdigest()


def sign(secret: bytes, kid: str, execution_id: str, waitpoint_id: str) -> str:
    """The token of a waitpoint."""
    message = f"{kid}:{execution_id}:{waitpoint_id}".encode()
    return f"{kid}:{hmac.new(secret, message, hashlib.sha256).hexdigest()}"


def execution_key(execution_id: str) -> tuple[int, uuid.UUID]:
    """The partition and the UUID of an execution's id, `{fp:86}:<uuid>`."""
    match = re.fullmatch(r"\{fp:(\d{1,5})\}:([0-9a-f-]{36})", execution_id)
    if match is None or int(match[1]) > 32_767:
        raise InvalidInput(f"execution_id: {execution_id!r} is no id such as {{fp:86}}:<uuid>")
    return int(match[1]), uuid.UUID(match[2])


def execution_id(partition_key: int, key: uuid.UUID) -> str:
    """The id of an execution."""
    return f"{{fp:{partition_key}}}:{key}"


def checked_text(field: str, text: str, most_bytes: int | None = 512) -> str:
    """The text, which every database can store and index."""
    if "\0" in text:
        raise InvalidInput(f"{field}: must not contain NUL")
    if most_bytes is not None and len(text.encode()) > most_bytes:
        raise InvalidInput(f"{field}: {len(text.encode())} bytes exceed {most_bytes}")
    return text


def checked_lane(lane: str) -> str:
    """The lane name: 1 to 64 bytes of printable ASCII."""
    if not re.fullmatch(r"[ -~]{1,64}", lane):
        raise InvalidInput(f"lane: {lane!r} is not 1 to 64 printable ASCII characters")
    return lane


def kept_message(message: str) -> str:
    """A failure message as it is stored: without NUL, and cut where it is too long."""
    encoded = message.replace("\0", "\ufffd").encode()
    if len(encoded) <= MESSAGE_MAX_BYTES:
        return encoded.decode()
    cut = encoded[:MESSAGE_MAX_BYTES].decode(errors="ignore")
    return f"{cut}\u2026 (cut, {len(encoded)} bytes in all)"


def stored_policy(policy: dict[str, Any], capabilities: list[str]) -> dict[str, Any]:
    """The policy of an execution as it is stored, with the defaults of the engine."""
    for member, inner in policy.items():
        if member not in ("retry_policy", "timeout_policy"):
            raise Unsupported(f"policy.{member}: this client does not submit with it; `ff` does")
        if not isinstance(inner, dict):
            raise InvalidInput(f"policy.{member}: must be an object")
    retry = policy.get("retry_policy")
    if retry is not None:
        backoff = retry.get("backoff", {})
        _within("policy.retry_policy.max_retries", retry.get("max_retries", 3), 0, 10_000)
        if backoff.get("type") == "fixed":
            _within("policy.retry_policy.backoff.delay_ms", backoff.get("delay_ms"), 0, PAUSE_MAX_MS)
            if backoff["delay_ms"] == 0:
                _within("policy.retry_policy.max_retries", retry.get("max_retries", 3), 0, 100)
        elif backoff.get("type") == "exponential":
            place, most = "policy.retry_policy.backoff", backoff.get("max_delay_ms")
            _within(f"{place}.max_delay_ms", most, 1, PAUSE_MAX_MS)
            _within(f"{place}.initial_delay_ms", backoff.get("initial_delay_ms"), 1, most)
            _within(f"{place}.multiplier", backoff.get("multiplier"), 1, 1_000)
        elif backoff:
            raise InvalidInput("policy.retry_policy.backoff.type: must be fixed or exponential")
        retry = {"max_retries": 3, "backoff": dict(DEFAULT_BACKOFF), "retryable_categories": [],
                 **retry}
    timeout = policy.get("timeout_policy")
    for member in timeout or {}:
        if member not in ("attempt_timeout_ms", "execution_deadline_ms"):
            raise Unsupported(f"policy.timeout_policy.{member}: this client does not set it")
        _within(f"policy.timeout_policy.{member}", timeout[member], 1, 3_650 * 86_400_000)
    stored: dict[str, Any] = dict(DEFAULT_POLICY)
    if retry is not None:
        stored["retry_policy"] = retry
    if timeout is not None:
        stored["timeout_policy"] = {**timeout, "max_reclaim_count": 100}
    if capabilities:
        stored["routing_requirements"] = {"required_capabilities": capabilities}
    return stored


def _within(field: str, value: Any, least: float, most: float) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:
        raise InvalidInput(f"{field}: must be between {least} and {most}, got {value!r}")


def retry_delay_ms(stored: Any, failure_class: str, retries: int, draw: float) -> int | None:
    """The delay of the next attempt under a stored retry policy; None where none follows."""
    policy = stored if isinstance(stored, dict) else {}
    words = [word for word in policy.get("retryable_categories") or [] if isinstance(word, str)]
    retried = failure_class in words and failure_class in ("transient", "infra_crash", "timeout")
    if not words and failure_class in ("transient", "infra_crash"):
        retried = True

    backoff = policy.get("backoff") if isinstance(policy.get("backoff"), dict) else {}
    kind = backoff.get("type")
    if kind == "fixed":
        full = min(_whole(backoff.get("delay_ms"), 1_000), PAUSE_MAX_MS)
        jitter = False
    else:
        known = backoff if kind == "exponential" else {}
        first = min(max(_whole(known.get("initial_delay_ms"), 1_000), 1), PAUSE_MAX_MS)
        most = min(max(_whole(known.get("max_delay_ms"), 60_000), 1), PAUSE_MAX_MS)
        factor = known.get("multiplier", 2.0)
        number = isinstance(factor, (int, float)) and not isinstance(factor, bool)
        factor = min(max(float(factor) if number else 2.0, 1.0), 1_000.0)
        try:
            full = min(int(first * factor**retries), most)
        except OverflowError:
            full = most
        jitter = known.get("jitter") is True

    most_retries = 100 if kind == "fixed" and full == 0 else 10_000
    if not retried or retries >= min(_whole(policy.get("max_retries"), 3), most_retries):
        return None
    return int(full * (0.5 + 0.5 * draw)) if jitter else full


def _whole(value: Any, default: int) -> int:
    """A stored whole number; a negative one counts as zero."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return max(value, 0) if is_whole else default


def holds(condition: Any, member_map: dict[str, list[dict]]) -> bool:
    """True if the collected signals end the wait."""
    if not isinstance(condition, dict):
        return False
    if "Single" in condition:
        single = condition["Single"]
        here = _signals(member_map, single["waitpoint_key"])
        return any(_matches(single["matcher"], signal) for signal in here)

    composite = condition["Composite"]
    if composite["kind"] == "AllOf":
        members = composite["members"]
        return bool(members) and all(holds(member, member_map) for member in members)
    matcher = composite.get("matcher")
    counted = [(key, signal) for key in composite["waitpoints"]
               for signal in _signals(member_map, key)
               if matcher is None or _matches(matcher, signal)]
    things = {
        "DistinctWaitpoints": {key for key, _ in counted},
        "DistinctSignals": {signal["signal_id"] for _, signal in counted},
        "DistinctSources": {(signal.get("source_type"), signal.get("source_identity"))
                            for _, signal in counted},
    }
    return composite["n"] <= len(things[composite["count_kind"]])


def _signals(member_map: dict[str, list[dict]], key: str) -> list[dict]:
    entries = member_map.get(key, [])
    return [entry for entry in entries
            if isinstance(entry, dict) and entry.get("signal_id") and entry.get("signal_name")]


def _matches(matcher: Any, signal: dict) -> bool:
    return matcher == "Wildcard" or matcher.get("ByName") == signal["signal_name"]
