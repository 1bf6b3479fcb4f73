//! Tags: small texts that callers hang on an execution.

use serde_json::json;

use crate::backends::conformance;
use crate::bench::{assert_refused, id};

conformance! {
    async fn a_tag_is_written_and_overwritten(bench) {
        let id = bench.create().await;
        let get = |key: &'static str| bench.backend.get_execution_tag(&id, key);
        assert_eq!(get("team.name").await.unwrap(), None);
        bench.backend.set_execution_tag(&id, "team.name", "a").await.unwrap();
        bench.backend.set_execution_tag(&id, "team.name", "b'\"\\").await.unwrap();
        bench.backend.set_execution_tag(&id, "team.name.x_1", "").await.unwrap();
        assert_eq!(get("team.name").await.unwrap().as_deref(), Some("b'\"\\"));
        assert_eq!(get("team.name.x_1").await.unwrap().as_deref(), Some(""));
        assert_eq!(get("cairn.instance_id").await.unwrap().as_deref(), Some("instance-7"));
        // Dots in a key are no path.
        let expected = json!({
            "cairn.instance_id": "instance-7",
            "team.name": "b'\"\\",
            "team.name.x_1": "",
        });
        assert_eq!(bench.core(&id).await.raw("tags"), expected);
    }

    async fn a_row_without_tags_takes_its_first(bench) {
        let id = id();
        bench.insert_core(&id, crate::bench::WAITING, vec![]).await;
        bench.backend.set_execution_tag(&id, "a.b", "c").await.unwrap();
        assert_eq!(bench.core(&id).await.raw("tags"), json!({ "a.b": "c" }));
    }

    async fn keys_are_checked_first(bench) {
        let id = id();
        for key in
            ["", "Cairn.x", "cairn", "cairn.", "cairn..x", "1cairn.x", "a b.c", "a.b c", "a.'", "a.B", "a.b-c", "a.\0"]
        {
            for result in [
                bench.backend.set_execution_tag(&id, key, "x").await,
                bench.backend.get_execution_tag(&id, key).await.map(drop),
            ] {
                let error = result.unwrap_err().to_string();
                assert!(error.contains(&format!("invalid tag key: {key:?}")), "{error}");
            }
        }
        assert_refused(
            bench.backend.set_execution_tag(&id, "a.b", "\0").await,
            "validation: InvalidInput: value: must not contain NUL (at byte 0)",
        );
    }

    async fn an_unknown_execution_takes_no_tag(bench) {
        let id = id();
        assert_refused(
            bench.backend.set_execution_tag(&id, "a.b", "c").await,
            "not found: execution",
        );
        assert_eq!(bench.backend.get_execution_tag(&id, "a.b").await.unwrap(), None);
    }

    async fn a_new_instance_tag_marks_what_happens_next(bench) {
        let id = id();
        bench.insert_core(&id, crate::bench::WAITING, vec![]).await;
        let handle = bench.claim().await;
        bench.backend.set_execution_tag(&id, "cairn.instance_id", "i-2").await.unwrap();
        bench.backend.complete(&handle, None).await.unwrap();
        let leases = bench.of("ff_lease_event", &id).await;
        let tags: Vec<&str> = leases.iter().map(|row| row.text("instance_tag")).collect();
        assert_eq!(tags, ["-", "i-2"]);
        let completion = bench.of("ff_completion_event", &id).await.swap_remove(0);
        assert_eq!(completion.text("instance_tag"), "i-2");
    }

    async fn tags_survive_what_happens_to_their_execution(bench) {
        let (id, handle) = bench.leased().await;
        bench.backend.set_execution_tag(&id, "a.b", "c").await.unwrap();
        bench.backend.progress(&handle, Some(1), None).await.unwrap();
        bench.backend.complete(&handle, None).await.unwrap();
        let tag = bench.backend.get_execution_tag(&id, "a.b").await.unwrap();
        assert_eq!(tag.as_deref(), Some("c"));
    }

    async fn tags_set_at_once_are_all_kept(bench) {
        let id = bench.create().await;
        let calls: Vec<_> = (0..24)
            .map(|number| {
                let (bench, id) = (std::sync::Arc::clone(&bench), id.clone());
                tokio::spawn(async move {
                    let key = format!("n.k{number}");
                    bench.backend.set_execution_tag(&id, &key, "v").await.unwrap();
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(bench.core(&id).await.raw("tags").as_object().unwrap().len(), 25);
    }
}
