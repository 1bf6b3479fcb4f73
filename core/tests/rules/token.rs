//! Waitpoint tokens: a million forged ones are refused, every true one is accepted.
//!
//! `FF_FORGERIES` says how many forgeries are tried.

use ff_core::EngineError;
use ff_core::contracts::{DeliverSignalArgs, ResumeCondition};
use ff_core::crypto::hmac::hmac_sign;
use ff_core::plan::facts::{Answer, Facts, Questions, Row};
use ff_core::plan::value::Value;
use ff_core::rules::ctx::{Ctx, Seeded, Source as _};
use ff_core::rules::decision::{Step, Transition};
use ff_core::rules::suspension::deliver::Deliver;
use ff_core::schema::ColumnRef;
use ff_core::schema::admin::waitpoint_hmac;
use ff_core::schema::execution::exec_core;
use ff_core::schema::suspension::{suspension_current, waitpoint_pending};
use ff_core::types::{ExecutionId, SignalId, TimestampMs, WaitpointId, WaitpointToken};
use serde_json::json;
use uuid::Uuid;

const NOW: i64 = 1_000_000;

/// A waitpoint of a suspended execution, and the key that signed its token.
struct Target {
    execution: ExecutionId,
    waitpoint: WaitpointId,
    kid: &'static str,
    secret: Vec<u8>,
    /// Until when the key verifies, if it was replaced.
    retired: Option<i64>,
}

impl Target {
    fn new(number: u128) -> Self {
        Self {
            execution: ExecutionId::from_parts(7, Uuid::from_u128(number)),
            waitpoint: WaitpointId::from_uuid(Uuid::from_u128(number + 1)),
            kid: "kid1",
            secret: vec![7; 32],
            retired: None,
        }
    }

    fn sign(&self, execution: &ExecutionId, waitpoint: &WaitpointId) -> String {
        hmac_sign(&self.secret, self.kid, format!("{execution}:{waitpoint}").as_bytes())
    }

    fn token(&self) -> String {
        self.sign(&self.execution, &self.waitpoint)
    }

    /// The rows as they are stored, all but the key's: that one is looked up by the token.
    fn rows(&self) -> [Option<Row>; 3] {
        let uuid = |uuid: Uuid| Value::Uuid(uuid);
        let text = |text: &str| Value::Text(text.into());
        let condition = ResumeCondition::OperatorOnly;
        let waitpoint = vec![
            (waitpoint_pending::waitpoint_id.column(), uuid(self.waitpoint.0)),
            (waitpoint_pending::execution_id.column(), uuid(self.execution.uuid())),
            (waitpoint_pending::token_kid.column(), text(self.kid)),
            (waitpoint_pending::token.column(), text(&self.token())),
            (waitpoint_pending::expires_at_ms.column(), Value::Null),
            (waitpoint_pending::waitpoint_key.column(), text("a")),
            (waitpoint_pending::state.column(), text("active")),
            (waitpoint_pending::suspension_id.column(), uuid(Uuid::nil())),
        ];
        let core = vec![
            (exec_core::lifecycle_phase.column(), text("suspended")),
            (exec_core::version.column(), Value::Int(4)),
        ];
        let suspension = vec![
            (suspension_current::suspension_id.column(), uuid(Uuid::nil())),
            (suspension_current::suspended_at_ms.column(), Value::Int(0)),
            (suspension_current::condition.column(), Value::Json(json!(condition))),
            (suspension_current::member_map.column(), Value::Json(json!({}))),
            (suspension_current::resume_policy.column(), Value::Null),
            (suspension_current::timeout_at_ms.column(), Value::Null),
            (suspension_current::timeout_behavior.column(), Value::Null),
            (suspension_current::signal_count.column(), Value::Int(0)),
            (suspension_current::version.column(), Value::Int(1)),
        ];
        [waitpoint, core, suspension].map(|cells: Vec<(ColumnRef, Value)>| Some(Row::new(cells)))
    }

    fn key(&self, token: &str) -> Option<Row> {
        let named = token.split_once(':').is_some_and(|(kid, _)| kid == self.kid);
        named.then(|| {
            Row::new(vec![
                (waitpoint_hmac::kid.column(), Value::Text(self.kid.into())),
                (waitpoint_hmac::secret.column(), Value::Bytes(self.secret.clone())),
                (waitpoint_hmac::active.column(), Value::Bool(self.retired.is_none())),
                (
                    waitpoint_hmac::verifies_until_ms.column(),
                    self.retired.map_or(Value::Null, Value::Int),
                ),
            ])
        })
    }

    fn deliver(&self, token: &str) -> Result<(), EngineError> {
        let deliver = Deliver::new(DeliverSignalArgs::new(
            self.execution.clone(),
            self.waitpoint.clone(),
            SignalId::from_uuid(Uuid::nil()),
            "go",
            WaitpointToken::new(token),
            TimestampMs(NOW),
        ))?;
        let [waitpoint, core, suspension] = self.rows();
        let mut source = Seeded::new(1);
        let mut ctx = Ctx::new(TimestampMs(NOW), &mut source);
        let Step::Read(queries) = deliver.step(&Facts::default(), &mut ctx)? else {
            panic!("a signal is looked up first")
        };
        let rows = vec![waitpoint, self.key(token), core, suspension];
        let mut facts = Facts::default();
        facts.learn(&Questions::of(&queries), vec![Answer::Lookup(rows)]);
        match deliver.step(&facts, &mut ctx)? {
            Step::Commit(..) => Ok(()),
            Step::Read(_) | Step::Answer(_) => panic!("a signal is recorded or refused"),
        }
    }
}

/// The n-th forgery of a token: one of the ways in which an attacker could try.
fn forged(target: &Target, other: &Target, source: &mut Seeded, n: usize) -> String {
    let token = target.token();
    let mut draw = |below: usize| (source.uuid().as_u128() % below as u128) as usize;
    let bytes = token.as_bytes().to_vec();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    match n % 12 {
        0 | 1 => {
            let (mut bytes, at, bit) = (bytes.clone(), draw(bytes.len()), draw(8));
            bytes[at] ^= 1 << bit;
            text(bytes)
        }
        2 => token[..draw(token.len())].to_owned(),
        3 => format!("{token}{}", "0".repeat(1 + draw(70))),
        4 => target.sign(&other.execution, &target.waitpoint),
        5 => target.sign(&target.execution, &other.waitpoint),
        6 => token.replacen("kid1", ["kid2", "KID1", "", "kid1:kid1"][draw(4)], 1),
        7 => {
            let at = 5 + draw(64);
            let digit = b"0123456789abcdef"[draw(16)];
            let mut bytes = bytes.clone();
            bytes[at] = if bytes[at] == digit { digit ^ 1 } else { digit };
            text(bytes)
        }
        8 => token.to_uppercase().replacen("KID1", "kid1", 1),
        9 => format!("kid1:{:032x}{:032x}", draw(usize::MAX), draw(usize::MAX)),
        10 => {
            let (mut bytes, a, b) = (bytes.clone(), draw(bytes.len()), draw(bytes.len()));
            bytes.swap(a, b);
            text(bytes)
        }
        _ => hmac_sign(&[draw(256) as u8; 16], target.kid, b"anything"),
    }
}

/// Tries that many forgeries, of which none is accepted; how many of them were forgeries indeed.
fn attack(seed: u64, count: usize) -> usize {
    let (target, other) = (Target::new(0xA0), Target::new(0xB0));
    let token = target.token();
    let mut source = Seeded::new(seed);
    let mut tried = 0;
    for n in 0..count {
        let forgery = forged(&target, &other, &mut source, n);
        // A drawn swap or digit may give the token itself: that is no forgery.
        if forgery != token {
            let refusal = target.deliver(&forgery).expect_err(&forgery).to_string();
            assert!(refusal.starts_with("validation: InvalidInput"), "{refusal}");
            tried += 1;
        }
    }
    target.deliver(&token).unwrap();
    tried
}

#[test]
fn no_forged_token_is_accepted() {
    let count: usize =
        std::env::var("FF_FORGERIES").map_or(200_000, |count| count.parse().unwrap());
    // Two attackers at once: hashing takes most of the time.
    let tried: usize = std::thread::scope(|scope| {
        let attackers = [17, 18].map(|seed| scope.spawn(move || attack(seed, count / 2)));
        attackers.into_iter().map(|attacker| attacker.join().unwrap()).sum()
    });
    assert!(count * 9 / 10 < tried, "{tried}");
}

#[test]
fn odd_tokens_are_refused_without_a_panic() {
    let target = Target::new(0xA0);
    let long = format!("kid1:{}", "a".repeat(1 << 20));
    for token in ["", ":", "kid1", "kid1:", "kid1::", ":kid1", "kid1:\u{661}", "ｋid1:00", &long] {
        assert!(target.deliver(token).is_err());
    }
}

#[test]
fn a_retired_key_verifies_until_its_grace_is_over() {
    let mut target = Target::new(0xA0);
    for (until, accepted) in [(NOW + 1, true), (NOW, false), (NOW - 1, false)] {
        target.retired = Some(until);
        assert_eq!(target.deliver(&target.token()).is_ok(), accepted, "{until}");
    }
}

#[test]
fn every_true_token_is_accepted() {
    for number in 0..10_000 {
        let target = Target::new(number * 2);
        target.deliver(&target.token()).unwrap();
    }
}
