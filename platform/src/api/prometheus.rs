//! Credits and log lines in the text format of Prometheus. Credits have the names of Fly.io's metrics
//! ("Metrics on Fly.io"), so that its dashboards show them: CPU time and balances are in hundredths
//! of a second.

use lathe_dynos::governor::Credit;
use lathe_logs::{AppId, Counts, DrainCounts};
use std::fmt::Write;

/// Name, type, what it is, and its samples of one dyno with the labels they have beyond the dyno.
type Family = (&'static str, &'static str, &'static str, fn(&Credit) -> Vec<(&'static str, f64)>);

const FAMILIES: [Family; 7] = [
    ("fly_instance_cpu", "counter", "CPU time by mode, hundredths of a second", |credit| {
        vec![
            (",mode=\"user\"", credit.user * 100.0),
            (",mode=\"system\"", credit.system * 100.0),
            (",mode=\"steal\"", credit.steal * 100.0),
        ]
    }),
    ("fly_instance_cpu_baseline", "gauge", "CPUs a dyno may count on", |credit| {
        vec![("", credit.baseline)]
    }),
    ("fly_instance_cpu_balance", "gauge", "saved CPU time, hundredths of a second", |credit| {
        credit.balance.iter().map(|balance| ("", balance * 100.0)).collect()
    }),
    ("fly_instance_cpu_throttle", "counter", "time held back, hundredths of a second", |credit| {
        vec![("", credit.throttled * 100.0)]
    }),
    ("lathe_instance_cpu_utilization", "gauge", "CPUs used at the last look", |credit| {
        vec![("", credit.utilization)]
    }),
    ("lathe_instance_cpu_held", "gauge", "1 without balance: held, or it would be", |credit| {
        vec![("", if credit.held { 1.0 } else { 0.0 })]
    }),
    ("lathe_instance_cpu_throttled_periods", "counter", "periods cut short", |credit| {
        #[expect(clippy::cast_precision_loss, reason = "a sample is a float")]
        let periods = credit.throttled_periods as f64;
        vec![("", periods)]
    }),
];

pub(super) fn credits(credits: &[Credit], name_of: impl Fn(&AppId) -> String) -> String {
    let mut text = String::new();
    for (name, kind, about, samples) in FAMILIES {
        // Writing to a string does not fail.
        let _written = writeln!(text, "# HELP {name} {about}\n# TYPE {name} {kind}");
        for credit in credits {
            let Credit { app, dyno, id, class, .. } = credit;
            let app = name_of(app);
            for (more, value) in samples(credit) {
                let labels = format!(
                    "app=\"{app}\",instance=\"{id}\",dyno=\"{dyno}\",class=\"{class}\"{more}"
                );
                let _written = writeln!(text, "{name}{{{labels}}} {value:.3}");
            }
        }
    }
    text
}

const LOG_LINES: &str = "lathe_log_lines";
const DRAIN_LINES: &str = "lathe_drain_lines";

/// Where each app's lines and each drain's went: the sum over `fate` is all there ever were.
pub(super) fn logs(all: &[(AppId, Counts)], name_of: impl Fn(&AppId) -> String) -> String {
    let mut text = format!("# HELP {LOG_LINES} lines of an app's log\n# TYPE {LOG_LINES} gauge\n");
    for (app, counts) in all {
        let Counts { stored, evicted, dropped, .. } = counts;
        let app = name_of(app);
        for (fate, lines) in [("stored", stored), ("evicted", evicted), ("dropped", dropped)] {
            let _written = writeln!(text, "{LOG_LINES}{{app=\"{app}\",fate=\"{fate}\"}} {lines}");
        }
    }
    let _written =
        writeln!(text, "# HELP {DRAIN_LINES} lines for a drain\n# TYPE {DRAIN_LINES} gauge");
    for (app, (id, counts)) in
        all.iter().flat_map(|(app, counts)| counts.drains.iter().map(move |drain| (app, drain)))
    {
        let DrainCounts { delivered, dropped, pending, .. } = counts;
        let app = name_of(app);
        for (fate, lines) in [("delivered", delivered), ("dropped", dropped), ("pending", pending)]
        {
            let labels = format!("app=\"{app}\",drain=\"{id}\",fate=\"{fate}\"");
            let _written = writeln!(text, "{DRAIN_LINES}{{{labels}}} {lines}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use lathe_dynos::governor::setting::Treatment;
    use lathe_dynos::spec::DynoId;

    #[test]
    fn each_family_is_announced_once_and_each_dyno_is_in_it() {
        let credit = Credit {
            id: DynoId::random(),
            app: AppId::new("1"),
            dyno: "web.1".into(),
            class: "Eco".into(),
            treatment: Treatment::Observe,
            baseline: 0.0625,
            cap: Some(1.0),
            utilization: 0.5,
            balance: Some(4.5),
            held: false,
            used: 2.0,
            user: 1.5,
            system: 0.5,
            throttled: 0.0,
            throttled_periods: 0,
            steal: 0.25,
        };
        let id = credit.id;
        let text = credits(&[credit.clone(), credit], |_| "house".into());
        let line = format!(
            "fly_instance_cpu_balance{{app=\"house\",instance=\"{id}\",dyno=\"web.1\",class=\"Eco\"}} 450.000\n"
        );
        assert_eq!(text.matches(&line).count(), 2, "{text}");
        assert!(text.contains("mode=\"steal\"} 25.000\n"), "{text}");
        assert_eq!(text.matches("# TYPE").count(), FAMILIES.len());
    }

    #[test]
    fn every_fate_of_a_line_is_shown() {
        let drain = DrainCounts { taken: 6, delivered: 3, dropped: 2, pending: 1 };
        let counts = Counts {
            emitted: 9,
            dropped: 2,
            stored: 4,
            evicted: 3,
            drains: [("d1".to_owned(), drain)].into(),
        };
        let text = logs(&[(AppId::new("1"), counts)], |_| "house".into());
        for line in [
            "lathe_log_lines{app=\"house\",fate=\"evicted\"} 3\n",
            "lathe_drain_lines{app=\"house\",drain=\"d1\",fate=\"pending\"} 1\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
