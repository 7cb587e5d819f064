//! The consuming side of a planted fault.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidings_memory::{Memory, MemoryConsumer};
use tidings_transport::{
    Batch, Consumer, Inbound, Received, Settle, Signal, Subscribe, Transport, TransportError,
};
use tokio_util::sync::CancellationToken;

use super::Plant;

pub(crate) struct PlantedConsumer<P> {
    memory: Memory,
    plant: Arc<P>,
    subscribe: Subscribe,
    consumer: MemoryConsumer,
}

impl<P: Plant> PlantedConsumer<P> {
    pub(crate) async fn open(
        memory: &Memory,
        plant: &Arc<P>,
        mut subscribe: Subscribe,
    ) -> Result<Self, TransportError> {
        plant.subscribe(&mut subscribe);
        let consumer = memory.subscribe(subscribe.clone()).await?;
        Ok(Self {
            memory: memory.clone(),
            plant: Arc::clone(plant),
            subscribe,
            consumer,
        })
    }

    fn wrap(&self, received: Received) -> Received {
        let mut inbound = Inbound::clone(&received);
        self.plant.disguise(&mut inbound);
        let revoked = received.revoked().clone();
        let held = if self.plant.acks_early() {
            received.ack();
            None
        } else {
            Some(received)
        };
        let plant = Arc::clone(&self.plant);
        Received::new(
            inbound,
            Arc::new(Proxy {
                plant,
                held: Mutex::new(held),
                revoked,
            }),
            0,
        )
    }
}

impl<P: Plant> Consumer for PlantedConsumer<P> {
    async fn receive(&mut self, max: usize, batch: &mut Batch) -> Result<Signal, TransportError> {
        // Where a fault takes all that came, this waits for more, as if nothing had.
        loop {
            let mut came = Batch::default();
            let signal = self.consumer.receive(max, &mut came).await?;
            let mut found = came.drain().collect();
            self.plant.deliver(&self.memory, &mut found);
            let found: Vec<_> = found
                .into_iter()
                .map(|received| self.wrap(received))
                .collect();
            let mut held = Lost(found);
            if self.plant.swallows_when_cancelled() {
                tokio::task::yield_now().await;
            }
            held.0.drain(..).for_each(|received| batch.push(received));
            if signal != Signal::Batch || !batch.is_empty() {
                return Ok(signal);
            }
        }
    }

    async fn close(self, deadline: Duration) -> Result<(), TransportError> {
        let closed = self.consumer.close(deadline).await;
        self.plant.left(&self.memory, &self.subscribe);
        closed
    }
}

/// Acks what nobody ever got, when its future is dropped.
struct Lost(Vec<Received>);

impl Drop for Lost {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Received::ack);
    }
}

/// Settles the memory transport's own delivery, or does not.
struct Proxy<P> {
    plant: Arc<P>,
    held: Mutex<Option<Received>>,
    revoked: CancellationToken,
}

impl<P> Proxy<P> {
    fn take(&self) -> Option<Received> {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl<P: Plant> Settle for Proxy<P> {
    fn ack(&self, _index: u64) {
        if let Some(received) = self.take() {
            self.plant.ack(received);
        }
    }

    fn release(&self, _index: u64, _message: Inbound) {
        if let Some(received) = self.take() {
            self.plant.release(received);
        }
    }

    fn revoked(&self) -> &CancellationToken {
        &self.revoked
    }
}
