//! What a slug was made from, as the API tells it: enough to make it again and compare.

use crate::state::model::{Slug, UsedBuildpack};
use serde_json::{Value, json};

/// Null for a slug that was made elsewhere.
pub(super) fn show(slug: &Slug) -> Value {
    let Some(inputs) = &slug.inputs else { return Value::Null };
    json!({
        "commit": slug.commit,
        "source": inputs.source,
        "locks": inputs.locks,
        "buildpacks": slug.buildpacks.iter().map(show_buildpack).collect::<Vec<_>>(),
        "build_stack": inputs.build_stack,
        "run_stack": slug.stack,
        "lathe": inputs.lathe,
    })
}

pub(super) fn show_buildpack(used: &UsedBuildpack) -> Value {
    json!({
        "url": used.url,
        "name": used.name,
        "commit": used.commit,
        "digest": used.digest,
        "pinned": used.pinned,
        "report": used.report,
    })
}
