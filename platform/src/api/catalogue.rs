//! What there is one set of on every Lathe: the stack, the region, the generation, the dyno sizes.

use super::access::Caller;
use crate::stack::RUN;
use axum::Json;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub(super) async fn stacks(_: Caller) -> Json<Value> {
    Json(json!([{
        "id": id("stack", RUN),
        "name": RUN,
        "default": true,
        "state": "public",
        "created_at": Timestamp::UNIX_EPOCH,
        "updated_at": Timestamp::UNIX_EPOCH,
    }]))
}

pub(super) async fn regions(_: Caller) -> Json<Value> {
    Json(json!([{
        "id": id("region", REGION),
        "name": REGION,
        "description": "This machine",
        "country": "",
        "locale": "",
        "private_capable": false,
        "default": true,
        "provider": {"name": "lathe", "region": "local"},
        "created_at": Timestamp::UNIX_EPOCH,
        "updated_at": Timestamp::UNIX_EPOCH,
    }]))
}

/// One machine is one region. It is called `us` because the CLI prints every other name.
const REGION: &str = "us";

pub(super) fn stack() -> Value {
    named("stack", RUN)
}

pub(super) fn region() -> Value {
    named("region", REGION)
}

/// The CLI asks a `fir` app for other log sessions and other one-offs than Lathe has.
pub(super) fn generation() -> Value {
    named("generation", "cedar")
}

/// `size` in canonical capitalisation.
pub(super) fn dyno_size(size: &str) -> Value {
    named("dyno size", size)
}

fn named(kind: &str, name: &str) -> Value {
    json!({"id": id(kind, name), "name": name})
}

/// The same on every Lathe and for ever, without a table: a UUID (RFC 9562, version 8) of the name.
fn id(kind: &str, name: &str) -> Uuid {
    let digest: [u8; 32] = Sha256::digest(format!("lathe {kind} {name}")).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
