//! A simulated disk that loses power: what was not synced is lost, kept in part, or kept in another order.

use super::*;
use crate::journal::format::{Ended, How, OUTCOME_BYTES};

const SECTOR_BYTES: usize = 512;

/// A disk with one file.
#[derive(Debug, Default, Clone)]
pub(super) struct Disk {
    /// As the programs see it.
    pub(super) now: Vec<u8>,
    /// As it was at the last sync.
    pub(super) synced: Vec<u8>,
    /// What a sync that failed was to write: it never will be, whatever later ones say.
    pub(super) lost: std::ops::Range<usize>,
    pub(super) fails: Option<Failure>,
    pub(super) syncs: u32,
}

/// What the disk refuses from some operation on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Failure {
    /// It is full after this number of bytes in all.
    FullAt(usize),
    /// One sync fails. What it should have written is never written, and the next one succeeds.
    SyncOnce,
}

impl Source for Disk {
    fn length(&self) -> io::Result<u64> {
        Ok(self.now.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.now.get(offset as usize..).unwrap_or_default();
        // As a file may, it gives less than was asked for.
        let length = rest.len().min(buffer.len()).min(1_000);
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

impl Storage for Disk {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let room = match self.fails {
            Some(Failure::FullAt(most)) => most.saturating_sub(offset as usize).min(bytes.len()),
            _ => bytes.len(),
        };
        self.now.truncate(offset as usize);
        self.now.extend(&bytes[..room]);
        if room < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.now.truncate(length as usize);
        self.lost = self.lost.start.min(self.now.len())..self.lost.end.min(self.now.len());
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.syncs += 1;
        if matches!(self.fails, Some(Failure::SyncOnce)) {
            self.fails = None;
            self.lost = self.synced.len()..self.now.len();
            return Err(io::Error::other("the disk has lost it"));
        }
        self.synced.clone_from(&self.now);
        self.synced[self.lost.clone()].fill(0);
        Ok(())
    }

    fn check_place(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Numbers that look random, the same for the same seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % most
    }
}

impl Disk {
    /// The power fails: each sector is as it was synced or as it was written, the file has some length between, and bytes for which the
    /// file grew without them are zeros.
    fn lose_power(&mut self, random: &mut Random) {
        let (old, new) = (&self.synced, &self.now);
        let (least, most) = (old.len().min(new.len()), old.len().max(new.len()));
        let length = least + random.below(most - least + 1);
        let mut after = vec![0; length];
        for start in (0..length).step_by(SECTOR_BYTES) {
            let end = (start + SECTOR_BYTES).min(length);
            // Some sectors are torn.
            let split = if random.below(4) == 0 { start + random.below(end - start + 1) } else { end };
            let first_is_new = random.below(2) == 0;
            for (index, byte) in (start..end).zip(&mut after[start..end]) {
                let source = if (index < split) == first_is_new { new } else { old };
                *byte = source.get(index).copied().unwrap_or(0);
            }
        }
        self.now = after.clone();
        self.synced = after;
    }
}

pub(super) const NEW_ID: FileId = FileId([9; 16]);

/// What a piece of this number gave.
pub(super) fn result_of(number: u64) -> Vec<u8> {
    vec![number as u8; number as usize % 700]
}

pub(super) fn key_of(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_le_bytes());
    key
}

pub(super) fn record(log: &mut Log<Disk>, number: u64) -> Result<u64, Fault> {
    let ended = Ended { key: key_of(number), attempts: 1, finished_ns: 1, took_ns: 2, how: How::Result };
    log.append(Kind::Done, &[&ended.encode().unwrap(), &result_of(number)])
}

/// The numbers of the pieces that are recorded as done, in the order of the file. Each must have what it gave.
pub(super) fn done(disk: &Disk, repair: bool) -> Result<Vec<u64>, Fault> {
    let mut found = Vec::new();
    let Some(id) = id_of(disk)? else { return Ok(Vec::new()) };
    read_all(disk, id, repair, |record, body| {
        if record.head.kind == Kind::Done {
            found.push((*record, Ended::decode(Kind::Done, body).unwrap()));
        }
    })?;
    found
        .into_iter()
        .map(|(record, ended)| {
            let number = u64::from_le_bytes(ended.key[..8].try_into().unwrap());
            assert_eq!(read_body(disk, &record)?[OUTCOME_BYTES..], result_of(number), "what piece {number} gave");
            Ok(number)
        })
        .collect()
}

pub(super) fn open(disk: Disk) -> Result<Log<Disk>, Fault> {
    let mut log = Log::open(disk, NEW_ID, false, |_, _| {})?;
    log.begin_run(&Run { name: "test".into(), ..Run::default() })?;
    Ok(log)
}

/// What was told as recorded is there after any number of power cuts, in its order, and nothing else but what was written; and no power
/// cut looks like damage.
#[test]
fn what_was_synced_survives_each_power_cut_and_no_cut_is_called_damage() {
    let runs = if cfg!(miri) { 20 } else { 100_000 };
    for seed in 0..runs {
        let random = &mut Random::new(seed);
        let (mut disk, mut next) = (Disk::default(), 0);
        for _ in 0..1 + random.below(5) {
            let mut log = open(disk).unwrap_or_else(|fault| panic!("seed {seed}: {fault:?}"));
            // What was found counts as told: those pieces are not run again.
            let mut told = next;
            for _ in 0..random.below(12) {
                match random.below(4) {
                    0 => {
                        log.sync().unwrap();
                        told = next;
                    }
                    _ => {
                        record(&mut log, next).unwrap();
                        next += 1;
                    }
                }
            }
            if random.below(8) == 0 {
                log.close().unwrap();
                told = next;
            }
            disk = log.storage;
            // Else its process is killed, and the machine goes on.
            if random.below(3) > 0 {
                disk.lose_power(random);
            }
            let recorded = done(&disk, false).unwrap_or_else(|fault| panic!("seed {seed}: {fault:?}"));
            let count = recorded.len() as u64;
            assert!(recorded.into_iter().eq(0..count), "seed {seed}");
            assert!((told..=next).contains(&count), "seed {seed}: {count} of {told} that were told and {next} in all");
            // What was lost is written again by the next run.
            next = count;
        }
    }
}

#[test]
fn a_disk_that_is_full_or_fails_once_ends_the_journal_and_what_was_recorded_stays() {
    for most in 0..2_000 {
        let disk = Disk { fails: Some(Failure::FullAt(most)), ..Disk::default() };
        let mut told = 0;
        let disk = match open(disk) {
            Ok(mut log) => {
                while record(&mut log, told).is_ok() && log.sync().is_ok() {
                    told += 1;
                }
                assert!(record(&mut log, 99).is_err() && log.sync().is_err() && log.close().is_err(), "{most}");
                log.storage
            }
            Err(fault) => {
                assert!(matches!(fault, Fault::System(_)), "{fault:?}");
                continue;
            }
        };
        assert!(done(&disk, false).unwrap().into_iter().eq(0..told), "{most}");
        let log = open(Disk { fails: None, ..disk }).unwrap();
        assert!(done(&log.storage, false).unwrap().into_iter().eq(0..told), "{most}, opened anew");
    }
    let mut log = open(Disk::default()).unwrap();
    record(&mut log, 0).unwrap();
    log.storage.fails = Some(Failure::SyncOnce);
    assert!(log.sync().is_err());
    let syncs = log.storage.syncs;
    assert!(log.sync().is_err() && record(&mut log, 1).is_err() && log.close().is_err());
    assert_eq!(log.storage.syncs, syncs, "a second one would succeed, and what it said would not be true");
    // The next run finds nothing of what the disk has lost, though the system still had it.
    let mut disk = log.into_storage();
    disk = open(disk).unwrap().into_storage();
    assert!(done(&disk, false).unwrap().is_empty());
    disk.now.clone_from(&disk.synced);
    assert!(done(&disk, false).unwrap().is_empty(), "nor after a power cut");
}
