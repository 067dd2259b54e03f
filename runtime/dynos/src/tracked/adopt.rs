//! The engine's list against what is tracked: adopt what is new, mourn what is gone.

use super::memory::{self, Memory};
use super::metrics::Load;
use super::{Container, ENGINE_RETRY_MS, Phase, Place, Probe, RELIST_MS, SAMPLE_MS, Said, Tracked};
use crate::cell::label::SlotLabels;
use crate::checks::Pulse;
use crate::containers::{Ended, Known};
use crate::output::state_line as line;
use crate::restart;
use crate::spec::{DynoId, End, EndCause};
use std::collections::BTreeSet;
use std::time::Duration;

impl Tracked {
    pub(super) fn listed(&mut self, mut known: Vec<Known>, now_ms: u64) -> Vec<Said> {
        let Some(asked_ms) = self.listing_ms.take() else { return Vec::new() };
        self.listed = true;
        self.list_due_ms = now_ms + RELIST_MS;
        let named: BTreeSet<DynoId> = known.iter().map(|k| k.id).collect();
        // Of several in one slot the youngest that runs is the one that fills it.
        known.sort_by_key(|k| (k.ended.is_some(), std::cmp::Reverse(k.started_ms)));
        let mut said = Vec::new();
        for container in known {
            if !self.forgotten.contains(&container.id) {
                said.extend(self.recognise(&container, now_ms));
            }
        }
        let missing: Vec<DynoId> =
            self.containers.keys().filter(|id| !named.contains(id)).copied().collect();
        for id in missing {
            said.extend(self.missed(id, asked_ms, now_ms));
        }
        said
    }

    fn recognise(&mut self, known: &Known, now_ms: u64) -> Vec<Said> {
        let Some(container) = self.containers.get_mut(&known.id) else {
            return match SlotLabels::read(&known.labels) {
                Some(labels) => self.adopt(known, labels, now_ms),
                None => Vec::new(),
            };
        };
        let mut said = Vec::new();
        if let Phase::Doubtful { asked_ms } = container.phase {
            container.phase = Phase::Launching { asked_ms, early_end: None };
            said.extend(self.started(known.id, known.address, now_ms));
        }
        if let Some(ended) = known.ended {
            said.extend(self.exited(known.id, ended, None, now_ms));
        }
        said
    }

    fn adopt(&mut self, known: &Known, labels: SlotLabels, now_ms: u64) -> Vec<Said> {
        let spec = &known.spec;
        let mut container = Container {
            slot: labels.slot.clone(),
            app: spec.app.clone(),
            name: spec.name.clone(),
            command: spec.command.clone(),
            port: spec.port,
            boot_timeout: labels.boot_timeout,
            stop_grace: labels.stop_grace,
            address: Some(known.address),
            // A full boot timeout from now on: what ran on without us is not ended for that.
            phase: Phase::Booting { from_ms: now_ms, probe: Probe::Never, listened: Vec::new() },
            since_ms: known.started_ms.min(now_ms),
            sample_due_ms: now_ms + SAMPLE_MS,
            sampling: false,
            pulse: Pulse::default(),
            judge_due_ms: now_ms + SAMPLE_MS,
            load: Load::new(now_ms),
            adopted: true,
            launched_ms: known.started_ms.min(now_ms),
            known_ms: now_ms,
            memory: Memory::of(&spec.class),
            vast: false,
            last_lines: Vec::new(),
            word: "starting",
        };
        if spec.port.is_none() {
            container.phase = Phase::Up { from_ms: container.launched_ms };
            container.word = "up";
        }
        let place = self.places.entry(labels.slot).or_default();
        if place.current.is_none() {
            place.current = Some(known.id);
            place.crashes = labels.crashes;
            place.word = Some(container.word);
        }
        let fills = place.current == Some(known.id);
        let said = match known.ended {
            Some(ended) => container.adopt_end(&ended, fills.then_some(place), now_ms),
            None => Vec::new(),
        };
        self.put(known.id, container);
        said
    }

    fn missed(&mut self, id: DynoId, asked_ms: u64, now_ms: u64) -> Vec<Said> {
        let Some(container) = self.containers.get_mut(&id) else { return Vec::new() };
        match &mut container.phase {
            Phase::Launching { .. } => Vec::new(),
            Phase::Doubtful { asked_ms: since_ms } => {
                if *since_ms < asked_ms {
                    let slot = container.slot.clone();
                    self.remove(id);
                    if let Some(place) = self.places.get_mut(&slot) {
                        place.current = place.current.filter(|current| *current != id);
                        place.not_before_ms = now_ms + ENGINE_RETRY_MS;
                    }
                } else {
                    // Asked too early to know: not again in the same moment.
                    self.list_due_ms = now_ms + ENGINE_RETRY_MS;
                }
                Vec::new()
            }
            Phase::Ended { recorded, .. } => {
                *recorded = false;
                Vec::new()
            }
            _ if container.known_ms < asked_ms => {
                let ended = Ended { status: 137, at_ms: now_ms, ..Ended::default() };
                let said = self.exited(id, ended, Some(EndCause::Lost), now_ms);
                if let Some(Container { phase: Phase::Ended { recorded, .. }, .. }) =
                    self.containers.get_mut(&id)
                {
                    *recorded = false;
                }
                said
            }
            _ => Vec::new(),
        }
    }
}

impl Container {
    /// It ended while no cell watched: the crash counts from then. Its log lines may repeat those
    /// of an earlier life of the cell, which is better than an end nobody was told of.
    fn adopt_end(&mut self, ended: &Ended, place: Option<&mut Place>, now_ms: u64) -> Vec<Said> {
        let at_ms = ended.at_ms.min(now_ms);
        self.phase = Phase::Ended { at_ms, recorded: true, forget_ms: Some(now_ms) };
        self.since_ms = at_ms;
        let Some(place) = place else { return Vec::new() };
        let fatal = memory::was_fatal(ended);
        let cause = if fatal { EndCause::OutOfMemory } else { EndCause::Exit };
        let up_for = Duration::from_millis(at_ms.saturating_sub(self.launched_ms));
        place.crashes = restart::crashed(place.crashes, Some(up_for));
        place.crashed_ms = Some(at_ms);
        place.last_end = Some(End {
            status: ended.status,
            cause,
            memory_peak_bytes: ended.memory_peak_bytes,
            listened: Vec::new(),
            last_lines: Vec::new(),
        });
        let mut said = vec![self.says(line::exited(ended.status)), self.turns("crashed")];
        if fatal {
            let lines = self.memory.death(ended.memory_peak_bytes);
            said.splice(0..0, lines.into_iter().map(|text| self.says(text)));
        }
        place.word = Some(self.word);
        said
    }
}
