//! Reads a file of `Timeline::write_chrome`, event by event: it may be longer than memory.
//!
//! Invariant: one event is in memory at a time, and no text of it is longer than [`MAX_TEXT`], whatever the file says.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::io::{self, BufReader, Read};

/// A longer text in the file is no name that anybody gave.
const MAX_TEXT: usize = 1 << 20;

/// Objects and lists that lie in each other. A timeline has five.
const MAX_DEPTH: usize = 100;

/// A longer name or cause is cut.
const MAX_SHOWN: usize = 200;

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
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(Bounded::new(file)));
    json.deserialize_map(Whole(&mut see))?;
    json.end()
}

impl Event {
    /// Cuts what is too long to be shown.
    fn cut(&mut self) {
        let Args { name, outcome, cause, .. } = &mut self.args;
        for text in [Some(&mut self.name), name.as_mut(), outcome.as_mut(), cause.as_mut()].into_iter().flatten() {
            if let Some((end, _)) = text.char_indices().nth(MAX_SHOWN) {
                text.truncate(end);
                // Its room counts too, where many are kept.
                text.shrink_to_fit();
            }
        }
    }
}

/// A file of JSON whose texts, and what lies in each other, are bounded: what reads it keeps one of them whole.
struct Bounded<R> {
    file: R,
    line: usize,
    depth: usize,
    /// The bytes of the text in which the last read ended.
    text: Option<usize>,
    is_escaped: bool,
}

impl<R> Bounded<R> {
    fn new(file: R) -> Bounded<R> {
        Bounded { file, line: 1, depth: 0, text: None, is_escaped: false }
    }

    fn see(&mut self, byte: u8) -> io::Result<()> {
        self.line += usize::from(byte == b'\n');
        match (&mut self.text, byte) {
            (Some(_), _) if self.is_escaped => self.is_escaped = false,
            (Some(_), b'"') => self.text = None,
            (Some(bytes), _) => {
                self.is_escaped = byte == b'\\';
                *bytes += 1;
            }
            (None, b'"') => self.text = Some(0),
            (None, b'{' | b'[') => self.depth += 1,
            (None, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
            (None, _) => {}
        }
        let wrong = match (self.text, self.depth) {
            (Some(bytes), _) if bytes > MAX_TEXT => "a text of more than 1 MiB",
            (_, depth) if depth > MAX_DEPTH => "more than 100 lists or objects in each other",
            _ => return Ok(()),
        };
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("{wrong} at line {}", self.line)))
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        buffer[..count].iter().try_for_each(|byte| self.see(*byte))?;
        Ok(count)
    }
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
        while let Some(mut event) = events.next_element::<Event>()? {
            event.cut();
            (self.0)(event).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}
