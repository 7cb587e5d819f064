//! How a handler joins its group: everything that can be wrong with a registration is found here.

use std::any::TypeId;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidings_transport::{Mode, Name};

use super::group::{Group, HandlerName};
use super::live::LiveGroup;
use super::registry::{interned, next_subscription};
use super::{GroupCore, Subscription};
use crate::handler::{Entry, ErasedHandler, HandlerInfo, Invoke, Replayable, Wanted};
use crate::pipeline::RetryPolicy;

impl Group {
    pub(super) fn register<I: Invoke>(
        &self,
        name: HandlerName,
        wanted: Wanted,
        site: &'static Location<'static>,
        event: Option<TypeId>,
        invoke: I,
    ) -> Subscription {
        // One registration at a time: what is checked here must still hold when it is done.
        let _registering = self.bus.registry().registering();
        if let Some(problem) = self.problem_before(site) {
            return self.refuse(&problem, event);
        }
        let wire = self.wire_name();
        if self.bus.registry().find_group(&wire).is_none() {
            let bus = self.bus.core();
            let mut problems = self.settings.check(&wire, &self.bus.defaults().retry);
            problems.extend(self.settings.check_against(
                &wire,
                bus.transport.system(),
                &bus.capabilities,
            ));
            if !problems.is_empty() {
                return self.refuse_all(&problems, event);
            }
        }
        let mut created = false;
        let group = self.bus.registry().group(&wire, || {
            created = true;
            Arc::new(LiveGroup::new(Arc::new(self.core(&wire))))
        });
        if created {
            self.bus.note_settings(&wire, self.stamp);
        } else if let Some(problem) = self.bus.settings_conflict(&wire, self.stamp) {
            return self.refuse(&format!("{problem} (at {site})"), event);
        }
        if let Some(other) = group
            .handlers()
            .iter()
            .find(|other| other.info().name == name.name)
        {
            let fix = if name.made_up {
                "two closures for one event need names: write `.named(\"…\").on(…)`"
            } else {
                "give one of them another name with `.named(\"…\")`"
            };
            let problem = format!(
                "group {wire:?} has two handlers named {:?}, at {} and at {site}: {fix}",
                name.name,
                other.info().site
            );
            return self.refuse(&problem, event);
        }
        let subscription = next_subscription();
        let info = HandlerInfo::new(
            name.name,
            subscription,
            wanted,
            site,
            Arc::clone(&group.core),
        );
        let handler: Arc<dyn ErasedHandler> = if self.replayable {
            let invoke = Replayable(Arc::new(invoke));
            Arc::new(Entry { info, invoke })
        } else {
            Arc::new(Entry { info, invoke })
        };
        self.warn_if_growing(&handler.info().wanted, site);
        if let Err(error) = group.add(handler) {
            let problem = format!("group {wire:?}: {} (at {site})", crate::text::chain(&error));
            group.remove(subscription);
            return self.refuse(&problem, event);
        }
        if self.bus.core().capabilities.durable {
            self.bus
                .core()
                .waits_for_start
                .store(true, Ordering::Release);
        } else {
            self.bus.run_group(&group);
        }
        Subscription::handler(&self.bus, group, subscription)
    }

    /// What forbids a registration now, whatever it is.
    fn problem_before(&self, site: &Location<'_>) -> Option<String> {
        let core = self.bus.core();
        if core.is_closing() {
            return Some(format!(
                "the handler at {site} comes after the shutdown: register before"
            ));
        }
        if core.capabilities.durable && core.started.load(Ordering::Acquire) {
            return Some(format!(
                "the handler at {site} comes after `start`: on {} register every handler before it",
                core.transport.system()
            ));
        }
        None
    }

    pub(super) fn refuse(&self, problem: &str, event: Option<TypeId>) -> Subscription {
        self.refuse_all(&[problem.to_owned()], event)
    }

    /// Kept for `start`, which returns all at once, and for each emit of the type.
    fn refuse_all(&self, problems: &[String], event: Option<TypeId>) -> Subscription {
        for problem in problems {
            let errors = &mut self.bus.registry().cold().errors;
            // Further handlers of a group with wrong settings say nothing new.
            if !errors.contains(problem) {
                tracing::error!(error = problem, "registration refused");
                errors.push(problem.clone());
            }
        }
        if let Some(event) = event {
            self.bus.registry().reject(event, &problems.join("; "));
        }
        Subscription::refused(&self.bus)
    }

    fn warn_if_growing(&self, wanted: &Wanted, site: &'static Location<'static>) {
        let handlers = 1 + self
            .bus
            .registry()
            .count_handlers(|other| match (wanted, other) {
                (Wanted::Type { event, .. }, Wanted::Type { event: other, .. }) => event == other,
                (Wanted::Pattern(pattern), Wanted::Pattern(other)) => pattern == other,
                _ => false,
            });
        let limit = self.bus.core().config.warn_handlers.max(1);
        if (handlers - 1).is_multiple_of(limit) && ((handlers - 1) / limit).is_power_of_two() {
            let event = match wanted {
                Wanted::Type { event, .. } => event.to_string(),
                Wanted::Pattern(pattern) => pattern.to_string(),
            };
            tracing::warn!(
                event,
                handlers,
                site = %site,
                "the number of handlers of one type keeps growing: does each get its `off`?"
            );
        }
    }

    fn core(&self, name: &Name) -> GroupCore {
        let mut settings = self.settings.clone();
        if settings.mode == Mode::AtMostOnce {
            settings.retry = RetryPolicy::none();
        }
        let mut layers = self.bus.handler_layers().to_vec();
        layers.extend(settings.layers.iter().cloned());
        GroupCore::new(
            Arc::clone(self.bus.core()),
            interned(name),
            settings,
            layers.into(),
        )
    }
}
