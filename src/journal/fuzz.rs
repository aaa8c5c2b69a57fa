//! What a fuzzer drives: a journal of any bytes. Only for `fuzz/` and the tests.

use super::format::{self, Ended, FileId, How, Kind, OUTCOME_BYTES, Run};
use super::log::{self, Fault, Log};
use super::storage::{Source, Storage};
use std::io;

/// A file in memory.
#[derive(Debug, Clone)]
struct Bytes(Vec<u8>);

impl Source for Bytes {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

impl Storage for Bytes {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        assert_eq!(offset, self.0.len() as u64, "it is written at its end");
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        assert!(length <= self.0.len() as u64, "it is only cut");
        self.0.truncate(length as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn check_place(&self) -> io::Result<()> {
        Ok(())
    }
}

const ID: FileId = FileId([5; 16]);

/// A file with this header, or with none. Each byte says what comes next: records whose sums are right, of any kind with any body, bytes
/// as they are, and a change of what is there.
fn file_of(data: &[u8]) -> Vec<u8> {
    let Some((&first, mut rest)) = data.split_first() else { return Vec::new() };
    if first == 0 {
        return rest.to_vec();
    }
    let mut file = ID.header().to_vec();
    while let Some((&what, others)) = rest.split_first() {
        let (body, others) = others.split_at(others.len().min(usize::from(what >> 3) * 2));
        rest = others;
        match what & 7 {
            0 => file.extend_from_slice(body),
            1 => {
                let place = body.iter().fold(0, |place, &byte| place << 8 | usize::from(byte)) % file.len();
                file[place] ^= 1 << (what >> 5);
            }
            2 => {
                let synced = [body.len() as u64 * 16, file.len() as u64][usize::from(what >> 7)];
                append(&mut file, Kind::Synced, &synced.to_le_bytes());
            }
            3 => append(&mut file, Kind::Run, body),
            4 => append(&mut file, Kind::Failed, body),
            5 => append(&mut file, Kind::Confirmed, body),
            6 => append(&mut file, Kind::Done, body),
            _ => append(&mut file, Kind::Synced, body),
        }
    }
    file
}

fn append(file: &mut Vec<u8>, kind: Kind, body: &[u8]) {
    format::append(file, ID, (kind, body.len() as u32), &[body]).expect("it is short");
}

/// The records of a file, as they are decoded.
fn records(bytes: &Bytes, repair: bool) -> Result<Vec<(u64, Kind)>, Fault> {
    let Some(id) = log::id_of(bytes)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let end = log::read_all(bytes, id, repair, |record, beginning| {
        assert!(record.end() <= bytes.0.len() as u64 && found.last().is_none_or(|&(last, _)| last < record.offset));
        if record.head.kind == Kind::Run {
            let _ = Run::decode(beginning);
        }
        let _ = Ended::decode(record.head.kind, beginning);
        found.push((record.offset, record.head.kind));
    })?;
    assert!(end <= bytes.0.len() as u64);
    Ok(found)
}

/// A journal of any bytes is read, or refused. What is opened takes a record, and keeps it behind all that were there.
pub fn journal(data: &[u8]) {
    let bytes = Bytes(file_of(data));
    let (plain, repaired) = (records(&bytes, false), records(&bytes, true));
    if let Ok(plain) = &plain {
        assert_eq!(repaired.as_ref().ok(), Some(plain), "there is nothing to repair");
    }
    assert!(!matches!(repaired, Err(Fault::Corrupt { .. })));
    let opened = Log::open(bytes, ID, false, |_, _| {});
    let (mut log, before) = match (opened, plain) {
        (Ok(log), Ok(before)) => (log, before),
        (Err(Fault::TooManyRuns), Ok(_)) | (Err(_), Err(_)) => return,
        (opened, plain) => panic!("{opened:?}, and {plain:?}"),
    };
    let ended = Ended { key: [1; 16], attempts: 1, finished_ns: 2, took_ns: 3, how: How::Result };
    let body = ended.encode().expect("it is recorded");
    let offset = log.append(ended.kind(), &[&body, b"result"]).expect("there is room");
    log.close().expect("there is room");
    let after = log.into_storage();
    let all = records(&after, false).expect("what was cut is gone");
    assert_eq!(all[..before.len()], before);
    assert!(all[before.len()..].contains(&(offset, Kind::Done)));
    assert_eq!(after.0[offset as usize + format::HEAD_BYTES..][..OUTCOME_BYTES], body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn journals_of_any_bytes(data in proptest::collection::vec(any::<u8>(), 0..400)) {
            journal(&data);
        }
    }
}
