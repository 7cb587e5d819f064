//! The object-safe shadow of the static traits: what the bus stores.
//!
//! Sealed by its blanket implementations: implement the static traits instead.

use std::{future::Future, pin::Pin, time::Duration};

use crate::{
    Batch, Browser, Capabilities, CloseReport, Consumer, Entry, GroupTopology, Health, Interest,
    Lag, Message, Name, Origin, PublishError, Receipt, Signal, Subscribe, Topics, Topology,
    Transport, TryPublish, error::Result,
};

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

mod sealed {
    pub trait Sealed {}
}

// Declares the methods of `DynTransport` and forwards them to `Transport`; the future of an
// `async` one is boxed, and what it opens is passed through the function after `=>`.
macro_rules! shadow {
    (
        $(fn $now:ident($($arg:ident: $Arg:ty),*) $(-> $Now:ty)?;)+
        $(async fn $later:ident($($given:ident: $Given:ty),*) -> $Later:ty $(=> $open:ident)?;)+
    ) => {
        /// [`Transport`], object-safe.
        pub trait DynTransport: Send + Sync + 'static + sealed::Sealed {
            $(
                #[doc = concat!("See [`Transport::", stringify!($now), "`].")]
                fn $now(&self, $($arg: $Arg),*) $(-> $Now)?;
            )+
            $(
                #[doc = concat!("See [`Transport::", stringify!($later), "`].")]
                fn $later<'a>(&'a self, $($given: $Given),*) -> BoxFuture<'a, $Later>;
            )+
        }

        impl<T: Transport> DynTransport for T {
            $(
                fn $now(&self, $($arg: $Arg),*) $(-> $Now)? {
                    Transport::$now(self, $($arg),*)
                }
            )+
            $(
                fn $later<'a>(&'a self, $($given: $Given),*) -> BoxFuture<'a, $Later> {
                    Box::pin(shadow!(@ Transport::$later(self, $($given),*) $(, $open)?))
                }
            )+
        }
    };
    (@ $call:expr) => { $call };
    (@ $call:expr, $open:ident) => { async move { $call.await.map($open) } };
}

shadow! {
    fn system() -> &'static str;
    fn capabilities() -> Capabilities;
    fn attach(group: &GroupTopology) -> Result<()>;
    fn detach(group: &Name, topics: &Topics);
    fn interest(topic: &Name) -> Interest;
    fn try_publish(message: Message, origin: &Origin) -> TryPublish;
    fn health() -> Health;
    async fn declare(topology: &'a Topology) -> Result<()>;
    async fn publish(message: Message, origin: Origin) -> Result<Receipt, PublishError>;
    async fn subscribe(subscribe: Subscribe) -> Result<Box<dyn DynConsumer>> => consumer;
    async fn browse(topic: &'a Name) -> Result<Box<dyn DynBrowser>> => browser;
    async fn lag(group: &'a Name) -> Result<Vec<Lag>>;
    async fn examine(topology: &'a Topology) -> Result<Vec<String>>;
    async fn close(deadline: Duration) -> Result<CloseReport>;
}

impl<T: Transport> sealed::Sealed for T {}

/// [`Consumer`], object-safe.
pub trait DynConsumer: Send + 'static + sealed::Sealed {
    /// See [`Consumer::receive`].
    fn receive<'a>(&'a mut self, max: usize, batch: &'a mut Batch)
    -> BoxFuture<'a, Result<Signal>>;
    /// See [`Consumer::close`].
    fn close(self: Box<Self>, deadline: Duration) -> BoxFuture<'static, Result<()>>;
}

/// [`Browser`], object-safe.
pub trait DynBrowser: Send + 'static + sealed::Sealed {
    /// See [`Browser::next`].
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Entry>>>;
    /// See [`Browser::remove`].
    fn remove<'a>(&'a mut self, entry: &'a Entry) -> BoxFuture<'a, Result<()>>;
}

// What a transport opened, in a type of our own: the seal above already covers every transport.
struct Open<T>(T);

impl<T> sealed::Sealed for Open<T> {}

fn consumer(consumer: impl Consumer) -> Box<dyn DynConsumer> {
    Box::new(Open(consumer))
}

impl<C: Consumer> DynConsumer for Open<C> {
    fn receive<'a>(
        &'a mut self,
        max: usize,
        batch: &'a mut Batch,
    ) -> BoxFuture<'a, Result<Signal>> {
        Box::pin(self.0.receive(max, batch))
    }

    fn close(self: Box<Self>, deadline: Duration) -> BoxFuture<'static, Result<()>> {
        Box::pin(self.0.close(deadline))
    }
}

fn browser(browser: impl Browser) -> Box<dyn DynBrowser> {
    Box::new(Open(browser))
}

impl<B: Browser> DynBrowser for Open<B> {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Entry>>> {
        Box::pin(self.0.next())
    }

    fn remove<'a>(&'a mut self, entry: &'a Entry) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.0.remove(entry))
    }
}
