//! What all connections share: topics, groups, and who gets what.
//!
//! Publishers read an immutable table of topics and take no lock to find their groups. Changes are
//! made under one lock, which builds the next table.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tidings_transport::{ErrorKind, GroupTopology, Name, Topics, TransportError};

use crate::browse::Retained;
use crate::config::MemoryConfig;
use crate::error;
use crate::group::Group;
use crate::hash::NameHasher;
use crate::line::Topic;
use crate::route::Route;
use crate::sync::lock;

/// Topics by name.
pub(crate) type Table = HashMap<Name, Entry, BuildHasherDefault<NameHasher>>;

/// A topic and where its messages go.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) topic: Arc<Topic>,
    pub(crate) route: Arc<Route>,
}

/// Counts of what had no effect, over all connections of one store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Messages dropped because their group was removed and nobody was left to take them.
    pub dropped: u64,
    /// Messages given back too late, because they were final before they were handed over (D9).
    pub late: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) dropped: AtomicU64,
    pub(crate) late: AtomicU64,
}

pub(crate) struct Store {
    pub(crate) config: MemoryConfig,
    pub(crate) counters: Arc<Counters>,
    /// Unique in the process.
    pub(crate) id: u64,
    table: ArcSwap<Table>,
    /// How often the table was replaced.
    generation: AtomicU64,
    registry: Mutex<Registry>,
}

#[derive(Default)]
struct Registry {
    groups: BTreeMap<Name, Registered>,
    next_group: u64,
}

struct Registered {
    group: Arc<Group>,
    topics: Topics,
    dead_letters: Option<Name>,
}

impl Store {
    pub(crate) fn new(config: MemoryConfig) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            config,
            counters: Arc::default(),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            table: ArcSwap::default(),
            generation: AtomicU64::new(0),
            registry: Mutex::default(),
        }
    }

    /// The topics known now.
    #[inline]
    pub(crate) fn table(&self) -> arc_swap::Guard<Arc<Table>> {
        self.table.load()
    }

    /// How often the table was replaced: ask before looking at it.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn replace(&self, table: Table) {
        self.table.store(Arc::new(table));
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            dropped: self.counters.dropped.load(Ordering::Relaxed),
            late: self.counters.late.load(Ordering::Relaxed),
        }
    }

    /// The entry of a topic, made if need be; the text of the error says why its name is refused.
    pub(crate) fn entry(&self, topic: &Name) -> Result<Entry, String> {
        if let Some(entry) = self.table().get(topic) {
            return Ok(entry.clone());
        }
        error::check_name("topic", topic)?;
        let registry = lock(&self.registry);
        let mut table = Table::clone(&self.table());
        let entry = table
            .entry(topic.clone())
            .or_insert_with(|| registry.resolve(topic))
            .clone();
        self.replace(table);
        Ok(entry)
    }

    pub(crate) fn group(&self, name: &Name) -> Result<Arc<Group>, TransportError> {
        let registry = lock(&self.registry);
        let registered = registry
            .groups
            .get(name)
            .ok_or_else(|| error::missing_group(name))?;
        Ok(Arc::clone(&registered.group))
    }

    /// A group begins to get topics; `contradiction` is the kind of error for other settings.
    pub(crate) fn attach(
        &self,
        wanted: &GroupTopology,
        contradiction: ErrorKind,
    ) -> Result<Arc<Group>, TransportError> {
        check(wanted)?;
        let mut registry = lock(&self.registry);
        if let Some(registered) = registry.groups.get(&wanted.name) {
            registered
                .agrees(wanted)
                .map_err(|text| TransportError::new(contradiction, text))?;
        }
        let registered = registry.register(wanted, &self.config, &self.counters);
        registered.add(wanted);
        let (group, topics) = (Arc::clone(&registered.group), &registered.topics);

        let mut table = Table::clone(&self.table());
        for (name, entry) in &mut table {
            if topics.contains(name) && !entry.route.has(&group) {
                let groups = entry
                    .route
                    .groups
                    .iter()
                    .cloned()
                    .chain([Arc::clone(&group)]);
                entry.reroute(Route::new(groups.collect(), entry.route.retained.clone()));
            }
        }
        if let Some(name) = &wanted.dead_letters {
            let entry = table
                .entry(name.clone())
                .or_insert_with(|| registry.resolve(name));
            if entry.route.retained.is_none() {
                let retained = Arc::new(Retained::new(self.config.dead_letters));
                entry.reroute(Route::new(entry.route.groups.to_vec(), Some(retained)));
            }
        }
        self.replace(table);
        Ok(group)
    }

    /// A group no longer gets topics; without any left it is removed.
    pub(crate) fn detach(&self, name: &Name, topics: &Topics) {
        let mut registry = lock(&self.registry);
        let Some(registered) = registry.groups.get_mut(name) else {
            return;
        };
        registered
            .topics
            .exact
            .retain(|topic| !topics.exact.contains(topic));
        registered
            .topics
            .patterns
            .retain(|pattern| !topics.patterns.contains(pattern));
        let group = Arc::clone(&registered.group);
        let left = registered.topics.clone();

        let mut table = Table::clone(&self.table());
        let mut rerouted = Vec::new();
        for (name, entry) in &mut table {
            if entry.route.has(&group) && !left.contains(name) {
                let groups = entry
                    .route
                    .groups
                    .iter()
                    .filter(|other| other.id != group.id);
                let groups = groups.cloned().collect();
                entry.reroute(Route::new(groups, entry.route.retained.clone()));
                rerouted.push(Arc::clone(&entry.topic));
            }
        }
        self.replace(table);
        let removed = left.exact.is_empty() && left.patterns.is_empty();
        if removed {
            registry.groups.remove(name);
        }
        drop(registry);

        if removed {
            group.remove();
        }
        // Who waited for this group alone can go on now.
        for topic in rerouted {
            while topic.serve_one() {}
        }
    }

    /// Fails unless a group exists as it is described.
    pub(crate) fn verify(&self, wanted: &GroupTopology) -> Result<(), TransportError> {
        check(wanted)?;
        let registry = lock(&self.registry);
        let registered = registry.groups.get(&wanted.name);
        let registered = registered.ok_or_else(|| error::missing_group(&wanted.name))?;
        let conflict = |text| TransportError::new(ErrorKind::Conflict, text);
        registered.agrees(wanted).map_err(conflict)?;
        if let Some(topic) = wanted
            .topics
            .exact
            .iter()
            .find(|topic| !registered.topics.contains(topic))
        {
            return Err(TransportError::new(
                ErrorKind::Missing,
                format!(
                    "group {:?} does not get topic {topic:?}: attach it first",
                    wanted.name
                ),
            ));
        }
        Ok(())
    }
}

impl Drop for Store {
    /// Nobody can publish any more: consumers drain what is queued and end.
    fn drop(&mut self) {
        let groups = std::mem::take(&mut lock(&self.registry).groups);
        groups
            .values()
            .for_each(|registered| registered.group.remove());
    }
}

impl Entry {
    fn reroute(&mut self, route: Route) {
        self.route = Arc::new(route);
        self.topic.reroute(&self.route);
    }
}

impl Registry {
    /// A new entry for a topic, with the groups that get it.
    fn resolve(&self, topic: &Name) -> Entry {
        let groups = self
            .groups
            .values()
            .filter(|registered| registered.topics.contains(topic))
            .map(|registered| Arc::clone(&registered.group))
            .collect();
        let route = Arc::new(Route::new(groups, None));
        Entry {
            topic: Topic::new(Arc::clone(&route)),
            route,
        }
    }

    fn register(
        &mut self,
        wanted: &GroupTopology,
        config: &MemoryConfig,
        counters: &Arc<Counters>,
    ) -> &mut Registered {
        let id = self.next_group;
        self.groups.entry(wanted.name.clone()).or_insert_with(|| {
            self.next_group += 1;
            let capacity = wanted.queue.unwrap_or(config.queue);
            let group = Group::new(
                id,
                wanted.name.clone(),
                wanted.ordered,
                capacity,
                config.spill,
                Arc::clone(counters),
            );
            Registered {
                group: Arc::new(group),
                topics: Topics::default(),
                dead_letters: None,
            }
        })
    }
}

impl Registered {
    /// Whether another description of this group says the same; the error says what differs.
    fn agrees(&self, wanted: &GroupTopology) -> Result<(), String> {
        let name = &wanted.name;
        if self.group.ordered != wanted.ordered {
            let (is, not) = if self.group.ordered {
                ("ordered", "unordered")
            } else {
                ("unordered", "ordered")
            };
            return Err(format!(
                "group {name:?} is {is} and cannot become {not}: remove it first"
            ));
        }
        if let Some(queue) = wanted.queue
            && queue != self.group.capacity
        {
            return Err(format!(
                "group {name:?} has a queue of {} messages, not {queue}: remove it first",
                self.group.capacity
            ));
        }
        if let (Some(has), Some(wants)) = (&self.dead_letters, &wanted.dead_letters)
            && has != wants
        {
            return Err(format!(
                "group {name:?} keeps its dead letters in {has:?}, not {wants:?}: remove it first"
            ));
        }
        Ok(())
    }

    fn add(&mut self, wanted: &GroupTopology) {
        for topic in &wanted.topics.exact {
            if !self.topics.exact.contains(topic) {
                self.topics.exact.push(topic.clone());
            }
        }
        for pattern in &wanted.topics.patterns {
            if !self.topics.patterns.contains(pattern) {
                self.topics.patterns.push(pattern.clone());
            }
        }
        if self.dead_letters.is_none() {
            self.dead_letters = wanted.dead_letters.clone();
        }
    }
}

fn check(wanted: &GroupTopology) -> Result<(), TransportError> {
    error::check_name("group", &wanted.name).map_err(error::config)?;
    for topic in wanted.topics.exact.iter().chain(&wanted.dead_letters) {
        error::check_name("topic", topic).map_err(error::config)?;
    }
    if wanted.queue == Some(0) {
        return Err(error::config(format!(
            "the queue of group {:?} is 0: use at least 1 message",
            wanted.name
        )));
    }
    Ok(())
}
