//! Who is who: builds, jobs, chunks, and the subjects that lead to them.
//!
//! | id        | bytes | what it is                                                                              |
//! |-----------|-------|-----------------------------------------------------------------------------------------|
//! | [`Build`] | 32    | SHA-256 of the file that holds the crate: the same bytes, so the same types and functions |
//! | [`JobId`] | 16    | random, or a hash of the job's name; the highest bit of its first byte says which of them |
//! | [`JobKey`] | 32   | random; never leaves the masters                                                        |
//! | [`ChunkId`] | 16  | HMAC-SHA-256 of the chunk's pieces by the job's key, cut: not to be guessed             |
//!
//! A chunk's number has its first piece in the low half and its number of pieces in the high half. So a master that attaches finds out from a frame
//! which pieces that chunk has, by the key alone.
//!
//! Names in subjects: a namespace has only small letters, digits, `-` and `_`, and anything else is refused ([`Namespace::new`]). A job's name may be any text: the
//! subject has its hash. A host's name is encoded ([`token`]): each byte that is no letter, digit, `-` or `_` becomes `=` and two digits.

use ring::digest::{self, SHA256};
use ring::hmac;
use std::fmt;

/// What runs pieces: the SHA-256 of the file that holds the crate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Build(pub [u8; 32]);

/// A job.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub [u8; 16]);

/// A chunk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub [u8; 16]);

/// What chunks get their ids by. It is a secret, so `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct JobKey(pub [u8; 32]);

/// The pieces of a chunk: those from `first` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The first piece.
    pub first: u32,
    /// The number of pieces, at least 1.
    pub count: u32,
}

/// In the first byte of a job's id: it is a hash of the job's name.
const NAMED: u8 = 0x80;

/// The longest name of a job, in bytes.
pub const MAX_JOB_NAME_BYTES: usize = 255;

/// The longest namespace. Names of streams have it, and become file names on the server.
pub const MAX_NAMESPACE_BYTES: usize = 32;

/// A name that is refused, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadName(pub String);

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadName {}

impl JobId {
    /// The id of a job without a name, by 16 random bytes.
    #[must_use]
    pub fn unnamed(mut random: [u8; 16]) -> JobId {
        random[0] &= !NAMED;
        JobId(random)
    }

    /// The id of the job with this name. All masters of one namespace get the same.
    ///
    /// # Errors
    /// If the name is empty, longer than 255 bytes, or has a control character.
    pub fn named(name: &str) -> Result<JobId, BadName> {
        let refuse = |why: String| Err(BadName(format!("the job's name {name:?} {why}")));
        match name {
            "" => return refuse("is empty: give it at least one character".into()),
            _ if name.len() > MAX_JOB_NAME_BYTES => {
                return refuse(format!("has {} bytes; at most {MAX_JOB_NAME_BYTES} are taken", name.len()));
            }
            _ => {}
        }
        if let Some((at, char)) = name.char_indices().find(|(_, char)| char.is_control()) {
            return refuse(format!("has the control character {char:?} at byte {at}: leave it out"));
        }
        let mut context = digest::Context::new(&SHA256);
        context.update(b"multicore-nats job\0");
        context.update(name.as_bytes());
        let mut id: [u8; 16] = context.finish().as_ref()[..16].try_into().expect("16 bytes");
        id[0] |= NAMED;
        Ok(JobId(id))
    }

    /// True if the job has a name, so that another master may attach to it.
    #[must_use]
    pub fn is_named(self) -> bool {
        self.0[0] & NAMED != 0
    }
}

impl ChunkId {
    /// The id of the chunk that has these pieces.
    #[must_use]
    pub fn of(key: &ChunkKey, span: Span) -> ChunkId {
        let number = u64::from(span.first) | u64::from(span.count) << 32;
        let tag = hmac::sign(&key.0, &number.to_le_bytes());
        ChunkId(tag.as_ref()[..16].try_into().expect("16 bytes"))
    }
}

/// A job's key, made ready for the ids of many chunks.
#[derive(Clone)]
pub struct ChunkKey(hmac::Key);

impl ChunkKey {
    /// From the job's key.
    #[must_use]
    pub fn new(key: JobKey) -> ChunkKey {
        ChunkKey(hmac::Key::new(hmac::HMAC_SHA256, &key.0))
    }
}

impl fmt::Debug for ChunkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkKey(..)")
    }
}

impl Span {
    /// The pieces.
    pub fn pieces(self) -> std::ops::Range<u32> {
        self.first..self.first.saturating_add(self.count)
    }
}

impl fmt::Debug for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JobKey(..)")
    }
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Ids are shown, and stand in subjects, as hexadecimal digits.
macro_rules! shown_as_hex {
    ($($id:ident),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex(&self.0, f)
            }
        }
        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex(&self.0, f)
            }
        }
    )*};
}

shown_as_hex!(Build, JobId, ChunkId);

impl Build {
    /// The build of a file with these bytes.
    #[must_use]
    pub fn of(file: &[u8]) -> Build {
        Build(digest::digest(&SHA256, file).as_ref().try_into().expect("32 bytes"))
    }

    /// Its first digits, as messages show it.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }
}

/// The SHA-256 of a value.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&SHA256, bytes).as_ref().try_into().expect("32 bytes")
}

/// Any text as one token of a subject.
#[must_use]
pub fn token(text: &str) -> String {
    let mut token = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => token.push(byte as char),
            _ => token.push_str(&format!("={byte:02x}")),
        }
    }
    match token.is_empty() {
        true => "=".into(),
        false => token,
    }
}

/// What keeps the jobs of one project apart from those of others on the same server. All subjects begin with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace(String);

impl Namespace {
    /// A namespace of this name.
    ///
    /// # Errors
    /// If the name is empty, longer than 32 bytes, or has anything but small letters, digits, `-` and `_`. Streams have the same name in capitals, so
    /// that capitals would make two namespaces one.
    pub fn new(name: &str) -> Result<Namespace, BadName> {
        let refuse = |why: String| {
            Err(BadName(format!("the namespace {name:?} {why}; it takes 1 to 32 of the characters a-z, 0-9, - and _")))
        };
        if name.is_empty() || name.len() > MAX_NAMESPACE_BYTES {
            return refuse(format!("has {} bytes", name.len()));
        }
        let is_bad = |char: char| !matches!(char, 'a'..='z' | '0'..='9' | '-' | '_');
        match name.char_indices().find(|&(_, char)| is_bad(char)) {
            Some((at, char)) => refuse(format!("has the character {char:?} at byte {at}")),
            None => Ok(Namespace(name.into())),
        }
    }

    /// All subjects of one part: `w`, `r` or `j`.
    #[must_use]
    pub fn all(&self, part: &str) -> String {
        format!("{}.{part}.>", self.0)
    }

    /// Where chunks of a job go.
    #[must_use]
    pub fn work(&self, build: Build, job: JobId) -> String {
        format!("{}.w.{build}.{job}", self.0)
    }

    /// All chunks of a build.
    #[must_use]
    pub fn all_work(&self, build: Build) -> String {
        format!("{}.w.{build}.>", self.0)
    }

    /// Where chunks of a job go, whatever the build; only for a purge.
    #[must_use]
    pub fn work_of_any_build(&self, job: JobId) -> String {
        format!("{}.w.*.{job}", self.0)
    }

    /// The agents' consumer.
    #[must_use]
    pub fn consumer(build: Build) -> String {
        format!("w-{build}")
    }

    /// Where results of a job go.
    #[must_use]
    pub fn results(&self, job: JobId) -> String {
        format!("{}.r.{job}", self.0)
    }

    /// Where the record of a named job stands.
    #[must_use]
    pub fn record(&self, job: JobId) -> String {
        format!("{}.j.{job}", self.0)
    }

    /// Where masters speak to agents.
    #[must_use]
    pub fn control(&self, job: JobId) -> String {
        format!("{}.c.{job}", self.0)
    }

    /// What agents listen to.
    #[must_use]
    pub fn all_control(&self) -> String {
        format!("{}.c.>", self.0)
    }

    /// Where a host's beats go.
    #[must_use]
    pub fn beats(&self, host: &str) -> String {
        format!("{}.h.{}", self.0, token(host))
    }

    /// What masters listen to.
    #[must_use]
    pub fn all_beats(&self) -> String {
        format!("{}.h.>", self.0)
    }

    /// The name of one of the streams, by its letter.
    #[must_use]
    pub fn stream(&self, letter: char) -> String {
        format!("{}_{letter}", self.0.to_ascii_uppercase())
    }

    /// The name of the object that has a value.
    #[must_use]
    pub fn object(job: JobId, chunk: ChunkId, piece: u32) -> String {
        format!("{job}/{chunk}/{piece}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_ids_are_hmacs_of_the_pieces() {
        let key = ChunkKey::new(JobKey([7; 32]));
        let span = Span { first: 5, count: 3 };
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), &[5, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(ChunkId::of(&key, span).0, tag.as_ref()[..16]);
        for other in [Span { first: 5, count: 4 }, Span { first: 3, count: 5 }, Span { first: 6, count: 3 }] {
            assert_ne!(ChunkId::of(&key, other), ChunkId::of(&key, span));
        }
        assert_ne!(ChunkId::of(&ChunkKey::new(JobKey([8; 32])), span), ChunkId::of(&key, span));
    }

    #[test]
    fn named_and_unnamed_jobs_never_have_the_same_id() {
        assert!(!JobId::unnamed([255; 16]).is_named());
        let named = JobId::named("import of May").unwrap();
        assert!(named.is_named());
        assert_eq!(JobId::named("import of May").unwrap(), named);
        assert_ne!(JobId::named("import of June").unwrap(), named);
    }

    #[test]
    fn names_that_do_not_fit_are_refused_and_named() {
        for (name, part) in [("", "is empty"), ("a\nb", "'\\n' at byte 1"), (&"x".repeat(256), "has 256 bytes")] {
            let text = JobId::named(name).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        }
        for (name, part) in [
            ("", "has 0 bytes"),
            ("a.b", "'.' at byte 1"),
            ("a b", "' ' at byte 1"),
            ("*", "'*' at byte 0"),
            ("ab>", "'>' at byte 2"),
            ("Mc", "'M' at byte 0"),
            ("ä", "'ä' at byte 0"),
            (&"x".repeat(33), "has 33 bytes"),
        ] {
            let text = Namespace::new(name).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        }
        assert!(JobId::named("a.b *>").is_ok(), "the subject has its hash");
    }

    #[test]
    fn hosts_are_one_token_each() {
        for (host, expected) in
            [("node-1_A", "node-1_A"), ("n1.local", "n1=2elocal"), ("a b*>", "a=20b=2a=3e"), ("ä", "=c3=a4"), ("", "=")]
        {
            assert_eq!(token(host), expected);
        }
        assert_ne!(token("a="), token("a=3d"));
    }

    #[test]
    fn subjects_and_secrets() {
        let space = Namespace::new("mc").unwrap();
        let (build, job) = (Build([1; 32]), JobId([2; 16]));
        assert_eq!(space.work(build, job), format!("mc.w.{}.{}", "01".repeat(32), "02".repeat(16)));
        assert!(space.work(build, job).starts_with(space.all_work(build).trim_end_matches('>')));
        assert_eq!(space.stream('W'), "MC_W");
        assert_eq!(space.beats("n1.local"), "mc.h.n1=2elocal");
        assert_eq!(build.short(), "01010101");
        assert_eq!(format!("{:?}", JobKey([9; 32])), "JobKey(..)");
        assert_eq!(format!("{:?}", ChunkKey::new(JobKey([9; 32]))), "ChunkKey(..)");
    }
}
