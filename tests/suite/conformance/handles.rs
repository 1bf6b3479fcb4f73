//! Handles that are none, or another backend's.

use ff_core::backend::{BackendTag, Handle, HandleKind, HandleOpaque};
use ff_core::handle_codec;

use crate::backends::{Bench, conformance};
use crate::bench::opened;
use crate::conformance::fence::Fenced;

/// Every operation that takes a handle.
const BY_HANDLE: [Fenced; 8] = [
    Fenced::Progress,
    Fenced::Complete,
    Fenced::FailRetry,
    Fenced::FailFinal,
    Fenced::Cancel,
    Fenced::Delay,
    Fenced::Renew,
    Fenced::Append,
];

async fn all_refused(bench: &Bench, handle: &Handle, expected: &str) {
    let before = bench.everything().await;
    for operation in BY_HANDLE {
        let backend = &bench.backend;
        let result = match operation {
            Fenced::Progress => backend.progress(handle, None, None).await,
            Fenced::Complete => backend.complete(handle, None).await,
            Fenced::FailRetry | Fenced::FailFinal => {
                let reason = ff_core::backend::FailureReason::new("x");
                let class = ff_core::backend::FailureClass::Transient;
                backend.fail(handle, reason, class).await.map(drop)
            }
            Fenced::Cancel => backend.cancel(handle, "x").await,
            Fenced::Append => Fenced::Append.call(bench, handle).await,
            Fenced::Delay => backend.delay(handle, bench.clock.now()).await,
            _ => backend.renew(handle).await.map(drop),
        };
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{operation:?}: {error}");
    }
    assert_eq!(bench.everything().await, before);
}

conformance! {
    async fn another_backends_handle_is_refused(bench) {
        let (_, handle) = bench.leased().await;
        let payload = opened(&handle);
        let tags = [BackendTag::Valkey, BackendTag::Postgres, BackendTag::Sqlite, BackendTag::Memory];
        for tag in tags.into_iter().filter(|tag| *tag != bench.tag) {
            let own = bench.tag;
            let inner = handle_codec::encode(tag, &payload);
            let outside = Handle::new(tag, HandleKind::Fresh, inner.clone());
            let expected =
                format!("validation: HandleFromOtherBackend: expected={own:?} actual={tag:?}");
            all_refused(&bench, &outside, &expected).await;
            let inside = Handle::new(own, HandleKind::Fresh, inner);
            all_refused(&bench, &inside, &format!("{expected} (embedded tag)")).await;
        }
        bench.backend.complete(&handle, None).await.unwrap();
    }

    async fn the_first_version_belongs_to_another_backend(bench) {
        let (_, handle) = bench.leased().await;
        let bytes = handle_codec::v1_handle_for_tests(&opened(&handle)).into_boxed_slice();
        let old = Handle::new(bench.tag, HandleKind::Fresh, HandleOpaque::new(bytes));
        let own = bench.tag;
        let expected =
            format!("validation: HandleFromOtherBackend: expected={own:?} actual=Valkey");
        all_refused(&bench, &old, &expected).await;
    }

    async fn bytes_that_are_no_handle_are_corruption(bench) {
        let (_, handle) = bench.leased().await;
        let whole = handle.opaque.as_bytes().to_vec();
        let mut longer = whole.clone();
        longer.push(0);
        let mut broken = vec![Vec::new(), vec![9; 40], longer, b"' OR 1=1 --".to_vec()];
        broken.extend([1, 2, 3, 7, 20, whole.len() - 1].map(|length| whole[..length].to_vec()));
        for bytes in broken {
            let opaque = HandleOpaque::new(bytes.into_boxed_slice());
            let handle = Handle::new(bench.tag, HandleKind::Fresh, opaque);
            all_refused(&bench, &handle, "validation: Corruption: handle_codec: ").await;
        }
    }

    async fn a_handle_works_however_it_was_come_by(bench) {
        let (_, handle) = bench.leased().await;
        for kind in [HandleKind::Resumed, HandleKind::Suspended, HandleKind::Reclaimed] {
            let same = Handle::new(handle.backend, kind, handle.opaque.clone());
            bench.backend.renew(&same).await.unwrap();
        }
    }
}
