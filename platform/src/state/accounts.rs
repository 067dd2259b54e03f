//! Accounts and their tokens. A token is stored as its SHA-256 only.

use super::model::{Account, Token};
use super::secrets::random_token;
use super::{StateError, Tx, ms, time};
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};
use sha2::{Digest, Sha256};
use std::io;
use std::path::Path;
use uuid::Uuid;

/// The first account, made at the first start. Its owner is whoever has the data directory.
pub const OPERATOR: &str = "owner@lathe.local";

/// More than all the machines of one person; a client that logs in and never out meets it.
const TOKENS_MAX: usize = 500;

/// The account of `email`; there is no sign-up, whoever names somebody makes them an account, of
/// no use until the operator has made a token for it.
pub fn find_or_create(tx: &Tx<'_>, email: &str) -> Result<Account, StateError> {
    if let Some(account) = by_email(tx, email)? {
        return Ok(account);
    }
    if !is_valid_email(email) {
        return Err(StateError::Refused("A user is named by an e-mail address".into()));
    }
    let account =
        Account { id: Uuid::new_v4().to_string(), email: email.to_owned(), created_at: tx.now };
    tx.sql.execute(
        "INSERT INTO accounts VALUES (?1, ?2, ?3)",
        params![account.id, account.email, ms(tx.now)],
    )?;
    Ok(account)
}

/// Only what must never be in a line of a log or a header; whether mail arrives is not our matter.
fn is_valid_email(email: &str) -> bool {
    let (name, host) = email.split_once('@').unwrap_or_default();
    !name.is_empty()
        && !host.is_empty()
        && email.len() <= 254
        && !email.chars().any(|c| c.is_control() || c.is_whitespace())
}

pub fn by_email(tx: &Tx<'_>, email: &str) -> Result<Option<Account>, StateError> {
    Ok(tx
        .sql
        .query_row("SELECT id, email, created_ms FROM accounts WHERE email = ?1", [email], |row| {
            account_at(row, 0)
        })
        .optional()?)
}

/// A new token for `account`; its plain text is in the answer and nowhere else.
pub fn issue_token(
    tx: &Tx<'_>,
    account: &Account,
    description: &str,
    expires_at: Option<Timestamp>,
) -> Result<(Token, String), StateError> {
    let over = "DELETE FROM tokens WHERE account = ?1 AND expires_ms <= ?2";
    tx.sql.execute(over, params![account.id, ms(tx.now)])?;
    if tokens_of(tx, &account.id)?.len() >= TOKENS_MAX {
        return Err(StateError::Refused(format!(
            "There are {TOKENS_MAX} tokens of {} already: revoke some",
            account.email
        )));
    }
    insert_token(tx, account, description, expires_at)
}

fn insert_token(
    tx: &Tx<'_>,
    account: &Account,
    description: &str,
    expires_at: Option<Timestamp>,
) -> Result<(Token, String), StateError> {
    let plain = random_token("lth_");
    let token = Token {
        id: Uuid::new_v4().to_string(),
        account: account.clone(),
        description: description.to_owned(),
        created_at: tx.now,
        expires_at,
    };
    tx.sql.execute(
        "INSERT INTO tokens VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![token.id, account.id, hash(&plain), description, ms(tx.now), expires_at.map(ms)],
    )?;
    Ok((token, plain))
}

/// Sees to it that the file at `path` holds a token of the operator's that is valid: the platform asks
/// itself with it, and so does whoever has the data directory. One that is lost or was ended is made anew.
pub fn keep_operator_token(tx: &Tx<'_>, path: &Path) -> Result<(), StateError> {
    let failed = |source| StateError::Key { path: path.to_owned(), source };
    let operator = find_or_create(tx, OPERATOR)?;
    let known = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        text => authenticate(tx, String::from_utf8_lossy(&text.map_err(failed)?).trim())?,
    };
    if known.is_some_and(|token| token.account.id == operator.id) {
        return Ok(());
    }
    let (_, plain) = insert_token(tx, &operator, "first start", None)?;
    // Inside the transaction: no token is valid that nobody could read.
    lathe_slug::fs::atomic_write(path, format!("{plain}\n").as_bytes(), 0o600).map_err(failed)
}

/// Whose token this is, unless it is unknown or over. The look-up is by hash, so its time says
/// nothing about how much of a guess was right.
pub fn authenticate(tx: &Tx<'_>, plain: &str) -> Result<Option<Token>, StateError> {
    let sql = format!("{TOKENS} WHERE t.hash = ?1 AND (t.expires_ms IS NULL OR t.expires_ms > ?2)");
    Ok(tx.sql.query_row(&sql, params![hash(plain), ms(tx.now)], token_of).optional()?)
}

pub fn tokens_of(tx: &Tx<'_>, account: &str) -> Result<Vec<Token>, StateError> {
    let sql = format!("{TOKENS} WHERE t.account = ?1 ORDER BY t.created_ms, t.id");
    let mut statement = tx.sql.prepare(&sql)?;
    let rows = statement.query_map([account], token_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Ends a token of `account`; somebody else's does not exist for them.
pub fn revoke_token(tx: &Tx<'_>, account: &str, id: &str) -> Result<Token, StateError> {
    let sql = format!("{TOKENS} WHERE t.account = ?1 AND t.id = ?2");
    let token = tx
        .sql
        .query_row(&sql, [account, id], token_of)
        .map_err(StateError::missing("authorization"))?;
    tx.sql.execute("DELETE FROM tokens WHERE id = ?1", [id])?;
    Ok(token)
}

const TOKENS: &str = "SELECT t.id, t.description, t.created_ms, t.expires_ms, \
    a.id, a.email, a.created_ms FROM tokens t JOIN accounts a ON a.id = t.account";

fn token_of(row: &Row<'_>) -> rusqlite::Result<Token> {
    Ok(Token {
        id: row.get(0)?,
        description: row.get(1)?,
        created_at: time(row.get(2)?),
        expires_at: row.get::<_, Option<i64>>(3)?.map(time),
        account: account_at(row, 4)?,
    })
}

/// An account from three columns `id, email, created_ms` that begin at `at`.
pub(super) fn account_at(row: &Row<'_>, at: usize) -> rusqlite::Result<Account> {
    Ok(Account { id: row.get(at)?, email: row.get(at + 1)?, created_at: time(row.get(at + 2)?) })
}

fn hash(plain: &str) -> Vec<u8> {
    Sha256::digest(plain).to_vec()
}
