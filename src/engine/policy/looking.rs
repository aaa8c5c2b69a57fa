//! Whether a caller that does not wait looks longer before it leaves its waker.
//!
//! A worker that was asleep takes longer until it answers, even if the piece is tiny. If the caller leaves its waker meanwhile, its
//! program takes as long until it asks again, and finds the worker asleep again. One longer look ends that: from then on the worker is awake.
//! Where the pieces take longer, such looks find nothing, and only delay what else that thread has to do. So they are made as long as they
//! find something, and tried again from time to time.

/// Looks that may find nothing in a row.
const MISSES: u32 = 4;

/// After that, one of this number is made, which takes about 40 us.
const TRIED: u32 = 64;

/// How the last ones went.
#[derive(Debug, Default)]
pub(crate) struct LongLooks {
    /// Those in a row that found nothing.
    misses: u32,
    /// Those that were not made since one was.
    skipped: u32,
    /// A thread makes one. It finds what others wait for, too, so these leave their wakers.
    is_under_way: bool,
}

impl LongLooks {
    /// True if the one who asks makes one now, and then tells its outcome.
    #[must_use]
    pub(crate) fn begins(&mut self) -> bool {
        if self.is_under_way {
            return false;
        }
        self.is_under_way = self.misses < MISSES || {
            self.skipped = (self.skipped + 1) % TRIED;
            self.skipped == 0
        };
        self.is_under_way
    }

    /// The one that was begun has ended.
    pub(crate) fn ended(&mut self, found: bool) {
        self.is_under_way = false;
        self.misses = if found { 0 } else { self.misses.saturating_add(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of these that are asked for are made, if none of them finds anything.
    fn made(looks: &mut LongLooks, asked: u32) -> u32 {
        let mut made = 0;
        for _ in 0..asked {
            if looks.begins() {
                looks.ended(false);
                made += 1;
            }
        }
        made
    }

    #[test]
    fn looks_that_find_nothing_are_made_rarely() {
        assert_eq!(made(&mut LongLooks::default(), MISSES + 10 * TRIED), MISSES + 10);
    }

    #[test]
    fn looks_that_find_something_are_always_made() {
        let mut looks = LongLooks::default();
        for _ in 0..1000 {
            assert!(looks.begins());
            looks.ended(true);
        }
    }

    #[test]
    fn one_that_finds_something_is_followed_by_more() {
        let mut looks = LongLooks::default();
        let _ = made(&mut looks, MISSES);
        assert_eq!((0..TRIED).filter(|_| looks.begins()).count(), 1, "which is not ended");
        looks.ended(true);
        assert_eq!(made(&mut looks, MISSES), MISSES);
    }

    #[test]
    fn one_thread_looks_at_a_time() {
        let mut looks = LongLooks::default();
        assert!(looks.begins());
        assert!(!looks.begins());
        looks.ended(true);
        assert!(looks.begins());
    }
}
