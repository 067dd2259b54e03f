//! The first account, made at first start with a token that only root can read, and its first app.

use crate::config::Config;
use crate::state::model::App;
use crate::state::{StateError, Store, accounts, apps, system};

/// Makes account and token unless they are there already.
pub(super) async fn ensure(store: &Store, config: &Config) -> Result<(), StateError> {
    let path = config.owner_token();
    store.write(move |tx| accounts::keep_operator_token(tx, &path)).await
}

/// The system app, if there is one. A platform that is kept always has one: what runs becomes its first
/// release.
pub(super) async fn adopt(store: &Store, kept: bool) -> Result<Option<App>, StateError> {
    if !kept {
        return store.read(apps::system).await;
    }
    store
        .write(|tx| {
            let owner = accounts::find_or_create(tx, accounts::OPERATOR)?;
            system::ensure(tx, &owner).map(Some)
        })
        .await
}
