//! Policies and their JSON forms.

use proptest::prelude::*;

use super::*;

fn parse<T: serde::de::DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap()
}

fn exponential(initial: u64, max: u64, multiplier: f64, jitter: bool) -> BackoffStrategy {
    BackoffStrategy::Exponential {
        initial_delay_ms: initial,
        max_delay_ms: max,
        multiplier,
        jitter,
    }
}

#[test]
fn defaults_have_these_json_forms() {
    let execution = concat!(
        r#"{"priority":0,"max_reclaim_count":100,"max_replay_count":10,"#,
        r#""budget_ids":[],"max_signals_per_execution":10000}"#,
    );
    assert_eq!(serde_json::to_string(&ExecutionPolicy::default()).unwrap(), execution);
    assert_eq!(parse::<ExecutionPolicy>("{}"), ExecutionPolicy::default());

    let retry = concat!(
        r#"{"max_retries":3,"backoff":{"type":"exponential","initial_delay_ms":1000,"#,
        r#""max_delay_ms":60000,"multiplier":2.0,"jitter":false},"retryable_categories":[]}"#,
    );
    assert_eq!(serde_json::to_string(&RetryPolicy::default()).unwrap(), retry);
    assert_eq!(parse::<RetryPolicy>("{}"), RetryPolicy::default());
    assert_eq!(parse::<RetryPolicy>(retry), RetryPolicy::default());

    let forms = [
        serde_json::to_string(&parse::<TimeoutPolicy>("{}")).unwrap(),
        serde_json::to_string(&parse::<SuspensionPolicy>("{}")).unwrap(),
        serde_json::to_string(&RoutingRequirements::default()).unwrap(),
        serde_json::to_string(&parse::<StreamPolicy>("{}")).unwrap(),
    ];
    assert_eq!(
        forms,
        [
            r#"{"max_reclaim_count":100}"#,
            r#"{"timeout_behavior":"fail"}"#,
            r#"{"required_capabilities":[]}"#,
            r#"{"durability_mode":"buffered","retention_maxlen":10000}"#,
        ]
    );
}

#[test]
fn null_and_unknown_members_are_ignored() {
    let policy: ExecutionPolicy = parse(r#"{"retry_policy":null,"delay_until":null,"new":[1]}"#);
    assert_eq!(policy, ExecutionPolicy::default());
}

#[test]
fn required_members_are_required() {
    assert!(serde_json::from_str::<FallbackPolicy>("{}").is_err());
    assert!(serde_json::from_str::<FallbackTier>(r#"{"provider":"p"}"#).is_err());
    assert!(serde_json::from_str::<BackoffStrategy>(r#"{"type":"fixed"}"#).is_err());
    assert!(serde_json::from_str::<BackoffStrategy>(r#"{"delay_ms":5}"#).is_err());

    assert_eq!(
        parse::<BackoffStrategy>(r#"{"type":"fixed","delay_ms":5}"#),
        BackoffStrategy::Fixed { delay_ms: 5 }
    );
    assert_eq!(
        parse::<BackoffStrategy>(
            r#"{"type":"exponential","initial_delay_ms":1,"max_delay_ms":2,"multiplier":3}"#
        ),
        exponential(1, 2, 3.0, false)
    );
}

#[test]
fn full_policies_round_trip() {
    let json = concat!(
        r#"{"priority":-5,"delay_until":9,"retry_policy":{"max_retries":1,"backoff":"#,
        r#"{"type":"fixed","delay_ms":5},"retryable_categories":["net"]},"timeout_policy":"#,
        r#"{"attempt_timeout_ms":1,"execution_deadline_ms":2,"max_reclaim_count":3},"#,
        r#""max_reclaim_count":4,"suspension_policy":{"default_timeout_ms":5,"#,
        r#""timeout_behavior":"cancel"},"fallback_policy":{"tiers":[{"provider":"p","#,
        r#""model":"m","timeout_ms":6}]},"max_replay_count":7,"#,
        r#""budget_ids":["550e8400-e29b-41d4-a716-446655440000"],"routing_requirements":"#,
        r#"{"required_capabilities":["cuda","gpu"],"preferred_locality":"eu","#,
        r#""isolation_level":"vm"},"dedup_window_ms":8,"stream_policy":"#,
        r#"{"durability_mode":"durable","retention_maxlen":9,"retention_ttl_ms":10},"#,
        r#""max_signals_per_execution":11}"#,
    );

    assert_eq!(serde_json::to_string(&parse::<ExecutionPolicy>(json)).unwrap(), json);
}

#[test]
fn pauses_grow_to_their_maximum() {
    let fixed = BackoffStrategy::Fixed { delay_ms: 500 };
    assert_eq!((fixed.delay_ms(0, None), fixed.delay_ms(9, Some(0.0))), (500, 500));

    let pauses = |strategy: BackoffStrategy| -> Vec<u64> {
        [0, 1, 2, 5, 6, u32::MAX].map(|n| strategy.delay_ms(n, None)).to_vec()
    };

    assert_eq!(pauses(BackoffStrategy::default()), [1_000, 2_000, 4_000, 32_000, 60_000, 60_000]);
    assert_eq!(pauses(exponential(100, 1_000, 1.5, false)), [100, 150, 225, 759, 1_000, 1_000]);
    assert_eq!(pauses(exponential(0, 1_000, 2.0, false)), [0; 6]);
    assert_eq!(pauses(exponential(10, 1_000, -2.0, false)), [10, 0, 40, 0, 640, 0]);
    assert_eq!(pauses(exponential(10, 5, 2.0, false)), [5; 6]);

    assert_eq!(exponential(1, 7, f64::NAN, false).delay_ms(1, None), 7);
    assert_eq!(exponential(1, u64::MAX, f64::INFINITY, false).delay_ms(1, None), u64::MAX);
}

#[test]
fn jitter_shortens_by_up_to_half_when_asked_for() {
    let wanted = exponential(1_000, 60_000, 2.0, true);
    for (draw, expected) in [
        (None, 1_000),
        (Some(0.0), 500),
        (Some(0.5), 750),
        (Some(1.0), 1_000),
        (Some(-3.0), 500),
        (Some(f64::INFINITY), 1_000),
        (Some(f64::NAN), 1_000),
    ] {
        assert_eq!(wanted.delay_ms(0, draw), expected, "{draw:?}");
    }

    assert_eq!(exponential(1_000, 60_000, 2.0, false).delay_ms(0, Some(0.0)), 1_000);
}

#[test]
fn wire_policies_are_lenient_about_what_is_missing() {
    let fixed = |delay_ms| BackoffStrategy::Fixed { delay_ms };
    let cases = [
        ("{}", 0, fixed(1_000)),
        (r#"{"max_retries":null,"backoff":null,"more":1}"#, 0, fixed(1_000)),
        (r#"{"max_retries":3,"backoff":{"type":"fixed","delay_ms":500}}"#, 3, fixed(500)),
        (r#"{"max_retries":1,"backoff":{"type":"fixed"}}"#, 1, fixed(1_000)),
        (r#"{"max_retries":1,"backoff":{"delay_ms":500}}"#, 1, fixed(1_000)),
        (r#"{"max_retries":1,"backoff":{"type":"odd","delay_ms":500}}"#, 1, fixed(1_000)),
        (r#"{"backoff":{"type":"exponential"}}"#, 0, exponential(1_000, 60_000, 2.0, false)),
        (
            concat!(
                r#"{"backoff":{"type":"exponential","initial_delay_ms":5,"#,
                r#""multiplier":3,"jitter":true}}"#,
            ),
            0,
            exponential(5, 60_000, 3.0, true),
        ),
    ];

    assert_eq!(RetryPolicy::from_wire_json(""), Ok(None));
    for (text, max_retries, backoff) in cases {
        let expected = RetryPolicy { max_retries, backoff, retryable_categories: Vec::new() };
        assert_eq!(RetryPolicy::from_wire_json(text), Ok(Some(expected)), "{text}");
    }

    let stored = serde_json::to_string(&RetryPolicy::default()).unwrap();
    assert_eq!(RetryPolicy::from_wire_json(&stored), Ok(Some(RetryPolicy::default())));
}

#[test]
fn wire_policies_of_another_shape_are_refused() {
    for text in [
        " ",
        "{",
        "null",
        "3",
        "[3]",
        r#"{"max_retries":-1}"#,
        r#"{"max_retries":"3"}"#,
        r#"{"max_retries":4294967296}"#,
        r#"{"backoff":"fixed"}"#,
        r#"{"backoff":{"type":"exponential","multiplier":1e999}}"#,
        r#"{"backoff":{"type":"exponential","multiplier":NaN}}"#,
    ] {
        assert!(RetryPolicy::from_wire_json(text).is_err(), "{text}");
    }
}

fn retrying(max_retries: u32, backoff: BackoffStrategy) -> ExecutionPolicy {
    let retry = RetryPolicy { max_retries, backoff, ..RetryPolicy::default() };
    ExecutionPolicy { retry_policy: Some(retry), ..ExecutionPolicy::default() }
}

fn fault(policy: &ExecutionPolicy) -> String {
    policy.check().unwrap_err().to_string()
}

#[test]
fn pauses_that_make_no_sense_are_refused_by_the_fields_path() {
    let day = 86_400_000;
    let backoff = "policy.retry_policy.backoff";

    for (retries, strategy, expected) in [
        (1, exponential(1, 9, -2.0, false), "multiplier: must be between 1 and 1000, got -2"),
        (1, exponential(1, 9, 0.5, false), "multiplier: must be between 1 and 1000, got 0.5"),
        (1, exponential(1, 9, f64::NAN, false), "multiplier: must be between 1 and 1000, got NaN"),
        (
            1,
            exponential(1, 9, f64::INFINITY, true),
            "multiplier: must be between 1 and 1000, got inf",
        ),
        (1, exponential(0, 9, 2.0, false), "initial_delay_ms: must be between 1 and 9, got 0"),
        (1, exponential(9, 8, 2.0, false), "initial_delay_ms: must be between 1 and 8, got 9"),
        (
            1,
            exponential(0, 0, 2.0, false),
            "max_delay_ms: must be between 1 and 31536000000, got 0",
        ),
        (
            1,
            exponential(1, u64::MAX, 2.0, false),
            "max_delay_ms: must be between 1 and 31536000000, got 18446744073709551615",
        ),
        (
            1,
            BackoffStrategy::Fixed { delay_ms: 366 * day },
            "delay_ms: must be between 0 and 31536000000, got 31622400000",
        ),
    ] {
        assert_eq!(fault(&retrying(retries, strategy)), format!("{backoff}.{expected}"));
    }

    let at_once = |retries| retrying(retries, BackoffStrategy::Fixed { delay_ms: 0 });
    assert_eq!(
        fault(&retrying(u32::MAX, BackoffStrategy::default())),
        "policy.retry_policy.max_retries: must be between 0 and 10000, got 4294967295"
    );
    assert_eq!(
        fault(&at_once(101)),
        "policy.retry_policy.max_retries: must be between 0 and 100 where backoff.delay_ms is 0, got 101"
    );

    for sensible in [
        at_once(100),
        retrying(10_000, exponential(1, 365 * day, 1_000.0, true)),
        retrying(10_000, exponential(5, 5, 1.0, false)),
        retrying(0, BackoffStrategy::default()),
    ] {
        assert_eq!(sensible.check(), Ok(()));
    }
}

#[test]
fn every_other_field_has_its_bounds() {
    let with = |json: &str| parse::<ExecutionPolicy>(json);
    for (json, expected) in [
        (r#"{"delay_until":-1}"#, "delay_until: must be between 0 and 253402300799999, got -1"),
        (
            r#"{"max_reclaim_count":10001}"#,
            "max_reclaim_count: must be between 0 and 10000, got 10001",
        ),
        (
            r#"{"max_replay_count":10001}"#,
            "max_replay_count: must be between 0 and 10000, got 10001",
        ),
        (
            r#"{"max_signals_per_execution":0}"#,
            "max_signals_per_execution: must be between 1 and 1000000, got 0",
        ),
        (
            r#"{"timeout_policy":{"attempt_timeout_ms":0}}"#,
            "timeout_policy.attempt_timeout_ms: must be between 1 and 315360000000, got 0",
        ),
        (
            r#"{"timeout_policy":{"execution_deadline_ms":315360000001}}"#,
            "timeout_policy.execution_deadline_ms: must be between 1 and 315360000000, got 315360000001",
        ),
        (
            r#"{"max_reclaim_count":3,"timeout_policy":{"max_reclaim_count":5}}"#,
            "timeout_policy.max_reclaim_count: 5 contradicts policy.max_reclaim_count, which is 3",
        ),
        (
            r#"{"suspension_policy":{"timeout_behavior":"cancel"}}"#,
            "suspension_policy.default_timeout_ms: is missing: the policy has no effect without it",
        ),
        (
            r#"{"suspension_policy":{"default_timeout_ms":5,"timeout_behavior":"explode"}}"#,
            r#"suspension_policy.timeout_behavior: "explode" is no way to end a suspension"#,
        ),
        (
            r#"{"retry_policy":{"retryable_categories":["permanent"]}}"#,
            r#"retry_policy.retryable_categories: "permanent" is none of transient, infra_crash, timeout"#,
        ),
    ] {
        assert_eq!(fault(&with(json)), format!("policy.{expected}"), "{json}");
    }

    for sensible in [
        "{}",
        r#"{"max_reclaim_count":3,"timeout_policy":{"max_reclaim_count":3}}"#,
        r#"{"max_reclaim_count":3,"timeout_policy":{}}"#,
        r#"{"suspension_policy":{"default_timeout_ms":5}}"#,
        r#"{"retry_policy":{"retryable_categories":["timeout","infra_crash"]}}"#,
    ] {
        assert_eq!(with(sensible).check(), Ok(()), "{sensible}");
    }
}

#[test]
fn what_nothing_reads_yet_is_refused_by_its_name() {
    for (json, field) in [
        (r#"{"fallback_policy":{"tiers":[]}}"#, "fallback_policy"),
        (r#"{"stream_policy":{}}"#, "stream_policy"),
        (
            r#"{"routing_requirements":{"preferred_locality":"eu"}}"#,
            "routing_requirements.preferred_locality",
        ),
        (
            r#"{"routing_requirements":{"isolation_level":"vm"}}"#,
            "routing_requirements.isolation_level",
        ),
    ] {
        let expected = format!("policy.{field}: has no effect in this version");
        assert_eq!(fault(&parse(json)), expected);
    }
}

#[test]
fn a_key_is_held_for_a_time_or_until_an_end() {
    let active: ExecutionPolicy = parse(r#"{"dedup_while_active":true}"#);
    let window: ExecutionPolicy = parse(r#"{"dedup_window_ms":1}"#);
    assert!(active.check().is_ok() && window.check().is_ok());

    let both = fault(&parse(r#"{"dedup_window_ms":1,"dedup_while_active":true}"#));
    let expected = "policy.dedup_while_active: contradicts policy.dedup_window_ms";
    assert_eq!(both, format!("{expected}; give one of them"));
    let without = window.check_without_key().unwrap_err().to_string();
    assert_eq!(without, "policy.dedup_window_ms: has no effect without idempotency_key");
    assert!(ExecutionPolicy::default().check_without_key().is_ok());
}

#[test]
fn a_stored_policy_that_makes_no_sense_is_taken_for_its_nearest_bound() {
    let stored = |json: &str| RetryPolicy::of_stored(&parse(json));
    let backoff = |json: &str| stored(json).backoff;

    assert_eq!(stored("{}"), RetryPolicy::default());
    assert_eq!(stored(r#"{"max_retries":4294967295}"#).max_retries, 10_000);
    assert_eq!(stored(r#"{"max_retries":"many","backoff":7}"#), RetryPolicy::default());

    let at_once = stored(r#"{"max_retries":5000,"backoff":{"type":"fixed","delay_ms":0}}"#);
    assert_eq!(at_once.max_retries, 100);

    for (multiplier, expected) in [("null", 2.0), ("-2", 1.0), ("1e300", 1_000.0), ("3", 3.0)] {
        let json = format!(
            r#"{{"backoff":{{"type":"exponential","initial_delay_ms":5,"max_delay_ms":50,"multiplier":{multiplier}}}}}"#
        );
        assert_eq!(backoff(&json), exponential(5, 50, expected, false), "{multiplier}");
    }

    assert_eq!(stored::max_reclaim_count(None), 100);
    let both = r#"{"max_reclaim_count":7,"timeout_policy":{"max_reclaim_count":100}}"#;
    assert_eq!(stored::max_reclaim_count(Some(&parse(both))), 7);
    let inner = r#"{"max_reclaim_count":100,"timeout_policy":{"max_reclaim_count":2}}"#;
    assert_eq!(stored::max_reclaim_count(Some(&parse(inner))), 2);
    assert_eq!(stored::max_replay_count(Some(&parse(r#"{"max_replay_count":-3}"#))), 0);
    assert_eq!(stored::max_signals(Some(&parse(r#"{"max_signals_per_execution":null}"#))), 10_000);
}

/// Policies of which most make sense, and some do not.
fn policies() -> impl Strategy<Value = ExecutionPolicy> {
    let multiplier = prop_oneof![
        4 => 1.0..1_000.0_f64,
        1 => any::<f64>(),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NAN),
    ];
    let backoff = prop_oneof![
        any::<u64>().prop_map(|delay_ms| BackoffStrategy::Fixed { delay_ms }),
        (0..10_000_u64, 0..100_000_u64, multiplier, any::<bool>()).prop_map(
            |(initial, max, multiplier, jitter)| exponential(initial, max, multiplier, jitter)
        ),
    ];

    let retry = (0..20_000_u32, backoff).prop_map(|(max_retries, backoff)| RetryPolicy {
        max_retries,
        backoff,
        retryable_categories: vec!["timeout".to_owned()],
    });
    let timeouts = (any::<Option<u64>>(), 0..200_u32).prop_map(|(limit, max_reclaim_count)| {
        TimeoutPolicy { attempt_timeout_ms: limit, execution_deadline_ms: limit, max_reclaim_count }
    });

    (any::<i32>(), proptest::option::of(retry), proptest::option::of(timeouts), 0..200_u32)
        .prop_map(|(priority, retry_policy, timeout_policy, max_replay_count)| ExecutionPolicy {
            priority,
            retry_policy,
            timeout_policy,
            max_replay_count,
            ..ExecutionPolicy::default()
        })
}

proptest! {
    /// As a document and as a text, the forms in rows and on the wire. Reading a text may move the
    /// last digit of a multiplier; the result is still valid and means the same pauses.
    #[test]
    fn an_accepted_policy_survives_its_wire_form(policy in policies()) {
        prop_assume!(policy.check().is_ok());

        let document = serde_json::to_value(&policy).unwrap();
        let read: ExecutionPolicy = serde_json::from_value(document.clone()).unwrap();
        prop_assert_eq!(&read, &policy);

        let text: ExecutionPolicy = parse(&document.to_string());
        prop_assert_eq!(text.check(), Ok(()));

        let stored = RetryPolicy::of_execution(&document);
        prop_assert_eq!(&stored, &policy.retry_policy);
        for (before, after) in policy.retry_policy.iter().zip(&text.retry_policy) {
            for retries in [0, 1, 7] {
                let pauses = [before, after].map(|own| own.backoff.delay_ms(retries, None));
                prop_assert!(pauses[0].abs_diff(pauses[1]) <= 1);
            }
        }
    }
}
