use super::*;

#[test]
fn a_list_gives_back_what_was_added_and_moves_nothing() {
    let mut blocks = Blocks::default();
    let mut seen = Vec::new();
    for number in 0..20 * BLOCK {
        blocks.push(number);
        if number % BLOCK == 7 && number > BLOCK {
            seen.push((number, std::ptr::from_ref(blocks.get(number).unwrap())));
        }
    }
    assert_eq!(blocks.len(), 20 * BLOCK);
    assert!(seen.iter().all(|(number, address)| std::ptr::eq(blocks.get(*number).unwrap(), *address)));
    assert!(
        (0..20 * BLOCK).all(|index| blocks.get(index) == Some(&index) && blocks.get_mut(index) == Some(&mut { index }))
    );
    assert!(blocks.get(20 * BLOCK).is_none() && blocks.get_mut(90 * BLOCK).is_none());
    // Blocks end behind 1, 4 and 16 times as many.
    for (from, count) in [
        (0, BLOCK),
        (BLOCK - 1, 1),
        (BLOCK, BLOCK),
        (4 * BLOCK - 5, 5),
        (4 * BLOCK, BLOCK),
        (8 * BLOCK, BLOCK),
        (16 * BLOCK - 1, 1),
        (20 * BLOCK - 7, 7),
        (20 * BLOCK, 0),
        (90 * BLOCK, 0),
    ] {
        assert_eq!((blocks.part_from(from).len(), blocks.part_from_mut(from).1.len()), (count, count), "{from}");
        assert!(blocks.part_from(from).first().is_none_or(|first| *first == from));
    }
    blocks.clear();
    assert_eq!((blocks.len(), blocks.get(0)), (0, None));
    assert!((1..=2 * BLOCK).contains(&blocks.capacity()));
}

#[test]
fn many_entries_are_added_as_one_by_one() {
    for counts in [[1, 0, 5], [BLOCK - 1, 1, 1], [BLOCK, 2 * BLOCK, 3], [5, 20 * BLOCK, 1]] {
        let (mut blocks, next) = (Blocks::default(), std::cell::Cell::new(0));
        counts.iter().for_each(|&count| blocks.push_many(count, || next.replace(next.get() + 1)));
        let total: usize = counts.iter().sum();
        assert_eq!((blocks.len(), next.get()), (total, total), "{counts:?}");
        assert!((0..total).all(|index| blocks.get(index) == Some(&index)) && blocks.get(total).is_none());
    }
}

#[test]
fn a_short_list_is_small() {
    let mut blocks = Blocks::default();
    blocks.push(1_u64);
    assert!(blocks.capacity() < 16);
    let mut queue = BlockQueue::default();
    queue.push_back(1_u64);
    assert!(queue.capacity() < 16);
}

#[test]
fn a_queue_keeps_its_order() {
    let mut queue = BlockQueue::default();
    let (mut first, mut last) = (10 * BLOCK, 10 * BLOCK);
    for step in 0..5 * BLOCK {
        if step % 3 == 0 {
            first -= 1;
            queue.push_front(first);
        } else {
            queue.push_back(last);
            last += 1;
        }
    }
    assert_eq!((queue.len(), queue.front()), (5 * BLOCK, Some(&first)));
    let all: Vec<_> = std::iter::from_fn(|| queue.pop_front()).collect();
    assert!(all.into_iter().eq(first..last));
    assert!(queue.is_empty() && queue.front().is_none());
    assert!(queue.capacity() <= BLOCK, "a small block may stay");
    queue.push_back(1);
    assert_eq!(queue.pop_front(), Some(1));
}

#[test]
fn an_entry_finds_its_place() {
    let mut queue = BlockQueue::default();
    let count = 6 * BLOCK;
    for number in (0..count).filter(|number| number % 2 == 0) {
        queue.push_back(number);
    }
    for number in (0..count).filter(|number| number % 2 == 1).rev() {
        queue.insert_sorted(number, |&it| it);
    }
    assert!(queue.blocks.iter().all(|block| (1..=LARGEST).contains(&block.len())));
    assert!(std::iter::from_fn(|| queue.pop_front()).eq(0..count));
}

/// Where thousands of pieces started again, each one moved all that had come back before: 1,000 of them took 5 ms.
#[test]
fn an_entry_that_comes_back_moves_few_others() {
    const COUNT: usize = if cfg!(miri) { 3 * BLOCK } else { 30 * BLOCK };
    type Order = fn(usize) -> usize;
    let orders: [(&str, Order); 3] =
        [("up", |step| step), ("down", |step| COUNT - 1 - step), ("mixed", |step| step * 7919 % COUNT)];
    for (name, order) in orders {
        let mut queue = BlockQueue::default();
        (0..3 * COUNT).for_each(|number| queue.push_back(number));
        (0..COUNT).for_each(|_| _ = queue.pop_front());
        let (mut moved, mut allowed) = (0, 0);
        for number in (0..COUNT).map(order) {
            queue.insert_sorted(number, |&it| it);
            let block = queue.blocks.iter().find(|block| block.back() >= Some(&number)).unwrap();
            let position = block.binary_search(&number).unwrap();
            moved += position.min(block.len() - 1 - position);
            allowed += BLOCK / 2;
        }
        assert!(moved <= allowed, "{name}: {moved} of {allowed}");
        assert_eq!(queue.len(), 3 * COUNT);
        assert!(std::iter::from_fn(|| queue.pop_front()).eq(0..3 * COUNT), "{name}");
    }
}

/// A task that was fed while it was read kept 24 bytes for each piece that it ever had.
#[test]
fn what_is_over_takes_no_memory() {
    const COUNT: usize = if cfg!(miri) { 8 * BLOCK } else { 300 * BLOCK };
    // How many entries are there at a time, and by which step they are over: 1 in order, else mixed among those.
    for (window, step) in [(1, 1), (100, 1), (BLOCK, 1), (3 * BLOCK, 1), (100, 37), (2 * BLOCK, 1023)] {
        let mut blocks = Blocks::default();
        let mut most = 0;
        for round in 0..COUNT / window {
            (0..window).for_each(|index| blocks.push(round * window + index));
            for index in (0..window).map(|index| round * window + index * step % window) {
                assert_eq!(blocks.get(index), Some(&index), "{window}, {step}");
                blocks.over(index);
            }
            drop(blocks.take_unused());
            most = most.max(blocks.capacity());
        }
        assert_eq!((blocks.len(), blocks.left()), (COUNT / window * window, 0));
        assert!(most <= 4 * window.next_power_of_two().max(BLOCK), "{window}, {step}: {most}");
        blocks.push(7);
        assert_eq!((blocks.get(blocks.len() - 1), blocks.get(0), blocks.left()), (Some(&7), None, 1));
    }
}

#[test]
fn an_entry_that_is_not_over_keeps_its_own_block_alone() {
    const COUNT: usize = if cfg!(miri) { 8 * BLOCK } else { 100 * BLOCK };
    let mut blocks = Blocks::default();
    blocks.push(0);
    for number in 1..COUNT {
        blocks.push(number);
        blocks.over(number);
        drop(blocks.take_unused());
        assert!(blocks.capacity() <= 4 * BLOCK && blocks.blocks.len() <= 2, "{number}: {}", blocks.capacity());
    }
    assert_eq!((blocks.get(0), blocks.get(BLOCK), blocks.first(), blocks.left()), (Some(&0), None, 0, 1));
    assert_eq!((blocks.next_there(0), blocks.next_there(BLOCK - 1)), (0, BLOCK - 1));
    assert_eq!(blocks.next_there(BLOCK), COUNT);
    assert!(blocks.over(0), "the first block is gone");
    assert!(blocks.get(0).is_none() && blocks.first() > BLOCK);
}

#[test]
fn many_entries_are_over_at_once() {
    let mut blocks = Blocks::default();
    blocks.push_many(5 * BLOCK, || 1);
    let mut next = 0;
    while next < 5 * BLOCK {
        let (block, part) = blocks.part_from_mut(next);
        let count = part.len();
        assert!((1..=BLOCK).contains(&count));
        assert!(blocks.first() <= next);
        blocks.over_in(block, count);
        next += count;
    }
    assert_eq!((blocks.left(), blocks.next_there(0)), (0, blocks.first()));
    assert_eq!(blocks.take_unused().len(), 1, "one is kept, one is gone, and the last has room");
}
