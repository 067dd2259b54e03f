//! The API role: one router behind two doors (TLS, and plain on loopback), and the rendezvous.

use super::{Role, UpError, serve::serve};
use crate::services::Services;
use crate::tls::ServerTls;
use crate::{api, attach, git, registry};
use std::sync::Arc;
use tokio::net::TcpListener;

#[derive(Debug)]
pub(super) struct Doors {
    pub(super) tls: TcpListener,
    pub(super) plain: TcpListener,
    pub(super) rendezvous: TcpListener,
}

pub(super) async fn start(
    services: &Services,
    doors: Doors,
    tls: &Arc<ServerTls>,
) -> Result<Vec<Role>, UpError> {
    let config = tls.server_config()?;
    let pending = Arc::new(attach::Pending::default());
    let git = git::open(services.clone()).await?;
    let context = api::Context::new(services.clone(), git.builder(), pending.clone());
    let app = api::router(context).merge(git.router());
    let app = app.merge(registry::router(services.clone()));
    let builder = Role::start("git and builder", |stop| async move {
        stop.cancelled().await;
        git.close().await;
    });
    // Before the doors open: what is there now is of an earlier life.
    let earlier = attach::resume(services.clone());
    let resumed = Role::start("earlier one-offs", |stop| async move {
        tokio::select! {
            () = earlier => {}
            () = stop.cancelled() => {}
        }
    });
    let secure =
        Role::start("api", |stop| serve(doors.tls, Some(config.clone()), app.clone(), stop));
    let plain = Role::start("api on loopback", |stop| serve(doors.plain, None, app, stop));
    let services = services.clone();
    let rendezvous = Role::start("rendezvous", |stop| {
        attach::serve(doors.rendezvous, config, services, pending, stop)
    });
    Ok(vec![builder, resumed, secure, plain, rendezvous])
}
