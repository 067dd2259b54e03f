//! One certificate for one name: ordered, proved, fetched (RFC 8555, 7.4).

use super::challenges::{self, Challenges};
use crate::certs::pair::{self, PairError};
use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair};
use std::net::SocketAddr;
use std::time::Duration;

/// How long the authority may take to look, and to sign.
const PATIENCE: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(500)).timeout(Duration::from_mins(1));

/// Why there is no certificate. Texts are for the app's owner.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    #[error("the certificate authority refuses, or cannot be asked")]
    Authority(#[from] Error),
    #[error("the certificate authority does not offer to ask by HTTP (HTTP-01)")]
    NoHttp,
    #[error("the router does not answer for the name")]
    Unanswered,
    #[error("the certificate authority did not get our answer: {detail}")]
    NotProved { detail: String },
    #[error("no key could be made")]
    Key(#[from] rcgen::Error),
    #[error("the certificate authority issued what nobody would take")]
    Useless(#[from] PairError),
    #[error("the certificate authority issued a certificate for other names")]
    OtherNames,
    #[error("it took too long")]
    Timeout,
}

impl OrderError {
    /// Whether the authority says that it is asked too often.
    pub(super) fn is_limit(&self) -> bool {
        self.is_problem("rateLimited")
    }

    /// Whether the authority does not know us any more.
    pub(super) fn is_stranger(&self) -> bool {
        self.is_problem("accountDoesNotExist")
    }

    fn is_problem(&self, kind: &str) -> bool {
        let Self::Authority(Error::Api(problem)) = self else { return false };
        let known = problem.r#type.as_deref().and_then(|name| name.rsplit_once(':'));
        known.is_some_and(|(_, name)| name == kind)
    }
}

/// Chain and key, both PEM.
pub(super) struct Issued {
    pub(super) chain: String,
    pub(super) key: String,
}

/// Orders it. `router` is where the authority will ask, through the world.
pub(super) async fn issue(
    account: &Account,
    hostname: &str,
    challenges: &Challenges,
    router: SocketAddr,
) -> Result<Issued, OrderError> {
    let names = [Identifier::Dns(hostname.to_owned())];
    let mut order = account.new_order(&NewOrder::new(&names)).await?;
    if order.state().status == OrderStatus::Pending {
        prove(&mut order, hostname, challenges, router).await?;
    }
    let key = KeyPair::generate()?;
    let request = CertificateParams::new(vec![hostname.to_owned()])?.serialize_request(&key)?;
    order.finalize_csr(request.der()).await?;
    let chain = order.poll_certificate(&PATIENCE).await?;
    let key = key.serialize_pem();
    let fields = pair::check(&chain, &key, Timestamp::now())?;
    if fields.covers(hostname) { Ok(Issued { chain, key }) } else { Err(OrderError::OtherNames) }
}

/// Answers what the authority asks until it believes that the name is ours.
async fn prove(
    order: &mut Order,
    hostname: &str,
    challenges: &Challenges,
    router: SocketAddr,
) -> Result<(), OrderError> {
    let mut given = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let challenge = authorization.challenge(ChallengeType::Http01);
        let mut challenge = challenge.ok_or(OrderError::NoHttp)?;
        let answer = challenge.key_authorization();
        let (token, answer) = (challenge.token.clone(), answer.as_str());
        given.push(challenges.give(hostname, &token, answer));
        if !challenges::is_given(router, &token, answer).await {
            return Err(OrderError::Unanswered);
        }
        challenge.set_ready().await?;
    }
    match order.poll_ready(&PATIENCE).await {
        Ok(OrderStatus::Ready) => Ok(()),
        // It says so of the order, and why of the challenge.
        Ok(_) | Err(Error::Api(_)) => {
            let detail = failure(order).await.unwrap_or_else(|| "it does not say why".into());
            Err(OrderError::NotProved { detail })
        }
        Err(error) => Err(error.into()),
    }
}

/// What went wrong with the first challenge that failed.
async fn failure(order: &mut Order) -> Option<String> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let state = authorization.refresh().await.ok()?;
        let mut errors = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        if let Some(detail) = errors.find_map(|error| error.detail.clone()) {
            return Some(detail);
        }
    }
    None
}
