use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use tidings_transport::{Carried, Envelope, EventId, Inbound, Name, Payload};

use super::dead::{Cause, Reason};
use super::job::{Delivered, Intake, Parsed};
use super::retry::Aside;
use crate::bus::{GroupCore, Table};
use crate::codec;
use crate::event::DecodeError;
use crate::handler::{ErasedHandler, Wanted};
use crate::text::{Escaped, chain, safe};

/// The handlers of one delivery, nearly always one.
pub(crate) type Handlers = SmallVec<[Arc<dyn ErasedHandler>; 2]>;

/// What is to be done with a delivery.
pub(crate) enum Plan {
    /// For the one handler there is.
    Sole(Arc<dyn ErasedHandler>),
    Handle(Handlers),
    DeadLetter(Cause),
    /// Nothing, by a named rule.
    Skip(&'static str),
}

impl Plan {
    /// The same for the one handler that an event comes back to.
    fn only(self, group: &GroupCore, aside: &Aside, failed: u32) -> Self {
        let handlers = match self {
            Self::Sole(handler) => std::iter::once(handler).collect(),
            Self::Handle(handlers) => handlers,
            // What it was put aside for was handled here once.
            Self::Skip(_) => Handlers::new(),
            Self::DeadLetter(_) => return self,
        };
        let name = &aside.handler;
        match handlers.into_iter().find(|it| it.info().name == *name) {
            Some(handler) => Self::Sole(handler),
            // In this process it was removed on purpose.
            None if !group.bus.capabilities.durable => Self::Skip(NO_HANDLER),
            None => {
                let text = format!(
                    "it was put aside for handler {name:?}, which the group does not have: \
                     register it under that name again"
                );
                let mut cause = Cause::new(Reason::Handler("no_handler"), safe(&text), failed);
                cause.first_failure = aside.first_failure;
                Self::DeadLetter(cause)
            }
        }
    }
}

/// Why an event is skipped whose handlers are all gone.
pub(crate) const NO_HANDLER: &str = "no handler left";

/// Reads envelopes and finds handlers for one group: the wire side of the one decode path.
pub(crate) struct Router {
    table: Arc<Table>,
    routes: HashMap<Name, Arc<Route>>,
    last: Option<(Name, Arc<Route>)>,
    /// Types of shared topics that were skipped and logged (house rule 12), bounded.
    skipped: HashMap<Name, u64>,
}

/// The handlers of one topic.
struct Route {
    typed: Vec<Typed>,
    any: Handlers,
    /// The topic was set explicitly by one of its types.
    shared: bool,
}

/// The handlers of one event type on one topic.
struct Typed {
    event: Name,
    newest: u32,
    handlers: Handlers,
}

/// How many topics, and how many foreign types, are remembered.
const MAX_REMEMBERED: usize = 1_024;

impl Router {
    pub(crate) fn new(table: Arc<Table>) -> Self {
        Self {
            table,
            routes: HashMap::new(),
            last: None,
            skipped: HashMap::new(),
        }
    }

    /// Takes a newer table into use.
    pub(crate) fn update(&mut self, table: Arc<Table>) {
        if !Arc::ptr_eq(&table, &self.table) {
            self.table = table;
            self.routes.clear();
            self.last = None;
        }
    }

    /// The handler of an event whose envelope is known, if it has one alone and there is nothing
    /// else to decide.
    #[inline]
    pub(crate) fn sole(
        &mut self,
        group: &GroupCore,
        delivered: Delivered<'_>,
    ) -> Option<&Arc<dyn ErasedHandler>> {
        let message = delivered.message();
        if !matches!(&self.last, Some((topic, _)) if *topic == message.topic) {
            self.find(&message.topic);
        }
        let (_, route) = self.last.as_ref()?;
        let envelope = delivered.envelope();
        let is_odd = |key: &Bytes| std::str::from_utf8(key).is_err();
        // Of what never left this process the data has not either.
        let is_whole = matches!(message.payload, Payload::Local(_)) || !delivered.is_local();
        if !is_whole
            || message.key.as_ref().is_some_and(is_odd)
            || envelope.hops >= group.bus.config.max_hops
            || !route.any.is_empty()
        {
            return None;
        }
        let mut typed = route.typed.iter();
        match &*typed.find(|typed| typed.event == envelope.name)?.handlers {
            [handler] => Some(handler),
            _ => None,
        }
    }

    /// Reads the envelope of what came encoded; an error is what is to be done instead.
    pub(crate) fn read(&mut self, group: &GroupCore, message: &Inbound) -> Result<Parsed, Plan> {
        if matches!(message.payload, Payload::Tombstone) {
            return Err(Plan::Skip("tombstone"));
        }
        let route = self.find(&message.topic);
        parse(group, &route, message).map_err(|error| {
            let cause = Cause::new(Reason::Decode(error.reason()), chain(&error), 0);
            Plan::DeadLetter(cause)
        })
    }

    /// Decides what becomes of what was received, and reads its envelope first if nobody has.
    pub(crate) fn route(&mut self, group: &GroupCore, intake: &mut Intake) -> Plan {
        if intake.is_unread() {
            match self.read(group, intake.message()) {
                Ok(parsed) => intake.read(parsed),
                Err(plan) => return plan,
            }
        }
        if matches!(intake.message().payload, Payload::Tombstone) {
            return Plan::Skip("tombstone");
        }
        let route = self.find(&intake.message().topic);
        let plan = self.plan(group, &route, intake);
        match intake.delivered().aside() {
            Some(aside) => {
                let failed = intake.message().origination.attempt.saturating_sub(1);
                plan.only(group, aside, failed)
            }
            None => plan,
        }
    }

    fn plan(&mut self, group: &GroupCore, route: &Route, intake: &Intake) -> Plan {
        let envelope = intake.delivered().envelope();
        if envelope.hops >= group.bus.config.max_hops {
            let text = format!(
                "{} handlers in a row led to this event, the limit is {}: a handler seems to emit what it handles",
                envelope.hops, group.bus.config.max_hops
            );
            return Plan::DeadLetter(Cause::new(Reason::HopLimit, text, 0));
        }
        if let Some(key) = &intake.message().key
            && std::str::from_utf8(key).is_err()
        {
            let error = DecodeError::not_utf8("key");
            return Plan::DeadLetter(Cause::new(Reason::Decode(error.reason()), chain(&error), 0));
        }
        let typed = route
            .typed
            .iter()
            .find(|typed| typed.event == envelope.name);
        match typed {
            Some(typed) if route.any.is_empty() => match &*typed.handlers {
                [handler] => Plan::Sole(Arc::clone(handler)),
                _ => Plan::Handle(typed.handlers.clone()),
            },
            Some(typed) => Plan::Handle(typed.handlers.iter().chain(&route.any).cloned().collect()),
            None if route.typed.is_empty() && route.any.is_empty() => Plan::Skip(NO_HANDLER),
            None if !route.any.is_empty() => Plan::Handle(route.any.clone()),
            None if route.shared => {
                self.note_skipped(group, envelope);
                Plan::Skip("another type on a shared topic")
            }
            None => {
                let error = DecodeError::unknown_type(&envelope.name, &intake.message().topic);
                Plan::DeadLetter(Cause::new(Reason::Decode(error.reason()), chain(&error), 0))
            }
        }
    }

    fn note_skipped(&mut self, group: &GroupCore, envelope: &Envelope) {
        if self.skipped.len() >= MAX_REMEMBERED && !self.skipped.contains_key(&envelope.name) {
            return;
        }
        let count = self.skipped.entry(envelope.name.clone()).or_insert(0);
        *count += 1;
        if *count == 1 {
            tracing::info!(
                event = %Escaped(&envelope.name),
                group = %group.name,
                "skipping a type of a shared topic that the group does not handle; said once per type"
            );
        }
    }

    #[inline]
    fn find(&mut self, topic: &Name) -> Arc<Route> {
        if let Some((name, route)) = &self.last
            && name == topic
        {
            return Arc::clone(route);
        }
        if self.routes.len() >= MAX_REMEMBERED {
            self.routes.clear();
        }
        let table = &self.table;
        let route = self
            .routes
            .entry(topic.clone())
            .or_insert_with(|| Arc::new(Route::new(table, topic)))
            .clone();
        self.last = Some((topic.clone(), Arc::clone(&route)));
        route
    }
}

impl Route {
    fn new(table: &Table, name: &Name) -> Self {
        let mut route = Self {
            typed: Vec::new(),
            any: Handlers::new(),
            shared: false,
        };
        for handler in &table.handlers {
            match &handler.info().wanted {
                Wanted::Type {
                    event,
                    version,
                    topic,
                    shared,
                    ..
                } if topic == name => {
                    route.shared |= *shared;
                    match route.typed.iter_mut().find(|typed| typed.event == *event) {
                        Some(typed) => {
                            typed.newest = typed.newest.max(*version);
                            typed.handlers.push(Arc::clone(handler));
                        }
                        None => route.typed.push(Typed {
                            event: event.clone(),
                            newest: *version,
                            handlers: std::iter::once(Arc::clone(handler)).collect(),
                        }),
                    }
                }
                Wanted::Pattern(pattern) if pattern.matches(name) => {
                    route.any.push(Arc::clone(handler));
                }
                Wanted::Type { .. } | Wanted::Pattern(_) => {}
            }
        }
        route
    }
}

/// Raw fields to an envelope and its data, by the bus's codec, else by house rule 12.
fn parse(group: &GroupCore, route: &Route, message: &Inbound) -> Result<Parsed, DecodeError> {
    let Carried::Raw(fields) = &message.envelope else {
        return Err(DecodeError::unknown_type("", &message.topic));
    };
    let Payload::Bytes(body) = &message.payload else {
        return Err(DecodeError::unknown_type("", &message.topic));
    };
    // contract: M1; what is larger than an event may be is not looked into (misuse 63)
    let limit = group.bus.capabilities.max_size;
    if body.len() > limit {
        return Err(DecodeError::too_large(body.len(), limit));
    }
    let fallback = || fallback_id(group, message);
    let (envelope, data) = codec::open(&*group.bus.codec, fields, body, &fallback)?;
    if let Some(envelope) = envelope {
        return Ok(Parsed { envelope, data });
    }
    if let Some(mapping) = group.bus.config.mapping(&message.topic) {
        let (mut envelope, data) = mapping.read(body, fallback, message.origination.published)?;
        let typed = route
            .typed
            .iter()
            .find(|typed| typed.event == envelope.name);
        envelope.version = typed.map_or(1, |typed| typed.newest);
        return Ok(Parsed { envelope, data });
    }
    let (name, version) = match &*route.typed {
        // Exactly one type has the topic: its latest version.
        [owner] => (owner.event.clone(), owner.newest),
        // Whoever takes any type takes a record of none.
        _ if !route.any.is_empty() => (Name::from_static(""), 1),
        _ => return Err(DecodeError::unknown_type("", &message.topic)),
    };
    group.counters.foreign();
    let mut envelope = Envelope::new(fallback(), name, version, Name::from_static(""));
    envelope.attributes_mut().time = message.origination.published;
    Ok(Parsed { envelope, data })
}

/// The id of a record that has none: its place where it has one, so that a redelivery has the
/// same, else a fresh one.
fn fallback_id(group: &GroupCore, message: &Inbound) -> EventId {
    group.counters.without_id();
    match message.origination.position {
        Some(position) => EventId::from(format!(
            "{}/{}/{}",
            message.topic, position.partition, position.offset
        )),
        None => EventId::fresh(group.bus.clock.now()).reused(),
    }
}
