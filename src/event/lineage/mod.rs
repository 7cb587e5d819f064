use std::any::{TypeId, type_name};
use std::fmt;

use super::Event;

/// The versions of an event that a type can read, newest first.
///
/// The bus gathers it with [`Event::lineage`] and checks it at start: one name throughout, every
/// version just below the one before it. What the derive writes has been checked by the compiler
/// already; this finds the same mistakes in hand-written events.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidings::{Event, Lineage};
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(name = "order.placed", version = 3)]
/// struct OrderPlaced { order_id: String }
///
/// let lineage = Lineage::of::<OrderPlaced>();
/// assert!(lineage.check().is_ok());
/// assert!(lineage.versions().eq([3]));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Lineage {
    steps: Vec<Step>,
    next: Option<fn(&mut Lineage)>,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    name: &'static str,
    version: u32,
    type_name: &'static str,
    type_id: TypeId,
}

impl Lineage {
    /// The most steps that are followed. No event has so many versions; a cycle that no type
    /// repeats, as generic types can make, has more.
    pub const MAX_STEPS: usize = 1_000;

    /// The lineage of an event. It ends where a type is met again and after
    /// [`MAX_STEPS`](Self::MAX_STEPS), which [`check`](Self::check) then reports.
    #[must_use]
    pub fn of<E: Event>() -> Self {
        let mut lineage = Self::default();
        E::lineage(&mut lineage);
        while let Some(next) = lineage.next.take() {
            if lineage.is_over() {
                break;
            }
            next(&mut lineage);
        }
        lineage
    }

    /// Adds the event itself. Beyond [`MAX_STEPS`](Self::MAX_STEPS) nothing is added.
    pub fn push<E: Event>(&mut self) {
        if self.steps.len() < Self::MAX_STEPS {
            self.steps.push(Step {
                name: E::NAME,
                version: E::VERSION,
                type_name: type_name::<E>(),
                type_id: TypeId::of::<E>(),
            });
        }
    }

    /// Says whose lineage follows. It is gathered after this call has returned, so that a chain
    /// that bites its tail ends. Of several calls the last one counts.
    pub fn then<Previous: Event>(&mut self) {
        self.next = Some(Previous::lineage);
    }

    /// The versions, newest first.
    pub fn versions(&self) -> impl Iterator<Item = u32> {
        self.steps.iter().map(|step| step.version)
    }

    /// Checks that the chain has one name and goes down version by version.
    ///
    /// # Errors
    ///
    /// [`LineageError`] with the chain down to the first broken link.
    pub fn check(&self) -> Result<(), LineageError> {
        let Some(first) = self.steps.first() else {
            return Err(LineageError::new(&[], "it names no version".into()));
        };
        if first.version == 0 {
            return Err(LineageError::new(
                &self.steps[..1],
                "versions start at 1".into(),
            ));
        }
        for at in 1..self.steps.len() {
            let (above, step) = (&self.steps[at - 1], &self.steps[at]);
            let seen = &self.steps[..at];
            let mistake = if seen.iter().any(|earlier| earlier.type_id == step.type_id) {
                format!("{} is there twice, the chain has no end", step.type_name)
            } else if step.name != first.name {
                "versions of one event share its name".into()
            } else if step.version >= above.version {
                "each version is made from the one just below it".into()
            } else if step.version == 0 {
                "versions start at 1".into()
            } else if step.version + 1 < above.version {
                missing(step.version + 1, above.version - 1)
            } else {
                continue;
            };
            return Err(LineageError::new(&self.steps[..=at], mistake));
        }
        if self.steps.len() >= Self::MAX_STEPS {
            let mistake = format!("the chain goes on after {} versions", Self::MAX_STEPS);
            return Err(LineageError::new(&self.steps, mistake));
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let Some((last, earlier)) = self.steps.split_last() else {
            return true;
        };
        self.steps.len() >= Self::MAX_STEPS
            || earlier.iter().any(|step| step.type_id == last.type_id)
    }
}

fn missing(from: u32, to: u32) -> String {
    if from == to {
        format!("v{from} is missing")
    } else {
        format!("v{from} to v{to} are missing")
    }
}

/// A chain of versions with a gap, a cycle or two names, shown down to the broken link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{chain}: {mistake}")]
pub struct LineageError {
    chain: String,
    mistake: String,
}

impl LineageError {
    fn new(steps: &[Step], mistake: String) -> Self {
        Self {
            chain: Chain(steps).to_string(),
            mistake,
        }
    }
}

/// `order.placed: v3 (app::V3) -> v1 (app::V1)`; of a long chain only both ends, and a name only
/// where it changes.
struct Chain<'a>(&'a [Step]);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        let Some(first) = self.0.first() else {
            return f.write_str("the lineage of an event");
        };
        write!(f, "{}: ", first.name)?;
        let hidden = self.0.len().saturating_sub(2 * SHOWN);
        for (at, step) in self.0.iter().enumerate() {
            if hidden > 0 && (SHOWN..SHOWN + hidden).contains(&at) {
                if at == SHOWN {
                    write!(f, " -> ({hidden} more)")?;
                }
                continue;
            }
            f.write_str(if at == 0 { "" } else { " -> " })?;
            if step.name != first.name {
                write!(f, "{} ", step.name)?;
            }
            write!(f, "v{} ({})", step.version, step.type_name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
