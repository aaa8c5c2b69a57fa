//! Many short texts in little memory: the small tables of a feed, as each worker keeps them.
//!
//! A city has a hundred thousand trips or more, and every worker has all of them. A map of `String`s would take several times
//! the length of the texts. Here a text takes its bytes plus four, and about six more to be found by its id.

use crate::sum::hash_of;

/// Texts, one after the other, by number.
#[derive(Default)]
pub struct Texts {
    bytes: String,
    /// The end of each text, which is the beginning of the next one.
    ends: Vec<u32>,
}

impl Texts {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    #[inline]
    pub fn get(&self, number: u32) -> &str {
        let number = number as usize;
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.bytes[start as usize..self.ends[number] as usize]
    }

    /// Adds a text and returns its number. `None` if the table would be larger than 4 GiB.
    pub fn push(&mut self, text: &str) -> Option<u32> {
        let end = u32::try_from(self.bytes.len() + text.len()).ok()?;
        let number = u32::try_from(self.ends.len()).ok().filter(|number| *number < FREE)?;
        self.bytes.push_str(text);
        self.ends.push(end);
        Some(number)
    }
}

/// A free slot of the index.
const FREE: u32 = u32::MAX;

/// Texts without duplicates, found by the text itself.
#[derive(Default)]
pub struct Ids {
    texts: Texts,
    /// Numbers of texts, each in the first slot that was free from its hash onwards. At most three quarters of the slots are
    /// taken, and their number is a power of two.
    slots: Vec<u32>,
}

/// The outcome of `Ids::insert`.
#[derive(Debug, PartialEq, Eq)]
pub enum Inserted {
    New(u32),
    Known(u32),
    /// The table would be larger than 4 GiB.
    Full,
}

impl Ids {
    pub fn get(&self, number: u32) -> &str {
        self.texts.get(number)
    }

    /// The number of an id.
    #[inline]
    pub fn find(&self, id: &str) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut place = hash_of(id) as usize & mask;
        // The loop ends, since a quarter of the slots is free.
        loop {
            match self.slots[place] {
                FREE => return None,
                number if self.texts.get(number) == id => return Some(number),
                _ => place = (place + 1) & mask,
            }
        }
    }

    pub fn insert(&mut self, id: &str) -> Inserted {
        if let Some(number) = self.find(id) {
            return Inserted::Known(number);
        }
        let Some(number) = self.texts.push(id) else {
            return Inserted::Full;
        };
        if self.texts.len() * 4 > self.slots.len() * 3 {
            self.slots = vec![FREE; (self.slots.len() * 2).max(16)];
            for other in 0..number {
                self.take_slot(other);
            }
        }
        self.take_slot(number);
        Inserted::New(number)
    }

    fn take_slot(&mut self, number: u32) {
        let mask = self.slots.len() - 1;
        let mut place = hash_of(self.texts.get(number)) as usize & mask;
        while self.slots[place] != FREE {
            place = (place + 1) & mask;
        }
        self.slots[place] = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_is_found_under_its_number_and_no_other_is_found() {
        let mut ids = Ids::default();
        assert_eq!(ids.find(""), None);
        let id = |number: u32| {
            if number == 7 { String::new() } else { format!("trip-{}", number * 37) }
        };
        for number in 0..5000 {
            assert_eq!(ids.insert(&id(number)), Inserted::New(number));
        }
        for number in 0..5000 {
            assert_eq!(ids.find(&id(number)), Some(number));
            assert_eq!(ids.insert(&id(number)), Inserted::Known(number));
            assert_eq!(ids.get(number), id(number));
        }
        for stranger in ["trip-1", "trip-", "x", "trip-0\0"] {
            assert_eq!(ids.find(stranger), None);
        }
    }
}
