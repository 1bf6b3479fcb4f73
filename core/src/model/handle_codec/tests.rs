//! The bytes of handles, byte by byte.

use proptest::prelude::*;

use super::*;

const VECTOR: &str = concat!(
    "0201022c0000007b66703a34327d3a35353065383430302d653239622d343164342d613731362d34",
    "3436363535343430303030030000002400000032323232323232322d323232322d343232322d3832",
    "32322d3232323232323232323232322400000033333333333333332d333333332d343333332d3833",
    "33332d33333333333333333333333307000000000000003075000000000000070000006465666175",
    "6c7408000000776f726b65722d31",
);

fn payload() -> HandlePayload {
    HandlePayload::new(
        ExecutionId::parse("{fp:42}:550e8400-e29b-41d4-a716-446655440000").unwrap(),
        AttemptIndex::new(3),
        AttemptId::parse("22222222-2222-4222-8222-222222222222").unwrap(),
        LeaseId::parse("33333333-3333-4333-8333-333333333333").unwrap(),
        LeaseEpoch::new(7),
        30_000,
        LaneId::new("default"),
        WorkerInstanceId::new("worker-1"),
    )
}

/// The payload with the facts of a claim of an execution that has been retried twice.
fn informed(policy_json: Option<&str>) -> HandlePayload {
    payload().with_retry(RetryFacts::new(policy_json, 2))
}

/// The size of a handle without retry facts.
const PLAIN: usize = 174;

fn decode_bytes(bytes: &[u8]) -> Result<DecodedHandle, HandleDecodeError> {
    decode(&HandleOpaque::new(bytes.into()))
}

/// The version 2 bytes with the field at `at` replaced from there on.
fn changed(at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = hex::decode(VECTOR).unwrap();
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

#[test]
fn the_worked_vector() {
    let opaque = encode(BackendTag::Postgres, &payload());
    assert_eq!(opaque.as_bytes().len(), 174);
    assert_eq!(hex::encode(opaque.as_bytes()), VECTOR);
    assert_eq!(decode(&opaque), Ok(DecodedHandle::new(BackendTag::Postgres, payload())));
}

#[test]
fn the_vector_with_retry_facts() {
    let opaque = encode(BackendTag::Postgres, &informed(Some("{}")));
    assert_eq!(hex::encode(opaque.as_bytes()), format!("{VECTOR}5202000000020000007b7d"));
    let without_policy = encode(BackendTag::Postgres, &informed(None));
    assert_eq!(hex::encode(without_policy.as_bytes()), format!("{VECTOR}520200000000000000"));
}

#[test]
fn the_vector_of_a_claim_that_reserved_something() {
    let plain = encode(BackendTag::Postgres, &payload().with_reservations(true));
    assert_eq!(hex::encode(plain.as_bytes()), format!("{VECTOR}48"));
    let whole = encode(BackendTag::Postgres, &informed(None).with_reservations(true));
    assert_eq!(hex::encode(whole.as_bytes()), format!("{VECTOR}52020000000000000048"));
    let again = [whole.as_bytes(), b"H"].concat();
    let (pos, len) = (whole.as_bytes().len(), again.len());
    assert_eq!(decode_bytes(&again), Err(HandleDecodeError::TrailingBytes { pos, len }));
}

#[test]
fn facts_that_are_too_long_stay_out_of_the_handle() {
    let longest = "x".repeat(POLICY_MAX_BYTES);
    assert!(RetryFacts::new(Some(&longest), 2).is_some());
    let longer = longest + "x";
    assert_eq!(informed(Some(&longer)), payload());

    let mut bytes = hex::decode(VECTOR).unwrap();
    bytes.extend([b'R', 2, 0, 0, 0]);
    bytes.extend(1025_u32.to_le_bytes());
    bytes.extend(longer.as_bytes());
    let detail = "longer than 1024 bytes".to_owned();
    assert_eq!(
        decode_bytes(&bytes),
        Err(HandleDecodeError::ParseField { field: "retry_policy", detail })
    );
}

#[test]
fn a_policy_out_of_bounds_counts_as_its_nearest_bound() {
    let policy = |text| RetryFacts::new(Some(text), 0).unwrap().policy().ok();
    let endless = r#"{"max_retries":4294967295,"backoff":{"type":"fixed","delay_ms":-7}}"#;
    assert_eq!(policy(endless).unwrap().unwrap().max_retries, 100);
    assert_eq!(policy("[1]"), Some(None));
    assert_eq!(policy("{"), None);
}

#[test]
fn facts_cut_short_are_refused_at_every_byte() {
    let whole = encode(BackendTag::Postgres, &informed(Some(r#"{"max_retries":3}"#)));
    let bytes = whole.as_bytes();
    for length in PLAIN + 1..bytes.len() {
        let error = decode_bytes(&bytes[..length]).unwrap_err();
        assert!(matches!(error, HandleDecodeError::Truncated { have, .. } if have == length));
    }

    // Cut off before the facts, what is left is the handle that has none.
    assert_eq!(decode_bytes(&bytes[..PLAIN]).unwrap().payload, payload());
}

#[test]
fn nothing_may_follow_the_facts_and_only_the_second_version_carries_them() {
    use HandleDecodeError::{InvalidUtf8, TrailingBytes};

    let whole = encode(BackendTag::Postgres, &informed(Some("{}"))).as_bytes().to_vec();
    let again = [whole.as_slice(), &whole[PLAIN..]].concat();
    assert_eq!(decode_bytes(&again), Err(TrailingBytes { pos: whole.len(), len: again.len() }));

    let mut garbled = whole.clone();
    garbled[PLAIN + 9] = 0xff;
    assert_eq!(decode_bytes(&garbled), Err(InvalidUtf8 { field: "retry_policy" }));

    let first = [v1_handle_for_tests(&payload()), whole[PLAIN..].to_vec()].concat();
    assert_eq!(decode_bytes(&first), Err(TrailingBytes { pos: 172, len: first.len() }));
}

#[test]
fn every_tag_round_trips() {
    for tag in [BackendTag::Valkey, BackendTag::Postgres, BackendTag::Sqlite, BackendTag::Memory] {
        assert_eq!(decode(&encode(tag, &payload())), Ok(DecodedHandle::new(tag, payload())));
    }
}

#[test]
fn version_1_decodes_as_valkey() {
    let bytes = v1_handle_for_tests(&payload());
    assert_eq!(bytes.len(), 172);
    assert_eq!(decode_bytes(&bytes), Ok(DecodedHandle::new(BackendTag::Valkey, payload())));
}

#[test]
fn headers_are_refused_in_order() {
    use HandleDecodeError::{BadBackendTag, BadV1Version, BadWireVersion, Truncated};

    let cases: [(&[u8], HandleDecodeError); 7] = [
        (&[], Truncated { needed: 1, at: 0, have: 0 }),
        (&[0x03], BadV1Version { got: 3 }),
        (&[0x02], Truncated { needed: 1, at: 1, have: 1 }),
        (&[0x02, 0x02], BadWireVersion { got: 2 }),
        (&[0x02, 0x01], Truncated { needed: 1, at: 2, have: 2 }),
        (&[0x02, 0x01, 0x00], BadBackendTag { got: 0 }),
        (&[0x01], Truncated { needed: 4, at: 1, have: 1 }),
    ];

    for (bytes, expected) in cases {
        assert_eq!(decode_bytes(bytes), Err(expected));
    }

    assert_eq!(
        decode_bytes(&changed(3, &u32::MAX.to_le_bytes())),
        Err(Truncated { needed: u32::MAX as usize, at: 7, have: 174 })
    );
}

#[test]
fn fields_are_refused_in_order() {
    let field_of = |bytes: &[u8]| match decode_bytes(bytes).unwrap_err() {
        HandleDecodeError::ParseField { field, .. } => format!("parse {field}"),
        HandleDecodeError::InvalidUtf8 { field } => format!("utf8 {field}"),
        other => other.to_string(),
    };

    let (execution, attempt, lease, lane, worker) = (7, 59, 99, 155, 166);
    assert_eq!(field_of(&changed(execution, b"x")), "parse execution_id");
    assert_eq!(field_of(&changed(attempt, b"x")), "parse attempt_id");
    assert_eq!(field_of(&changed(lease, b"x")), "parse lease_id");

    for (at, field) in [
        (execution, "execution_id"),
        (attempt, "attempt_id"),
        (lease, "lease_id"),
        (lane, "lane_id"),
        (worker, "worker_instance_id"),
    ] {
        assert_eq!(field_of(&changed(at, &[0xff])), format!("utf8 {field}"));
    }

    let mut both = changed(lease, b"x");
    both[attempt] = b'x';
    assert_eq!(field_of(&both), "parse attempt_id");
}

#[test]
fn nothing_may_follow_the_last_field() {
    let mut bytes = hex::decode(VECTOR).unwrap();
    bytes.push(0);
    assert_eq!(decode_bytes(&bytes), Err(HandleDecodeError::TrailingBytes { pos: 174, len: 175 }));
}

#[test]
fn every_shorter_prefix_is_truncated() {
    let bytes = hex::decode(VECTOR).unwrap();
    for length in 0..bytes.len() {
        let error = decode_bytes(&bytes[..length]).unwrap_err();
        assert!(matches!(error, HandleDecodeError::Truncated { have, .. } if have == length));
    }
}

#[test]
fn decode_errors_are_corruption() {
    let error = EngineError::from(decode_bytes(&[]).unwrap_err());
    assert_eq!(
        error.to_string(),
        "validation: Corruption: handle_codec: truncated: needed 1 bytes at 0, have 0 in all"
    );
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
        let _ = decode_bytes(&bytes);
    }

    #[test]
    fn any_damage_is_survived(at in 0usize..174, byte: u8) {
        let _ = decode_bytes(&changed(at, &[byte]));
    }

    #[test]
    fn any_payload_round_trips(
        index: u32,
        epoch: u64,
        lease_ttl_ms: u64,
        lane in ".{0,40}",
        worker in ".{0,40}",
        retry: Option<(Option<String>, u32)>,
        has_reservations: bool,
    ) {
        let mut given = payload();
        given.attempt_index = AttemptIndex::new(index);
        given.lease_epoch = LeaseEpoch::new(epoch);
        given.lease_ttl_ms = lease_ttl_ms;
        given.lane_id = LaneId::new(lane);
        given.worker_instance_id = WorkerInstanceId::new(worker);
        given.retry = retry.and_then(|(policy, retries)| {
            RetryFacts::new(policy.as_deref(), retries)
        });
        given.has_reservations = has_reservations;
        let tag = BackendTag::Sqlite;
        prop_assert_eq!(decode(&encode(tag, &given)), Ok(DecodedHandle::new(tag, given)));
    }

    #[test]
    fn any_damage_to_the_facts_is_survived(at in 0usize..40, byte: u8) {
        let policy = r#"{"max_retries":3,"backoff":{}}"#;
        let mut bytes = encode(BackendTag::Memory, &informed(Some(policy))).as_bytes().to_vec();
        let place = (PLAIN + at).min(bytes.len() - 1);
        bytes[place] = byte;
        if let Ok(decoded) = decode_bytes(&bytes) {
            let _ = decoded.payload.retry.map(|facts| facts.policy());
        }
    }
}
