//! Who may talk to whom: one nftables table an engine, replaced as a whole.

use super::address::Network;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// What the rules are made from; every part is a number or checked by whoever made it.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) table: &'a str,
    /// Every host end of a cable has a name that begins so.
    pub(crate) links: &'a str,
    pub(crate) network: Network,
    /// Name servers a dyno may ask, wherever they are.
    pub(crate) resolvers: &'a [Ipv4Addr],
}

impl Rules<'_> {
    /// The whole table as nft reads it.
    ///
    /// A dyno reaches the world through the host's address, its name servers, and nothing else:
    /// no other dyno, no address of the host, no link-local metadata service. From the host a
    /// connection goes in, from elsewhere none.
    fn text(&self) -> String {
        let Self { table, links, network, resolvers } = self;
        let resolvers = if resolvers.is_empty() {
            String::new()
        } else {
            let list: Vec<String> = resolvers.iter().map(Ipv4Addr::to_string).collect();
            let list = list.join(", ");
            format!(
                "ip daddr {{ {list} }} udp dport 53 accept\n    \
                 ip daddr {{ {list} }} tcp dport 53 accept"
            )
        };
        format!(
            r#"table inet {table} {{}}
delete table inet {table}
table inet {table} {{
  chain from_dyno {{
    ct state established,related accept
    meta nfproto != ipv4 drop
    fib saddr . iif oif missing drop
    {resolvers}
  }}
  chain input {{
    type filter hook input priority filter - 5; policy accept;
    iifname "{links}*" jump from_dyno
    iifname "{links}*" drop
  }}
  chain forward {{
    type filter hook forward priority filter - 5; policy accept;
    iifname "{links}*" jump to_world
    oifname "{links}*" ct state established,related accept
    oifname "{links}*" drop
  }}
  chain to_world {{
    jump from_dyno
    oifname "{links}*" drop
    ip daddr {{ 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/3, {network} }} drop
    accept
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {network} oifname != "{links}*" masquerade
  }}
}}
"#
        )
    }

    /// Replaces the table in one transaction.
    pub(crate) fn apply(&self) -> io::Result<()> {
        nft(&self.text())
    }
}

/// Removes the table, if it is there.
pub(crate) fn remove(table: &str) -> io::Result<()> {
    nft(&format!("table inet {table} {{}}\ndelete table inet {table}\n"))
}

fn nft(text: &str) -> io::Result<()> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
