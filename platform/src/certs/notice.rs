//! What is said of a certificate whose end comes near. Pure.

use super::x509::Fields;
use jiff::{SignedDuration, Timestamp};

/// So many days before the end it is said once each; afterwards every day.
const DAYS: [i64; 5] = [30, 14, 7, 3, 1];

/// Whether there is something to say now that was not yet to be said at `before`; `None`: nothing
/// was said so far. One that is `issued` by an authority is renewed by itself: nothing is said of it
/// before that is due.
pub(super) fn is_due(
    fields: &Fields,
    issued: bool,
    before: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    let stage = |time: Timestamp| match fields.days_left(time) {
        _ if issued && time < fields.renew_at() => 0,
        left @ ..0 => 1000 - left,
        // The fewer days, the later the stage.
        left => DAYS.iter().map(|days| i64::from(left < *days)).sum(),
    };
    stage(now) > before.map_or(0, stage)
}

/// For the app's log.
pub(super) fn text(name: &str, fields: &Fields, issued: bool, now: Timestamp) -> String {
    let hosts = fields.names.join(", ");
    let end = fields.expires_at;
    let remedy = if issued {
        "It is renewed by itself; `heroku certs:auto` says why it was not".to_owned()
    } else {
        format!("Bring another: heroku certs:update CRT KEY --name {name}")
    };
    let left = now.duration_until(end);
    if left < SignedDuration::ZERO {
        format!(
            "Certificate {name} for {hosts} expired at {end} and is served all the same. {remedy}"
        )
    } else {
        let days = fields.days_left(now);
        format!("Certificate {name} for {hosts} expires in {days} days, at {end}. {remedy}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// fault H13: a certificate that comes to its end, and stays.
    #[test]
    fn the_end_is_told_ahead_and_then_every_day() {
        let hours = |hours| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours);
        let fields = Fields {
            issuer: String::new(),
            subject: String::new(),
            starts_at: hours(0),
            expires_at: hours(24 * 90),
            names: vec!["www.example.com".into()],
        };
        let mut told = Vec::new();
        for hour in 1..24 * 93 {
            let now = hours(hour);
            if is_due(&fields, false, Some(hours(hour - 1)), now) {
                told.push(fields.days_left(now));
            }
        }
        assert_eq!(told, [29, 13, 6, 2, 0, -1, -2, -3]);
        assert!(!is_due(&fields, false, None, hours(24 * 10)), "there is time");
        let short = Fields { starts_at: hours(24 * 84), ..fields.clone() };
        assert!(!is_due(&short, true, None, hours(24 * 85)), "it is as short as it shall be");
        assert!(is_due(&short, true, None, hours(24 * 89)), "it should have been renewed");
        assert!(
            is_due(&fields, false, None, hours(24 * 80)),
            "a platform that has just come up says it"
        );

        let said = text("cert-1", &fields, false, hours(24 * 85));
        assert!(said.contains("expires in 5 days") && said.contains("certs:update"), "{said}");
        let said = text("cert-1", &fields, true, hours(24 * 91));
        assert!(said.contains("expired at") && said.contains("certs:auto"), "{said}");
    }
}
