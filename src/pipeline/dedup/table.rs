use super::MOST;

/// A bounded map from fingerprints to records, oldest first.
///
/// Records lie in one `Vec` and are linked in the order in which they were last made new; an
/// open-addressed index finds them. Evicting takes exactly the oldest record, one at a time, so
/// the newest `capacity` fingerprints are always there: caches that admit by frequency forget the
/// very ids that dedup must keep, those seen once. Safe Rust, 36 bytes a record and 8 · 4/3 for
/// its slots: under 47 bytes an id when full. It grows by doubling, to no more than its capacity.
#[derive(Debug)]
pub(super) struct Table {
    records: Vec<Record>,
    slots: Vec<Slot>,
    live: usize,
    capacity: usize,
    // Ends of the list of live records, and the list of unused ones through `newer`.
    oldest: u32,
    newest: u32,
    unused: u32,
}

/// What is known about one id (X1: a mark per handler).
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    id: [u32; 4],
    /// A digest of the payload; all zero when it is not known.
    pub(super) payload: [u16; 3],
    /// When it was last made new, in ticks.
    pub(super) tick: u16,
    /// The handlers that are done, one bit each.
    pub(super) done: u32,
    newer: u32,
    older: u32,
}

const _: () = assert!(size_of::<Record>() == 36, "G10 counts on it");

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The low half of the fingerprint's first word: where the record would like to be.
    tag: u32,
    at: u32,
}

const NONE: u32 = u32::MAX;
const EMPTY: Slot = Slot { tag: 0, at: NONE };
const SMALLEST: usize = 64;

impl Table {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            records: Vec::new(),
            slots: Vec::new(),
            live: 0,
            // One id may need two records.
            capacity: capacity.clamp(2, MOST),
            oldest: NONE,
            newest: NONE,
            unused: NONE,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.live
    }

    pub(super) fn get(&self, fingerprint: u128) -> Option<&Record> {
        self.find(fingerprint)
            .map(|(_, at)| &self.records[at as usize])
    }

    pub(super) fn oldest(&self) -> Option<&Record> {
        self.records.get(self.oldest as usize)
    }

    pub(super) fn newest(&self) -> Option<&Record> {
        self.records.get(self.newest as usize)
    }

    /// The record of a fingerprint, made new as of `tick`, and the tick of the oldest record if
    /// that had to make room.
    pub(super) fn renew(&mut self, fingerprint: u128, tick: u16) -> (&mut Record, Option<u16>) {
        let mut evicted = None;
        let at = match self.find(fingerprint) {
            Some((_, at)) => {
                if self.records[at as usize].tick != tick {
                    self.unlink(at);
                    self.link_newest(at);
                }
                at
            }
            None => {
                if self.live == self.capacity {
                    evicted = self.oldest().map(|record| record.tick);
                    self.remove_oldest();
                }
                self.insert(fingerprint)
            }
        };
        let record = &mut self.records[at as usize];
        record.tick = tick;
        (record, evicted)
    }

    /// Forgets the oldest record, if there is one.
    pub(super) fn remove_oldest(&mut self) {
        let at = self.oldest;
        let Some(record) = self.records.get(at as usize) else {
            return;
        };
        if let Some((slot, _)) = self.find(join(record.id)) {
            self.vacate(slot);
        }
        self.unlink(at);
        self.records[at as usize].newer = self.unused;
        self.unused = at;
        self.live -= 1;
    }

    /// Forgets everything and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.slots.fill(EMPTY);
        self.live = 0;
        (self.oldest, self.newest, self.unused) = (NONE, NONE, NONE);
    }

    /// Bytes taken from the allocator.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.records.capacity() * size_of::<Record>() + self.slots.capacity() * size_of::<Slot>()
    }

    fn insert(&mut self, fingerprint: u128) -> u32 {
        let record = Record {
            id: split(fingerprint),
            payload: [0; 3],
            tick: 0,
            done: 0,
            newer: NONE,
            older: NONE,
        };
        let at = match self.records.get(self.unused as usize) {
            Some(unused) => {
                let at = self.unused;
                self.unused = unused.newer;
                self.records[at as usize] = record;
                at
            }
            None => {
                if self.records.len() == self.records.capacity() {
                    self.grow();
                }
                self.records.push(record);
                (self.records.len() - 1) as u32
            }
        };
        self.occupy(Slot {
            tag: split(fingerprint)[0],
            at,
        });
        self.link_newest(at);
        self.live += 1;
        at
    }

    /// Twice the room, and an index three quarters full when that room is used up.
    #[cold]
    fn grow(&mut self) {
        let room = (self.records.len() * 2).clamp(SMALLEST, self.capacity.max(SMALLEST));
        self.records
            .reserve_exact(room.saturating_sub(self.records.len()));
        self.slots = vec![EMPTY; room + room / 3 + 1];
        for at in 0..self.records.len() {
            self.occupy(Slot {
                tag: self.records[at].id[0],
                at: at as u32,
            });
        }
    }

    fn home(&self, tag: u32) -> usize {
        // Scales the tag to the number of slots, which need not be a power of two.
        ((u64::from(tag) * self.slots.len() as u64) >> 32) as usize
    }

    fn after(&self, slot: usize) -> usize {
        if slot + 1 == self.slots.len() {
            0
        } else {
            slot + 1
        }
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from {
            to - from
        } else {
            to + self.slots.len() - from
        }
    }

    /// The slot and the place of a record. Ends at an empty slot, of which there always is one.
    fn find(&self, fingerprint: u128) -> Option<(usize, u32)> {
        if self.slots.is_empty() {
            return None;
        }
        let id = split(fingerprint);
        let mut slot = self.home(id[0]);
        loop {
            let Slot { tag, at } = self.slots[slot];
            if at == NONE {
                return None;
            }
            if tag == id[0] && self.records[at as usize].id == id {
                return Some((slot, at));
            }
            slot = self.after(slot);
        }
    }

    fn occupy(&mut self, entry: Slot) {
        let mut slot = self.home(entry.tag);
        while self.slots[slot].at != NONE {
            slot = self.after(slot);
        }
        self.slots[slot] = entry;
    }

    /// Empties a slot and moves back what was displaced past it, so that no search ends early.
    fn vacate(&mut self, mut hole: usize) {
        let mut slot = hole;
        loop {
            slot = self.after(slot);
            let entry = self.slots[slot];
            if entry.at == NONE {
                break;
            }
            if self.distance(self.home(entry.tag), slot) >= self.distance(hole, slot) {
                self.slots[hole] = entry;
                hole = slot;
            }
        }
        self.slots[hole] = EMPTY;
    }

    fn link_newest(&mut self, at: u32) {
        let before = self.newest;
        let record = &mut self.records[at as usize];
        (record.older, record.newer) = (before, NONE);
        match self.records.get_mut(before as usize) {
            Some(before) => before.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
    }

    fn unlink(&mut self, at: u32) {
        let Record { older, newer, .. } = self.records[at as usize];
        match self.records.get_mut(older as usize) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        match self.records.get_mut(newer as usize) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
    }
}

fn split(fingerprint: u128) -> [u32; 4] {
    [0, 32, 64, 96].map(|shift| (fingerprint >> shift) as u32)
}

fn join(id: [u32; 4]) -> u128 {
    id.iter()
        .rev()
        .fold(0, |joined, &part| joined << 32 | u128::from(part))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Compares with the plainest thing that could be right, through growth, eviction, renewal,
    /// clearing and (few tags) long displaced runs.
    #[test]
    fn it_behaves_like_a_list_searched_from_end_to_end() {
        for seed in 0..20 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let capacity = rng.usize(2..300);
            let mut table = Table::new(capacity);
            let mut model: VecDeque<(u128, u16)> = VecDeque::new();
            for step in 0..5_000_u32 {
                let tick = (step / 50) as u16;
                let tag = if seed % 2 == 0 {
                    u128::from(rng.u32(..))
                } else {
                    rng.u128(..5) << 29
                };
                let fingerprint = tag | (rng.u128(..400) << 64);
                match rng.u32(..100) {
                    0 if step % 1_000 == 0 => {
                        table.clear();
                        model.clear();
                    }
                    0..=5 => {
                        table.remove_oldest();
                        model.pop_front();
                    }
                    _ => {
                        let old = model.iter().position(|(id, _)| *id == fingerprint);
                        let full = old.is_none() && model.len() == capacity;
                        let forgotten = full.then(|| model.pop_front()).flatten();
                        let (record, evicted) = table.renew(fingerprint, tick);
                        assert_eq!(record.tick, tick);
                        assert_eq!(evicted, forgotten.map(|(_, tick)| tick));
                        match old {
                            Some(at) if model[at].1 == tick => {}
                            Some(at) => {
                                model.remove(at);
                                model.push_back((fingerprint, tick));
                            }
                            None => model.push_back((fingerprint, tick)),
                        }
                    }
                }
                assert_eq!(table.len(), model.len());
                assert_eq!(
                    table.oldest().map(|r| join(r.id)),
                    model.front().map(|m| m.0)
                );
                assert_eq!(
                    table.newest().map(|r| join(r.id)),
                    model.back().map(|m| m.0)
                );
                let known = model.iter().any(|m| m.0 == fingerprint);
                assert_eq!(table.get(fingerprint).is_some(), known);
            }
            for (id, tick) in &model {
                assert_eq!(table.get(*id).map(|record| record.tick), Some(*tick));
            }
        }
    }

    #[test]
    fn a_full_table_takes_under_48_bytes_an_id_and_grows_no_more() {
        for capacity in [1_000, 100_000, 262_145] {
            let mut table = Table::new(capacity);
            let mut rng = fastrand::Rng::with_seed(1);
            for n in 0..capacity * 2 {
                let (_, evicted) = table.renew(rng.u128(..), 0);
                assert_eq!(evicted.is_some(), n >= capacity);
            }
            assert_eq!(table.len(), capacity);
            assert!(
                table.bytes() < 48 * capacity,
                "{} for {capacity}",
                table.bytes()
            );
        }
    }
}
