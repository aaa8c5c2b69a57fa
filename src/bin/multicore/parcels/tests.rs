use super::{Counter, INLINE_BYTES, Printed, Sender, lock};
use std::fs::File;
use std::io::{Read, Seek, Write};

fn file(text: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text).unwrap();
    file
}

fn read(printed: Printed) -> (Vec<u8>, Vec<u8>) {
    match printed {
        Printed::Short { stdout, stderr } => (stdout, stderr),
        Printed::Long { stdout, stderr } => {
            let all = |mut file: File| {
                let mut text = Vec::new();
                file.rewind().unwrap();
                file.read_to_end(&mut text).unwrap();
                text
            };
            (all(stdout), all(stderr))
        }
    }
}

#[test]
fn parcels_come_in_any_order_short_and_long() {
    let mut counter = Counter::open(4).unwrap();
    let mut sender = Sender::connect(counter.name()).unwrap();
    let long = vec![b'x'; INLINE_BYTES as usize + 1];
    let texts: [(&[u8], &[u8]); 4] = [(b"out", b"err"), (&long, b""), (b"", b"e"), (&long[1..], b"")];
    let sent: Vec<u64> = texts
        .iter()
        .map(|(stdout, stderr)| {
            let (stdout, stderr) = (file(stdout), file(stderr));
            let bytes = [&stdout, &stderr].map(|file| file.metadata().unwrap().len());
            let (parcel, is_gone) = sender.send([&stdout, &stderr], bytes).unwrap();
            assert_eq!(is_gone, bytes[0] > INLINE_BYTES);
            parcel
        })
        .collect();
    for index in [2, 0, 3, 1] {
        let (stdout, stderr) = read(counter.take(sent[index]).unwrap());
        assert_eq!((&*stdout, &*stderr), texts[index], "parcel {index}");
    }
}

#[test]
fn a_parcel_that_was_not_sent_is_an_error() {
    let mut counter = Counter::open(1).unwrap();
    let unknown = u64::from(std::process::id()) << 32 | 99;
    assert!(counter.take(unknown).is_err(), "nobody has connected");
    let sender = Sender::connect(counter.name()).unwrap();
    assert!(counter.take(unknown).is_err(), "nothing was sent");
    drop(sender);
    assert!(counter.take(unknown).is_err(), "the sender is gone");
    counter.forget_lost();
    assert!(lock(&counter.workers.0).is_empty());
}

#[test]
fn a_worker_that_is_gone_keeps_no_socket_once_its_parcels_are_taken() {
    let mut counter = Counter::open(1).unwrap();
    let mut sender = Sender::connect(counter.name()).unwrap();
    let files = [file(b"out"), file(b"")];
    let parcels = [(); 2].map(|()| sender.send([&files[0], &files[1]], [3, 0]).unwrap().0);
    counter.take(parcels[0]).unwrap();
    counter.forget_lost();
    assert_eq!(lock(&counter.workers.0).len(), 1, "it is there");
    drop(sender);
    counter.forget_lost();
    assert_eq!(lock(&counter.workers.0).len(), 1, "it has sent more");
    counter.take(parcels[1]).unwrap();
    counter.forget_lost();
    assert!(lock(&counter.workers.0).is_empty());
}

/// Nobody but the runner's user is let in; so others used to stay in the queue, and workers slept behind them.
#[test]
fn a_queue_that_is_full_empties_itself() {
    let counter = Counter::open(1).unwrap();
    // More than may wait: the last ones connect only if somebody takes the first ones out.
    let senders: Vec<Sender> = (0..20).map(|_| Sender::connect(counter.name()).unwrap()).collect();
    assert_eq!(senders.len(), 20);
}
