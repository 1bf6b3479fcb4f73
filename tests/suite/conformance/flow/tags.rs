//! Tags of flows: flat members of the open bag.

use ff_core::types::FlowId;
use serde_json::json;

use crate::backends::conformance;
use crate::bench::assert_refused;
use crate::flow::{elsewhere, home};

conformance! {
    async fn a_tag_is_written_and_overwritten(bench) {
        let flow = bench.empty_flow().await;
        let get = async |key: &str| bench.backend.get_flow_tag(&flow.id, key).await.unwrap();
        assert_eq!(get("team.name").await, None);
        let before = bench.flow_row(&flow.id).await;
        bench.clock.advance(10);
        for value in ["a", "b'\"\\", ""] {
            bench.backend.set_flow_tag(&flow.id, "team.name", value).await.unwrap();
            assert_eq!(get("team.name").await.as_deref(), Some(value));
        }
        bench.backend.set_flow_tag(&flow.id, "team.name.x_1", "deep").await.unwrap();
        assert_eq!(get("team.name").await.as_deref(), Some(""));
        let row = bench.flow_row(&flow.id).await;
        assert_eq!(row.raw("team.name.x_1"), "deep", "flat, no path");
        assert_eq!(row.raw("last_mutation_at_ms"), before.raw("last_mutation_at_ms"));
        assert_eq!(row.int("graph_revision"), before.int("graph_revision"));
    }

    async fn an_ended_flow_takes_tags(bench) {
        for (flow, partition) in [(FlowId::new(), None), (elsewhere(), Some(0))] {
            let partition = partition.unwrap_or(home(&flow).index);
            let raw = json!({ "a.b": "old", "a.n": 3 });
            bench.insert_flow(&flow, partition, "cancelled", raw).await;
            let get = async |key: &str| bench.backend.get_flow_tag(&flow, key).await.unwrap();
            assert_eq!(get("a.b").await.as_deref(), Some("old"));
            assert_eq!(get("a.n").await, None, "a number is no tag");
            bench.backend.set_flow_tag(&flow, "a.b", "new").await.unwrap();
            assert_eq!(get("a.b").await.as_deref(), Some("new"));
            let row = bench.flow_row(&flow).await;
            assert_eq!(*row.json("raw_fields"), json!({ "a.b": "new", "a.n": 3 }));
        }
    }

    async fn keys_are_checked_first(bench) {
        let flow = bench.empty_flow().await;
        let before = bench.everything().await;
        for key in [
            "", "Cairn.x", "1cairn.x", "cairn", "cairn.", "cairn..x", ".cairn", "cair n.x",
            "ca-irn.x", "cairn.Foo", "cairn.foo bar", "cairn.foo\"bar", "cairn.foo-bar",
            "cairn.foo\\bar", "flow_kind",
        ] {
            for result in [
                bench.backend.set_flow_tag(&flow.id, key, "x").await,
                bench.backend.get_flow_tag(&FlowId::new(), key).await.map(drop),
            ] {
                let error = result.unwrap_err().to_string();
                assert!(error.contains(&format!("invalid tag key: {key:?}")), "{error}");
            }
        }
        assert_refused(
            bench.backend.set_flow_tag(&flow.id, "a.b", "\0").await,
            "validation: InvalidInput: value: must not contain NUL (at byte 0)",
        );
        assert_eq!(bench.everything().await, before);
        for key in ["cairn.session_id", "a.b", "a1_2.x", "app.sub.field", "x.y_z"] {
            bench.backend.set_flow_tag(&flow.id, key, key).await.unwrap();
        }
    }

    async fn an_unknown_flow_takes_no_tag(bench) {
        let before = bench.everything().await;
        let flow = FlowId::new();
        assert_refused(bench.backend.set_flow_tag(&flow, "a.b", "c").await, "not found: flow");
        assert_eq!(bench.backend.get_flow_tag(&flow, "a.b").await.unwrap(), None);
        assert_eq!(bench.everything().await, before);
    }
}
