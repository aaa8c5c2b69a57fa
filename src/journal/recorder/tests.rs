//! What the writer does next, as a table; and a recorder whose disk is played.

use super::*;
use crate::backend::waking::Until;
use crate::backend::{Site, Wanted};
use crate::codec::bytes::Handed as Arguments;
use std::panic::Location;
use std::time::Duration;

fn site() -> Site {
    Site { call: Call::of_pair(|a: u64, b: u64| a + b), location: Location::caller() }
}

fn ended() -> Ended {
    Ended { key: [0; 16], attempts: 1, finished_ns: 0, took_ns: 0, how: super::super::format::How::NoResult }
}

fn finished(number: usize) -> Finished {
    let settled = Settled::Done(crate::codec::bytes::Reply::copy_of(&[1, 2, 3]));
    Finished { number, settled, attempts: 1, took_ns: 0 }
}

/// A state with two pieces, the first of which the writer has.
fn state() -> State {
    let mut state =
        State::new(TaskSettings { max_unread_bytes: Some(10), ..TaskSettings::default() }, Index::default());
    for (number, has_ended) in [(0, true), (1, false)] {
        state.pieces.add_open(site());
        state.handed.push(Handed { number, key: [number as u8; 16], has_ended });
    }
    state.open = 1;
    state
}

/// The first letter of what comes next: it is told apart well enough.
fn name(order: &Order) -> &'static str {
    match order {
        Order::Confirm(_) => "confirm",
        Order::Record(_) => "record",
        Order::Flush(_) => "flush",
        Order::Sync => "sync",
        Order::Take(_, None) => "take",
        Order::Take(_, Some(_)) => "take until due",
        Order::End => "end",
        Order::Wait(None) => "wait",
        Order::Wait(Some(_)) => "wait until due",
    }
}

type Change = fn(&mut State);

#[test]
fn the_writer_does_what_is_due() {
    let now = Instant::now();
    let later = Some(now + Duration::from_secs(9));
    let nothing = Unsynced::default();
    let group = Unsynced { bytes: 100, due: later };
    let late = Unsynced { bytes: 100, due: Some(now) };
    let large = Unsynced { bytes: MAX_UNSYNCED_BYTES, due: later };
    let full: Change = |state| state.unsettled_bytes = 10;
    let none_open: Change = |state| state.open = 0;
    let change = |first: Change, second: Change| (first, second);
    let keep: Change = |_| {};
    let cases: [((Change, Change), Unsynced, &str, &str); 19] = [
        // The change, what is unsynced, and what is done: for a pool, and where pieces run in the caller.
        (change(keep, keep), nothing, "take", "wait"),
        (change(keep, keep), group, "take until due", "wait until due"),
        (change(keep, keep), late, "sync", "sync"),
        (change(keep, keep), large, "sync", "sync"),
        // What goes on coming puts no sync off.
        (change(|state| state.confirmations.push(ended()), keep), late, "sync", "sync"),
        (change(|state| state.inbox.push(finished(1)), keep), large, "sync", "sync"),
        (change(|state| state.confirmations.push(ended()), keep), group, "confirm", "confirm"),
        (change(|state| state.inbox.push(finished(1)), keep), group, "record", "record"),
        (change(|state| state.flushes_wanted = 1, keep), nothing, "flush", "flush"),
        // Somebody waits, and nothing else comes.
        (change(none_open, keep), group, "wait until due", "wait until due"),
        (change(none_open, |state| state.want = Some(Want::Any)), group, "sync", "sync"),
        (change(keep, |state| state.want = Some(Want::Any)), group, "take until due", "sync"),
        // However much is unread, what comes is recorded. Somebody waits, and what he may have is in the group.
        (change(full, keep), nothing, "take", "wait"),
        (change(full, keep), group, "take until due", "wait until due"),
        (change(full, |state| state.want = Some(Want::Piece(0))), group, "sync", "sync"),
        // The end.
        (change(none_open, keep), nothing, "wait", "wait"),
        (change(none_open, |state| state.holders = 0), nothing, "end", "end"),
        (change(none_open, |state| state.holders = 0), group, "sync", "sync"),
        (change(keep, |state| state.holders = 0), nothing, "take", "wait"),
    ];
    for (index, ((first, second), unsynced, in_pool, in_caller)) in cases.into_iter().enumerate() {
        for (runs_in_caller, expected) in [(false, in_pool), (true, in_caller)] {
            let mut state = state();
            first(&mut state);
            second(&mut state);
            let order = state.next_order(unsynced, runs_in_caller, now);
            assert_eq!(name(&order), expected, "case {index}, in the caller: {runs_in_caller}");
            assert_eq!(state.is_taking, matches!(order, Order::Take(..)));
        }
    }
}

/// The inner backend is told what is unread, and whether somebody waits; each change once, and only where it is bounded.
#[test]
fn the_inner_backend_is_told_of_the_reader() {
    let mut state = state();
    assert_eq!(state.reader_to_tell(), None, "nothing has changed");
    state.pieces.settle(0, finished(0).settled);
    (state.unsettled, state.unsettled_bytes) = (1, 20);
    let mut turn = 0;
    let mut told = |unread_bytes, is_awaited| {
        turn += 1;
        Some(Reader { unread_bytes, is_awaited, turn })
    };
    assert_eq!((state.reader_to_tell(), state.reader_to_tell()), (told(23, false), None));
    state.want = Some(Want::Piece(1));
    assert_eq!(state.reader_to_tell(), told(23, true));
    state.pieces.take(0);
    assert_eq!(state.reader_to_tell(), told(20, true));
    // Nobody reads what comes any more, and so nothing waits for that.
    state.want = None;
    state.pieces.fail("gone".into());
    assert_eq!(state.reader_to_tell(), told(0, true));
    state.settings.max_unread_bytes = None;
    state.unsettled_bytes = 0;
    assert_eq!(state.reader_to_tell(), None);
}

/// A caller that runs pieces itself runs ahead while a group waits, but no further than its bound.
#[test]
fn a_caller_without_a_pool_runs_ahead_within_its_bound() {
    for (next_inline, unsettled, bytes, want, expected) in [
        (0, 0, 0, Want::Piece(0), true),
        (1, 1, 3, Want::Piece(0), true),
        (1, 1, 10, Want::Piece(0), false),
        (1, 1, 10, Want::Piece(1), true),
        (1, 1, 10, Want::Any, false),
        (1, 0, 0, Want::Any, true),
        (1, 1, 3, Want::Any, true),
        (2, 1, 3, Want::Any, false),
        (2, 0, 0, Want::Piece(1), false),
    ] {
        let mut state = state();
        (state.next_inline, state.unsettled, state.unsettled_bytes) = (next_inline, unsettled, bytes);
        assert_eq!(state.runs_another(want), expected, "{next_inline}, {unsettled}, {bytes}, {want:?}");
    }
}

mod played {
    //! A whole recorder on a disk that fails as it is told.

    use super::*;
    use crate::backend::inline;
    use crate::journal::format::FileId;
    use crate::journal::log::Log;
    use crate::journal::settings::Journal;
    use crate::journal::storage::{Source, Storage};
    use crate::journal::writer;
    use std::io;

    #[derive(Debug, Default)]
    struct Disk {
        bytes: Vec<u8>,
        synced: usize,
        writes: usize,
        syncs: usize,
        fails_write: Option<usize>,
        fails_sync: Option<usize>,
    }

    #[derive(Debug, Clone, Default)]
    struct Shared(Arc<Mutex<Disk>>);

    impl Source for Shared {
        fn length(&self) -> io::Result<u64> {
            Ok(self.0.lock().bytes.len() as u64)
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            let disk = self.0.lock();
            let rest = disk.bytes.get(offset as usize..).unwrap_or_default();
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
            Ok(length)
        }
    }

    impl Storage for Shared {
        fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            let mut disk = self.0.lock();
            disk.writes += 1;
            if disk.fails_write == Some(disk.writes) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            assert_eq!(offset as usize, disk.bytes.len(), "nothing is written twice");
            disk.bytes.extend_from_slice(bytes);
            Ok(())
        }

        fn truncate(&mut self, length: u64) -> io::Result<()> {
            self.0.lock().bytes.truncate(length as usize);
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            let mut disk = self.0.lock();
            disk.syncs += 1;
            if disk.fails_sync == Some(disk.syncs) {
                return Err(io::Error::from_raw_os_error(5));
            }
            disk.synced = disk.bytes.len();
            Ok(())
        }

        fn check_place(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn open(disk: &Shared, durability: Durability) -> Arc<Recorder> {
        let storage: Box<dyn Storage + Send> = Box::new(disk.clone());
        let (mut index, mut files) = (Index::default(), Files::new());
        let log = Log::open(storage, FileId([7; 16]), false, |found, body| index.add(0, found, body)).unwrap();
        files.add(Box::new(disk.clone()), log.id(), "played".to_string());
        let names = Names { name: "played".into(), version: String::new(), types: "u64".into() };
        let earlier = (index, files, Journal::at("").counting());
        let settings = TaskSettings::default();
        let recorder = Recorder::new(inline::open(None), PathBuf::from("played"), durability, earlier, names, settings);
        let recorder = Arc::new(recorder);
        writer::start(log, &recorder).unwrap();
        recorder
    }

    fn hand_out(recorder: &Recorder, pieces: u64) {
        for number in 0..pieces {
            let bytes = crate::codec::encode_pair;
            let mut arguments = Vec::new();
            bytes(crate::codec::Format::Bincode, &(number, 1_u64), &mut arguments).unwrap();
            recorder.add_piece(recorder.key, site(), Arguments::Lent(&arguments));
        }
    }

    /// The number of results that were given, and of errors by the journal.
    fn collect(recorder: &Recorder, disk: &Shared, durability: Durability) -> (usize, usize) {
        let (mut given, mut failed) = (0, 0);
        let any = Wanted::First { lowest: 0 };
        while given + failed < recorder.state.lock().pieces.len() {
            let finished = recorder.take_finished(recorder.key, any, Until::Outcome).unwrap();
            match finished.settled {
                Settled::Done(_) => {
                    given += 1;
                    // What was given is on the disk: its record is among those that are synced.
                    if durability != Durability::None {
                        let disk = disk.0.lock();
                        assert!(disk.synced > 32 && disk.synced <= disk.bytes.len());
                    }
                }
                Settled::Failed(error) => {
                    assert_eq!(error.kind(), ErrorKind::Journal, "{error}");
                    failed += 1;
                }
            }
        }
        (given, failed)
    }

    /// Whichever write or sync fails: it is the last one, all that is open fails, and what was given is found by the next run.
    #[test]
    fn the_first_error_of_the_disk_is_the_last_call() {
        const PIECES: u64 = 12;
        for durability in [Durability::Each, Durability::Group(Duration::from_millis(1)), Durability::None] {
            let mut ended_well = false;
            for step in 1..200 {
                for fails_sync in [false, true] {
                    let disk = Shared::default();
                    let recorder = open(&disk, durability);
                    {
                        let mut disk = disk.0.lock();
                        let (writes, syncs) = (disk.writes, disk.syncs);
                        disk.fails_write = (!fails_sync).then_some(writes + step);
                        disk.fails_sync = fails_sync.then_some(syncs + step);
                    }
                    hand_out(&recorder, PIECES);
                    let (given, failed) = collect(&recorder, &disk, durability);
                    recorder.close(recorder.key, false);
                    let (writes, syncs, has_failed) = {
                        let disk = disk.0.lock();
                        let by_write = disk.fails_write.is_some_and(|at| disk.writes >= at);
                        let by_sync = disk.fails_sync.is_some_and(|at| disk.syncs >= at);
                        (disk.writes, disk.syncs, (by_write, by_sync))
                    };
                    if let (true, _) = has_failed {
                        assert_eq!(disk.0.lock().fails_write, Some(writes), "nothing is written after an error");
                    }
                    if let (_, true) = has_failed {
                        assert_eq!(disk.0.lock().fails_sync, Some(syncs), "nothing is synced after an error");
                    }
                    assert_eq!(given + failed, PIECES as usize);
                    ended_well |= failed == 0;
                    // The disk is mended, and the next run finds at least what was given.
                    (disk.0.lock().fails_write, disk.0.lock().fails_sync) = (None, None);
                    let recorder = open(&disk, durability);
                    hand_out(&recorder, PIECES);
                    assert!(recorder.resumed(recorder.key) >= given, "{durability:?}, step {step}: {given} were given");
                    assert_eq!(collect(&recorder, &disk, Durability::None), (PIECES as usize, 0));
                    recorder.close(recorder.key, false);
                }
                if ended_well {
                    break;
                }
            }
            assert!(ended_well);
        }
    }
}
