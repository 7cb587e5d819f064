//! The object-safe shadow of the static traits: what the bus stores.
//!
//! Sealed by its blanket implementations: implement the static traits instead.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::{
    Browser, Capabilities, CloseReport, Consumer, Entry, GroupTopology, Health, Interest, Lag,
    Message, Name, Origin, PublishError, Receipt, Received, Signal, Subscribe, Topics, Topology,
    Transport, TransportError, TryPublish,
};

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

type Fallible<'a, T> = BoxFuture<'a, Result<T, TransportError>>;

mod sealed {
    pub trait Sealed {}
}

impl<T: Transport> sealed::Sealed for T {}

/// [`Transport`], object-safe.
pub trait DynTransport: Send + Sync + 'static + sealed::Sealed {
    /// See [`Transport::system`].
    fn system(&self) -> &'static str;
    /// See [`Transport::capabilities`].
    fn capabilities(&self) -> Capabilities;
    /// See [`Transport::declare`].
    fn declare<'a>(&'a self, topology: &'a Topology) -> Fallible<'a, ()>;
    /// See [`Transport::attach`].
    fn attach(&self, group: &GroupTopology) -> Result<(), TransportError>;
    /// See [`Transport::detach`].
    fn detach(&self, group: &Name, topics: &Topics);
    /// See [`Transport::interest`].
    fn interest(&self, topic: &Name) -> Interest;
    /// See [`Transport::try_publish`].
    fn try_publish(&self, message: Message, origin: &Origin) -> TryPublish;
    /// See [`Transport::publish`].
    fn publish(&self, message: Message, origin: Origin) -> BoxFuture<'_, Result<Receipt, PublishError>>;
    /// See [`Transport::subscribe`].
    fn subscribe(&self, subscribe: Subscribe) -> Fallible<'_, Box<dyn DynConsumer>>;
    /// See [`Transport::browse`].
    fn browse<'a>(&'a self, topic: &'a Name) -> Fallible<'a, Box<dyn DynBrowser>>;
    /// See [`Transport::lag`].
    fn lag<'a>(&'a self, group: &'a Name) -> Fallible<'a, Vec<Lag>>;
    /// See [`Transport::health`].
    fn health(&self) -> Health;
    /// See [`Transport::close`].
    fn close(&self, deadline: Duration) -> Fallible<'_, CloseReport>;
}

impl<T: Transport> DynTransport for T {
    fn system(&self) -> &'static str {
        Transport::system(self)
    }

    fn capabilities(&self) -> Capabilities {
        Transport::capabilities(self)
    }

    fn declare<'a>(&'a self, topology: &'a Topology) -> Fallible<'a, ()> {
        Box::pin(Transport::declare(self, topology))
    }

    fn attach(&self, group: &GroupTopology) -> Result<(), TransportError> {
        Transport::attach(self, group)
    }

    fn detach(&self, group: &Name, topics: &Topics) {
        Transport::detach(self, group, topics);
    }

    fn interest(&self, topic: &Name) -> Interest {
        Transport::interest(self, topic)
    }

    fn try_publish(&self, message: Message, origin: &Origin) -> TryPublish {
        Transport::try_publish(self, message, origin)
    }

    fn publish(&self, message: Message, origin: Origin) -> BoxFuture<'_, Result<Receipt, PublishError>> {
        Box::pin(Transport::publish(self, message, origin))
    }

    fn subscribe(&self, subscribe: Subscribe) -> Fallible<'_, Box<dyn DynConsumer>> {
        Box::pin(async move {
            let consumer = Transport::subscribe(self, subscribe).await?;
            Ok(Box::new(Open(consumer)) as Box<dyn DynConsumer>)
        })
    }

    fn browse<'a>(&'a self, topic: &'a Name) -> Fallible<'a, Box<dyn DynBrowser>> {
        Box::pin(async move {
            let browser = Transport::browse(self, topic).await?;
            Ok(Box::new(Open(browser)) as Box<dyn DynBrowser>)
        })
    }

    fn lag<'a>(&'a self, group: &'a Name) -> Fallible<'a, Vec<Lag>> {
        Box::pin(Transport::lag(self, group))
    }

    fn health(&self) -> Health {
        Transport::health(self)
    }

    fn close(&self, deadline: Duration) -> Fallible<'_, CloseReport> {
        Box::pin(Transport::close(self, deadline))
    }
}

struct Open<T>(T);

impl<T> sealed::Sealed for Open<T> {}

/// [`Consumer`], object-safe.
pub trait DynConsumer: Send + 'static + sealed::Sealed {
    /// See [`Consumer::receive`].
    fn receive<'a>(&'a mut self, max: usize, batch: &'a mut Vec<Received>) -> Fallible<'a, Signal>;
    /// See [`Consumer::close`].
    fn close(self: Box<Self>, deadline: Duration) -> Fallible<'static, ()>;
}

impl<C: Consumer> DynConsumer for Open<C> {
    fn receive<'a>(&'a mut self, max: usize, batch: &'a mut Vec<Received>) -> Fallible<'a, Signal> {
        Box::pin(self.0.receive(max, batch))
    }

    fn close(self: Box<Self>, deadline: Duration) -> Fallible<'static, ()> {
        Box::pin(async move { self.0.close(deadline).await })
    }
}

/// [`Browser`], object-safe.
pub trait DynBrowser: Send + 'static + sealed::Sealed {
    /// See [`Browser::next`].
    fn next(&mut self) -> Fallible<'_, Option<Entry>>;
    /// See [`Browser::remove`].
    fn remove<'a>(&'a mut self, entry: &'a Entry) -> Fallible<'a, ()>;
}

impl<B: Browser> DynBrowser for Open<B> {
    fn next(&mut self) -> Fallible<'_, Option<Entry>> {
        Box::pin(self.0.next())
    }

    fn remove<'a>(&'a mut self, entry: &'a Entry) -> Fallible<'a, ()> {
        Box::pin(self.0.remove(entry))
    }
}
