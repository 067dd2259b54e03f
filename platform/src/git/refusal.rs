//! How a push is refused so that git prints why. Git documentation, gitprotocol-pack(5), "Report Status".

use super::commands::CommandList;
use super::pkt::{self, BAND_DATA, BAND_PROGRESS};
use super::policy::Refused;

/// The body of the answer to `git-receive-pack`: the text for `remote: …`, and `ng` for each ref.
pub(super) fn answer(list: &CommandList, refused: &Refused) -> Vec<u8> {
    let mut report = Vec::new();
    pkt::push(&mut report, b"unpack ok\n");
    for (update, reason) in &refused.refs {
        // The client finds its ref by the very bytes it sent; bytes that a terminal might obey
        // are never sent back.
        let name = update.shown();
        pkt::push(&mut report, format!("ng {name} {reason}\n").as_bytes());
    }
    report.extend_from_slice(pkt::FLUSH);

    let mut body = Vec::new();
    if list.side_band {
        pkt::push_band(&mut body, BAND_PROGRESS, text(&refused.text).as_bytes());
        if list.report_status {
            pkt::push_band(&mut body, BAND_DATA, &report);
        }
        body.extend_from_slice(pkt::FLUSH);
    } else if list.report_status {
        body = report;
    }
    body
}

/// Each line after ` !     `, as Heroku marks what went wrong.
pub(super) fn text(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(" !     ");
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::commands::Update;
    use git2::Oid;

    #[test]
    fn git_reads_text_and_reason() {
        let update =
            Update { old: Oid::ZERO_SHA1, new: Oid::ZERO_SHA1, name: b"refs/heads/-x".to_vec() };
        let mut list =
            CommandList { updates: vec![update.clone()], side_band: true, report_status: true };
        let refused = Refused::all(&list, "invalid ref name", vec!["No.".into()]);
        let body = answer(&list, &refused);
        let text = body.escape_ascii().to_string();
        assert_eq!(
            text,
            "0010\\x02 !     No.\\n003d\\x01000eunpack ok\\n0026ng refs/heads/-x invalid ref name\\n00000000"
        );
        list.side_band = false;
        assert!(answer(&list, &refused).starts_with(b"000eunpack ok\n"));
    }
}
