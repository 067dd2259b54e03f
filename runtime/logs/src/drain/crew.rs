//! The workers of all drains, made to match the latest table.

use super::connect::Connector;
use super::queue::Queue;
use super::worker::{self, Worker};
use super::{Drain, DrainTable, Left, Mark, Policy, Target, TargetError};
use crate::{AppId, Line};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Notices on their way to the apps' logs; more are not sent.
const NOTICES_MAX: usize = 64;

/// By app, the drains its lines go to.
pub(crate) type Routes = HashMap<AppId, Vec<(Drain, Arc<Queue>)>>;

#[derive(Debug)]
pub(crate) struct Crew {
    policy: Arc<Policy>,
    connector: Connector,
    generation: u64,
    posts: HashMap<String, Post>,
    /// Drains whose URL is not understood; their apps know.
    unserved: Vec<Drain>,
    /// What drains of an earlier run had not delivered, by drain id, until the first table comes.
    left: HashMap<String, Left>,
    notices: mpsc::Sender<Line>,
    news: Arc<Notify>,
}

/// A drain and the one who serves it.
#[derive(Debug)]
struct Post {
    drain: Drain,
    queue: Arc<Queue>,
    /// Dropping it ends the worker.
    worker: JoinSet<()>,
}

impl Crew {
    /// The crew, and what it has to tell the apps. `news` is notified when lines have left.
    pub(crate) fn new(
        policy: Policy,
        left: HashMap<String, Left>,
        news: Arc<Notify>,
    ) -> (Self, mpsc::Receiver<Line>) {
        let policy = Arc::new(policy);
        let connector = Connector::new(Arc::clone(&policy));
        let (notices, told) = mpsc::channel(NOTICES_MAX);
        let (posts, unserved) = (HashMap::new(), Vec::new());
        let crew = Self { policy, connector, generation: 0, posts, unserved, left, notices, news };
        (crew, told)
    }

    /// Starts, changes and ends workers; the routes that now hold, or `None` for an old table.
    /// What a drain that is gone had pending goes with it.
    pub(crate) fn apply(&mut self, table: &DrainTable) -> Option<Routes> {
        if table.generation <= self.generation {
            return None;
        }
        self.generation = table.generation;
        let mut before = std::mem::take(&mut self.posts);
        self.unserved.retain(|drain| table.drains.contains(drain));
        for drain in &table.drains {
            let post = match before.remove(&drain.id) {
                Some(post) if post.drain == *drain => Some(post),
                Some(post) if post.drain.app == drain.app && post.drain.token == drain.token => {
                    self.post(drain, Some(post.queue))
                }
                _ => self.post(drain, None),
            };
            if let Some(post) = post {
                self.posts.insert(drain.id.clone(), post);
            }
        }
        for (id, post) in before {
            let lines = post.queue.counts().pending;
            tracing::info!(drain.id = id, lines, "drain gone, and the lines pending with it");
        }
        self.left.clear();
        Some(self.routes())
    }

    /// A worker for the drain, which takes over `queue` when only the URL has changed.
    fn post(&mut self, drain: &Drain, queue: Option<Arc<Queue>>) -> Option<Post> {
        let target: Target = match drain.url.parse() {
            Ok(target) => target,
            Err(error) => {
                self.refuse(drain, &error);
                return None;
            }
        };
        let wire = worker::wire(drain, &target);
        let queue = if let Some(queue) = queue {
            queue.rewire(wire);
            queue
        } else {
            let (policy, news) = (Arc::clone(&self.policy), Arc::clone(&self.news));
            let queue = Arc::new(Queue::new(drain.token.clone(), wire, policy, news));
            if let Some(left) = self.left.remove(&drain.id) {
                queue.restore(left);
            }
            queue
        };
        let (connector, notices) = (self.connector.another(), self.notices.clone());
        let served = Worker::new(drain.clone(), target, Arc::clone(&queue), connector, notices);
        let mut worker = JoinSet::new();
        worker.spawn(served.run());
        Some(Post { drain: drain.clone(), queue, worker })
    }

    /// Tells the app once why a drain is not served.
    fn refuse(&mut self, drain: &Drain, error: &TargetError) {
        if self.unserved.contains(drain) {
            return;
        }
        self.unserved.push(drain.clone());
        tracing::warn!(drain.id = %drain.id, %error, "drain not served");
        let text = format!("Drain {} is not served: {error}.", drain.id);
        drop(self.notices.try_send(worker::line(drain, text)));
    }

    fn routes(&self) -> Routes {
        let mut routes = Routes::new();
        for post in self.posts.values() {
            let queue = (post.drain.clone(), Arc::clone(&post.queue));
            routes.entry(post.drain.app.clone()).or_default().push(queue);
        }
        routes
    }

    /// Where drains of an earlier run stand that wait for the first table.
    pub(crate) fn marks(&self) -> impl Iterator<Item = Mark> {
        self.left.values().map(|left| left.mark.clone())
    }

    /// Lets drains that work finish within the grace, and ends all workers.
    pub(crate) async fn land(&mut self) {
        let finish = async {
            for post in self.posts.values() {
                post.queue.empty_or_failing().await;
            }
        };
        if timeout(self.policy.grace, finish).await.is_err() {
            tracing::warn!("drains were still busy when the hub stopped");
        }
        for post in self.posts.values_mut() {
            post.worker.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_app_is_told_once_of_a_url_nobody_understands() {
        let (mut crew, mut told) = Crew::new(Policy::default(), HashMap::new(), Arc::default());
        let drain = |id: &str, url: &str| Drain {
            id: id.to_owned(),
            app: AppId::new("a"),
            token: format!("d.{id}"),
            url: url.to_owned(),
        };
        let mut table = DrainTable { generation: 1, drains: vec![drain("bad", "file:///x")] };
        assert!(crew.apply(&table).unwrap().is_empty());
        assert!(told.try_recv().is_ok());
        assert!(crew.apply(&table).is_none(), "the same generation");

        table.generation = 2;
        table.drains.push(drain("good", "https://logs.example.com/"));
        assert_eq!(crew.apply(&table).unwrap()[&AppId::new("a")].len(), 1);
        assert!(told.try_recv().is_err());

        table = DrainTable { generation: 3, drains: vec![drain("bad", "gopher://x/")] };
        assert!(crew.apply(&table).unwrap().is_empty());
        assert!(told.try_recv().is_ok(), "another URL is another mistake");
    }
}
