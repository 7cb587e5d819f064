//! Row 43: publishing where or when one should not.

use std::cell::RefCell;

use tidings::transport::Reason;
use tidings::{Bus, CompletedError};
use tokio::sync::mpsc;

use crate::kit::{Calls, Order, assert_conserved, counting, order, settled, within};

#[tokio::test]
async fn row_43_after_shutdown_every_way_to_emit_is_closed() {
    let bus = Bus::builder("shop").build().await.unwrap();
    let calls = counting(&bus);
    let publisher = bus.publisher::<Order>();
    publisher.emit(order(0)).await.unwrap();
    publisher.try_emit(order(0)).unwrap();
    bus.listen(|_: &Order| {});
    let report = bus.shutdown().await.unwrap();
    assert!(report.is_clean());
    let error = bus.emit(order(1)).await.unwrap_err();
    assert!(error.is_closed() && error.is_not_published());
    assert!(matches!(error.reason(), Reason::Closed));
    assert_eq!(error.into_event().unwrap(), order(1), "handed back");
    assert!(bus.try_emit(order(2)).unwrap_err().is_closed());
    assert!(publisher.emit(order(3)).await.unwrap_err().is_closed());
    assert!(publisher.try_emit(order(4)).unwrap_err().is_closed());
    let all = bus.emit_all([order(5), order(6)]).await;
    assert!(
        all.iter()
            .all(|sent| sent.as_ref().is_err_and(|error| error.is_closed()))
    );
    match bus.emit(order(7)).completed().await {
        Err(CompletedError::Publish(error)) => assert!(error.is_closed()),
        other => panic!("{other:?}"),
    }
    assert_eq!(calls.count(), 2);
    assert!(
        bus.shutdown().await.is_ok(),
        "a second one finds nothing left"
    );
}

/// A type that was never emitted before the shutdown has no snapshot from before.
#[tokio::test]
async fn row_43_the_first_emit_of_a_type_after_shutdown_is_closed() {
    let bus = Bus::builder("shop").build().await.unwrap();
    bus.shutdown().await.unwrap();
    assert!(bus.emit(order(1)).await.unwrap_err().is_closed());
    assert!(bus.try_emit(order(1)).unwrap_err().is_closed());
    assert!(
        !bus.on(async |_: Order| {}).is_accepted(),
        "nor is a handler taken"
    );
}

/// Emits when it is dropped.
struct Goodbye {
    bus: Bus,
    told: std::sync::mpsc::Sender<bool>,
}

impl Drop for Goodbye {
    fn drop(&mut self) {
        let _ = self.told.send(self.bus.try_emit(order(9)).is_ok());
    }
}

#[tokio::test]
async fn row_43_in_drop_it_is_done_or_closed() {
    let bus = Bus::builder("shop").build().await.unwrap();
    let calls = counting(&bus);
    let (told, hears) = std::sync::mpsc::channel();
    drop(Goodbye {
        bus: bus.clone(),
        told: told.clone(),
    });
    assert!(hears.recv().unwrap());
    settled(&bus).await;
    // While a panic unwinds.
    let goodbye = Goodbye {
        bus: bus.clone(),
        told: told.clone(),
    };
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _goodbye = goodbye;
        panic!("on the way out");
    }));
    assert!(unwound.is_err() && hears.recv().unwrap());
    settled(&bus).await;
    assert_eq!(calls.count(), 2);
    bus.shutdown().await.unwrap();
    drop(Goodbye {
        bus: bus.clone(),
        told,
    });
    assert!(!hears.recv().unwrap(), "closed, no panic");
    assert_conserved(&bus, 2);
}

thread_local! {
    static LAST: RefCell<Option<Goodbye>> = const { RefCell::new(None) };
}

/// A thread's own destructors run when our thread-locals may be gone already.
#[tokio::test]
async fn row_43_in_the_destructors_of_a_thread_it_neither_panics_nor_aborts() {
    let bus = Bus::builder("shop").build().await.unwrap();
    let calls = counting(&bus);
    bus.listen(|_: &Order| {});
    let (told, hears) = std::sync::mpsc::channel();
    let other = bus.clone();
    std::thread::spawn(move || {
        // First, so that it is destroyed last.
        LAST.set(Some(Goodbye {
            bus: other.clone(),
            told,
        }));
        other.try_emit(order(1)).unwrap();
    })
    .join()
    .unwrap();
    assert!(hears.recv().unwrap(), "published all the same");
    settled(&bus).await;
    assert_eq!(calls.count(), 2);
    assert_conserved(&bus, 2);
}

#[tokio::test]
async fn row_43_off_the_runtime_try_emit_is_the_variant_that_never_waits() {
    let bus = Bus::builder("shop").build().await.unwrap();
    let (send, mut seen) = mpsc::channel(8);
    bus.with(send)
        .on(async |send: mpsc::Sender<_>, order: Order| send.send(order).await.unwrap());
    let other = bus.clone();
    std::thread::spawn(move || other.try_emit(order(5)).map(drop).unwrap())
        .join()
        .unwrap();
    assert_eq!(within(seen.recv()).await, Some(order(5)));
    settled(&bus).await;
    assert_conserved(&bus, 1);
}

type Gate = std::sync::Arc<tokio::sync::Mutex<Option<tokio::sync::oneshot::Receiver<()>>>>;

/// contract: S3, a draining handler may emit; the closed bus is no failed attempt of it
#[tokio::test]
async fn row_43_a_handler_may_emit_while_the_bus_drains() {
    let bus = Bus::builder("shop").build().await.unwrap();
    let (calls, (go, gate)) = (Calls::default(), tokio::sync::oneshot::channel::<()>());
    let gate = std::sync::Arc::new(tokio::sync::Mutex::new(Some(gate)));
    bus.with((bus.clone(), calls.clone(), gate)).on(
        async |(bus, calls, gate): (Bus, Calls, Gate), order: Order| {
            calls.one();
            let first = gate.lock().await.take();
            if let Some(gate) = first {
                let _ = gate.await;
                bus.emit(Order { cents: 0, ..order }).await.unwrap();
            }
        },
    );
    bus.emit(order(1)).await.unwrap();
    let shutdown = tokio::spawn({
        let bus = bus.clone();
        async move { bus.shutdown().await }
    });
    within(async {
        while !bus.try_emit(order(2)).is_err_and(|error| error.is_closed()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    go.send(()).unwrap();
    within(shutdown).await.unwrap().unwrap();
    assert!(calls.count() >= 2, "the cascade was drained");
}
