//! What the program prints: a timeline, and a balance that says whether every order ended.

use std::collections::HashSet;
use std::fmt::{self, Arguments};
use std::io::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tidings::{Bus, DeadLetter, Timestamp};

use super::{inventory, payment};

/// How many lines are printed, failures not counted, and how many orders they follow: a few whole
/// stories say more than the first chapter of many.
const FIRST: usize = 20;
const FOLLOWED: usize = 5;

type Closing = Box<dyn Fn() -> String + Send>;

/// Where consumers say what they did.
pub(crate) struct Report {
    begun: Instant,
    out: Mutex<Box<dyn Write + Send>>,
    followed: Mutex<Vec<String>>,
    printed: AtomicUsize,
    good_input: AtomicU64,
    bad_input: AtomicU64,
    counts: Counts,
    closing: Mutex<Vec<Closing>>,
}

/// What the consumers saw with their own eyes.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Counted by `inventory-service`.
    pub(crate) placed: AtomicU64,
    /// Counted by `notification-service`.
    pub(crate) paid: AtomicU64,
    /// Counted by `notification-service`.
    pub(crate) failed: AtomicU64,
}

impl Report {
    pub(crate) fn new(out: impl Write + Send + 'static) -> Self {
        Self {
            begun: Instant::now(),
            out: Mutex::new(Box::new(out)),
            followed: Mutex::default(),
            printed: AtomicUsize::new(0),
            good_input: AtomicU64::new(0),
            bad_input: AtomicU64::new(0),
            counts: Counts::default(),
            closing: Mutex::default(),
        }
    }

    /// Something went as it should: printed for the first few orders.
    pub(crate) fn line(&self, group: &str, order_id: &str, what: Arguments<'_>) {
        if self.printed.load(Ordering::Relaxed) >= FIRST || !self.follows(order_id) {
            return;
        }
        let before = self.printed.fetch_add(1, Ordering::Relaxed);
        if before < FIRST {
            self.event(' ', group, order_id, what);
        }
        if before + 1 == FIRST {
            self.print(format_args!("  and so on; from here on failures only"));
        }
    }

    /// Something did not: always printed.
    pub(crate) fn failure(&self, group: &str, order_id: &str, what: Arguments<'_>) {
        self.event('!', group, order_id, what);
    }

    /// Counts one event, where its handler is done with it.
    pub(crate) fn count(&self, which: impl Fn(&Counts) -> &AtomicU64) {
        which(&self.counts).fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn took_line(&self) {
        self.good_input.fetch_add(1, Ordering::Relaxed);
    }

    /// An order that could not be read, or not be published.
    pub(crate) fn bad_line(&self, what: &str) {
        self.bad_input.fetch_add(1, Ordering::Relaxed);
        self.print(format_args!("! {what}"));
    }

    /// Has a line printed at the end, above the balance.
    pub(crate) fn at_end(&self, line: impl Fn() -> String + Send + 'static) {
        lock(&self.closing).push(Box::new(line));
    }

    pub(crate) fn close(&self, balance: &Balance) {
        for letter in &balance.letters {
            self.print(format_args!("dead letter: {letter}"));
        }
        self.close_lines();
        self.print(format_args!("balance: {balance}"));
    }

    /// What one service of several saw.
    /// Of a program that places orders and waits until it is interrupted.
    pub(crate) fn all_placed(&self) {
        self.print(format_args!("all orders are placed: interrupt to end"));
    }

    pub(crate) fn close_one(&self) {
        self.close_lines();
        let counted = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (placed, paid, failed) = (
            counted(&self.counts.placed),
            counted(&self.counts.paid),
            counted(&self.counts.failed),
        );
        self.print(format_args!(
            "counted here: placed={placed} paid={paid} failed={failed}"
        ));
    }

    fn close_lines(&self) {
        for line in &*lock(&self.closing) {
            self.print(format_args!("{}", line()));
        }
        let (good, bad) = (&self.good_input, &self.bad_input);
        let (good, bad) = (good.load(Ordering::Relaxed), bad.load(Ordering::Relaxed));
        self.print(format_args!("input: {good} orders, {bad} bad"));
    }

    fn follows(&self, order_id: &str) -> bool {
        let mut followed = lock(&self.followed);
        if followed.len() < FOLLOWED && !followed.iter().any(|known| known == order_id) {
            followed.push(order_id.to_owned());
        }
        followed.iter().any(|known| known == order_id)
    }

    fn event(&self, mark: char, group: &str, order_id: &str, what: Arguments<'_>) {
        let millis = self.begun.elapsed().as_millis();
        self.print(format_args!(
            "{mark} {millis:>5} ms  {group:<20}  {order_id:<10}  {what}"
        ));
    }

    fn print(&self, line: Arguments<'_>) {
        // A reader that has seen enough (`| head`) is no reason to fail.
        let _ = writeln!(lock(&self.out), "{line}");
    }
}

/// The books: every order that was placed is paid, failed or dead.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) placed: u64,
    pub(crate) paid: u64,
    pub(crate) failed: u64,
    pub(crate) dead: u64,
    pub(crate) duplicates: u64,
    letters: Vec<String>,
}

impl Balance {
    /// Asks the consumers; what was fed in plays no part, so an order that got lost on its way to
    /// one of them shows. A group answers for what it handled and for what is in its dead letters.
    pub(crate) async fn strike(
        bus: &Bus,
        report: &Report,
        begun: Timestamp,
    ) -> Result<Self, tidings::transport::TransportError> {
        let counted = |count: &AtomicU64| count.load(Ordering::Relaxed);
        // On a broker those of earlier runs are there too.
        let new = |letter: &DeadLetter| letter.last_failure().is_none_or(|at| at >= begun);
        let mut unreserved = bus.dead_letters(inventory::GROUP).list().await?;
        let mut unpaid = bus.dead_letters(payment::GROUP).list().await?;
        unreserved.retain(new);
        unpaid.retain(new);
        let payments = bus.group(payment::GROUP).exact().stats();
        Ok(Self {
            placed: counted(&report.counts.placed) + orders(&unreserved),
            paid: counted(&report.counts.paid),
            failed: counted(&report.counts.failed),
            dead: orders(&unpaid),
            duplicates: payments.map_or(0, |stats| stats.duplicates),
            letters: unreserved.iter().chain(&unpaid).map(describe).collect(),
        })
    }

    pub(crate) fn holds(&self) -> bool {
        self.placed == self.paid + self.failed + self.dead
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            placed,
            paid,
            failed,
            dead,
            duplicates,
            ..
        } = self;
        let verdict = if self.holds() { "ok" } else { "MISMATCH" };
        write!(
            f,
            "placed={placed} paid={paid} failed={failed} dead={dead} duplicates={duplicates} {verdict}"
        )
    }
}

/// How many orders are dead: one that came twice and failed twice is one.
fn orders(letters: &[DeadLetter]) -> u64 {
    let distinct: HashSet<_> = letters
        .iter()
        .map(|letter| (letter.id(), letter.bytes()))
        .collect();
    distinct.len() as u64
}

fn describe(letter: &DeadLetter) -> String {
    let id = letter.id().map(|id| id.to_string()).unwrap_or_default();
    let (group, attempts) = (letter.group(), letter.attempts());
    format!(
        "{id} in {group}, attempts {attempts}, {}: {}",
        letter.reason(),
        letter.error()
    )
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
