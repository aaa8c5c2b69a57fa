//! Reads a file of `Timeline::write_chrome`, event by event: it may be longer than memory.
//!
//! Invariant: one event is in memory at a time, and no text of it is longer than the file's line for it.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::io::Read;

/// An event, as far as the picture needs it.
#[derive(Debug, Deserialize)]
pub struct Event {
    #[serde(rename = "ph")]
    pub phase: String,
    #[serde(default)]
    pub name: String,
    #[serde(rename = "tid", default)]
    pub track: u64,
    /// Microseconds.
    #[serde(default)]
    pub ts: Option<f64>,
    #[serde(default)]
    pub dur: Option<f64>,
    #[serde(default)]
    pub args: Args,
}

#[derive(Debug, Default, Deserialize)]
pub struct Args {
    /// Of an event that names a track.
    pub name: Option<String>,
    pub piece: Option<u64>,
    pub outcome: Option<String>,
    pub cause: Option<String>,
}

/// Gives each event to `see`.
///
/// # Errors
/// Where it stops to be such a file: with line and column.
pub fn read(file: impl Read, mut see: impl FnMut(Event) -> Result<(), String>) -> Result<(), serde_json::Error> {
    let mut json = serde_json::Deserializer::from_reader(file);
    json.deserialize_map(Whole(&mut see))?;
    json.end()
}

/// The object that the file is.
struct Whole<'a, F>(&'a mut F);

impl<'de, F: FnMut(Event) -> Result<(), String>> Visitor<'de> for Whole<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the object of a timeline")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut has_events = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == "traceEvents" {
                map.next_value_seed(Events(&mut *self.0))?;
                has_events = true;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if has_events { Ok(()) } else { Err(A::Error::missing_field("traceEvents")) }
    }
}

/// The list of its events.
struct Events<'a, F>(&'a mut F);

impl<'de, F: FnMut(Event) -> Result<(), String>> DeserializeSeed<'de> for Events<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(Event) -> Result<(), String>> Visitor<'de> for Events<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut events: A) -> Result<(), A::Error> {
        while let Some(event) = events.next_element::<Event>()? {
            (self.0)(event).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}
