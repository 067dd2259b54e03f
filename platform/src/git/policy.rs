//! Which refs a push may touch. Decided before git sees a byte of it.

use super::commands::{CommandList, Update};

/// Refs in one push.
pub(super) const UPDATES_MAX: usize = 100;
/// Of a branch or tag name, without `refs/heads/` or `refs/tags/`.
const NAME_BYTES_MAX: usize = 201;

/// Pushing to one of these deploys, as on Heroku.
pub(super) const DEPLOY_BRANCHES: [&str; 2] = ["refs/heads/main", "refs/heads/master"];

pub(super) fn is_deploy_branch(name: &[u8]) -> bool {
    DEPLOY_BRANCHES.iter().any(|branch| branch.as_bytes() == name)
}

/// `refs/heads/main/x`: a folder where the branch's own file would be.
fn is_below_deploy_branch(name: &[u8]) -> bool {
    let below = |branch: &&str| name.strip_prefix(branch.as_bytes())?.first().copied();
    DEPLOY_BRANCHES.iter().any(|branch| below(branch) == Some(b'/'))
}

/// Why a push is refused as a whole: a reason for each ref that has one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refused {
    pub(super) refs: Vec<(Update, &'static str)>,
    /// What the pusher reads, a line each.
    pub(super) text: Vec<String>,
}

impl Refused {
    /// Everything is refused for one reason.
    pub(super) fn all(list: &CommandList, reason: &'static str, text: Vec<String>) -> Self {
        Self { refs: list.updates.iter().map(|update| (update.clone(), reason)).collect(), text }
    }
}

/// Refuses the whole push when any of its refs may not be: half a push is nothing anybody wants.
pub(super) fn check(list: &CommandList) -> Result<(), Refused> {
    if list.updates.len() > UPDATES_MAX {
        let text = vec![
            format!("This push updates {} refs, the limit is {UPDATES_MAX}.", list.updates.len()),
            "Push the branch to deploy by name: git push lathe main".into(),
        ];
        return Err(Refused::all(list, "too many refs", text));
    }
    let deploys = list.updates.iter().filter(|update| is_deploy_branch(&update.name)).count();
    let reasons: Vec<Option<Reason>> =
        list.updates.iter().map(|update| reason(update, deploys)).collect();
    if reasons.iter().all(Option::is_none) {
        return Ok(());
    }
    let mut text: Vec<String> = Vec::new();
    for (update, reason) in list.updates.iter().zip(&reasons) {
        if let Some(reason) = reason {
            text.push(format!("{}: {}", cut(&update.shown()), reason.text));
        }
    }
    let refs = list
        .updates
        .iter()
        .zip(reasons)
        .map(|(update, reason)| {
            (update.clone(), reason.map_or("refused with the others", |reason| reason.word))
        })
        .collect();
    Err(Refused { refs, text })
}

struct Reason {
    /// After git's `! [remote rejected]`.
    word: &'static str,
    text: &'static str,
}

fn reason(update: &Update, deploys: usize) -> Option<Reason> {
    if !is_valid_name(&update.name) {
        return Some(Reason {
            word: "invalid ref name",
            text: "a branch or tag name here begins with a letter or digit, goes on with letters, \
                   digits, '.', '_', '-' and '/', and is 200 characters long at most. \
                   Rename it and push again.",
        });
    }
    if !update.deletes() && is_below_deploy_branch(&update.name) {
        return Some(Reason {
            word: "in the way of a deploy",
            text: "a branch cannot be called main/... or master/...: git could not store main or \
                   master beside it. Rename it and push again.",
        });
    }
    if is_deploy_branch(&update.name) && update.deletes() {
        return Some(Reason {
            word: "deletion prohibited",
            text: "deletion prohibited: the app runs from this branch. \
                   To stop the app, scale it to zero; to remove it, destroy it.",
        });
    }
    if is_deploy_branch(&update.name) && deploys > 1 {
        return Some(Reason {
            word: "one branch deploys",
            text: "main and master both deploy. Push one of them.",
        });
    }
    None
}

/// Whether `name` is a branch or tag we accept. Narrower than git: no name may mean anything to a
/// shell, an option parser, a path or a terminal, wherever it may come to be shown or passed.
fn is_valid_name(name: &[u8]) -> bool {
    let Some(short) =
        name.strip_prefix(b"refs/heads/").or_else(|| name.strip_prefix(b"refs/tags/"))
    else {
        return false;
    };
    short.len() <= NAME_BYTES_MAX
        && short.first().is_some_and(u8::is_ascii_alphanumeric)
        && short.split(|byte| *byte == b'/').all(is_valid_part)
}

fn is_valid_part(part: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    part.iter().all(allowed)
        && part.first().is_some_and(|byte| !matches!(byte, b'.' | b'-'))
        && !part.ends_with(b".")
        && !part.ends_with(b".lock")
        && !part.windows(2).any(|pair| pair == b"..")
}

/// Names come from the client and may be 64 KB long.
fn cut(name: &str) -> String {
    if name.len() <= 80 { name.to_owned() } else { format!("{}…", &name[..80]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use git2::Oid;
    use proptest::prelude::*;

    fn update(name: &[u8], deletes: bool) -> Update {
        let one = Oid::from_bytes(&[1; 20]).unwrap();
        let new = if deletes { Oid::ZERO_SHA1 } else { one };
        Update { old: one, new, name: name.to_vec() }
    }

    fn list(names: &[&[u8]]) -> CommandList {
        let updates = names.iter().map(|name| update(name, false)).collect();
        CommandList { updates, side_band: true, report_status: true }
    }

    #[test]
    fn names() {
        let long = [&b"refs/heads/"[..], &[b'x'; 201]].concat();
        let longer = [&b"refs/heads/"[..], &[b'x'; 202]].concat();
        let cases: &[(&[u8], bool)] = &[
            (b"refs/heads/main", true),
            (b"refs/heads/feature/a_b-c.d", true),
            (b"refs/heads/7", true),
            (b"refs/tags/v1.0", true),
            (&long, true),
            (&longer, false),
            (b"refs/heads/", false),
            (b"refs/heads", false),
            (b"HEAD", false),
            (b"refs/meta/config", false),
            (b"refs/notes/x", false),
            (b"refs/heads/$(id)", false),
            (b"refs/heads/-x", false),
            (b"refs/heads/a/-x", false),
            (b"refs/heads/x;touch$IFS/tmp/pwn", false),
            (b"refs/heads/`id`", false),
            (b"refs/heads/a b", false),
            (b"refs/heads/a\x01", false),
            (b"refs/heads/a\n", false),
            (b"refs/heads/../../x", false),
            (b"refs/heads/a/../../x", false),
            (b"refs/heads/a..b", false),
            (b"refs/heads/a//b", false),
            (b"refs/heads/a/", false),
            (b"refs/heads/.a", false),
            (b"refs/heads/a/.b", false),
            (b"refs/heads/a.lock", false),
            (b"refs/heads/a.", false),
            ("refs/heads/ä".as_bytes(), false),
        ];
        for (name, expected) in cases {
            assert_eq!(is_valid_name(name), *expected, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn one_bad_ref_refuses_all() {
        assert_eq!(check(&list(&[b"refs/heads/main", b"refs/tags/v1"])), Ok(()));
        let refused = check(&list(&[b"refs/heads/main", b"refs/heads/-x"])).unwrap_err();
        let words: Vec<&str> = refused.refs.iter().map(|(_, word)| *word).collect();
        assert_eq!(words, ["refused with the others", "invalid ref name"]);
        assert!(refused.text[0].starts_with("refs/heads/-x: "));
    }

    #[test]
    fn the_deploy_branch_stays_and_is_one() {
        let below = check(&list(&[b"refs/heads/main/x"])).unwrap_err();
        assert_eq!(below.refs[0].1, "in the way of a deploy");
        let beside: [&[u8]; 3] = [b"refs/heads/mainx/y", b"refs/tags/main/x", b"refs/heads/x/main"];
        assert_eq!(check(&list(&beside)), Ok(()));
        let gone = CommandList { updates: vec![update(b"refs/heads/main", true)], ..list(&[]) };
        assert_eq!(check(&gone).unwrap_err().refs[0].1, "deletion prohibited");
        let other = CommandList { updates: vec![update(b"refs/heads/x", true)], ..list(&[]) };
        assert_eq!(check(&other), Ok(()));
        let both = list(&[b"refs/heads/main", b"refs/heads/master"]);
        assert_eq!(check(&both).unwrap_err().refs[1].1, "one branch deploys");
    }

    #[test]
    fn too_many_at_once() {
        let names: Vec<String> = (0..=UPDATES_MAX).map(|n| format!("refs/heads/b{n}")).collect();
        let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
        assert_eq!(check(&list(&names[1..])), Ok(()));
        assert_eq!(check(&list(&names)).unwrap_err().refs[0].1, "too many refs");
    }

    proptest! {
        #[test]
        fn accepted_names_are_harmless(short in "[ -~]{1,40}") {
            let name = format!("refs/heads/{short}");
            if is_valid_name(name.as_bytes()) {
                prop_assert!(!short.starts_with('-') && !short.contains(".."));
                prop_assert!(short.bytes().all(|b| b.is_ascii_alphanumeric() || b"._/-".contains(&b)));
                prop_assert!(git2::Reference::is_valid_name(&name));
            }
        }
    }
}
