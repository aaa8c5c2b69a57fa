//! The layout, and that the seals hold for everybody but the owner.

use super::read::{NotReadable, cause_of, why_of};
use super::*;
use crate::protocol::seqlock::{self, Read};
use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;

const OWNER: Owner = Owner { pid: 77, namespace: 5, anchor: 0x5555_0000, number: 3 };

const TOLD: Told = Told {
    state: State::Busy,
    has_begun: true,
    why: Some(Replaced::Died),
    cause: Some(Cause::Exit(-2)),
    pid: 4_000_000_000,
    before: 7,
    call: u64::MAX,
    piece: u64::MAX - 1,
    held: 300,
    at_ns: 1 << 60,
    done: 5,
};

#[test]
fn rows_say_what_was_told() {
    let unused = Told { state: State::Unused, has_begun: false, why: None, cause: None, pid: 0, before: 0, ..TOLD };
    for told in [TOLD, unused, Told { call: 0, piece: 0, held: 0, at_ns: 0, done: 0, ..unused }] {
        assert_eq!(Told::of(&told.content()), Some(told));
    }
    assert_eq!(Told::of(&[9, 0, 0, 0, 0, 0, 0]), None, "a state of a later version");
    assert_eq!(Told::of(&[0; CONTENT]).map(|told| told.state), Some(State::Unused), "a row that nobody wrote");
}

#[test]
fn codes_lead_back() {
    use Replaced::{Age, Asked, Died, Idle, MemoryHigh, MemoryMax, Pieces};
    for last in [None, Some(Pieces), Some(Age), Some(Asked), Some(MemoryHigh), Some(MemoryMax), Some(Died), Some(Idle)]
    {
        assert_eq!(why_of(why(last)), last);
    }
    for known in [
        Cause::Signal(11),
        Cause::Exit(-1),
        Cause::StackOverflow,
        Cause::AllocationFailed,
        Cause::OomKilled,
        Cause::Protocol,
        Cause::ForkServerLost,
    ] {
        let (code, number) = cause(known);
        assert_eq!(cause_of(code, number), Some(known));
    }
    assert_eq!(cause_of(cause(Cause::Unknown).0, 0), None);
    for code in 0..=8 {
        assert_eq!(State::of(code).map(|state| state as u64), Some(code));
    }
}

#[test]
fn a_reader_sees_what_the_owner_wrote() {
    let (status, file) = Status::create(rows(300), OWNER).unwrap();
    let (seen, owner) = Status::open(&file).unwrap().unwrap();
    assert_eq!((owner, seen.told_pool()), (OWNER, (Phase::Open, 0)));
    status.tell_pool(Phase::Closing, 9999);
    assert_eq!(seen.told_pool(), (Phase::Closing, 601), "no more than there is room for");
    for seat in [0, 600] {
        seqlock::write(status.row(seat).unwrap(), &TOLD.content());
        assert_eq!(seqlock::read(seen.row(seat).unwrap()), Read::Whole(TOLD.content()));
    }
    assert!(status.row(601).is_none() && seen.row(601).is_none());
    assert_eq!((rows(1), rows(128), rows(129)), (257, 257, 259));
}

/// One who opens it anew by /proc, as the same user may, writes nothing; and its owner goes on.
#[test]
fn the_seals_hold_for_all_but_the_owner() {
    let (status, file) = Status::create(rows(1), OWNER).unwrap();
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let name = std::fs::read_link(&path).unwrap();
    assert_eq!(name.to_str(), Some("/memfd:multicore-status (deleted)"));
    let again = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let refused = std::io::ErrorKind::PermissionDenied;
    assert_eq!(again.write_at(b"forged", 0).unwrap_err().kind(), refused);
    for length in [0, 1 << 20] {
        assert_eq!(again.set_len(length).unwrap_err().kind(), refused, "to {length}");
    }
    assert_eq!(memory::map(&again, ROWS_AT).unwrap_err().kind(), refused, "a writable mapping");
    let seals = rustix::fs::SealFlags::WRITE;
    assert_eq!(rustix::fs::fcntl_add_seals(&again, seals), Err(rustix::io::Errno::PERM), "no seal more");
    seqlock::write(status.row(5).unwrap(), &TOLD.content());
    let (seen, _) = Status::open(&file).unwrap().unwrap();
    assert_eq!(seqlock::read(seen.row(5).unwrap()), Read::Whole(TOLD.content()));
}

#[test]
fn what_is_no_status_of_this_version_is_told_apart() {
    let of = |words: &[(usize, u64)], bytes: usize| {
        let (file, mapping) = memory::create(NAME, bytes, bytes, Writers::Maker).unwrap();
        for &(word, value) in words {
            pair::words(&mapping, 0, bytes / WORD)[word].store(value, Relaxed);
        }
        Status::open(&file).unwrap().map(|(_, owner)| owner.pid)
    };
    let whole = [(0, MAGIC), (1, VERSION), (2, 64), (3, 128), (4, 2), (6, 5)];
    assert_eq!(of(&whole, 256), Ok(5));
    let with = |word: usize, value: u64| {
        let mut words = whole.to_vec();
        words.push((word, value));
        of(&words, 256)
    };
    assert_eq!(with(1, 2), Err(NotReadable::Version(2)));
    for (word, value) in [(0, 0), (2, 128), (3, 64), (4, 3), (4, u64::MAX)] {
        assert_eq!(with(word, value), Err(NotReadable::Foreign), "word {word} is {value}");
    }
    assert_eq!(of(&whole[..1], 64), Err(NotReadable::Foreign), "shorter than a header");
    // Without seals its maker could shorten it under a reader.
    let plain = memory::file_of(NAME, &MAGIC.to_ne_bytes().repeat(64)).unwrap();
    assert_eq!(Status::open(&plain).unwrap().map(drop), Err(NotReadable::Foreign));
    let on_disk = Descriptor::from(std::os::fd::OwnedFd::from(std::fs::File::open("/proc/self/exe").unwrap()));
    assert_eq!(Status::open(&on_disk).unwrap().map(drop), Err(NotReadable::Foreign));
}
