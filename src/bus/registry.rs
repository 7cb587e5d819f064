//! Who is registered for what. Everything here is cold: it changes when a program starts, not
//! when it emits.

use std::any::TypeId;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::{DashMap, Entry};
use tidings_transport::{Encoder, Name};

use super::core::BusCore;
use super::live::LiveGroup;
use super::slot::{AnySlot, Kind, Slot};
use crate::Event;
use crate::codec::TypedEncoder;
use crate::emit::{Heard, Tap};
use crate::event::Lineage;
use crate::handler::{ErasedHandler, Wanted};

/// The taps over all types.
pub(crate) type Taps = Arc<[TapEntry]>;

/// One tap: whose it is, and its closure.
type TapEntry = (Arc<Heard>, Arc<dyn Fn(&Tap<'_>) + Send + Sync>);

/// The handlers of one group, immutable; swapped when one is added or removed.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) handlers: Vec<Arc<dyn ErasedHandler>>,
}

/// A name that lives as long as the program: events carry it, and cloning it counts no reference.
/// The first 1,024 services and groups of a program get one; what comes after is shared.
pub(super) fn interned(name: &Name) -> Name {
    const MOST: usize = 1_024;
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(&**name) {
        return Name::from_static(known);
    }
    if names.len() >= MOST || name.len() > MAX_INTERNED {
        return name.clone();
    }
    let text: &'static str = Box::leak(Box::from(&**name));
    names.insert(text);
    Name::from_static(text)
}

/// The longest name that is kept for the program's life, in bytes.
const MAX_INTERNED: usize = 256;

/// A number for a subscription, unique in the process; larger is later. 0 is nobody's.
pub(crate) fn next_subscription() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(crate) struct Registry {
    slots: DashMap<TypeId, Arc<dyn AnySlot>>,
    groups: DashMap<Name, Arc<LiveGroup>>,
    /// What is being replayed, by its group.
    replays: DashMap<Name, Arc<LiveGroup>>,
    cold: Mutex<Cold>,
    /// Held while a handler is added or removed, so that what the transport is told comes in the
    /// same order.
    changing: Mutex<()>,
}

#[derive(Default)]
pub(super) struct Cold {
    /// Wire identities, and the types that claim them.
    identities: HashMap<(Name, u32), (TypeId, &'static str)>,
    /// Types whose identity was refused: what is wrong with them is said already.
    pub(super) refused: HashMap<TypeId, String>,
    taps: Vec<TapEntry>,
    /// Everything wrong with the registrations so far; `start` returns them all at once.
    pub(super) errors: Vec<String>,
    /// Which chain of settings each group was made with.
    pub(super) stamps: HashMap<Name, Option<u64>>,
}

impl Registry {
    pub(super) fn new() -> Self {
        Self {
            slots: DashMap::new(),
            groups: DashMap::new(),
            replays: DashMap::new(),
            cold: Mutex::default(),
            changing: Mutex::default(),
        }
    }

    pub(super) fn registering(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cold(&self) -> MutexGuard<'_, Cold> {
        self.cold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot of a type, made at its first use.
    pub(super) fn slot<E: Event>(&self, core: &Arc<BusCore>) -> Arc<Slot<E>> {
        let event = TypeId::of::<E>();
        if let Some(slot) = self.slots.get(&event).map(|slot| Arc::clone(&slot))
            && let Ok(slot) = slot.as_any().downcast::<Slot<E>>()
        {
            return slot;
        }
        self.identify::<E>();
        let made = Arc::new(Slot::<E>::new(Arc::clone(core), kind::<E>(core)));
        let kept = self.slots.entry(event).or_insert(made).clone();
        // Read once the slot can be found: no tap, refusal or shutdown that came meanwhile is
        // missed.
        if let Some(why) = self.cold().refused.get(&event).cloned() {
            kept.reject(why.into());
        }
        kept.refresh(self.taps());
        match kept.as_any().downcast::<Slot<E>>() {
            Ok(slot) => slot,
            // The key is the type, so this cannot be; a slot apart would still work.
            Err(_) => Arc::new(Slot::new(Arc::clone(core), kind::<E>(core))),
        }
    }

    /// Checks a type's wire identity against those known (misuse 10, 11), once.
    fn identify<E: Event>(&self) {
        let event = TypeId::of::<E>();
        let type_name = std::any::type_name::<E>();
        let lineage = Lineage::of::<E>().check();
        let mut cold = self.cold();
        if cold.refused.contains_key(&event) {
            return;
        }
        let mut errors: Vec<String> = lineage
            .err()
            .map(|error| error.to_string())
            .into_iter()
            .collect();
        let identity = (Name::from_static(E::NAME), E::VERSION);
        match cold.identities.get(&identity) {
            Some((other, other_name)) if *other != event => errors.push(format!(
                "event {:?} version {} is declared by two types, {other_name} and {type_name}: give one of them another name or version",
                E::NAME,
                E::VERSION,
            )),
            Some(_) => return,
            None => {
                cold.identities.insert(identity, (event, type_name));
            }
        }
        for error in &errors {
            tracing::error!(error, "event type refused");
        }
        if let Some(first) = errors.first() {
            cold.refused.insert(event, first.clone());
        }
        cold.errors.extend(errors);
    }

    pub(super) fn taps(&self) -> Taps {
        self.cold().taps.clone().into()
    }

    pub(super) fn add_tap(&self, heard: Arc<Heard>, tap: Arc<dyn Fn(&Tap<'_>) + Send + Sync>) {
        self.cold().taps.push((heard, tap));
        self.refresh();
    }

    pub(super) fn remove_tap(&self, subscription: u64) {
        // Dropped last and outside of every lock: what a tap owns may use the bus as it goes.
        let _removed: Vec<_> = {
            let mut cold = self.cold();
            let is_it = |tap: &mut (Arc<Heard>, _)| tap.0.subscription == subscription;
            cold.taps
                .extract_if(.., is_it)
                .inspect(|(heard, _)| heard.remove())
                .collect()
        };
        self.refresh();
    }

    /// Brings every snapshot up to date.
    pub(super) fn refresh(&self) {
        let taps = self.taps();
        let slots: Vec<_> = self.slots.iter().map(|slot| Arc::clone(&slot)).collect();
        slots
            .iter()
            .for_each(|slot| slot.refresh(Arc::clone(&taps)));
    }

    /// Refuses all emits of a type.
    pub(super) fn reject(&self, event: TypeId, why: &str) {
        if let Some(slot) = self.slots.get(&event) {
            slot.reject(why.into());
        }
    }

    pub(super) fn has_listeners(&self, event: TypeId) -> bool {
        self.slots
            .get(&event)
            .is_some_and(|slot| slot.listeners() > 0)
    }

    /// The group of this name, made where it is missing.
    pub(super) fn group(
        &self,
        name: &Name,
        make: impl FnOnce() -> Arc<LiveGroup>,
    ) -> Arc<LiveGroup> {
        Arc::clone(&self.groups.entry(name.clone()).or_insert_with(make))
    }

    pub(super) fn find_group(&self, name: &str) -> Option<Arc<LiveGroup>> {
        self.groups.get(name).map(|group| Arc::clone(&group))
    }

    /// How many handlers, over all groups, want what `fits` says.
    pub(super) fn count_handlers(&self, fits: impl Fn(&Wanted) -> bool) -> usize {
        let in_group = |group: &Arc<LiveGroup>| {
            group
                .handlers()
                .iter()
                .filter(|handler| fits(&handler.info().wanted))
                .count()
        };
        self.groups().iter().map(in_group).sum()
    }

    /// All groups, by name.
    pub(super) fn groups(&self) -> Vec<Arc<LiveGroup>> {
        let mut groups: Vec<_> = self.groups.iter().map(|group| Arc::clone(&group)).collect();
        groups.sort_by(|a, b| a.core.name.cmp(&b.core.name));
        groups
    }

    /// Makes place for a replay of a group; `false` while there is one.
    pub(super) fn begin_replay(&self, replay: &Arc<LiveGroup>) -> bool {
        let place = self.replays.entry(replay.core.name.clone());
        let is_free = matches!(place, Entry::Vacant(_));
        place.or_insert_with(|| Arc::clone(replay));
        is_free
    }

    pub(super) fn end_replay(&self, group: &Name) {
        // Dropped outside of the lock: its handlers are the user's.
        drop(self.replays.remove(group));
    }

    pub(super) fn find_replay(&self, group: &str) -> Option<Arc<LiveGroup>> {
        self.replays.get(group).map(|it| Arc::clone(&it))
    }

    /// What is being replayed.
    pub(super) fn replays(&self) -> Vec<Arc<LiveGroup>> {
        self.replays.iter().map(|it| Arc::clone(&it)).collect()
    }

    /// Lets go of every handler and listener.
    pub(super) fn clear(&self) {
        for group in self.groups().into_iter().chain(self.replays()) {
            group.table.store(Arc::default());
        }
        // Outside of every lock: what a listener or tap owns may use the bus as it goes.
        let taps = std::mem::take(&mut self.cold().taps);
        let slots: Vec<_> = self.slots.iter().map(|slot| Arc::clone(&slot)).collect();
        self.slots.clear();
        slots.iter().for_each(|slot| slot.clear());
        drop(taps);
    }
}

fn kind<E: Event>(core: &Arc<BusCore>) -> Kind {
    Kind {
        name: Name::from_static(E::NAME),
        topic: topic_of::<E>(),
        source: E::SOURCE.map_or_else(|| core.service.clone(), Name::from_static),
        encoder: match core.usual_codec {
            true => Encoder::from_static(const { &TypedEncoder::<E>::USUAL }),
            false => Encoder::new(TypedEncoder::<E>::new(Arc::clone(&core.codec))),
        },
    }
}

/// Where events of a type go: the topic set explicitly, else its name.
pub(super) fn topic_of<E: Event>() -> Name {
    Name::from_static(E::TOPIC.unwrap_or(E::NAME))
}
