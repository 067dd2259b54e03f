//! What each fact teaches: how a container moves from phase to phase, and what the log says.

use super::memory;
use super::metrics::{self, Load};
use super::{
    Container, ENGINE_RETRY_MS, Fact, METRICS_SAMPLE_MS, Phase, Probe, SAMPLE_MS, Said, Tracked,
};
use crate::checks::{Outcome, Pulse, Vital};
use crate::clock::millis;
use crate::containers::{Ended, Usage};
use crate::output::state_line as line;
use crate::restart;
use crate::spec::{DynoId, End, EndCause};
use std::net::Ipv4Addr;
use std::time::Duration;

impl Tracked {
    /// Takes in a fact; returns what the apps' logs shall say about it. A fact about a container
    /// that is not tracked teaches nothing.
    pub fn learn(&mut self, fact: Fact, now_ms: u64) -> Vec<Said> {
        if let Some(id) = fact.about() {
            self.touch_container(id);
        }
        match fact {
            Fact::Started { id, address } => self.started(id, address, now_ms),
            Fact::NotStarted { id, reason, line } => self.not_started(id, reason, line, now_ms),
            Fact::StartUnanswered { id } => self.start_unanswered(id, now_ms),
            Fact::Exited { id, ended, last_lines } => {
                if let Some(container) = self.containers.get_mut(&id) {
                    container.last_lines = last_lines;
                }
                self.exited(id, ended, None, now_ms)
            }
            Fact::Probed { id, ports, well: false, .. } => self.not_up(id, ports, now_ms),
            Fact::Probed { id, readiness, .. } => self.up(id, readiness, now_ms),
            Fact::Checked { id, vital, failures, outcome } => {
                self.checked(id, vital, outcome, failures, now_ms)
            }
            Fact::Sampled { id, usage, runnable } => self.sampled(id, usage, runnable, now_ms),
            Fact::Listed { known } => self.listed(known, now_ms),
            Fact::NotTerminated { id } => {
                if let Some(Container { phase: Phase::Stopping { resend_ms, .. }, .. }) =
                    self.containers.get_mut(&id)
                {
                    *resend_ms = Some(now_ms + ENGINE_RETRY_MS);
                }
                Vec::new()
            }
            Fact::Forgotten { id } => {
                self.remove(id);
                self.forgotten.insert(id);
                Vec::new()
            }
            Fact::NotForgotten { id } => {
                if let Some(Container { phase: Phase::Ended { forget_ms, .. }, .. }) =
                    self.containers.get_mut(&id)
                {
                    *forget_ms = Some(now_ms + ENGINE_RETRY_MS);
                }
                Vec::new()
            }
            Fact::NotListed => {
                self.listing_ms = None;
                self.list_due_ms = now_ms + ENGINE_RETRY_MS;
                Vec::new()
            }
            Fact::Lagged => {
                self.list_due_ms = now_ms;
                Vec::new()
            }
        }
    }

    pub(super) fn started(&mut self, id: DynoId, address: Ipv4Addr, now_ms: u64) -> Vec<Said> {
        let Some(container) = self.containers.get_mut(&id) else { return Vec::new() };
        let Phase::Launching { early_end, .. } = container.phase else { return Vec::new() };
        container.address = Some(address);
        let mut said = vec![container.says(line::starting(&container.command))];
        said.extend(container.boots(now_ms));
        if let Some(ended) = early_end {
            said.extend(self.exited(id, ended, None, now_ms));
        }
        said
    }

    fn not_started(
        &mut self,
        id: DynoId,
        reason: String,
        heroku: Option<String>,
        now_ms: u64,
    ) -> Vec<Said> {
        let Some(container) = self.containers.get_mut(&id) else { return Vec::new() };
        let text = heroku.unwrap_or_else(|| line::start_failed(&reason));
        let mut said = vec![container.says(text)];
        let end = End {
            status: 1,
            cause: EndCause::StartFailed(reason),
            memory_peak_bytes: 0,
            listened: Vec::new(),
            last_lines: Vec::new(),
        };
        said.extend(self.finish(id, end, None, false, now_ms));
        said
    }

    fn start_unanswered(&mut self, id: DynoId, now_ms: u64) -> Vec<Said> {
        if let Some(container) = self.containers.get_mut(&id) {
            container.phase = Phase::Doubtful { asked_ms: now_ms };
            self.list_due_ms = self.list_due_ms.min(now_ms + ENGINE_RETRY_MS);
        }
        Vec::new()
    }

    fn not_up(&mut self, id: DynoId, ports: Vec<u16>, now_ms: u64) -> Vec<Said> {
        if let Some(Container { phase: Phase::Booting { probe, listened, .. }, .. }) =
            self.containers.get_mut(&id)
        {
            *probe = Probe::At { ms: now_ms };
            *listened = ports;
        }
        Vec::new()
    }

    fn up(&mut self, id: DynoId, readiness: Option<Outcome>, now_ms: u64) -> Vec<Said> {
        let Some(container) = self.containers.get_mut(&id) else { return Vec::new() };
        if !matches!(container.phase, Phase::Booting { .. }) {
            return Vec::new();
        }
        // Found running and older than any boot may be: the log has had this line already.
        let booted_ms = container.launched_ms.saturating_add(millis(container.boot_timeout));
        let known = container.adopted && now_ms > booted_ms;
        let up_from_ms = if container.adopted { container.launched_ms } else { now_ms };
        container.enters(Phase::Up { from_ms: up_from_ms }, now_ms);
        container.pulse = Pulse::up(readiness, now_ms);
        let mut said = Vec::new();
        if known {
            // Nobody has seen when it came up, but it was not later than this.
            container.since_ms = booted_ms;
            container.word = "up";
        } else {
            said.push(container.turns("up"));
        }
        said.extend(
            container
                .pulse
                .finding(Vital::Readiness)
                .map(line::not_ready)
                .map(|text| container.says(text)),
        );
        said
    }

    fn checked(
        &mut self,
        id: DynoId,
        vital: Vital,
        outcome: Outcome,
        failures: u32,
        now_ms: u64,
    ) -> Vec<Said> {
        let Some(container) = self.containers.get_mut(&id) else { return Vec::new() };
        let turned = container.pulse.learn(vital, outcome, failures, now_ms);
        if !turned || !matches!(container.phase, Phase::Up { .. }) {
            return Vec::new();
        }
        let text = match (vital, container.pulse.finding(vital)) {
            (Vital::Health, Some(finding)) => line::ailing(finding),
            (Vital::Health, None) => line::WELL_AGAIN.to_owned(),
            (Vital::Readiness, Some(finding)) => line::not_ready(finding),
            (Vital::Readiness, None) => line::READY.to_owned(),
        };
        vec![container.says(text)]
    }

    fn sampled(
        &mut self,
        id: DynoId,
        usage: Option<Usage>,
        runnable: Option<u32>,
        now_ms: u64,
    ) -> Vec<Said> {
        let Some(container) = self.containers.get_mut(&id) else { return Vec::new() };
        container.sampling = false;
        let pause_ms = if runnable.is_some() { METRICS_SAMPLE_MS } else { SAMPLE_MS };
        container.sample_due_ms = now_ms + pause_ms;
        match runnable {
            Some(runnable) => container.load.add(runnable, now_ms),
            // Nobody has looked: it begins anew when somebody does.
            None => container.load = Load::new(now_ms),
        }
        let Some(usage) = usage.filter(|_| container.judge_due_ms <= now_ms) else {
            return Vec::new();
        };
        container.judge_due_ms = now_ms + SAMPLE_MS;
        let verdict = container.memory.judge(&usage);
        container.vast |= verdict.vast;
        let mut lines = verdict.lines;
        if runnable.is_some() {
            let whose = (&container.app, id, container.name.as_str());
            let quota_bytes = container.memory.quota_bytes();
            lines.extend(metrics::lines(whose, &container.load, &usage, quota_bytes));
        }
        lines.into_iter().map(|text| container.says(text)).collect()
    }

    /// A container has ended by what its phase says, or by `cause` when given.
    pub(super) fn exited(
        &mut self,
        id: DynoId,
        ended: Ended,
        cause: Option<EndCause>,
        now_ms: u64,
    ) -> Vec<Said> {
        let Some(container) = self.containers.get_mut(&id) else { return Vec::new() };
        let (by_phase, up_ms, listened) = match &mut container.phase {
            Phase::Ended { .. } => return Vec::new(),
            Phase::Launching { early_end, .. } => {
                *early_end = Some(ended);
                return Vec::new();
            }
            Phase::Killing { cause, up_ms, listened, .. } => {
                (Some(cause.clone()), *up_ms, std::mem::take(listened))
            }
            Phase::Stopping { .. } => (Some(EndCause::Stopped), None, Vec::new()),
            Phase::Up { from_ms } => (None, Some(*from_ms), Vec::new()),
            Phase::Doubtful { .. } | Phase::Booting { .. } => (None, None, Vec::new()),
        };
        let mut said = Vec::new();
        let own = if memory::was_fatal(&ended) && by_phase.is_none() {
            let lines = container.memory.death(ended.memory_peak_bytes);
            said.extend(lines.into_iter().map(|text| container.says(text)));
            EndCause::OutOfMemory
        } else {
            EndCause::Exit
        };
        said.push(container.says(line::exited(ended.status)));
        let end = End {
            status: ended.status,
            cause: cause.or(by_phase).unwrap_or(own),
            memory_peak_bytes: ended.memory_peak_bytes,
            listened,
            last_lines: std::mem::take(&mut container.last_lines),
        };
        let up_for = up_ms.map(|up| Duration::from_millis(now_ms.saturating_sub(up)));
        said.extend(self.finish(id, end, up_for, true, now_ms));
        said
    }

    /// The end of a container, and of its slot's turn when it was the one that filled it.
    fn finish(
        &mut self,
        id: DynoId,
        end: End,
        up_for: Option<Duration>,
        recorded: bool,
        now_ms: u64,
    ) -> Option<Said> {
        let container = self.containers.get_mut(&id)?;
        let asked = matches!(end.cause, EndCause::Stopped | EndCause::Killed);
        let said = (!asked).then(|| container.turns("crashed"));
        let ended = Phase::Ended { at_ms: now_ms, recorded, forget_ms: Some(now_ms) };
        container.enters(ended, now_ms);
        let place = self.places.get_mut(&container.slot)?;
        if place.current == Some(id) {
            place.word = Some(container.word);
            place.last_end = Some(end);
            place.crashed_ms = (!asked).then_some(now_ms);
            if !asked {
                place.crashes = restart::crashed(place.crashes, up_for);
            }
        }
        said
    }
}
