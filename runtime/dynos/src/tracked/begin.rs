//! What an action changes the moment it is begun, before anybody knows how it went.

use super::memory::Memory;
use super::metrics::Load;
use super::{Action, Container, Phase, Probe, SAMPLE_MS, Said, Tracked};
use crate::checks::Pulse;
use crate::output::state_line as line;
use crate::spec::{DynoId, EndCause, Slot, Wanted};

impl Tracked {
    /// A container is about to be started in the slot under this id.
    pub fn begin_start(&mut self, id: DynoId, slot: &Slot, wanted: &Wanted, now_ms: u64) -> Said {
        self.touch(slot);
        let place = self.places.entry(slot.clone()).or_default();
        let spec = &wanted.spec;
        let mut container = Container {
            slot: slot.clone(),
            app: spec.app.clone(),
            name: spec.name.clone(),
            command: spec.command.clone(),
            port: spec.port,
            boot_timeout: wanted.boot_timeout,
            stop_grace: wanted.stop_grace,
            address: None,
            phase: Phase::Launching { asked_ms: now_ms, early_end: None },
            since_ms: now_ms,
            sample_due_ms: now_ms + SAMPLE_MS,
            sampling: false,
            pulse: Pulse::default(),
            judge_due_ms: now_ms + SAMPLE_MS,
            load: Load::new(now_ms),
            adopted: false,
            launched_ms: now_ms,
            known_ms: now_ms,
            memory: Memory::of(&spec.class),
            vast: false,
            last_lines: Vec::new(),
            word: place.word.unwrap_or("created"),
        };
        let said = container.turns("starting");
        place.word = Some("starting");
        let replaced = place.current.replace(id);
        self.put(id, container);
        // Without a record at the engine there is nothing left to forget.
        if let Some(old) = replaced {
            let kept = |c: &Container| !matches!(c.phase, Phase::Ended { recorded: false, .. });
            if !self.containers.get(&old).is_some_and(kept) {
                self.remove(old);
            }
        }
        said
    }

    /// Any other action is about to be done.
    pub fn begin(&mut self, action: &Action, now_ms: u64) -> Vec<Said> {
        if let Some(id) = action.about() {
            self.touch_container(id);
        }
        match action {
            Action::Start { .. } => Vec::new(),
            Action::List => {
                self.listing_ms = Some(now_ms);
                self.forgotten.clear();
                Vec::new()
            }
            Action::Terminate { id } => self.begin_terminate(*id, now_ms),
            Action::Kill { id, cause } => self.begin_kill(*id, cause, now_ms),
            Action::Forget { id } => {
                if let Some(Container { phase: Phase::Ended { forget_ms, .. }, .. }) =
                    self.containers.get_mut(id)
                {
                    *forget_ms = None;
                }
                Vec::new()
            }
            Action::Probe { id } => {
                if let Some(Container { phase: Phase::Booting { probe, .. }, .. }) =
                    self.containers.get_mut(id)
                {
                    *probe = Probe::UnderWay;
                }
                Vec::new()
            }
            Action::Check { id, vital, .. } => {
                if let Some(container) = self.containers.get_mut(id) {
                    container.pulse.begin(*vital, now_ms);
                }
                Vec::new()
            }
            Action::Sample { id, .. } => {
                if let Some(container) = self.containers.get_mut(id) {
                    container.sampling = true;
                }
                Vec::new()
            }
        }
    }

    fn begin_terminate(&mut self, id: DynoId, now_ms: u64) -> Vec<Said> {
        let Some(container) = self.containers.get_mut(&id) else { return Vec::new() };
        if let Phase::Stopping { resend_ms, .. } = &mut container.phase {
            *resend_ms = None;
            return Vec::new();
        }
        container.enters(Phase::Stopping { from_ms: now_ms, resend_ms: None }, now_ms);
        vec![container.turns("down"), container.says(line::SIGTERM)]
    }

    fn begin_kill(&mut self, id: DynoId, cause: &EndCause, now_ms: u64) -> Vec<Said> {
        let Some(container) = self.containers.get_mut(&id) else { return Vec::new() };
        let (mut up_ms, mut ports) = (None, Vec::new());
        match &mut container.phase {
            Phase::Killing { sent_ms, .. } => {
                *sent_ms = now_ms;
                return Vec::new();
            }
            Phase::Up { from_ms } => up_ms = Some(*from_ms),
            Phase::Booting { listened, .. } => ports = std::mem::take(listened),
            _ => {}
        }
        let mut said = Vec::new();
        match cause {
            EndCause::BootTimeout => {
                said.push(container.says(line::r10(container.boot_timeout)));
                let instead = container.port.and_then(|p| line::listened_instead(p, &ports));
                said.extend(instead.map(|text| container.says(text)));
            }
            EndCause::Killed => said.push(container.says(line::r12(container.stop_grace))),
            _ => {}
        }
        said.push(container.says(line::SIGKILL));
        let killing =
            Phase::Killing { sent_ms: now_ms, cause: cause.clone(), up_ms, listened: ports };
        container.enters(killing, now_ms);
        said
    }
}
