//! One connection to a server, or to one of several, for all machines of a process.
//!
//! | state     | told by                                                    | what the machines hear                       |
//! |-----------|------------------------------------------------------------|----------------------------------------------|
//! | up        | the client's event                                         | `Connected`                                  |
//! | down      | the client's event; it tries again without end             | `Disconnected`                               |
//! | refused   | the server, when the client comes again: the user is no more | `Refused`, and nothing further              |
//!
//! The first connection is tried once, and not again: a client that retries hangs on a bad token. A permission that is missing is an event
//! of its own, and the request for it gets no answer: the last of these events is kept for a moment to be its reason.

use super::failure::chain;
use crate::settings::ServerSettings;
use async_nats::{Client, ClientError, ConnectErrorKind, ConnectOptions, Event, ServerError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The first connection is there within this time, or not at all.
pub(crate) const FIRST: Duration = Duration::from_secs(5);

/// A connection that is not there within this time is tried anew: while a link is cut, its packets are lost, and the next ones are sent after
/// ever longer pauses.
const EACH: Duration = Duration::from_secs(2);

/// A server that does not answer is found out after three of them.
const PING: Duration = Duration::from_secs(1);

/// The pause between two tries grows up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The reason of a request that gets no answer is not older than this.
const REASON: Duration = Duration::from_secs(4);

/// What was published last has this time to leave.
const LAST: Duration = Duration::from_secs(1);

/// Whether there is a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// How often there was one.
    pub(super) number: u64,
    pub(super) is_up: bool,
    pub(super) refused: Option<String>,
}

/// A permission that was missing, in the server's words.
type LastReason = Arc<Mutex<Option<(Instant, String)>>>;

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct NoLink {
    pub(crate) why: String,
    /// Another try is of no use before somebody has changed something.
    pub(crate) is_for_good: bool,
}

impl NoLink {
    fn for_good(why: String) -> NoLink {
        NoLink { why, is_for_good: true }
    }

    fn for_now(why: String) -> NoLink {
        NoLink { why, is_for_good: false }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(super) client: Client,
    status: watch::Receiver<Status>,
    reason: LastReason,
}

impl Link {
    /// Connects. What this process is answered comes to a place of its user, or else of its role: permissions keep others from reading there. On a tokio runtime, on which the
    /// connection lives.
    ///
    /// # Errors
    /// Why there is no connection, without secrets.
    pub(crate) async fn connect(settings: &ServerSettings, role: &str) -> Result<Link, NoLink> {
        let (sender, status) = watch::channel(Status::default());
        let reason = LastReason::default();
        let reasons = Arc::clone(&reason);
        let options = settings.options().map_err(NoLink::for_good)?;
        let options = options
            .custom_inbox_prefix(format!("_INBOX.{}-{}", settings.namespace, settings.own_name(role)))
            .connection_timeout(EACH)
            .ping_interval(PING)
            .max_reconnects(None)
            .reconnect_delay_callback(|tries| LONGEST_PAUSE.min(Duration::from_millis(20 << tries.min(10))))
            .event_callback(move |event| {
                note(&sender, &reasons, event);
                std::future::ready(())
            });
        let client = Self::first(settings, options).await?;
        Ok(Link { client, status, reason })
    }

    async fn first(settings: &ServerSettings, options: ConnectOptions) -> Result<Client, NoLink> {
        let servers = settings.addresses().map_err(NoLink::for_good)?;
        let what = settings.servers();
        // A server names others of its cluster, by addresses that nobody here has judged.
        let options = match (settings.requires_tls(&servers), settings.allow_plaintext) {
            (true, _) => options.require_tls(true),
            (false, true) => options,
            (false, false) => options.ignore_discovered_servers(),
        };
        let error = match tokio::time::timeout(FIRST, options.connect(servers)).await {
            Err(_) => return Err(NoLink::for_now(format!("no server answers at {what} within {FIRST:?}"))),
            Ok(Err(error)) => error,
            Ok(Ok(client)) => return Ok(client),
        };
        let why = chain(&error);
        Err(match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => NoLink::for_good(format!(
                "the server at {what} refuses this user: look at the user, password, token or credentials: {why}"
            )),
            ConnectErrorKind::Tls => {
                NoLink::for_good(format!("no TLS connection to {what}: look at the CA and at the certificate: {why}"))
            }
            _ if why.to_lowercase().contains("certificate") => {
                NoLink::for_good(format!("no TLS connection to {what}: look at the CA and at the certificate: {why}"))
            }
            _ => NoLink::for_now(format!("no connection to {what}: {why}")),
        })
    }

    pub(super) fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until what was published has left, for a moment at most.
    pub(crate) async fn flush(&self) {
        let _ = tokio::time::timeout(LAST, self.client.flush()).await;
    }

    /// The permission that was missing a moment ago.
    pub(super) fn reason(&self) -> Option<String> {
        let reason = self.reason.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        reason.as_ref().filter(|(at, _)| at.elapsed() < REASON).map(|(_, text)| text.clone())
    }
}

/// Notes an event of the client.
fn note(sender: &watch::Sender<Status>, reasons: &LastReason, event: Event) {
    match event {
        Event::Connected => sender.send_modify(|status| {
            status.number += 1;
            (status.is_up, status.refused) = (true, None);
        }),
        Event::Disconnected => sender.send_modify(|status| status.is_up = false),
        Event::ServerError(ServerError::AuthorizationViolation) => {
            sender.send_modify(|status| status.refused = Some("the user is not authorized any more".into()));
        }
        Event::ServerError(ServerError::Other(text)) => {
            let text = text.trim_matches('\'').to_string();
            if text.to_lowercase().contains("permissions violation") {
                *reasons.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some((Instant::now(), text));
            } else if text.to_lowercase().contains("authentication") || text.to_lowercase().contains("authorization") {
                sender.send_modify(|status| status.refused = Some(text));
            }
        }
        // A client that comes again and is refused tells of it so, and tries on.
        Event::ClientError(ClientError::Other(text)) if text.to_lowercase().contains("authorization") => {
            sender.send_modify(|status| status.refused = Some(text));
        }
        Event::Closed => sender.send_modify(|status| {
            status.is_up = false;
            status.refused.get_or_insert_with(|| "the connection was closed".into());
        }),
        _ => {}
    }
}
