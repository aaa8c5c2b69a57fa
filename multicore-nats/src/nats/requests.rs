//! Each request as the messages of JetStream's interface.
//!
//! The replies are read as far as they are needed, so that servers of all versions do.

use super::carrier::Places;
use super::failure::{NO_MESSAGE, chain, of_publish, of_request, of_server};
use crate::identity::Namespace;
use crate::transport::{ANSWER_NS, Created, Failure, Last, Reply, Stream};
use async_nats::jetstream::context::{Context, ContextBuilder};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::object_store::{Config, GetErrorKind, ObjectMetadata, ObjectStore};
use async_nats::jetstream::response::Response;
use async_nats::{Client, StatusCode, Subject};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::AsyncReadExt;

const ANSWER: Duration = Duration::from_nanos(ANSWER_NS);

/// What nobody has purged is dropped after seven days.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// A thousand hosts hold two chunks each; the server's default of 1000 would stop 500 of them.
const MAX_ACK_PENDING: u32 = 65_536;

/// A reader that nobody uses is dropped by the server after this time.
const INACTIVE: Duration = Duration::from_secs(60);

/// How many frames a reader asks for at once.
const BATCH: u32 = 256;

/// The server says at this pace that it is there, and nothing from it for a little more than two of these means that it is not.
const HEARTBEAT: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_millis(2500);

/// How long the server keeps a reader's request.
const READ_EXPIRES: Duration = Duration::from_secs(20);

/// The parts of an object.
const PART_BYTES: usize = 128 << 10;

/// What a consumer's description says.
const DESCRIPTION: &str = "multicore-nats, deliveries ";

/// The server, for tasks that each carry out one request.
#[derive(Debug, Clone)]
pub(super) struct Server {
    context: Context,
    places: Places,
    /// Since when the last message of a subject is known by its sequence: its age, by this machine's clock, is at least that.
    seen: Arc<Mutex<HashMap<String, (u64, Instant)>>>,
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

fn unreadable(what: &str) -> Failure {
    Failure::Other(format!("the server's answer has no {what}"))
}

impl Server {
    pub(super) fn new(client: Client, places: Places) -> Server {
        let context = ContextBuilder::new().timeout(ANSWER).ack_timeout(ANSWER).build(client);
        Server { context, places, seen: Arc::default() }
    }

    fn stream(&self, stream: Stream) -> String {
        let letter = match stream {
            Stream::Work => 'W',
            Stream::Results => 'R',
            Stream::Records => 'J',
        };
        self.places.namespace.stream(letter)
    }

    fn bucket(&self) -> String {
        self.places.namespace.stream('O')
    }

    /// Asks JetStream's interface. The subject begins behind `$JS.API.`.
    async fn api(&self, subject: String, payload: Value) -> Result<Value, Failure> {
        match self.context.request::<_, _, Response<Value>>(subject, &payload).await {
            Ok(Response::Ok(value)) => Ok(value),
            Ok(Response::Err { error }) => Err(of_server(&error)),
            Err(error) => Err(of_request(&error)),
        }
    }

    /// Makes a stream unless it is there, and gives when it was made, in ns since 1970.
    async fn make_stream(&self, stream: Stream, config: Value) -> Result<u64, Failure> {
        let name = self.stream(stream);
        let info = match self.api(format!("STREAM.INFO.{name}"), json!({})).await {
            Err(Failure::Missing) => self.api(format!("STREAM.CREATE.{name}"), config).await?,
            other => other?,
        };
        let created = info["created"].as_str().ok_or_else(|| unreadable("time of creation"))?;
        let created = OffsetDateTime::parse(created, &Rfc3339).map_err(|_| unreadable("time of creation"))?;
        u64::try_from(created.unix_timestamp_nanos()).map_err(|_| unreadable("time of creation"))
    }

    pub(super) async fn streams(&self) -> Result<Reply, Failure> {
        let config = |stream: Stream, part: &str, rest: Value| {
            let mut config = json!({
                "name": self.stream(stream),
                "subjects": [self.places.namespace.all(part)],
                "storage": "file",
                "max_age": nanoseconds(MAX_AGE),
                "max_consumers": -1, "max_msgs": -1, "max_bytes": -1,
                "num_replicas": self.places.replicas,
                "discard": "new",
            });
            if let (Value::Object(config), Value::Object(rest)) = (&mut config, rest) {
                config.extend(rest);
            }
            config
        };
        let work = self.make_stream(Stream::Work, config(Stream::Work, "w", json!({"retention": "workqueue"})));
        let results = self.make_stream(Stream::Results, config(Stream::Results, "r", json!({"retention": "limits"})));
        let records =
            config(Stream::Records, "j", json!({"retention": "limits", "max_msgs_per_subject": 1, "discard": "old"}));
        let records = self.make_stream(Stream::Records, records);
        let (work, results, records) = (work.await?, results.await?, records.await?);
        self.make_bucket().await?;
        Ok(Reply::Created(Created { work, results, records }))
    }

    async fn make_bucket(&self) -> Result<(), Failure> {
        match self.api(format!("STREAM.INFO.OBJ_{}", self.bucket()), json!({})).await {
            Err(Failure::Missing) => {}
            other => return other.map(drop),
        }
        let (bucket, num_replicas) = (self.bucket(), self.places.replicas);
        let config = Config { bucket, max_age: MAX_AGE, max_bytes: -1, num_replicas, ..Config::default() };
        let made = tokio::time::timeout(ANSWER, self.context.create_object_store(config)).await;
        match made {
            Err(_) => Err(Failure::NoAnswer),
            Ok(made) => made.map(drop).map_err(|error| Failure::Other(chain(&error))),
        }
    }

    pub(super) async fn consumer(&self, lease_ns: u64, deliveries: u32) -> Result<Reply, Failure> {
        let (stream, name) = (self.stream(Stream::Work), Namespace::consumer(self.places.build));
        let config = json!({
            "stream_name": stream,
            "config": {
                "durable_name": name,
                "description": format!("{DESCRIPTION}{deliveries}"),
                "deliver_policy": "all",
                "ack_policy": "explicit",
                "ack_wait": lease_ns,
                // The server silently keeps what exceeds it: agents count.
                "max_deliver": -1,
                "max_ack_pending": MAX_ACK_PENDING,
                "filter_subject": self.places.namespace.all_work(self.places.build),
                "replay_policy": "instant",
            },
        });
        self.api(format!("CONSUMER.DURABLE.CREATE.{stream}.{name}"), config).await.map(|_| Reply::Done)
    }

    pub(super) async fn lease(&self) -> Result<Reply, Failure> {
        let (stream, name) = (self.stream(Stream::Work), Namespace::consumer(self.places.build));
        let info = self.api(format!("CONSUMER.INFO.{stream}.{name}"), json!({})).await?;
        let config = &info["config"];
        let lease_ns = config["ack_wait"].as_u64().ok_or_else(|| unreadable("lease"))?;
        let description = config["description"].as_str().and_then(|text| text.strip_prefix(DESCRIPTION));
        let deliveries = description.and_then(|text| text.parse().ok());
        let deliveries = deliveries.ok_or_else(|| {
            Failure::Other(format!(
                "the consumer {name} was not made by a master: remove it, and a master makes it anew"
            ))
        })?;
        Ok(Reply::Lease { lease_ns, deliveries })
    }

    pub(super) async fn publish(
        &self,
        subject: String,
        payload: Bytes,
        id: &str,
        expected: Option<u64>,
    ) -> Result<Reply, Failure> {
        let mut message = PublishMessage::build().payload(payload);
        if !id.is_empty() {
            message = message.message_id(id);
        }
        if let Some(expected) = expected {
            message = message.expected_last_subject_sequence(expected);
        }
        let sent = self.context.send_publish(subject, message).await.map_err(|error| of_publish(&error))?;
        sent.await.map(|ack| Reply::Stored(ack.sequence)).map_err(|error| of_publish(&error))
    }

    pub(super) async fn count(&self, stream: Stream, subject: String) -> Result<Reply, Failure> {
        let name = self.stream(stream);
        let info = self.api(format!("STREAM.INFO.{name}"), json!({"subjects_filter": subject})).await?;
        let counts = info["state"]["subjects"].as_object();
        Ok(Reply::Count(counts.map_or(0, |counts| counts.values().filter_map(Value::as_u64).sum())))
    }

    pub(super) async fn last(&self, stream: Stream, subject: String) -> Result<Reply, Failure> {
        let name = self.stream(stream);
        let payload = json!({"last_by_subj": subject});
        let answer = self.context.request::<_, _, Response<Value>>(format!("STREAM.MSG.GET.{name}"), &payload).await;
        let found = match answer {
            Ok(Response::Ok(value)) => value,
            Ok(Response::Err { error }) if error.error_code().0 == NO_MESSAGE => return Ok(Reply::Last(None)),
            Ok(Response::Err { error }) => return Err(of_server(&error)),
            Err(error) => return Err(of_request(&error)),
        };
        let message = &found["message"];
        let sequence = message["seq"].as_u64().ok_or_else(|| unreadable("sequence"))?;
        let payload =
            STANDARD.decode(message["data"].as_str().unwrap_or_default()).map_err(|_| unreadable("message"))?;
        let mut seen = self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (known, since) = seen.entry(subject).or_insert((sequence, Instant::now()));
        if *known != sequence {
            (*known, *since) = (sequence, Instant::now());
        }
        Ok(Reply::Last(Some(Last { sequence, age_ns: nanoseconds(since.elapsed()), payload: payload.into() })))
    }

    pub(super) async fn purge(&self, stream: Stream, subject: String) -> Result<Reply, Failure> {
        let name = self.stream(stream);
        self.api(format!("STREAM.PURGE.{name}"), json!({"filter": subject})).await.map(|_| Reply::Done)
    }

    /// Makes a consumer that nobody else reads, and gives its name.
    pub(super) async fn make_reader(&self, subject: String, from: u64) -> Result<String, Failure> {
        let stream = self.stream(Stream::Results);
        let config = json!({
            "stream_name": stream,
            "config": {
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": from.max(1),
                "ack_policy": "none",
                "filter_subject": subject,
                "inactive_threshold": nanoseconds(INACTIVE),
                "mem_storage": true,
                "num_replicas": 1,
                "replay_policy": "instant",
            },
        });
        let info = self.api(format!("CONSUMER.CREATE.{stream}"), config).await?;
        info["name"].as_str().map(str::to_string).ok_or_else(|| unreadable("name of the consumer"))
    }

    /// Asks a consumer for messages, which come to the place that is given.
    async fn ask_next(&self, stream: Stream, consumer: &str, inbox: &str, request: Value) -> Result<(), Failure> {
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}", self.stream(stream));
        let payload = Bytes::from(request.to_string());
        let asked = self.context.client().publish_with_reply(subject, inbox.to_string(), payload).await;
        asked.map_err(|error| Failure::Other(chain(&error)))
    }

    /// One chunk, with the place for its marks and the number of its deliveries; `None` if there was none.
    pub(super) async fn pull(&self, expires_ns: u64) -> Result<Option<(Subject, u32, Bytes)>, Failure> {
        let client = self.context.client();
        let inbox = client.new_inbox();
        let mut messages = client.subscribe(inbox.clone()).await.map_err(|error| Failure::Other(chain(&error)))?;
        let request = json!({"batch": 1, "expires": expires_ns});
        self.ask_next(Stream::Work, &Namespace::consumer(self.places.build), &inbox, request).await?;
        let limit = Duration::from_nanos(expires_ns) + ANSWER;
        let message = match tokio::time::timeout(limit, messages.next()).await {
            Err(_) => return Err(Failure::NoAnswer),
            Ok(None) => return Err(Failure::Disconnected),
            Ok(Some(message)) => message,
        };
        match message.status {
            None | Some(StatusCode::OK) => {}
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => return Ok(None),
            Some(StatusCode::NO_RESPONDERS) => return Err(Failure::Missing),
            Some(_) => {
                let text = message.description.unwrap_or_default();
                let is_gone = text.to_lowercase().contains("consumer deleted");
                return Err(if is_gone { Failure::Missing } else { Failure::Other(text) });
            }
        }
        let Some(reply) = message.reply.clone() else { return Err(unreadable("place for its marks")) };
        let count = numbers_of(&reply).map_or(1, |(delivered, ..)| u32::try_from(delivered).unwrap_or(u32::MAX));
        Ok(Some((reply, count, message.payload)))
    }

    pub(super) async fn put(&self, name: &str, bytes: &Bytes) -> Result<Reply, Failure> {
        let put = async {
            let store = self.store().await?;
            let meta = ObjectMetadata { name: name.to_string(), chunk_size: Some(PART_BYTES), ..Default::default() };
            let put = store.put(meta, &mut &bytes[..]).await;
            put.map(|_| Reply::Done).map_err(|error| Failure::Other(chain(&error)))
        };
        tokio::time::timeout(limit_of(bytes.len()), put).await.unwrap_or(Err(Failure::NoAnswer))
    }

    pub(super) async fn get(&self, name: &str, most: u64) -> Result<Reply, Failure> {
        let open = async {
            let store = self.store().await?;
            store.get(name).await.map_err(|error| match error.kind() {
                GetErrorKind::NotFound => Failure::NoObject,
                _ => Failure::Other(chain(&error)),
            })
        };
        let object = tokio::time::timeout(ANSWER, open).await.unwrap_or(Err(Failure::NoAnswer))?;
        let length = object.info().size;
        if length as u64 > most {
            return Err(Failure::NoObject);
        }
        let mut bytes = Vec::new();
        // What a damaged object has beyond its length is not read.
        let mut parts = object.take(length as u64 + 1);
        match tokio::time::timeout(limit_of(length), parts.read_to_end(&mut bytes)).await {
            Ok(Ok(_)) if bytes.len() == length => Ok(Reply::Object(bytes.into())),
            Ok(_) => Err(Failure::NoObject),
            Err(_) => Err(Failure::NoAnswer),
        }
    }

    async fn store(&self) -> Result<ObjectStore, Failure> {
        let store = self.context.get_object_store(self.bucket()).await;
        store.map_err(|error| Failure::Other(chain(&error)))
    }

    pub(super) async fn drop_objects(&self, prefix: &str) {
        let Ok(store) = self.store().await else { return };
        let Ok(mut list) = store.list().await else { return };
        while let Some(Ok(object)) = list.next().await {
            if object.name.starts_with(prefix) {
                let _ = store.delete(&object.name).await;
            }
        }
    }

    pub(super) async fn say(&self, subject: String, payload: Bytes) {
        let _ = self.context.client().publish(subject, payload).await;
    }
}

/// What is long takes longer: a second more for each MiB.
fn limit_of(bytes: usize) -> Duration {
    ANSWER + Duration::from_secs(bytes as u64 >> 20)
}

/// Reads a consumer until its server is silent or refuses. Gives each message with its sequence in the stream and in the consumer; `give` says
/// whether it goes on.
pub(super) async fn reader(server: &Server, consumer: &str, give: impl Fn(u64, u64, Bytes) -> bool) {
    let client = server.context.client();
    let inbox = client.new_inbox();
    let Ok(mut messages) = client.subscribe(inbox.clone()).await else { return };
    loop {
        let request = json!({
            "batch": BATCH,
            "expires": nanoseconds(READ_EXPIRES),
            "idle_heartbeat": nanoseconds(HEARTBEAT),
        });
        if server.ask_next(Stream::Results, consumer, &inbox, request).await.is_err() {
            return;
        }
        let mut left = BATCH;
        while left > 0 {
            let message = match tokio::time::timeout(SILENCE, messages.next()).await {
                Ok(Some(message)) => message,
                // The connection may be dead, and not know it for minutes.
                Err(_) => return drop(client.force_reconnect().await),
                Ok(None) => return,
            };
            match message.status {
                None | Some(StatusCode::OK) => {
                    let Some((_, sequence, number)) = message.reply.as_ref().and_then(numbers_of) else { continue };
                    left -= 1;
                    if !give(sequence, number, message.payload) {
                        return;
                    }
                }
                Some(StatusCode::IDLE_HEARTBEAT) => {}
                Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => break,
                Some(_) => return,
            }
        }
    }
}

/// How often a message was delivered, and its numbers in the stream and for the consumer, by the subject of its marks:
/// `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream's>.<consumer's>.<time>.<pending>`, in newer servers with two words more behind `ACK`, and
/// perhaps one more at the end.
fn numbers_of(reply: &Subject) -> Option<(u64, u64, u64)> {
    let words: Vec<&str> = reply.split('.').collect();
    let first = match words.len() {
        9 => 4,
        11.. => 6,
        _ => return None,
    };
    let number = |index: usize| words.get(first + index)?.parse().ok();
    (words[..2] == ["$JS", "ACK"]).then(|| Some((number(0)?, number(1)?, number(2)?)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_delivery_are_found_in_each_form() {
        for (reply, numbers) in [
            ("$JS.ACK.MC_W.w-1.3.100.7.1790230470084404000.42", Some((3, 100, 7))),
            ("$JS.ACK._.szMpdrwD.MC_W.w-1.3.100.7.1790230470084404000.42", Some((3, 100, 7))),
            ("$JS.ACK._.szMpdrwD.MC_W.w-1.3.100.7.1790230470084404000.42.token", Some((3, 100, 7))),
            ("$JS.ACK.MC_W.w-1.3.100", None),
            ("$JS.ACK.MC_W.w-1.x.100.7.1790230470084404000.42", None),
            ("other.ACK.MC_W.w-1.3.100.7.1790230470084404000.42", None),
        ] {
            assert_eq!(numbers_of(&Subject::from(reply)), numbers, "{reply}");
        }
    }
}
