//! Limits by key: so many executions of a key run at once, and so many start in a time.

use std::collections::BTreeSet;

use ff_core::backend::{CancelFlowPolicy, CancelFlowWait, CapabilitySet, Handle};
use ff_core::contracts::{
    ClaimingWorker, CreateExecutionArgs, ExplainExecutionArgs, LimitStatus, NotRunning, RateLimit,
    SetLimitArgs, TimeoutBehavior,
};
use ff_core::engine_backend::Scan;
use ff_core::policy::ExecutionPolicy;
use ff_core::types::{ExecutionId, TimestampMs};

use super::budgeted::claim;
use super::signal::resumed;
use crate::backends::{Bench, conformance};
use crate::bench::{assert_refused, id, id_in, lane, payload_of, requiring, worker};
use crate::stopping::Stop;
use crate::suspended::{cancellation, fresh, named};

pub(super) const KEY: &str = "tenant/42";

pub(super) fn keyed(keys: &[&str]) -> ExecutionPolicy {
    ExecutionPolicy {
        limit_keys: keys.iter().map(|&key| key.to_owned()).collect(),
        ..ExecutionPolicy::default()
    }
}

pub(super) async fn create(bench: &Bench, policy: ExecutionPolicy) -> ExecutionId {
    let id = bench.create_with(&|args| args.policy = Some(policy.clone())).await;
    bench.clock.advance(1);
    id
}

pub(super) async fn running(bench: &Bench, key: &str, max: u32) {
    let args = SetLimitArgs::new(key, "ada").with_running(max);
    bench.backend.set_limit(args).await.unwrap();
}

async fn rate(bench: &Bench, key: &str, rate: RateLimit) {
    bench.backend.set_limit(SetLimitArgs::new(key, "ada").with_rate(rate)).await.unwrap();
}

pub(super) async fn status(bench: &Bench, key: &str) -> LimitStatus {
    bench.backend.read_limit(key).await.unwrap().unwrap()
}

async fn has_claimable(bench: &Bench) -> bool {
    bench.backend.has_claimable(&lane(), &CapabilitySet::default()).await.unwrap()
}

async fn complete(bench: &Bench, handle: &Handle) {
    bench.backend.complete(handle, None).await.unwrap();
}

/// So many executions to submit, with these policies and two priorities in turn.
fn batch(
    bench: &Bench,
    count: u16,
    priority: i32,
    policies: &[ExecutionPolicy],
) -> Vec<CreateExecutionArgs> {
    let one = |number: u16| {
        let mut args = bench.args(&id_in(number));
        args.policy = Some(policies[usize::from(number) % policies.len()].clone());
        args.priority = priority + i32::from(number % 2);
        args
    };
    (0..count).map(one).collect()
}

fn requires_only(args: &CreateExecutionArgs, tokens: &[&str]) -> bool {
    let policy = args.policy.as_ref().and_then(|policy| policy.routing_requirements.as_ref());
    let required = policy.into_iter().flat_map(|of| &of.required_capabilities);
    required.into_iter().all(|one| tokens.contains(&one.as_str()))
}

conformance! {
    async fn so_many_of_a_key_run_at_once(bench) {
        running(&bench, KEY, 2).await;
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(create(&bench, keyed(&[KEY])).await);
        }
        let other = create(&bench, keyed(&["tenant/7"])).await;
        let plain = bench.create().await;

        // What does not fit hides nothing behind it.
        assert_eq!(claim(&bench, &[], 1).await, [ids[0].clone()]);
        let more = claim(&bench, &[], 9).await;
        assert_eq!(more.len(), 3, "{more:?}");
        assert!([&ids[1], &other, &plain].iter().all(|&id| more.contains(id)), "{more:?}");
        assert_eq!(claim(&bench, &[], 9).await, []);
        assert!(!has_claimable(&bench).await);

        let of_key = status(&bench, KEY).await;
        assert_eq!((of_key.running, of_key.limit.max_running), (2, Some(2)));
        assert_eq!(of_key.holders, [ids[0].clone(), ids[1].clone()]);
        bench.cancel_one(&ids[0]).await;
        assert!(has_claimable(&bench).await);
        assert_eq!(claim(&bench, &[], 9).await, [ids[2].clone()]);
        assert_eq!(status(&bench, KEY).await.running, 2);
    }

    async fn the_order_runs_across_keys_behind_many_that_cannot_be_taken(bench) {
        running(&bench, KEY, 0).await;
        running(&bench, "tenant/*", 99).await;
        // More come first than a claim looks at.
        let unable = ExecutionPolicy { limit_keys: vec!["tenant/4".into()], ..requiring(&["tpu"]) };
        let full = batch(&bench, 160, 8, &[keyed(&[KEY]), unable]);
        let open = batch(&bench, 40, 0, &[
            keyed(&["tenant/1", "tenant/2"]),
            ExecutionPolicy::default(),
            requiring(&["gpu"]),
            requiring(&["\u{2}"]),
            ExecutionPolicy { limit_keys: vec!["tenant/3".into()], ..requiring(&["\u{2}", "gpu"]) },
        ]);
        let mut waiting = open.clone();
        waiting.sort_by_key(|args| (-args.priority, *args.execution_id.uuid().as_bytes()));
        for created in bench.backend.create_executions([full, open].concat()).await {
            created.unwrap();
        }

        let all: &[&str] = &["gpu", "\u{2}"];
        for (tokens, limit) in [(all, 7), (&[], 5), (&["\u{2}"], 9), (&["gpu"], 6), (all, 99)] {
            let takes = |args: &&CreateExecutionArgs| requires_only(args, tokens);
            let best = waiting.iter().filter(takes).take(limit);
            let mut expected: Vec<_> = best.map(|args| args.execution_id.clone()).collect();
            waiting.retain(|args| !expected.contains(&args.execution_id));

            let mut claimed = claim(&bench, tokens, u32::try_from(limit).unwrap()).await;
            claimed.sort();
            expected.sort();
            assert_eq!(claimed, expected, "{tokens:?}");
        }
        assert!(waiting.is_empty(), "{waiting:?}");
    }

    async fn every_key_of_an_execution_must_have_room(bench) {
        running(&bench, KEY, 2).await;
        running(&bench, "api", 1).await;
        let both = create(&bench, keyed(&[KEY, "api"])).await;
        let api = create(&bench, keyed(&["api", "unlimited"])).await;
        let one = create(&bench, keyed(&[KEY])).await;
        assert_eq!(claim(&bench, &[], 9).await, [both.clone(), one]);
        assert_eq!(status(&bench, "api").await.holders, std::slice::from_ref(&both));
        assert_eq!(bench.backend.read_limit("unlimited").await.unwrap(), None);
        bench.cancel_one(&both).await;
        assert_eq!(claim(&bench, &[], 9).await, [api]);
    }

    async fn a_family_limits_each_of_its_keys(bench) {
        running(&bench, "tenant/*", 1).await;
        running(&bench, "tenant/big", 2).await;
        let mut ids = Vec::new();
        for key in ["tenant/1", "tenant/1", "tenant/2", "tenant/big", "tenant/big", "tenant/big"] {
            ids.push(create(&bench, keyed(&[key])).await);
        }
        let mut claimed = claim(&bench, &[], 9).await;
        claimed.sort_unstable();
        let mut expected = vec![ids[0].clone(), ids[2].clone(), ids[3].clone(), ids[4].clone()];
        expected.sort_unstable();
        assert_eq!(claimed, expected);
        assert_eq!(status(&bench, "tenant/9").await.limit.limit_key, "tenant/*");

        // A limit without bounds exempts a key from its family.
        bench.backend.set_limit(SetLimitArgs::new("tenant/1", "ada")).await.unwrap();
        assert_eq!(claim(&bench, &[], 9).await, [ids[1].clone()]);
        assert!(bench.backend.remove_limit("tenant/*").await.unwrap());
        assert!(!bench.backend.remove_limit("tenant/*").await.unwrap());
    }

    async fn whatever_stops_work_gives_its_permit_back(bench) {
        bench.seed().await;
        running(&bench, KEY, 1).await;
        for stop in Stop::ALL {
            let id = create(&bench, stop.policy(keyed(&[KEY]))).await;
            let handle = bench.claim().await;
            assert_eq!(payload_of(&handle).execution_id, id, "{stop:?}");
            assert_eq!(status(&bench, KEY).await.holders, std::slice::from_ref(&id), "{stop:?}");

            bench.stop(stop, &handle).await;
            assert_eq!(status(&bench, KEY).await.running, 0, "{stop:?}");
            let _ = bench.backend.cancel_execution(cancellation(&bench, &id)).await;
        }
    }

    async fn a_cancelled_flow_gives_back_the_permits_of_its_members(bench) {
        running(&bench, KEY, 5).await;
        let mut flow = bench.empty_flow().await;
        for _ in 0..2 {
            let id = crate::flow::member_of(&flow.id);
            let mut args = bench.member_args(&id);
            args.lane_id = lane();
            args.policy = Some(keyed(&[KEY]));
            bench.backend.create_execution(args).await.unwrap();
            bench.add(&flow, &id).await.unwrap();
            flow.members.push(id);
        }
        assert_eq!(claim(&bench, &[], 9).await.len(), 2);
        assert_eq!(status(&bench, KEY).await.running, 2);
        let (all, wait) = (CancelFlowPolicy::CancelAll, CancelFlowWait::NoWait);
        bench.backend.cancel_flow(&flow.id, all, wait).await.unwrap();
        assert_eq!(status(&bench, KEY).await.running, 0);
    }

    async fn so_many_of_a_key_start_in_a_time(bench) {
        rate(&bench, KEY, RateLimit::new(10, 1_000).with_burst(2)).await;
        for _ in 0..6 {
            create(&bench, keyed(&[KEY])).await;
        }
        let start = bench.clock.now().0;
        bench.clock.advance(1_000 - start % 100);
        let mut started = Vec::new();
        for step in 0..40 {
            let now = claim(&bench, &[], 9).await.len();
            started.extend(std::iter::repeat_n(step, now));
            bench.clock.advance(10);
        }
        assert_eq!(started, [0, 0, 10, 20, 30], "two at once, then one in 100 ms");

        // What has started counts, although it has ended.
        let now = bench.clock.now().0;
        let next = status(&bench, KEY).await.next_start.map(|at| at.0 - now);
        assert_eq!(next, None);
        assert_eq!(claim(&bench, &[], 9).await.len(), 1);
        bench.clock.advance(1_000);
        let cells = bench.plain.rows("ff_limit_cell").await.len();
        assert_eq!(cells, 6);
        let report = bench.backend.scan(Scan::LimitCellExpiry, 100).await.unwrap();
        assert_eq!(report.processed, 6);
        assert!(bench.plain.rows("ff_limit_cell").await.is_empty());
    }

    async fn a_weight_counts_as_so_many_starts(bench) {
        rate(&bench, KEY, RateLimit::new(10, 1_000).with_burst(4)).await;
        let heavy = |weight| ExecutionPolicy { limit_weight: Some(weight), ..keyed(&[KEY]) };
        let first = create(&bench, heavy(3)).await;
        let second = create(&bench, heavy(2)).await;
        assert_eq!(claim(&bench, &[], 9).await, [first]);
        bench.clock.advance(200);
        assert_eq!(claim(&bench, &[], 9).await, [second]);
        assert_eq!(bench.plain.rows("ff_limit_cell").await.len(), 5);

        // A changed rate begins anew.
        rate(&bench, KEY, RateLimit::new(1, 60_000)).await;
        create(&bench, keyed(&[KEY])).await;
        create(&bench, keyed(&[KEY])).await;
        assert_eq!(claim(&bench, &[], 9).await.len(), 1);
        let next = status(&bench, KEY).await.next_start.unwrap();
        assert!(bench.clock.now() < next && next.0 <= bench.clock.now().0 + 60_000);
    }

    async fn a_lowered_limit_lets_work_end_and_starts_none(bench) {
        running(&bench, KEY, 3).await;
        let mut ids = Vec::new();
        for _ in 0..6 {
            ids.push(create(&bench, keyed(&[KEY])).await);
        }
        assert_eq!(claim(&bench, &[], 9).await.len(), 3);
        running(&bench, KEY, 1).await;
        bench.cancel_one(&ids[0]).await;
        bench.cancel_one(&ids[1]).await;
        assert_eq!(claim(&bench, &[], 9).await, [], "the third permit is still held");
        bench.cancel_one(&ids[2]).await;
        assert_eq!(claim(&bench, &[], 9).await.len(), 1);
        running(&bench, KEY, 0).await;
        bench.cancel_one(&ids[3]).await;
        assert_eq!(claim(&bench, &[], 9).await, [], "nothing of the key runs");
    }

    async fn a_resumed_execution_takes_its_permit_again(bench) {
        bench.seed().await;
        running(&bench, KEY, 1).await;
        let id = create(&bench, keyed(&[KEY])).await;
        let handle = bench.claim().await;
        let until = TimestampMs(bench.clock.now().0 + 1_000);
        let wait = bench.wait(vec![fresh("a")], named("a", "go"));
        let wait = wait.with_timeout(until, TimeoutBehavior::AutoResumeWithTimeoutSignal);
        bench.suspend(&id, &handle, wait).await;

        let other = create(&bench, keyed(&[KEY])).await;
        let busy = bench.claim().await;
        assert_eq!(payload_of(&busy).execution_id, other);
        bench.clock.advance(1_001);
        assert_eq!(bench.backend.scan(Scan::SuspensionTimeout, 9).await.unwrap().processed, 1);
        assert_eq!(claim(&bench, &[], 9).await, []);
        let refused = bench.backend.claim_resumed_execution(resumed(&bench, &id)).await;
        assert_refused(refused, "state: LimitReached { limit_key: \"tenant/42\" }");
        complete(&bench, &busy).await;
        bench.backend.claim_resumed_execution(resumed(&bench, &id)).await.unwrap();
        assert_eq!(status(&bench, KEY).await.holders, [id]);
    }

    async fn racing_claims_never_exceed_a_limit(bench) {
        running(&bench, KEY, 5).await;
        for _ in 0..40 {
            create(&bench, keyed(&[KEY])).await;
        }
        for round in 0..4 {
            let claims = (0..16).map(|_| claim(&bench, &[], 2));
            let claimed = futures_util::future::join_all(claims).await.concat();
            assert_eq!(claimed.len(), 5, "round {round}");
            let of_key = status(&bench, KEY).await;
            assert_eq!(of_key.running, 5);
            for id in claimed {
                bench.cancel_one(&id).await;
            }
        }
        assert_eq!(status(&bench, KEY).await.running, 0);
    }

    async fn claims_of_many_at_once_fill_each_limit_and_take_each_execution_once(bench) {
        running(&bench, "tenant/*", 60).await;
        for number in 0..160 {
            create(&bench, keyed(&[if number % 2 == 0 { KEY } else { "tenant/2" }])).await;
        }
        for left in [160, 40] {
            let claims = (0..4).map(|_| claim(&bench, &[], 50));
            let claimed = futures_util::future::join_all(claims).await.concat();
            let once: BTreeSet<_> = claimed.iter().collect();
            assert_eq!((claimed.len(), once.len()), (left.min(120), left.min(120)));
            for key in [KEY, "tenant/2"] {
                assert_eq!(status(&bench, key).await.running, left.min(120) as u64 / 2);
            }
            for id in claimed {
                bench.cancel_one(&id).await;
            }
        }
    }

    async fn processes_share_a_limit_whatever_they_remember(bench) {
        running(&bench, KEY, 3).await;
        for _ in 0..9 {
            create(&bench, keyed(&[KEY])).await;
        }
        let (other, none) = (bench.another_process().await, CapabilitySet::default());
        let theirs = async |limit| other.claim_many(&lane(), &none, worker("v"), limit).await.unwrap();
        let first = claim(&bench, &[], 1).await;
        let second = theirs(1).await;

        // What the other took refuses the next try; what the other gave back is found.
        assert_eq!(claim(&bench, &[], 9).await.len(), 1);
        assert_eq!(theirs(9).await.len(), 0);
        other.complete(&second[0], None).await.unwrap();
        assert_eq!(claim(&bench, &[], 9).await.len(), 1);
        assert_eq!(status(&bench, KEY).await.running, 3);

        // A limit that the other lowers counts a moment later.
        other.set_limit(SetLimitArgs::new(KEY, "ada").with_running(2)).await.unwrap();
        bench.clock.advance(250);
        bench.cancel_one(&first[0]).await;
        assert_eq!(claim(&bench, &[], 9).await, []);
        assert_eq!(theirs(9).await.len(), 0);
        assert_eq!(status(&bench, KEY).await.running, 2);
    }

    async fn explanations_name_full_limits_and_agree_with_claims(bench) {
        running(&bench, "tenant/*", 1).await;
        rate(&bench, "api", RateLimit::new(1, 60_000)).await;
        let first = create(&bench, keyed(&[KEY, "api"])).await;
        let second = create(&bench, keyed(&[KEY, "api"])).await;
        let explain = async |id: &ExecutionId| {
            let worker = ClaimingWorker::new(lane(), CapabilitySet::default());
            let args = ExplainExecutionArgs::new(id.clone()).for_worker(worker);
            bench.backend.explain_execution(args).await.unwrap().reasons
        };
        assert_eq!(explain(&first).await, []);
        assert_eq!(claim(&bench, &[], 9).await, std::slice::from_ref(&first));

        let full = NotRunning::LimitReached {
            limit_key: KEY.into(),
            limit: "tenant/*".into(),
            max_running: 1,
            running: 1,
            holders: vec![first.clone()],
        };
        let reasons = explain(&second).await;
        let [NotRunning::RateReached { limit_key, next_start_ms, .. }, permits] = &reasons[..]
        else {
            panic!("{reasons:?}")
        };
        assert_eq!((permits, limit_key.as_str()), (&full, "api"));
        bench.cancel_one(&first).await;
        assert_eq!(explain(&second).await, reasons[..1]);
        bench.clock.advance(next_start_ms.0 - bench.clock.now().0 - 1);
        assert_eq!(claim(&bench, &[], 9).await, []);
        bench.clock.advance(1);
        assert_eq!(explain(&second).await, []);
        assert_eq!(claim(&bench, &[], 9).await, [second]);
    }

    async fn limits_are_set_listed_and_removed(bench) {
        assert_eq!(bench.backend.list_limits(None, 10).await.unwrap().limits, []);
        running(&bench, "b", 2).await;
        rate(&bench, "a", RateLimit::new(5, 60_000)).await;
        running(&bench, "b", 3).await;
        let page = bench.backend.list_limits(None, 1).await.unwrap();
        assert_eq!(page.limits[0].limit_key, "a");
        assert_eq!(page.limits[0].rate, Some(RateLimit::new(5, 60_000)));
        assert_eq!(page.next_cursor.as_deref(), Some("a"));
        let page = bench.backend.list_limits(page.next_cursor, 1).await.unwrap();
        let last = &page.limits[0];
        assert_eq!((last.limit_key.as_str(), last.max_running), ("b", Some(3)));
        assert_eq!((last.set_by.as_str(), last.set_at), ("ada", bench.clock.now()));
        assert_eq!(page.next_cursor, None);
        assert!(bench.backend.list_limits(None, 0).await.unwrap().limits.is_empty());
    }

    async fn bad_limits_and_keys_are_refused(bench) {
        let limit = |key: &str| SetLimitArgs::new(key, "ada");
        for (args, detail) in [
            (limit(""), "limit_key: must name a key, such as tenant/42"),
            (limit("/*"), "limit_key: must name a key, such as tenant/42"),
            (limit("a\0"), "limit_key: must not contain NUL (at byte 1)"),
            (limit("a").with_running(10_001), "max_running: 10001 exceeds 10000"),
            (limit("a").with_rate(RateLimit::new(0, 1_000)),
                "rate.count: must be between 1 and 1000000, got 0"),
            (limit("a").with_rate(RateLimit::new(1, 0)),
                "rate.per_ms: must be between 1 and 31622400000, got 0"),
            (limit("a").with_rate(RateLimit::new(1, 1).with_burst(0)),
                "rate.burst: must be between 1 and 1000, got 0"),
        ] {
            let refused = bench.backend.set_limit(args).await;
            assert_refused(refused, &format!("validation: InvalidInput: {detail}"));
        }
        assert!(bench.plain.rows("ff_limit").await.is_empty());

        let heavy = |weight, keys: &[&str]| ExecutionPolicy {
            limit_weight: Some(weight),
            ..keyed(keys)
        };
        for (policy, problem) in [
            (keyed(&["a", "b", "c", "d"]), "limit_keys: must be between 0 and 3, got 4"),
            (keyed(&[""]), "limit_keys[0]: \"\" is empty or contains NUL"),
            (keyed(&["a", "b\0"]), "limit_keys[1]: \"b\\0\" is empty or contains NUL"),
            (keyed(&["a/*"]), "limit_keys[0]: \"a/*\" stands for a family of keys; name one of them"),
            (keyed(&["a", "a"]), "limit_keys[1]: \"a\" is given twice"),
            (heavy(2, &[]), "limit_weight: has no effect without policy.limit_keys"),
            (heavy(0, &["a"]), "limit_weight: must be between 1 and 1000, got 0"),
        ] {
            let mut args = bench.args(&id());
            args.policy = Some(policy);
            let refused = bench.backend.create_execution(args).await;
            assert_refused(refused, &format!("validation: InvalidInput: policy.{problem}"));
        }
    }
}
