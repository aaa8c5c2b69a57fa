//! Sinks: over a ring that is played by hand, and over a vector.

use super::*;
use crate::protocol::sync::AtomicU64;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write as _;

/// Windows of given lengths; keeps what came in them.
struct Played {
    lengths: RefCell<Vec<usize>>,
    came: RefCell<Vec<Vec<u8>>>,
    flushes: RefCell<usize>,
    limit: u64,
}

fn bytes_of(window: &Window) -> Vec<u8> {
    let load = |index: usize| window.words()[index / 8].load(crate::protocol::sync::Relaxed).to_le_bytes()[index % 8];
    (0..window.used()).map(load).collect()
}

impl Outlet for Played {
    fn allows_more(&self, written: u64) -> u64 {
        self.limit.saturating_sub(written)
    }

    fn exchange(&self, filled: Window) -> Window {
        self.came.borrow_mut().push(bytes_of(&filled));
        let length = self.lengths.borrow_mut().pop().unwrap_or(16);
        let words: Vec<AtomicU64> = (0..length.div_ceil(8)).map(|_| AtomicU64::new(u64::MAX)).collect();
        Window::new(words.leak(), length)
    }

    fn flush(&self, filled: Window) {
        self.came.borrow_mut().push(bytes_of(&filled));
        *self.flushes.borrow_mut() += 1;
    }
}

fn played(limit: u64) -> Rc<Played> {
    Rc::new(Played {
        lengths: RefCell::new(vec![5, 1, 7, 24]),
        came: RefCell::default(),
        flushes: RefCell::new(0),
        limit,
    })
}

/// Writes into both kinds of sinks, and gives what came and how it ended.
fn write(limit: u64, write: fn(&mut Sink)) -> (Vec<u8>, Result<(), TooLong>, Vec<u8>) {
    let played = played(limit);
    let outlet = Rc::clone(&played) as Rc<dyn Outlet>;
    let mut buffer = Vec::new();
    let mut place = Place { buffer: &mut buffer, outlet: Some(&outlet), last: None, limit: None };
    let mut sink = Sink::new(&mut place);
    write(&mut sink);
    let ended = sink.end(&mut place);
    let mut came = played.came.borrow().concat();
    came.extend(place.last.as_ref().map(bytes_of).unwrap_or_default());
    let mut heap = b"old".to_vec();
    let mut place = Place::of_buffer(&mut heap);
    let mut sink = Sink::new(&mut place);
    write(&mut sink);
    sink.end(&mut place).unwrap();
    (came, ended, heap)
}

#[test]
fn what_is_written_comes_whole_and_in_order_whatever_the_windows() {
    let writes: [fn(&mut Sink); 6] = [
        |_| (),
        |sink| sink.push_str("a"),
        |sink| (0..100).for_each(|number| writeln!(sink, "row {number}").unwrap()),
        |sink| sink.write_all(&[7; 300]).unwrap(),
        |sink| {
            for length in 0..40 {
                assert_eq!(sink.write(&vec![length; length.into()]).unwrap(), usize::from(length));
            }
        },
        |sink| {
            sink.write_char('ä').unwrap();
            std::io::Write::flush(sink).unwrap();
            std::io::Write::flush(sink).unwrap();
            sink.write_str("ö").unwrap();
            assert_eq!(sink.written(), 4);
        },
    ];
    for (number, it) in writes.into_iter().enumerate() {
        let (came, ended, heap) = write(u64::MAX, it);
        assert!(ended.is_ok());
        assert_eq!(came, heap, "{number}");
    }
}

#[test]
fn a_result_ends_at_its_limit() {
    // The limit, what is written at a time, how often; whether it fits.
    for (limit, length, times, fits) in
        [(30, 10, 3, true), (30, 10, 4, false), (30, 31, 1, false), (0, 1, 1, false), (0, 0, 3, true)]
    {
        let played = played(limit);
        let outlet = Rc::clone(&played) as Rc<dyn Outlet>;
        let mut buffer = Vec::new();
        let mut place = Place { buffer: &mut buffer, outlet: Some(&outlet), last: None, limit: None };
        let mut sink = Sink::new(&mut place);
        let written: Vec<_> = (0..times).map(|_| sink.write_all(&vec![1; length])).collect();
        assert_eq!(written.iter().all(Result::is_ok), fits, "{limit}, {length}");
        if !fits {
            let error = written.into_iter().find_map(Result::err).unwrap();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
            assert_eq!(
                sink.write_fmt(format_args!("{}", 1)).unwrap_err().kind(),
                io::ErrorKind::FileTooLarge,
                "it stays"
            );
            assert!(sink.written() <= limit);
        }
        assert_eq!(sink.end(&mut place).is_ok(), fits, "{limit}, {length}");
    }
}

#[test]
fn a_display_that_fails_is_told() {
    struct Fails;
    impl fmt::Display for Fails {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            Err(fmt::Error)
        }
    }
    let (_, ended, _) = write(u64::MAX, |sink| {
        let error = write!(sink, "{Fails}").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Other);
    });
    assert!(ended.is_ok());
}
