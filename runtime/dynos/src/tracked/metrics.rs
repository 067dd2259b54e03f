//! log-runtime-metrics: what a dyno uses, told in its app's log. Pure.
//! Source: Heroku Dev Center, "Log Runtime Metrics".

use crate::containers::Usage;
use crate::spec::DynoId;
use lathe_logs::AppId;

/// The times over which the load is averaged, in minutes.
const MINUTES: [u32; 3] = [1, 5, 15];

/// How many of a dyno's processes and threads ran or could have run, averaged as the kernel
/// averages a machine's load: the past counts for less the longer ago it is, exponentially.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Load {
    averages: [f64; 3],
    at_ms: u64,
}

impl Load {
    /// Nothing has run so far.
    pub(crate) fn new(now_ms: u64) -> Self {
        Self { averages: [0.0; 3], at_ms: now_ms }
    }

    /// So many are runnable now, and have been since the last time.
    pub(crate) fn add(&mut self, runnable: u32, now_ms: u64) {
        let elapsed_ms = u32::try_from(now_ms.saturating_sub(self.at_ms)).unwrap_or(u32::MAX);
        for (average, minutes) in self.averages.iter_mut().zip(MINUTES) {
            let kept = (-f64::from(elapsed_ms) / f64::from(minutes * 60_000)).exp();
            *average = *average * kept + f64::from(runnable) * (1.0 - kept);
        }
        self.at_ms = now_ms;
    }
}

/// The two lines: the load averages, then memory. Megabytes are 2^20 bytes.
pub(crate) fn lines(
    (app, id, name): (&AppId, DynoId, &str),
    load: &Load,
    usage: &Usage,
    quota_bytes: u64,
) -> [String; 2] {
    let whose = format!("source={name} dyno=heroku.{app}.{id}");
    let [one, five, fifteen] = load.averages;
    let Usage { memory_rss_bytes: rss, memory_cache_bytes: cache, memory_swap_bytes: swap, .. } =
        *usage;
    let memory = [
        ("total", rss.saturating_add(cache).saturating_add(swap)),
        ("rss", rss),
        ("cache", cache),
        ("swap", swap),
    ];
    let memory = memory.map(|(name, bytes)| format!("sample#memory_{name}={}", megabytes(bytes)));
    [
        format!(
            "{whose} sample#load_avg_1m={one:.2} sample#load_avg_5m={five:.2} \
             sample#load_avg_15m={fifteen:.2}"
        ),
        format!(
            "{whose} {} sample#memory_pgpgin={}pages sample#memory_pgpgout={}pages \
             sample#memory_quota={}",
            memory.join(" "),
            usage.pages_in,
            usage.pages_out,
            megabytes(quota_bytes)
        ),
    ]
}

fn megabytes(bytes: u64) -> String {
    let hundredths = u128::from(bytes) * 100 / (1 << 20);
    format!("{}.{:02}MB", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn the_words_are_herokus() {
        let id = DynoId(Uuid::parse_str("d97d0ea7-cf3d-411b-b453-d2943a50b456").unwrap());
        let load = Load { averages: [2.46, 1.06, 0.99], at_ms: 0 };
        let usage = Usage {
            memory_rss_bytes: 22_250_782,
            memory_swap_bytes: 1 << 20,
            pages_in: 348_836,
            pages_out: 343_403,
            ..Usage::default()
        };
        let app = AppId::new("2808254");
        let whose = "source=web.1 dyno=heroku.2808254.d97d0ea7-cf3d-411b-b453-d2943a50b456";
        assert_eq!(
            lines((&app, id, "web.1"), &load, &usage, 512 << 20),
            [
                format!(
                    "{whose} sample#load_avg_1m=2.46 sample#load_avg_5m=1.06 sample#load_avg_15m=0.99"
                ),
                format!(
                    "{whose} sample#memory_total=22.21MB sample#memory_rss=21.21MB \
                     sample#memory_cache=0.00MB sample#memory_swap=1.00MB \
                     sample#memory_pgpgin=348836pages sample#memory_pgpgout=343403pages \
                     sample#memory_quota=512.00MB"
                ),
            ]
        );
    }

    #[test]
    fn the_load_follows_what_runs_as_the_kernels_does() {
        let mut load = Load::new(0);
        // After one time constant 1 - 1/e of the way is gone, in whatever steps.
        for second in 1..=60 {
            load.add(2, second * 1000);
        }
        assert!((load.averages[0] - 2.0 * (1.0 - (-1.0_f64).exp())).abs() < 1e-9);
        let mut coarse = Load::new(0);
        coarse.add(2, 60_000);
        assert!((load.averages[2] - coarse.averages[2]).abs() < 1e-9);
        load.add(2, 10 * 3_600_000);
        load.add(0, 10 * 3_600_000);
        assert!(load.averages.iter().all(|average| (average - 2.0).abs() < 1e-9));
        // A clock that is set back costs one step, no more.
        load.add(0, 0);
        assert!(load.averages.iter().all(|average| (average - 2.0).abs() < 1e-9));
    }
}
