//! The bytes of a journal's file. All numbers are little endian.
//!
//! | offset | bytes | the file's header                              |
//! |--------|-------|------------------------------------------------|
//! | 0      | 8     | [`MAGIC`]                                      |
//! | 8      | 2     | the format's version, [`FORMAT`]               |
//! | 10     | 2     | flags, 0                                       |
//! | 12     | 16    | the file's id, random                          |
//! | 28     | 4     | CRC32C of the 28 bytes before                  |
//!
//! | offset | bytes | a record                                       |
//! |--------|-------|------------------------------------------------|
//! | 0      | 4     | [`MARK`]                                       |
//! | 4      | 4     | the length `n` of the body                     |
//! | 8      | 1     | its kind                                       |
//! | 9      | 3     | the number of the run that wrote it            |
//! | 12     | 4     | CRC32C of the file's id and the 12 bytes before |
//! | 16     | `n`   | the body                                       |
//! | 16 + n | 4     | CRC32C of the file's id and all bytes before   |
//!
//! The head has a sum of its own: otherwise a flipped bit in the length would hide all records behind it. The id is in both sums,
//! so what an earlier file left on the disk passes for no record of this one.
//!
//! Invariant: a record that is decoded here was laid down by [`append`] with this file's id, or is refused.

use crate::error::ErrorKind;
use crate::sys::random;
use std::io;

/// The first byte begins no text.
pub(super) const MAGIC: [u8; 8] = *b"\x89mcjrnl\n";
pub(super) const FORMAT: u16 = 1;
pub(super) const HEADER_BYTES: usize = 32;

pub(super) const MARK: [u8; 4] = *b"\xa7mr\x15";
pub(super) const HEAD_BYTES: usize = 16;
pub(super) const TAIL_BYTES: usize = 4;

/// A record's body is at most this long: a result of a gigabyte, less what stands before it.
pub(super) const MAX_BODY_BYTES: usize = 1 << 30;

/// Run numbers have 3 bytes.
pub(super) const MAX_RUN: u32 = (1 << 24) - 1;

/// What stands before the result or the message in an outcome's body.
pub(super) const OUTCOME_BYTES: usize = 37;

/// The identity of a piece.
pub(super) type Key = [u8; 16];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(pub(super) [u8; 16]);

/// Why a file's header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// It is no journal.
    Foreign,
    Damaged,
    /// It has another format.
    Format(u16),
}

impl FileId {
    /// The id of a new file.
    pub(super) fn random() -> io::Result<FileId> {
        let (first, second) = (random::number()?, random::number()?);
        Ok(FileId((u128::from(first) << 64 | u128::from(second)).to_le_bytes()))
    }

    /// The header of a file with this id.
    pub(super) fn header(self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        header[12..28].copy_from_slice(&self.0);
        let sum = crc32c::crc32c(&header[..28]);
        header[28..].copy_from_slice(&sum.to_le_bytes());
        header
    }

    /// The id in a header. The sum is checked before the version: a flipped bit is no other format.
    pub(super) fn of_header(header: &[u8; HEADER_BYTES]) -> Result<FileId, HeaderFault> {
        if header[..8] != MAGIC {
            return Err(HeaderFault::Foreign);
        }
        if crc32c::crc32c(&header[..28]) != number(&header[28..]) as u32 {
            return Err(HeaderFault::Damaged);
        }
        match number(&header[8..10]) as u16 {
            FORMAT => Ok(FileId(header[12..28].try_into().expect("16 bytes"))),
            other => Err(HeaderFault::Format(other)),
        }
    }

    /// The sum of these bytes.
    pub(super) fn sum(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.0), bytes)
    }
}

/// True if a file of these bytes was never more than begun: it is empty, or the beginning of a header. A power cut may leave zeros.
pub(super) fn is_begun(bytes: &[u8]) -> bool {
    let magic = bytes.len().min(MAGIC.len());
    bytes.len() < HEADER_BYTES && bytes[..magic] == MAGIC[..magic]
        || bytes.len() <= HEADER_BYTES && bytes.iter().all(|&byte| byte == 0)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// The kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A run begins: who writes what follows.
    Run,
    /// A piece is done.
    Done,
    /// A piece has failed.
    Failed,
    /// A piece is done, and its caller has kept what it gave.
    Confirmed,
    /// All before this place was on the disk before this was written.
    Synced,
}

impl Kind {
    const ALL: [(Kind, u8); 5] =
        [(Kind::Run, 1), (Kind::Done, 2), (Kind::Failed, 3), (Kind::Confirmed, 4), (Kind::Synced, 5)];

    fn code(self) -> u8 {
        Kind::ALL.iter().find(|(kind, _)| *kind == self).expect("all are there").1
    }

    fn of_code(code: u8) -> Option<Kind> {
        Kind::ALL.iter().find(|(_, other)| *other == code).map(|(kind, _)| *kind)
    }

    /// True if it tells how a piece ended.
    pub(super) fn is_outcome(self) -> bool {
        matches!(self, Kind::Done | Kind::Failed | Kind::Confirmed)
    }
}

/// The head of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) run: u32,
    pub(super) body_bytes: usize,
}

impl Head {
    pub(super) fn encode(&self, id: FileId) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&MARK);
        head[4..8].copy_from_slice(&(self.body_bytes as u32).to_le_bytes());
        head[8] = self.kind.code();
        head[9..12].copy_from_slice(&self.run.to_le_bytes()[..3]);
        let sum = id.sum(&head[..12]);
        head[12..].copy_from_slice(&sum.to_le_bytes());
        head
    }

    /// `None` if these bytes are no head in a file with this id.
    pub(super) fn decode(head: &[u8], id: FileId) -> Option<Head> {
        let head = head.first_chunk::<HEAD_BYTES>()?;
        if head[..4] != MARK || id.sum(&head[..12]) != number(&head[12..]) as u32 {
            return None;
        }
        let body_bytes = number(&head[4..8]) as usize;
        let kind = Kind::of_code(head[8])?;
        (body_bytes <= MAX_BODY_BYTES).then(|| Head { kind, run: number(&head[9..12]) as u32, body_bytes })
    }

    /// The length of the whole record.
    pub(super) fn record_bytes(&self) -> u64 {
        (HEAD_BYTES + self.body_bytes + TAIL_BYTES) as u64
    }
}

/// Appends a record to a buffer. `None`, and nothing is appended, if the body is too long.
#[must_use]
pub(super) fn append(buffer: &mut Vec<u8>, id: FileId, (kind, run): (Kind, u32), body: &[&[u8]]) -> Option<()> {
    let body_bytes = body.iter().map(|part| part.len()).sum();
    if body_bytes > MAX_BODY_BYTES {
        return None;
    }
    let from = buffer.len();
    buffer.reserve(HEAD_BYTES + body_bytes + TAIL_BYTES);
    buffer.extend(Head { kind, run, body_bytes }.encode(id));
    body.iter().for_each(|part| buffer.extend_from_slice(part));
    let sum = id.sum(&buffer[from..]);
    buffer.extend(sum.to_le_bytes());
    Some(())
}

/// The body of a record, if both its sums are right.
pub(super) fn body_of(record: &[u8], id: FileId) -> Option<&[u8]> {
    let head = Head::decode(record, id)?;
    let end = HEAD_BYTES + head.body_bytes;
    let sum = record.get(end..end + TAIL_BYTES)?;
    (id.sum(&record[..end]).to_le_bytes() == sum).then(|| &record[HEAD_BYTES..end])
}

/// Who writes the records of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) pid: u32,
    /// Since 1970, in nanoseconds.
    pub(super) began_ns: u64,
    pub(super) name: String,
    pub(super) version: String,
    /// The type of the results, as the compiler names it.
    pub(super) types: String,
    pub(super) crate_version: String,
}

impl Run {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = self.pid.to_le_bytes().to_vec();
        body.extend(self.began_ns.to_le_bytes());
        for text in [&self.name, &self.version, &self.types, &self.crate_version] {
            body.extend((text.len() as u32).to_le_bytes());
            body.extend_from_slice(text.as_bytes());
        }
        body
    }

    pub(super) fn decode(body: &[u8]) -> Option<Run> {
        let mut rest = body;
        let pid = number(rest.split_off(..4)?) as u32;
        let began_ns = number(rest.split_off(..8)?);
        let mut text = || {
            let length = number(rest.split_off(..4)?) as usize;
            String::from_utf8(rest.split_off(..length)?.to_vec()).ok()
        };
        let run = Run { pid, began_ns, name: text()?, version: text()?, types: text()?, crate_version: text()? };
        rest.is_empty().then_some(run)
    }
}

/// How a piece ended, but for its result or message, which stands behind this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) key: Key,
    pub(super) attempts: u32,
    /// Since 1970, in nanoseconds.
    pub(super) finished_ns: u64,
    pub(super) took_ns: u64,
    pub(super) how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Done, and what it gave stands behind this.
    Result,
    /// Done, and nobody kept what it gave here.
    NoResult,
    Failed(ErrorKind),
}

/// The kinds of errors that are recorded. A number is never used for another kind.
const ERROR_KINDS: [(ErrorKind, u8); 8] = [
    (ErrorKind::Panicked, 16),
    (ErrorKind::WorkerLost, 17),
    (ErrorKind::TimedOut, 18),
    (ErrorKind::MemoryLimit, 19),
    (ErrorKind::Decode, 20),
    (ErrorKind::System, 21),
    (ErrorKind::Busy, 22),
    (ErrorKind::Failed, 23),
];

impl Ended {
    /// `None` if such an error is not recorded: the piece is run again.
    pub(super) fn encode(&self) -> Option<[u8; OUTCOME_BYTES]> {
        let mut body = [0; OUTCOME_BYTES];
        body[..16].copy_from_slice(&self.key);
        body[16..20].copy_from_slice(&self.attempts.to_le_bytes());
        body[20..28].copy_from_slice(&self.finished_ns.to_le_bytes());
        body[28..36].copy_from_slice(&self.took_ns.to_le_bytes());
        body[36] = match self.how {
            How::NoResult => 0,
            How::Result => 1,
            How::Failed(kind) => ERROR_KINDS.iter().find(|(other, _)| *other == kind)?.1,
        };
        Some(body)
    }

    /// The kind of the record that tells this.
    pub(super) fn kind(&self) -> Kind {
        if matches!(self.how, How::Failed(_)) { Kind::Failed } else { Kind::Done }
    }

    /// `None` if that is no such body of a record of this kind.
    pub(super) fn decode(kind: Kind, body: &[u8]) -> Option<Ended> {
        let is_all = body.len() == OUTCOME_BYTES;
        let body = body.first_chunk::<OUTCOME_BYTES>()?;
        let how = match (kind, body[36]) {
            (Kind::Done, 1) => How::Result,
            // A result of no bytes is always there.
            (Kind::Confirmed, 1) if is_all => How::Result,
            (Kind::Done | Kind::Confirmed, 0) => How::NoResult,
            (Kind::Failed, code) => How::Failed(ERROR_KINDS.iter().find(|(_, other)| *other == code)?.0),
            _ => return None,
        };
        Some(Ended {
            key: body[..16].try_into().expect("16 bytes"),
            attempts: number(&body[16..20]) as u32,
            finished_ns: number(&body[20..28]),
            took_ns: number(&body[28..36]),
            how,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: FileId = FileId(*b"sixteen bytes id");

    #[test]
    fn a_header_is_this_formats_or_says_what_it_is() {
        let header = ID.header();
        assert_eq!(FileId::of_header(&header), Ok(ID));
        for bit in 0..HEADER_BYTES * 8 {
            let mut damaged = header;
            damaged[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < 64 { HeaderFault::Foreign } else { HeaderFault::Damaged };
            assert_eq!(FileId::of_header(&damaged), Err(expected), "bit {bit}");
        }
        let mut later = header;
        later[8] = 2;
        let sum = crc32c::crc32c(&later[..28]).to_le_bytes();
        later[28..].copy_from_slice(&sum);
        assert_eq!(FileId::of_header(&later), Err(HeaderFault::Format(2)));
        for length in 0..=HEADER_BYTES {
            assert_eq!(is_begun(&header[..length]), length < HEADER_BYTES, "{length}");
            assert!(is_begun(&vec![0; length]), "{length} zeros");
        }
        for bytes in [&b"Seq\tHost"[..], b"x", &[0; 33], b"\x89mcjrnl "] {
            assert!(!is_begun(bytes), "{bytes:?}");
        }
    }

    #[test]
    fn bodies_come_back_as_they_are_and_no_others_do() {
        let run = Run {
            pid: 41,
            began_ns: u64::MAX,
            name: "import".into(),
            version: "ü".into(),
            types: String::new(),
            crate_version: "0.1.0".into(),
        };
        let body = run.encode();
        assert_eq!(Run::decode(&body), Some(run));
        for length in 0..body.len() {
            assert_eq!(Run::decode(&body[..length]), None, "{length}");
        }
        assert_eq!(Run::decode(&[&body[..], &[0]].concat()), None);
        let ended = |how| Ended { key: [7; 16], attempts: 3, finished_ns: 5, took_ns: u64::MAX, how };
        for how in [How::Result, How::NoResult, How::Failed(ErrorKind::TimedOut), How::Failed(ErrorKind::Panicked)] {
            let ended = ended(how);
            let body = ended.encode().unwrap();
            assert_eq!(Ended::decode(ended.kind(), &body), Some(ended));
            assert_eq!(Ended::decode(Kind::Run, &body), None);
            assert_eq!(Ended::decode(ended.kind(), &body[..OUTCOME_BYTES - 1]), None);
        }
        let confirmed = ended(How::NoResult);
        assert_eq!(Ended::decode(Kind::Confirmed, &confirmed.encode().unwrap()), Some(confirmed));
        let body = ended(How::Result).encode().unwrap();
        assert_eq!(Ended::decode(Kind::Confirmed, &body), Some(ended(How::Result)));
        assert_eq!(Ended::decode(Kind::Confirmed, &[&body[..], b"result"].concat()), None);
        for kind in
            [ErrorKind::Cancelled, ErrorKind::Encode, ErrorKind::Config, ErrorKind::Unsupported, ErrorKind::Journal]
        {
            assert_eq!(ended(How::Failed(kind)).encode(), None, "{kind:?} is not recorded");
        }
    }

    #[test]
    fn a_head_with_a_flipped_bit_is_none() {
        let head = Head { kind: Kind::Done, run: MAX_RUN, body_bytes: 70_000 };
        let bytes = head.encode(ID);
        assert_eq!(Head::decode(&bytes, ID), Some(head));
        assert_eq!(Head::decode(&bytes, FileId([0; 16])), None, "of another file");
        for bit in 0..HEAD_BYTES * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::decode(&damaged, ID), None, "bit {bit}");
        }
        let too_long = Head { body_bytes: MAX_BODY_BYTES + 1, ..head };
        assert_eq!(Head::decode(&too_long.encode(ID), ID), None);
    }
}
