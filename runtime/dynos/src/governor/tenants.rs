//! The dynos that the governor looks after: their accounts, and the kernel's files of each.

use super::Credit;
use super::gauge::{self, Gauge};
use super::history::{History, Place, Spell};
use super::ledger::{Entry, Kept, Reading};
use super::rollout::Rollout;
use super::setting::Treatment;
use crate::containers::{Governed, LastWill};
use crate::spec::DynoId;
use lathe_logs::AppId;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

/// The history knows quarters of an hour: it need not hear of every look.
const NOTE_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Tenants {
    running: BTreeMap<DynoId, Tenant>,
    /// Accounts of an earlier governor, until their dynos are met.
    remembered: BTreeMap<DynoId, Kept>,
}

#[derive(Debug)]
struct Tenant {
    governed: Governed,
    place: Place,
    gauge: Gauge,
    /// None for a class without credit.
    entry: Option<Entry>,
    /// What the engine has to do when we are gone is agreed.
    agreed: Option<u64>,
    /// What the history does not have yet.
    spell: Spell,
}

/// What a dyno's log says, and what its engine has to know.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) said: Vec<(AppId, String, String)>,
    pub(super) wills: Vec<(DynoId, Option<LastWill>)>,
}

impl Tenants {
    pub(super) fn remember(&mut self, accounts: BTreeMap<DynoId, Kept>) {
        self.remembered = accounts;
    }

    pub(super) fn unknown(&self, running: &[DynoId]) -> Vec<DynoId> {
        // Most of the time nothing has changed, and engines tell in order.
        if self.running.keys().eq(running) {
            return Vec::new();
        }
        running.iter().filter(|id| !self.running.contains_key(id)).copied().collect()
    }

    pub(super) fn keep_only(&mut self, running: &[DynoId], now_ms: u64, history: &mut History) {
        if self.remembered.is_empty() && self.running.keys().eq(running) {
            return;
        }
        let there: BTreeSet<&DynoId> = running.iter().collect();
        // Nobody asks for the accounts of dynos that have ended while nobody looked. Those of a crowd
        // are met a part at a time.
        self.remembered.retain(|id, _| there.contains(id));
        let gone = self.running.extract_if(.., |id, _| !there.contains(id));
        gone.for_each(|(_, mut tenant)| tenant.note(now_ms, history));
    }

    /// Takes a dyno in. Its account goes on where an earlier governor has left it.
    pub(super) fn meet(
        &mut self,
        id: DynoId,
        governed: Governed,
        treatment: Treatment,
        now: Duration,
    ) -> io::Result<()> {
        let gauge = Gauge::open(&governed.group)?;
        // A new dyno has used next to nothing; one that was there is not charged for its past.
        let read = Reading { used: gauge.used()?, at: now };
        let place = Place { app: governed.app.clone(), name: governed.name.clone() };
        let kept = self.remembered.remove(&id);
        let whose = (governed.app.clone(), governed.name.clone());
        let entry = Entry::new(whose, governed.class.clone(), treatment, read, kept);
        let spell = Spell::default();
        self.running.insert(id, Tenant { governed, place, gauge, entry, agreed: None, spell });
        Ok(())
    }

    /// Gives every dyno the treatment that its setting says.
    pub(super) fn treat(&mut self, rollout: &Rollout, now_ms: u64, news: &mut News) {
        for tenant in self.running.values_mut() {
            let Some(entry) = &mut tenant.entry else { continue };
            let setting = rollout.setting(&entry.app, &entry.class.name, now_ms);
            if entry.treat(setting.treatment(&entry.app)) {
                let text = announcement(entry);
                news.said.push((entry.app.clone(), entry.name.clone(), text));
            }
        }
    }

    /// Looks at all dynos that are due: books, and writes quotas that have changed.
    pub(super) fn tick(&mut self, now: Duration, now_ms: u64, history: &mut History) {
        for (id, tenant) in &mut self.running {
            let Some(entry) = &mut tenant.entry else { continue };
            if !entry.is_due(now) {
                continue;
            }
            // It is ending: the engine says so soon.
            let Ok(used) = tenant.gauge.used() else { continue };
            let booked = entry.book(Reading { used, at: now });
            if entry.treatment() != Treatment::Off {
                tenant.spell.book(booked);
            }
            if let Some(quota_us) = entry.quota_to_write()
                && let Err(error) = tenant.gauge.set_quota(quota_us)
            {
                tracing::debug!(%error, dyno = %id, "a quota was not written");
                entry.not_written();
            }
            if tenant.spell.seen >= NOTE_EVERY {
                tenant.note(now_ms, history);
            }
        }
    }

    /// Gives the history what it does not have yet.
    pub(super) fn note(&mut self, now_ms: u64, history: &mut History) {
        self.running.values_mut().for_each(|tenant| tenant.note(now_ms, history));
    }

    /// What the engine has to write for whom when we are gone, where that has changed.
    pub(super) fn wills(&mut self, news: &mut News) {
        for (id, tenant) in &mut self.running {
            let Some(entry) = &tenant.entry else { continue };
            let wanted = entry.is_enforced().then(|| entry.safe_us());
            if tenant.agreed == wanted {
                continue;
            }
            tenant.agreed = wanted;
            let will = wanted.map(|quota_us| {
                let (path, text) = gauge::safe_quota(&tenant.governed.group, quota_us);
                LastWill { path, text }
            });
            news.wills.push((*id, will));
        }
    }

    /// Holds everybody who is held to its credit to its baseline: nobody will keep the accounts.
    pub(super) fn make_safe(&mut self) {
        for tenant in self.running.values_mut() {
            let Some(entry) = tenant.entry.as_mut().filter(|entry| entry.is_enforced()) else {
                continue;
            };
            // One that fails is ending, or has a last will.
            drop(tenant.gauge.set_quota(entry.safe_us()));
            entry.not_written();
        }
    }

    /// Of all dynos, also of those that are not met yet: whoever comes next shall know of them too.
    pub(super) fn accounts(&self) -> BTreeMap<DynoId, Kept> {
        let entries = self.running.iter().filter_map(|(id, t)| Some((*id, t.entry.as_ref()?)));
        let met = entries.map(|(id, entry)| (id, entry.keep()));
        self.remembered.iter().map(|(id, kept)| (*id, *kept)).chain(met).collect()
    }

    pub(super) fn credits(&self, app: Option<&AppId>) -> Vec<Credit> {
        let of_app = |tenant: &Tenant| app.is_none_or(|app| tenant.governed.app == *app);
        let found = self.running.iter().filter(|(_, tenant)| of_app(tenant));
        let mut credits: Vec<Credit> = found.map(|(id, tenant)| tenant.credit(*id)).collect();
        credits.sort_by(|a, b| (&a.app, &a.dyno).cmp(&(&b.app, &b.dyno)));
        credits
    }
}

impl Tenant {
    fn note(&mut self, now_ms: u64, history: &mut History) {
        let Some(entry) = &self.entry else { return };
        let spell = std::mem::take(&mut self.spell);
        if spell != Spell::default() {
            history.note(&self.place, &entry.class.name, spell, now_ms);
        }
    }

    fn credit(&self, id: DynoId) -> Credit {
        let Governed { app, name, class, group, pressure, .. } = &self.governed;
        let kept = gauge::kept(group, pressure.as_deref());
        let entry = self.entry.as_ref();
        let used = entry.map_or_else(|| self.gauge.used().unwrap_or_default(), Entry::used);
        Credit {
            id,
            app: app.clone(),
            dyno: name.clone(),
            class: class.name.clone(),
            treatment: entry.map_or(Treatment::Off, Entry::treatment),
            baseline: f64::from(class.baseline_millis()) / 1000.0,
            cap: class.cpu_millis_max.map(|millis| f64::from(millis) / 1000.0),
            utilization: entry.map_or(0.0, |entry| cpus(entry.rate_ppm())),
            balance: entry.map(Entry::balance_secs),
            held: entry.is_some_and(Entry::is_held),
            used: used.as_secs_f64(),
            user: kept.user.as_secs_f64(),
            system: kept.system.as_secs_f64(),
            throttled: kept.throttled.as_secs_f64(),
            throttled_periods: kept.throttled_periods,
            steal: kept.waiting.as_secs_f64(),
        }
    }
}

fn cpus(ppm: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "shown, never calculated with")]
    let ppm = ppm as f64;
    ppm / 1e6
}

fn announcement(entry: &Entry) -> String {
    match entry.treatment() {
        Treatment::Off => "CPU credits are switched off".to_owned(),
        Treatment::Observe => {
            "CPU credits are observed: nothing is held back without balance".to_owned()
        }
        Treatment::Enforce { .. } => format!(
            "CPU credits are enforced: without balance this dyno has {:.4} CPUs, its balance is \
             {:.1} s",
            cpus(entry.safe_us() * 1_000_000 / super::ledger::PERIOD_US),
            entry.balance_secs()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::Classes;
    use crate::containers::CpuGroup;
    use std::fs;
    use uuid::Uuid;

    const NOW: Duration = Duration::from_secs(10);

    #[test]
    fn accounts_are_kept_until_their_dynos_are_met_or_have_ended() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cpu.max"), "").unwrap();
        let meet = |tenants: &mut Tenants, id, used_secs: u64| {
            let stat = format!("usage_usec {}\n", used_secs * 1_000_000);
            fs::write(dir.path().join("cpu.stat"), stat).unwrap();
            let governed = Governed {
                app: AppId::new("app"),
                name: "web.1".into(),
                class: Classes::standard().named("Eco").unwrap(),
                group: CpuGroup::V2(dir.path().to_owned()),
                pressure: None,
            };
            tenants.meet(id, governed, Treatment::Observe, NOW).unwrap();
        };
        let [first, later, ended] = [1, 2, 3].map(|number| DynoId(Uuid::from_u128(number)));
        let mut history = History::default();
        let mut before = Tenants::default();
        for id in [first, later, ended] {
            meet(&mut before, id, 5);
        }
        let kept = before.accounts();

        let mut tenants = Tenants::default();
        tenants.remember(kept.clone());
        assert_eq!(tenants.accounts(), kept, "the engine has not answered yet");
        tenants.keep_only(&[first, later], 0, &mut history);
        meet(&mut tenants, first, 7);
        let both = BTreeMap::from([first, later].map(|id| (id, kept[&id])));
        assert_eq!(tenants.accounts(), both, "one is gone, one is still to be met");
        tenants.keep_only(&[first, later], 0, &mut history);
        meet(&mut tenants, later, 7);
        assert_eq!(tenants.accounts(), both);
        assert_eq!(tenants.remembered, BTreeMap::new());
    }
}
