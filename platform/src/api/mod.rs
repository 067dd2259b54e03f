//! The Platform API v3, as the unmodified Heroku CLI speaks it. This page is the route table.

mod access;
mod account;
mod acm;
mod apps;
mod body;
mod buildpacks;
mod builds;
mod cancels;
mod catalogue;
mod collaborators;
mod config_vars;
mod context;
mod credits;
mod domains;
mod dynos;
mod envelope;
mod error;
mod features;
mod fetch;
mod formation;
mod inputs;
mod log_drains;
mod log_sessions;
mod oauth;
mod page;
mod prometheus;
mod range;
mod rate;
mod rebuilds;
mod releases;
mod segments;
mod slugs;
mod sni_endpoints;
mod sources;
mod unsupported;
mod uploads;

pub use context::Context;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{any, delete, get, patch, post, put};

/// Every route of the API, with who asks checked in each handler's own arguments.
pub fn router(context: Context) -> Router {
    Router::new()
        .route("/account", get(account::show))
        .route("/account/rate-limits", get(account::rate_limits))
        .route("/account/features", get(unsupported::none))
        .route("/account/keys", get(unsupported::none))
        .route("/users/{user}", get(account::show_user))
        .route("/oauth/authorizations", get(oauth::list).post(oauth::create))
        .route("/oauth/authorizations/{authorization}", get(oauth::show).delete(oauth::revoke))
        .route("/oauth/sessions/{session}", delete(oauth::end_session))
        .route("/users/{user}/authorizations", get(oauth::list_of_user))
        .route("/users/{user}/authorizations/{authorization}", delete(oauth::revoke_of_user))
        .route("/users/{user}/apps", get(apps::list_of_user))
        .merge(apps_routes())
        .merge(run_routes())
        .merge(build_routes())
        .merge(catalogue_routes())
        .fallback(any(unsupported::unknown))
        .method_not_allowed_fallback(unsupported::method)
        .layer(from_fn_with_state(context.clone(), envelope::limit))
        .layer(from_fn(envelope::wrap))
        .with_state(context)
}

fn apps_routes() -> Router<Context> {
    Router::new()
        .route("/apps", get(apps::list).post(apps::create))
        .route("/apps/{app}", get(apps::show).patch(apps::update).delete(apps::destroy))
        .route("/apps/{app}/config-vars", get(config_vars::show).patch(config_vars::update))
        .route("/apps/{app}/collaborators", get(collaborators::list).post(collaborators::add))
        .route("/apps/{app}/collaborators/{user}", delete(collaborators::remove))
        .route("/apps/{app}/domains", get(domains::list).post(domains::add))
        .route("/apps/{app}/domains/{domain}", get(domains::show).delete(domains::remove))
        .route("/apps/{app}/domains/{domain}", patch(domains::update))
        .route("/apps/{app}/sni-endpoints", get(sni_endpoints::list).post(sni_endpoints::add))
        .route("/apps/{app}/sni-endpoints/{endpoint}", get(sni_endpoints::show))
        .route("/apps/{app}/sni-endpoints/{endpoint}", patch(sni_endpoints::update))
        .route("/apps/{app}/sni-endpoints/{endpoint}", delete(sni_endpoints::remove))
        .route("/apps/{app}/acm", post(acm::enable).patch(acm::refresh).delete(acm::disable))
        .route("/apps/{app}/log-drains", get(log_drains::list).post(log_drains::add))
        .route("/apps/{app}/log-counts", get(log_drains::counts))
        .route("/apps/{app}/log-drains/{drain}", delete(log_drains::remove))
        .route("/apps/{app}/log-sessions", post(log_sessions::create))
        .route("/log-sessions/{secret}", get(log_sessions::stream))
        .route("/apps/{app}/addons", get(unsupported::none_of_app))
        .route("/apps/{app}/addon-attachments", get(unsupported::none_of_app))
        .route("/apps/{app}/features", get(features::list))
        .route("/apps/{app}/features/{feature}", get(features::show).patch(features::update))
        .route("/apps/{app}/webhooks", get(unsupported::none_of_app))
        .route("/apps/{app}/pipeline-couplings", get(unsupported::no_pipeline))
}

fn run_routes() -> Router<Context> {
    Router::new()
        .route("/apps/{app}/releases", get(releases::list).post(releases::create))
        .route("/apps/{app}/releases/{release}", get(releases::show))
        .route("/apps/{app}/releases/{release}/config-vars", get(releases::config_vars))
        .route("/apps/{app}/releases/{release}/actions/rebuild", post(rebuilds::create))
        .route("/apps/{app}/releases/{release}/output/{secret}", get(releases::output))
        .route("/apps/{app}/formation", get(formation::list).patch(formation::batch_update))
        .route("/apps/{app}/formation/{type}", get(formation::show).patch(formation::update))
        .route("/apps/{app}/formations/{type}", delete(dynos::restart_type))
        .route("/apps/{app}/formations/{type}/actions/stop", post(dynos::restart_type))
        .route("/apps/{app}/cpu", get(credits::of_app))
        .route("/apps/{app}/dynos", get(dynos::list).post(dynos::run).delete(dynos::restart_all))
        .route("/apps/{app}/dynos/{dyno}", get(dynos::show).delete(dynos::restart))
        .route("/apps/{app}/dynos/{dyno}/actions/stop", post(dynos::restart))
}

fn build_routes() -> Router<Context> {
    Router::new()
        .route("/apps/{app}/builds", get(builds::list).post(builds::create))
        .route("/apps/{app}/builds/{build}", get(builds::show).delete(builds::cancel))
        .route("/apps/{app}/builds/{build}/output/{secret}", get(builds::output))
        .route("/apps/{app}/build-cache", delete(builds::purge_cache))
        .route("/buildpacks/{buildpack}", get(buildpacks::registered))
        .route("/apps/{app}/buildpack-installations", get(buildpacks::list).put(buildpacks::set))
        .route("/sources", post(sources::create))
        .route("/apps/{app}/sources", post(sources::create_for_app))
        .route("/sources/{secret}", put(sources::upload).get(sources::download))
        .route("/apps/{app}/slugs", post(slugs::create))
        .route("/apps/{app}/slugs/{slug}", get(slugs::show))
        .route("/slugs/{slug}/{secret}", put(slugs::upload).get(slugs::download))
}

/// What there is one of, or none of, on every Lathe.
fn catalogue_routes() -> Router<Context> {
    Router::new()
        .route("/addons", get(unsupported::none))
        .route("/addon-attachments", get(unsupported::none))
        .route("/pipelines", get(unsupported::none))
        .route("/teams", get(unsupported::none))
        .route("/spaces", get(unsupported::none))
        .route("/stacks", get(catalogue::stacks))
        .route("/regions", get(catalogue::regions))
        .route("/governor", get(credits::settings).patch(credits::change))
        .route("/governor/report", get(credits::report))
        .route("/metrics", get(credits::metrics))
        .route("/batch", patch(unsupported::unknown))
}
