use std::fmt;

use tidings_transport::{Capability, Name};

use super::Bus;
use crate::handler::Wanted;

impl Bus {
    /// How the bus is put together: transport, groups, handlers, topics, settings, and what the
    /// transport can or cannot do for them.
    #[must_use]
    pub fn explain(&self) -> Explain {
        let core = self.core();
        let mut lines = Vec::new();
        let (able, unable): (Vec<_>, Vec<_>) = Capability::ALL
            .into_iter()
            .partition(|each| core.capabilities.has(*each));
        let list = |all: Vec<Capability>| {
            all.iter()
                .map(Capability::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        lines.push(format!("transport can: {}", list(able)));
        lines.push(format!(
            "transport cannot: {} (refused where asked for)",
            list(unable)
        ));
        lines.push(String::from(
            "the bus does itself: dedup, order per key in the process, retry, dead letters",
        ));
        for group in self.registry().groups() {
            let settings = &group.core.settings;
            let stopped = if group.core.counters.stats().stopped {
                ", stopped"
            } else {
                ""
            };
            let retries = group.core.retries.as_ref();
            let retries = retries.map_or(String::new(), |topic| format!(", retries by {topic}"));
            lines.push(format!(
                "group {}: concurrency {}, window {}, {} attempts, deadline {:?}, {}, dead letters in {}{retries}{stopped}",
                group.core.name,
                settings.concurrency,
                settings.window,
                settings.retry.attempts,
                settings.deadline,
                match (settings.ordered, &group.core.retries) {
                    (true, None) => "ordered per key",
                    (true, Some(_)) => "ordered per key but for retries",
                    (false, _) => "unordered",
                },
                group.core.dead_letters.as_deref().unwrap_or("nothing: they are lost"),
            ));
            for handler in group.handlers() {
                let info = handler.info();
                lines.push(match &info.wanted {
                    Wanted::Type { event, version, topic, type_name, .. } => format!(
                        "  {} handles {event} v{version} ({type_name}) from {topic}, registered at {}",
                        info.name, info.site
                    ),
                    Wanted::Pattern(pattern) => format!(
                        "  {} handles every topic {pattern}, registered at {}",
                        info.name, info.site
                    ),
                });
            }
        }
        Explain {
            service: core.service.clone(),
            transport: core.transport.system(),
            health: core.transport.health().to_string(),
            lines,
            problems: self.registry().cold().errors.clone(),
        }
    }
}

/// How a bus is put together, for people: see [`Bus::explain`].
#[derive(Clone, Debug)]
pub struct Explain {
    pub(super) service: Name,
    pub(super) transport: &'static str,
    pub(super) health: String,
    pub(super) lines: Vec<String>,
    pub(super) problems: Vec<String>,
}

impl Explain {
    /// Everything that `start` would refuse.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for Explain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "bus {} on {} ({})",
            self.service, self.transport, self.health
        )?;
        self.lines
            .iter()
            .try_for_each(|line| writeln!(f, "  {line}"))?;
        self.problems
            .iter()
            .try_for_each(|problem| writeln!(f, "  problem: {problem}"))
    }
}
