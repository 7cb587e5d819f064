use std::future::Future;
use std::sync::Arc;

use super::{Invoke, Outcome};
use crate::bus::GroupCore;
use crate::codec::Codec;
use crate::event::DecodeError;
use crate::pipeline::Delivered;

/// A handler that replays may call.
pub(crate) struct Replayable<I>(pub(crate) Arc<I>);

impl<I: Invoke> Invoke for Replayable<I> {
    type Input = I::Input;

    fn decode(
        &self,
        delivered: Delivered<'_>,
        codec: &dyn Codec,
    ) -> Result<Self::Input, DecodeError> {
        self.0.decode(delivered, codec)
    }

    fn local(&self, delivered: Delivered<'_>) -> Option<Self::Input> {
        self.0.local(delivered)
    }

    fn call(
        &self,
        input: Self::Input,
        delivered: Delivered<'_>,
        attempt: u32,
        group: &GroupCore,
    ) -> impl Future<Output = Outcome> + Send + 'static + use<I> {
        self.0.call(input, delivered, attempt, group)
    }

    fn again(&self) -> Option<Self> {
        Some(Self(Arc::clone(&self.0)))
    }
}

/// Stands in a replay for a handler that it may not call.
pub(super) struct Bystander;

impl Invoke for Bystander {
    type Input = ();

    fn decode(&self, _delivered: Delivered<'_>, _codec: &dyn Codec) -> Result<(), DecodeError> {
        Ok(())
    }

    fn local(&self, _delivered: Delivered<'_>) -> Option<()> {
        None
    }

    fn call(
        &self,
        (): (),
        _delivered: Delivered<'_>,
        _attempt: u32,
        _group: &GroupCore,
    ) -> impl Future<Output = Outcome> + Send + 'static + use<> {
        std::future::ready(Outcome::Done)
    }
}
