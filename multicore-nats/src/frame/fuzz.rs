//! What a fuzzer drives: frames of any bytes. Only for `fuzz/` and the tests.

use super::{Beat, Control, MAX_BYTES, Record, Results, Work};
use bytes::Bytes;

/// The first byte says which frame the rest should be; with a set highest bit the rest gets its first four bytes, so that a fuzzer need not guess them.
pub fn frame(data: &[u8]) {
    let Some((&which, rest)) = data.split_first() else { return };
    let magic = [b"MCW1", b"MCR1", b"MCJ1", b"MCH1", b"MCC1"][usize::from(which & 0x7f) % 5];
    let bytes = match which & 0x80 {
        0 => rest.to_vec(),
        _ => [magic, rest].concat(),
    };
    read_all(&bytes);
}

/// Each reader reads the bytes or refuses them, at a place in them. What is read is written again as it was.
pub(super) fn read_all(bytes: &[u8]) {
    let written = [
        Work::read(bytes).map(|it| Work::write(it.job, it.chunk, it.limits, it.pieces())),
        Results::read(bytes).map(|it| Results::write(&it.head, it.answers())),
        Record::read(bytes).map(|it| it.write()),
        Beat::read(bytes).map(|it| it.write()),
        Control::read(bytes).map(|it| it.write()),
    ];
    for result in written {
        match result {
            Ok(again) => assert_eq!(again, Bytes::copy_from_slice(bytes), "it is written as it was read"),
            Err(fault) => {
                assert!(fault.at <= bytes.len() && !fault.to_string().is_empty());
                assert!(bytes.len() <= MAX_BYTES || fault.at == 0);
            }
        }
    }
}
