use super::*;
use crate::codec::call::Call;
use crate::task::tests::played;
use std::cell::Cell;
use std::panic::Location;

#[test]
fn what_is_ahead_is_known_in_whatever_order_it_is_read() {
    // Pieces and bytes of each stretch that is handed out; which are read; what is then ahead.
    for (stretches, read, bytes) in [
        (&[][..], &[0, 5][..], 0),
        (&[(4, 400)], &[], 400),
        (&[(4, 400)], &[0, 1, 2, 3, 3, 9], 0),
        (&[(4, 402)], &[2, 0], 202),
        (&[(2, 20), (3, 0), (2, 50)], &[3, 4, 2], 70),
        (&[(2, 20), (3, 0), (2, 50)], &[5, 6], 20),
        (&[(2, 20), (3, 9), (2, 50)], &[6, 0, 3], 10 + 6 + 25),
        (&[(1, 1), (1, 10), (1, 100)], &[1], 101),
    ] {
        let (mut ahead, mut first) = (Ahead::default(), 0);
        for &(pieces, bytes) in stretches {
            ahead.add(first, pieces, bytes);
            first += pieces;
        }
        read.iter().for_each(|&number| ahead.read(number, 1));
        assert_eq!(ahead.bytes, bytes, "{stretches:?}, {read:?}");
        let counted: usize = ahead.stretches.iter().map(|stretch| stretch.bytes).sum();
        assert_eq!((counted, ahead.stretches.iter().all(|stretch| stretch.pieces > 0)), (bytes, true));
    }
}

#[test]
fn what_is_read_in_a_row_counts_as_one_by_one() {
    for (first, count) in [(0, 0), (0, 3), (1, 4), (2, 7), (4, 1), (4, 5), (0, 12), (9, 5)] {
        let (mut row, mut single) = (Ahead::default(), Ahead::default());
        for ahead in [&mut row, &mut single] {
            ahead.add(0, 4, 40);
            ahead.add(5, 2, 200);
            ahead.add(7, 3, 3000);
        }
        row.read(first, count);
        (first..first + count).for_each(|number| single.read(number, 1));
        assert_eq!((row.bytes, row.stretches.len()), (single.bytes, single.stretches.len()), "{first}, {count}");
    }
}

#[test]
fn an_item_goes_once_there_is_room_for_it_and_a_larger_one_alone() {
    let (_, task) = played::<u64>();
    let task = task.max_unread(1000);
    let site = Site { call: Call::of_argument(|bytes: Vec<u8>| bytes.len() as u64), location: Location::caller() };
    let taken = Cell::new(0);
    let sizes = [100, 100, 2000, 600, 600, 10, 10, 10, 10, 10];
    let items = sizes.iter().map(|&size| vec![1_u8; size]).inspect(|_| taken.set(taken.get() + 1));
    let mut feeder = Feeder::new(site, items);
    // The pieces that are read before; then how many were handed out, and how many items were taken. The backend asks for 4.
    let mut left = 0;
    for (read, handed, items) in
        [(0, 2, 3), (1, 2, 3), (1, 3, 3), (1, 4, 5), (1, 8, 8), (0, 8, 8), (1, 9, 9), (1, 10, 10), (3, 10, 10)]
    {
        feeder.read(task.len() - left, read);
        left -= read;
        let before = task.len();
        feeder.feed(&task, left);
        left += task.len() - before;
        assert_eq!((task.len(), taken.get()), (handed, items), "{left} are left");
    }
    assert!(feeder.has_ended() && feeder.size_hint(0) == (0, Some(0)));
}
