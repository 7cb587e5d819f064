use std::any::Any;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tidings_transport::{BoxFuture, Name, Pattern as TopicPattern, Payload};
use tokio_util::sync::CancellationToken;

use super::replayable::Bystander;
use super::{AnyEvent, AnyHandler, Attempt, Cancel, EventArg, Handler, HandlerWith, Outcome};
use crate::Event;
use crate::bus::GroupCore;
use crate::codec::Codec;
use crate::event::{DecodeError, decode};
use crate::pipeline::{
    Again, Begun, Delivered, Finished, First, Job, Once, Run, begin, begin_encoded, deliver,
};

/// A registered handler, as the pipeline and the registry see it.
pub(crate) trait ErasedHandler: Send + Sync + 'static {
    fn info(&self) -> &HandlerInfo;
    /// Begins the first attempt at once, where nothing of the pipeline comes before it.
    fn begin(&self, delivered: Delivered<'_>, again: &mut Again) -> Begun;
    /// As [`begin`](Self::begin), for one delivery of a run after the other, as long as they are of
    /// this handler and end at once.
    fn begin_run(&self, run: &mut Run<'_>, again: &mut Again) -> Begun;
    /// One delivery, from its first attempt on or from where that stopped, to its end: one box,
    /// everything inside composed statically.
    fn deliver(self: Arc<Self>, job: Job, first: Option<First>) -> BoxFuture<'static, Finished>;
    /// Whether a replay may call it.
    fn is_replayable(&self) -> bool;
    /// The same handler in another group. One that no replay may call is there as removed: what it
    /// would get is found as it is live, and skipped.
    fn in_replay(&self, group: &Arc<GroupCore>) -> Arc<dyn ErasedHandler>;
}

/// What is known about a handler beside its code.
pub(crate) struct HandlerInfo {
    /// Its name, unique in its group and event: dedup marks and dead letters carry it.
    pub(crate) name: Name,
    /// Of the name, stable.
    pub(crate) hash: u64,
    /// Of the registration, unique in the process.
    pub(crate) subscription: u64,
    pub(crate) wanted: Wanted,
    pub(crate) site: &'static Location<'static>,
    pub(crate) group: Arc<GroupCore>,
    /// Read before every call, so an atomic; the token below wakes those that wait.
    removed: AtomicBool,
    gone: CancellationToken,
    /// How many spawned calls of it are inside a poll right now, for the watchdog.
    polled: AtomicU32,
}

/// A poll of a spawned call, until it is dropped.
pub(crate) struct Polling<'a>(&'a AtomicU32);

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Which events a handler gets.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    Type {
        event: Name,
        version: u32,
        topic: Name,
        /// The topic was set explicitly: other types on it are no mistake (house rule 12).
        shared: bool,
        type_name: &'static str,
    },
    Pattern(TopicPattern),
}

impl HandlerInfo {
    pub(crate) fn new(
        name: Name,
        subscription: u64,
        wanted: Wanted,
        site: &'static Location<'static>,
        group: Arc<GroupCore>,
    ) -> Self {
        let hash = crate::pipeline::stable_hash(name.as_bytes());
        let removed = AtomicBool::new(false);
        let gone = CancellationToken::new();
        let polled = AtomicU32::new(0);
        Self {
            name,
            hash,
            subscription,
            wanted,
            site,
            group,
            removed,
            gone,
            polled,
        }
    }

    /// The same registration in another group.
    fn in_group(&self, group: &Arc<GroupCore>) -> Self {
        Self::new(
            self.name.clone(),
            self.subscription,
            self.wanted.clone(),
            self.site,
            Arc::clone(group),
        )
    }

    /// A spawned call of it is polled.
    pub(crate) fn polling(&self) -> Polling<'_> {
        self.polled.fetch_add(1, Ordering::Relaxed);
        Polling(&self.polled)
    }

    pub(crate) fn is_polled(&self) -> bool {
        self.polled.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn remove(&self) {
        self.removed.store(true, Ordering::Release);
        self.gone.cancel();
    }

    /// Waits until the registration has ended. Cancel safe.
    pub(crate) async fn removed(&self) {
        self.gone.cancelled().await;
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }
}

/// How one kind of handler turns a delivery into a call.
pub(crate) trait Invoke: Send + Sync + 'static {
    /// What is decoded once, for every attempt.
    type Input: Clone + Send + Sync + 'static;

    fn decode(
        &self,
        delivered: Delivered<'_>,
        codec: &dyn Codec,
    ) -> Result<Self::Input, DecodeError>;

    /// The input where it needs no decoding.
    fn local(&self, delivered: Delivered<'_>) -> Option<Self::Input>;

    fn call(
        &self,
        input: Self::Input,
        delivered: Delivered<'_>,
        attempt: u32,
        group: &GroupCore,
    ) -> impl Future<Output = Outcome> + Send + 'static + use<Self>;

    /// The same handler once more, if a replay may call it.
    fn again(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }
}

/// A handler and what is known about it.
pub(crate) struct Entry<I> {
    pub(crate) info: HandlerInfo,
    pub(crate) invoke: I,
}

impl<I: Invoke> ErasedHandler for Entry<I> {
    fn info(&self) -> &HandlerInfo {
        &self.info
    }

    fn begin(&self, delivered: Delivered<'_>, again: &mut Again) -> Begun {
        match delivered.is_local() {
            true => begin(self, &mut Once::new(delivered), again),
            false => begin_encoded(self, delivered, again),
        }
    }

    fn begin_run(&self, run: &mut Run<'_>, again: &mut Again) -> Begun {
        begin(self, run, again)
    }

    fn deliver(self: Arc<Self>, job: Job, first: Option<First>) -> BoxFuture<'static, Finished> {
        Box::pin(deliver(self, job, first))
    }

    fn is_replayable(&self) -> bool {
        self.invoke.again().is_some()
    }

    fn in_replay(&self, group: &Arc<GroupCore>) -> Arc<dyn ErasedHandler> {
        let info = self.info.in_group(group);
        match self.invoke.again() {
            Some(invoke) => Arc::new(Entry { info, invoke }),
            None => {
                info.remove();
                let invoke = Bystander;
                Arc::new(Entry { info, invoke })
            }
        }
    }
}

/// A handler of one type.
pub(crate) struct Typed<H, A>(H, PhantomData<fn(A)>);

impl<H, A> Typed<H, A> {
    pub(crate) fn new(handler: H) -> Self {
        Self(handler, PhantomData)
    }
}

impl<H: Handler<A>, A: EventArg> Invoke for Typed<H, A> {
    type Input = Arc<A::Event>;

    fn decode(
        &self,
        delivered: Delivered<'_>,
        codec: &dyn Codec,
    ) -> Result<Self::Input, DecodeError> {
        typed(delivered, codec)
    }

    #[inline(always)]
    fn local(&self, delivered: Delivered<'_>) -> Option<Self::Input> {
        local(delivered)
    }

    fn call(
        &self,
        input: Self::Input,
        delivered: Delivered<'_>,
        attempt: u32,
        group: &GroupCore,
    ) -> impl Future<Output = Outcome> + Send + 'static + use<H, A> {
        self.0.call(argument(input, delivered, attempt, group))
    }
}

/// A handler of one type with state.
pub(crate) struct Stated<S, H, A>(S, H, PhantomData<fn(A)>);

impl<S, H, A> Stated<S, H, A> {
    pub(crate) fn new(state: S, handler: H) -> Self {
        Self(state, handler, PhantomData)
    }
}

impl<S, H, A> Invoke for Stated<S, H, A>
where
    S: Clone + Send + Sync + 'static,
    H: HandlerWith<S, A>,
    A: EventArg,
{
    type Input = Arc<A::Event>;

    fn decode(
        &self,
        delivered: Delivered<'_>,
        codec: &dyn Codec,
    ) -> Result<Self::Input, DecodeError> {
        typed(delivered, codec)
    }

    #[inline(always)]
    fn local(&self, delivered: Delivered<'_>) -> Option<Self::Input> {
        local(delivered)
    }

    fn call(
        &self,
        input: Self::Input,
        delivered: Delivered<'_>,
        attempt: u32,
        group: &GroupCore,
    ) -> impl Future<Output = Outcome> + Send + 'static + use<S, H, A> {
        self.1
            .call_with(self.0.clone(), argument(input, delivered, attempt, group))
    }
}

/// A handler of every event whose topic matches, undecoded.
pub(crate) struct Pattern<H>(pub(crate) H);

impl<H: AnyHandler> Invoke for Pattern<H> {
    type Input = ();

    fn decode(&self, _delivered: Delivered<'_>, _codec: &dyn Codec) -> Result<(), DecodeError> {
        Ok(())
    }

    fn local(&self, _delivered: Delivered<'_>) -> Option<()> {
        Some(())
    }

    fn call(
        &self,
        (): (),
        delivered: Delivered<'_>,
        attempt: u32,
        group: &GroupCore,
    ) -> impl Future<Output = Outcome> + Send + 'static + use<H> {
        self.0.call(AnyEvent::new(delivered, attempt, group))
    }
}

/// The event: moved where it never left this process, else decoded through the choke point.
fn typed<E: Event>(delivered: Delivered<'_>, codec: &dyn Codec) -> Result<Arc<E>, DecodeError> {
    if let Some(event) = local(delivered) {
        return Ok(event);
    }
    decode::<E>(delivered.envelope().version, &delivered.data(codec)?).map(Arc::new)
}

/// The event where it never left this process.
#[inline(always)]
fn local<E: Event>(delivered: Delivered<'_>) -> Option<Arc<E>> {
    let Payload::Local(local) = &delivered.message().payload else {
        return None;
    };
    let value: Arc<dyn Any + Send + Sync> = Arc::clone(&local.value);
    value.downcast().ok()
}

fn argument<A: EventArg>(
    event: Arc<A::Event>,
    delivered: Delivered<'_>,
    attempt: u32,
    group: &GroupCore,
) -> A {
    A::extract(Attempt {
        event,
        envelope: delivered.envelope(),
        message: delivered.message(),
        attempt,
        group: &group.name,
        cancel: &|| Cancel {
            draining: group.draining.clone(),
            revoked: delivered.revoked().clone(),
        },
    })
}
