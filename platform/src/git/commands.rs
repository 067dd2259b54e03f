//! What a push asks for: the command list before the pack. Git documentation, gitprotocol-pack(5).

use super::pkt::{self, Packet, PacketError};
use git2::Oid;

/// The list with its lengths; a push of [`super::policy::UPDATES_MAX`] long names fits well.
pub(super) const BYTES_MAX: usize = 256 * 1024;

/// One ref to create, move or delete. Zero stands for "there is none".
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Update {
    pub(super) old: Oid,
    pub(super) new: Oid,
    /// As the client wrote it: anything at all, until the policy has seen it.
    pub(super) name: Vec<u8>,
}

impl Update {
    pub(super) fn deletes(&self) -> bool {
        self.new.is_zero()
    }

    /// For messages: printable whatever the client sent.
    pub(super) fn shown(&self) -> String {
        self.name.escape_ascii().to_string()
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct CommandList {
    pub(super) updates: Vec<Update>,
    /// The client reads `remote: …` text.
    pub(super) side_band: bool,
    /// The client reads what became of each ref.
    pub(super) report_status: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error("the list of refs is not one")]
    Packet(#[from] PacketError),
    #[error("{line:?} is not a ref to update")]
    Line { line: String },
    #[error("signed pushes are not supported; push without --signed")]
    Signed,
    #[error("the list of refs is longer than {BYTES_MAX} bytes; push fewer at once")]
    Long,
}

/// Reads the list at the start of `bytes`, through its flush packet; none while there is more to
/// come. An empty list is the probe that git sends before a large push.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<CommandList>, CommandError> {
    let mut list = CommandList::default();
    let mut at = 0;
    loop {
        if at > BYTES_MAX {
            return Err(CommandError::Long);
        }
        match pkt::first(bytes.get(at..).unwrap_or_default())? {
            None if bytes.len() > BYTES_MAX => return Err(CommandError::Long),
            None => return Ok(None),
            Some((Packet::Flush, _)) => return Ok(Some(list)),
            Some((Packet::Data(line), taken)) => {
                read_line(line, &mut list)?;
                at += taken;
            }
        }
    }
}

fn read_line(line: &[u8], list: &mut CommandList) -> Result<(), CommandError> {
    let wrong =
        || CommandError::Line { line: line.get(..200).unwrap_or(line).escape_ascii().to_string() };
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    if line.starts_with(b"push-cert") {
        return Err(CommandError::Signed);
    }
    // A shallow clone tells where its history is cut; git checks that.
    if line.starts_with(b"shallow ") {
        return Ok(());
    }
    let (command, capabilities) = match line.iter().position(|byte| *byte == 0) {
        Some(nul) => (&line[..nul], &line[nul + 1..]),
        None => (line, &b""[..]),
    };
    for capability in capabilities.split(|byte| *byte == b' ') {
        match capability {
            b"side-band-64k" => list.side_band = true,
            b"report-status" | b"report-status-v2" => list.report_status = true,
            _ => {}
        }
    }
    let mut parts = command.splitn(3, |byte| *byte == b' ');
    let (Some(old), Some(new), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong());
    };
    let (Some(old), Some(new)) = (oid(old), oid(new)) else { return Err(wrong()) };
    if name.is_empty() {
        return Err(wrong());
    }
    list.updates.push(Update { old, new, name: name.to_vec() });
    Ok(())
}

/// Forty lower-case digits; git's own parser would take shorter ones too.
fn oid(text: &[u8]) -> Option<Oid> {
    let whole = text.len() == 40 && text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    whole.then(|| std::str::from_utf8(text).ok()).flatten().and_then(|t| Oid::from_str(t).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ZERO: &str = "0000000000000000000000000000000000000000";
    const ONE: &str = "1111111111111111111111111111111111111111";

    fn listed(lines: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in lines {
            pkt::push(&mut bytes, line.as_bytes());
        }
        bytes.extend_from_slice(pkt::FLUSH);
        bytes
    }

    #[test]
    fn a_push_as_git_sends_it() {
        let capabilities = " report-status-v2 side-band-64k object-format=sha1 agent=git/2.47.3";
        let bytes = listed(&[
            &format!("shallow {ONE}"),
            &format!("{ZERO} {ONE} refs/heads/main\0{capabilities}"),
            &format!("{ONE} {ZERO} refs/heads/old name"),
        ]);
        let list = parse(&[&bytes[..], b"PACK"].concat()).unwrap().unwrap();
        assert!(list.side_band && list.report_status);
        let seen: Vec<_> = list.updates.iter().map(|u| (u.shown(), u.deletes())).collect();
        let expected =
            [("refs/heads/main".to_owned(), false), ("refs/heads/old name".to_owned(), true)];
        assert_eq!(seen, expected);
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn the_probe_is_an_empty_list() {
        assert_eq!(parse(b"0000"), Ok(Some(CommandList::default())));
    }

    #[test]
    fn refuses_what_is_no_list() {
        for line in [
            String::new(),
            "hello".into(),
            format!("{ZERO} {ONE}"),
            format!("{ZERO} {ONE} "),
            format!("{ZERO} {} refs/heads/main", &ONE[1..]),
            format!("{ZERO} {} refs/heads/main", "A".repeat(40)),
        ] {
            assert!(matches!(parse(&listed(&[&line])), Err(CommandError::Line { .. })), "{line:?}");
        }
        assert_eq!(parse(&listed(&["push-cert\0"])), Err(CommandError::Signed));
        let long = format!("{ZERO} {ONE} refs/heads/{}", "x".repeat(60_000));
        assert_eq!(parse(&listed(&[long.as_str(); 6])), Err(CommandError::Long));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(parse(&bytes));
        }

        #[test]
        fn any_line_is_read_or_refused(line in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = Vec::new();
            pkt::push(&mut bytes, &line);
            bytes.extend_from_slice(pkt::FLUSH);
            if let Ok(Some(list)) = parse(&bytes) {
                prop_assert!(list.updates.len() <= 1);
                prop_assert!(list.updates.iter().all(|u| u.shown().is_ascii()));
            }
        }
    }
}
