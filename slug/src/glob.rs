//! Globs as in .gitignore, matched in time that no pattern can blow up.

/// One path component of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// `**`: any number of components.
    Any,
    Name(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Byte(u8),
    /// `?`
    One,
    /// `*`
    Many,
    /// `[a-z]`, `[!a-z]`: inclusive ranges.
    Class {
        negated: bool,
        ranges: Vec<(u8, u8)>,
    },
}

/// Parts of a pattern without its leading and trailing slash; `None` for an unclosed `[`, a class that
/// POSIX does not know, or a `\` at the end of a name. An empty name, as in `a//b`, matches nothing.
pub(crate) fn parse(pattern: &[u8]) -> Option<Vec<Part>> {
    let pattern = pattern.strip_prefix(b"/").unwrap_or(pattern);
    let pattern = pattern.strip_suffix(b"/").unwrap_or(pattern);
    let any = |name: &[u8]| name.len() > 1 && name.iter().all(|byte| *byte == b'*');
    let names = pattern.split(|byte| *byte == b'/');
    names.map(|name| if any(name) { Some(Part::Any) } else { parse_name(name) }).collect()
}

fn parse_name(name: &[u8]) -> Option<Part> {
    let mut tokens = Vec::new();
    let mut rest = name;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'*' if tokens.last() == Some(&Token::Many) => {}
            b'*' => tokens.push(Token::Many),
            b'?' => tokens.push(Token::One),
            b'\\' => {
                let (&escaped, after) = rest.split_first()?;
                tokens.push(Token::Byte(escaped));
                rest = after;
            }
            b'[' => {
                let (class, after) = parse_class(rest)?;
                tokens.push(class);
                rest = after;
            }
            byte => tokens.push(Token::Byte(byte)),
        }
    }
    Some(Part::Name(tokens))
}

/// After the `[`. A `]` that comes first stands for itself (POSIX 2.13.1).
fn parse_class(text: &[u8]) -> Option<(Token, &[u8])> {
    let (negated, mut rest) = match text.split_first() {
        Some((b'!' | b'^', rest)) => (true, rest),
        _ => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        let (&low, after) = rest.split_first()?;
        if low == b']' && !ranges.is_empty() {
            return Some((Token::Class { negated, ranges }, after));
        }
        if let Some(named) = rest.strip_prefix(b"[:") {
            let end = named.windows(2).position(|pair| pair == b":]")?;
            ranges.extend_from_slice(class(&named[..end])?);
            rest = &named[end + 2..];
            continue;
        }
        rest = after;
        match rest {
            [b'-', high, after @ ..] if *high != b']' => {
                ranges.push((low, *high));
                rest = after;
            }
            _ => ranges.push((low, low)),
        }
    }
}

/// The bytes of a character class (POSIX 7.3.1, in the C locale).
fn class(name: &[u8]) -> Option<&'static [(u8, u8)]> {
    Some(match name {
        b"alnum" => &[(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')],
        b"alpha" => &[(b'A', b'Z'), (b'a', b'z')],
        b"blank" => &[(b'\t', b'\t'), (b' ', b' ')],
        b"cntrl" => &[(0, 31), (127, 127)],
        b"digit" => &[(b'0', b'9')],
        b"graph" => &[(b'!', b'~')],
        b"lower" => &[(b'a', b'z')],
        b"print" => &[(b' ', b'~')],
        b"punct" => &[(b'!', b'/'), (b':', b'@'), (b'[', b'`'), (b'{', b'~')],
        b"space" => &[(b'\t', b'\r'), (b' ', b' ')],
        b"upper" => &[(b'A', b'Z')],
        b"xdigit" => &[(b'0', b'9'), (b'A', b'F'), (b'a', b'f')],
        _ => return None,
    })
}

/// Whether the parts match all of the names, in time proportional to the product of their numbers.
pub(crate) fn matches(parts: &[Part], names: &[&[u8]]) -> bool {
    star_match(
        parts,
        names,
        |part| *part == Part::Any,
        |part, name| match part {
            Part::Any => false,
            Part::Name(tokens) => star_match(
                tokens,
                name,
                |token| *token == Token::Many,
                |token, byte| one_byte(token, *byte),
            ),
        },
    )
}

fn one_byte(token: &Token, byte: u8) -> bool {
    match token {
        Token::Byte(wanted) => *wanted == byte,
        Token::One => true,
        Token::Many => false,
        Token::Class { negated, ranges } => {
            ranges.iter().any(|(low, high)| (*low..=*high).contains(&byte)) != *negated
        }
    }
}

/// Greedy matching with one way back: to the last star, which then takes one item more. Earlier stars
/// need never be tried again, so there is no exponential case.
fn star_match<P, I>(
    pattern: &[P],
    items: &[I],
    is_star: impl Fn(&P) -> bool,
    fits: impl Fn(&P, &I) -> bool,
) -> bool {
    let (mut p, mut i) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while i < items.len() {
        if p < pattern.len() && is_star(&pattern[p]) {
            back = Some((p, i));
            p += 1;
        } else if p < pattern.len() && fits(&pattern[p], &items[i]) {
            (p, i) = (p + 1, i + 1);
        } else if let Some((star, taken)) = back {
            back = Some((star, taken + 1));
            (p, i) = (star + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(is_star)
}
