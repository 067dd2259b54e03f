//! `lathe cpu`, `cpu:report` and `cpu:set`: CPU credits, for whoever runs the platform.

use super::CliError;
use super::ask::{ask, rows, text};
use super::say::say;
use super::table::table;
use crate::config::Config;
use clap::Args;
use http::Method;
use serde_json::{Value, json};

/// Whose balances.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The app; without it the governor's settings and steps are shown
    #[arg(short, long)]
    app: Option<String>,
}

/// What shall be done from now on.
#[derive(Debug, Args)]
pub(super) struct Set {
    /// off, observe, enforce, or default: what the wider setting says
    mode: String,
    /// With enforce: percent of the apps
    percent: Option<u8>,
    /// Percent of the difference between burst and baseline that is taken away
    #[arg(long)]
    strength: Option<u8>,
    /// For the dynos of one app
    #[arg(short, long)]
    app: Option<String>,
    /// For the dynos of one class
    #[arg(long, conflicts_with = "app")]
    class: Option<String>,
    /// Tried for so many seconds, minutes (30m) or hours (1h); else for good
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    trial: Option<u64>,
}

pub(super) fn show(config: &Config, what: &Show) -> Result<(), CliError> {
    if let Some(app) = &what.app {
        let credits = ask(config, Method::GET, &format!("/apps/{app}/cpu"), &Value::Null)?;
        say!("{}", table(&CREDIT_HEAD, rows(&credits).iter().map(credit_row)));
        return Ok(());
    }
    let told = ask(config, Method::GET, "/governor", &Value::Null)?;
    let settings = rows(&told["settings"]);
    if settings.is_empty() {
        say!("all dynos: {}", text(&told["default"]));
    }
    for setting in settings {
        say!("{}: {}", text(&setting["scope"]), text(&setting["setting"]));
    }
    for step in rows(&told["steps"]) {
        say!("  {} {}: {}", text(&step["at"]), text(&step["scope"]), text(&step["what"]));
    }
    Ok(())
}

pub(super) fn report(config: &Config) -> Result<(), CliError> {
    let found = ask(config, Method::GET, "/governor/report", &Value::Null)?;
    let found = rows(&found);
    if found.is_empty() {
        say!("No app would have been throttled for more than half of the last 24 hours.");
        return Ok(());
    }
    say!("Would have been throttled for more than half of the last 24 hours:");
    say!("{}", table(&REPORT_HEAD, found.iter().map(report_row)));
    Ok(())
}

pub(super) fn set(config: &Config, what: &Set) -> Result<(), CliError> {
    let body = json!({
        "mode": what.mode,
        "percent": what.percent,
        "strength": what.strength,
        "app": what.app,
        "class": what.class,
        "for_seconds": what.trial,
    });
    let step = ask(config, Method::PATCH, "/governor", &body)?;
    say!("{}: {}", text(&step["scope"]), text(&step["what"]));
    Ok(())
}

const CREDIT_HEAD: [&str; 9] =
    ["dyno", "size", "credits", "used", "baseline", "cap", "balance", "throttled", "steal"];

fn credit_row(credit: &Value) -> Vec<String> {
    let number = |name: &str, unit: &str| match credit[name].as_f64() {
        Some(number) => format!("{number:.2}{unit}"),
        None => "-".into(),
    };
    let treatment = &credit["treatment"];
    let treatment = match treatment.as_str() {
        Some(word) => word.to_owned(),
        None => format!("enforce {} %", treatment["enforce"]["strength"]),
    };
    let held = if credit["held"] == true { " (held)" } else { "" };
    vec![
        text(&credit["dyno"]),
        text(&credit["class"]),
        format!("{treatment}{held}"),
        number("utilization", ""),
        number("baseline", ""),
        number("cap", ""),
        number("balance", " s"),
        number("throttled", " s"),
        number("steal", " s"),
    ]
}

const REPORT_HEAD: [&str; 7] = ["app", "type", "size", "dynos", "throttled", "would do", "more"];

fn report_row(finding: &Value) -> Vec<String> {
    let would_do = &finding["would_do"];
    let cents = would_do["more_cents_a_month"].as_i64();
    vec![
        text(&finding["app"]),
        text(&finding["type"]),
        text(&finding["size"]),
        format!("{} of {}", finding["held_dynos"], finding["dynos"]),
        format!("{} %", finding["held_percent"]),
        would_do["size"].as_str().unwrap_or("no class").to_owned(),
        cents.map_or_else(|| "-".into(), dollars),
    ]
}

fn dollars(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "+" };
    format!("{sign}${}.{:02} a month", cents.unsigned_abs() / 100, cents.unsigned_abs() % 100)
}

/// `90`, `30m` or `1h`.
fn seconds(text: &str) -> Result<u64, String> {
    let (number, factor) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) if text.ends_with('m') => (number, 60),
        Some(number) if text.ends_with('h') => (number, 3600),
        Some(number) => (number, 1),
        None => (text, 1),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    seconds.ok_or_else(|| "write a time such as 90, 30m or 1h".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_money_as_people_write_them() {
        for (written, read) in [
            ("90", Some(90)),
            ("90s", Some(90)),
            ("30m", Some(1800)),
            ("1h", Some(3600)),
            ("x", None),
        ] {
            assert_eq!(seconds(written).ok(), read, "{written}");
        }
        for (cents, shown) in [(2500, "+$25.00 a month"), (-1205, "-$12.05 a month")] {
            assert_eq!(dollars(cents), shown);
        }
    }
}
