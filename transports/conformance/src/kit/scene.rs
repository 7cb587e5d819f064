use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidings_transport::{Capabilities, Capability, DynTransport, Name, Topics};

use super::{Failure, Link};
use crate::harness::{Injector, Load, World};

/// How the suite runs its cases.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Counts of messages are multiplied by this.
    pub(crate) scale: usize,
    /// The time limit of one case.
    pub(crate) limit: Duration,
}

/// What one case works on: handles of its own, names of its own, and what it waits for.
#[derive(Clone)]
pub(crate) struct Scene(Arc<Shared>);

struct Shared {
    world: Arc<dyn World>,
    capabilities: Capabilities,
    settings: Settings,
    prefix: String,
    names: AtomicU64,
    step: Mutex<String>,
    open: Mutex<Vec<Arc<dyn DynTransport>>>,
    attached: Mutex<Vec<Attached>>,
}

struct Attached {
    transport: Arc<dyn DynTransport>,
    group: Name,
    topics: Topics,
}

impl Scene {
    pub(crate) fn new(
        world: Arc<dyn World>,
        capabilities: Capabilities,
        settings: Settings,
    ) -> Self {
        Self(Arc::new(Shared {
            world,
            capabilities,
            settings,
            prefix: unique_prefix(),
            names: AtomicU64::new(0),
            step: Mutex::new(String::from("the first step")),
            open: Mutex::default(),
            attached: Mutex::default(),
        }))
    }

    /// Opens a handle, closed when the case is over.
    pub(crate) async fn open(&self) -> Result<Link, Failure> {
        self.step("a handle to open");
        let transport = self.0.world.open().await?;
        lock(&self.0.open).push(Arc::clone(&transport));
        Ok(Link::new(self.clone(), transport))
    }

    /// Opens a handle that can be disturbed.
    pub(crate) async fn open_faulty(&self) -> Result<(Link, Box<dyn Injector>), Failure> {
        self.step("a handle with a fault injector to open");
        let (transport, injector) = self.0.world.open_faulty().await?;
        lock(&self.0.open).push(Arc::clone(&transport));
        Ok((Link::new(self.clone(), transport), injector))
    }

    /// A name that no other case, process or run uses.
    pub(crate) fn name(&self, what: &str) -> Name {
        let serial = self.0.names.fetch_add(1, Ordering::Relaxed);
        Name::from(format!("{}-{serial}-{what}", self.0.prefix))
    }

    /// A count of messages, larger in the full mode.
    pub(crate) fn scaled(&self, count: usize) -> usize {
        count * self.0.settings.scale
    }

    pub(crate) fn has(&self, capability: Capability) -> bool {
        self.0.capabilities.has(capability)
    }

    pub(crate) fn max_size(&self) -> usize {
        self.0.capabilities.max_size
    }

    pub(crate) fn quiet(&self) -> Duration {
        self.0.world.quiet()
    }

    pub(crate) fn resident_bound(&self, load: &Load) -> Option<usize> {
        self.0.world.resident_bound(load)
    }

    /// Says what is waited for from now on, for the text of a time-out.
    pub(crate) fn step(&self, what: impl Into<String>) {
        *lock(&self.0.step) = what.into();
    }

    pub(crate) fn waiting_for(&self) -> String {
        lock(&self.0.step).clone()
    }

    /// Asks again and again until it is so; the case's time limit bounds it.
    pub(crate) async fn until<F, Fut>(&self, what: &str, mut is_so: F) -> Result<(), Failure>
    where
        F: FnMut() -> Fut + Send,
        Fut: Future<Output = Result<bool, Failure>> + Send,
    {
        self.step(what);
        while !is_so().await? {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    pub(super) fn note_attached(
        &self,
        transport: &Arc<dyn DynTransport>,
        group: &Name,
        topics: &Topics,
    ) {
        lock(&self.0.attached).push(Attached {
            transport: Arc::clone(transport),
            group: group.clone(),
            topics: topics.clone(),
        });
    }

    /// Forgets a handle without closing it, as a crash would.
    pub(super) fn forget(&self, transport: &Arc<dyn DynTransport>) {
        lock(&self.0.open).retain(|open| !Arc::ptr_eq(open, transport));
        lock(&self.0.attached).retain(|attached| !Arc::ptr_eq(&attached.transport, transport));
    }

    /// Detaches every group and closes every handle, whatever became of the case.
    pub(crate) async fn clean_up(&self) {
        for attached in std::mem::take(&mut *lock(&self.0.attached)) {
            attached.transport.detach(&attached.group, &attached.topics);
        }
        let open = std::mem::take(&mut *lock(&self.0.open));
        // What a close leaves behind was the business of the cases about closing.
        let closing = open
            .iter()
            .map(|transport| transport.close(Duration::from_millis(200)));
        futures::future::join_all(closing).await;
    }
}

/// A panic in a case may not hide behind a poisoned lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unique_prefix() -> String {
    static RUN: OnceLock<String> = OnceLock::new();
    static CASES: AtomicU64 = AtomicU64::new(0);
    let run = RUN.get_or_init(|| {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        format!("{:x}-{:x}", since.as_micros(), std::process::id())
    });
    format!("tc-{run}-{}", CASES.fetch_add(1, Ordering::Relaxed))
}
