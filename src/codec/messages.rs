//! An error as text: its own message, then those of its sources.
//!
//! Invariant: the text has at most [`MAX_TEXT_BYTES`], and no more than [`MAX_SOURCES`] sources are asked, whatever the
//! error's own code does.

use std::error::Error as StdError;
use std::fmt::{self, Write};

/// The text of a panic or of an error is cut at 8 KiB: a person reads it, and with the backtrace of a panic it fits into one
/// record of 64 KiB.
pub(crate) const MAX_TEXT_BYTES: usize = 8 * 1024;

/// An error may name itself as its source, and would never end. Nobody nests 64 errors.
const MAX_SOURCES: usize = 64;

/// The messages of an error and of its sources, without one that was said before: many errors repeat that of their source.
pub(crate) fn of_error(error: &(dyn StdError + 'static)) -> String {
    let (mut text, mut next) = (String::new(), Some(error));
    for _ in 0..=MAX_SOURCES {
        let Some(error) = next.filter(|_| text.len() < MAX_TEXT_BYTES) else { break };
        let mut message = Message::default();
        // If its `Display` fails, what it wrote before counts.
        let _ = write!(message, "{error}");
        add(&mut text, &message.text);
        next = error.source();
    }
    text.truncate(cut(&text, MAX_TEXT_BYTES).len());
    text
}

/// Adds a message to those before it, unless one of them says it already.
pub(crate) fn add(text: &mut String, message: &str) {
    if text.contains(message) {
        return;
    }
    if !text.is_empty() {
        text.push_str(": ");
    }
    text.push_str(message);
}

/// The beginning of a text, `most` bytes at most, up to the end of a character.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The beginning of what is written. It refuses nothing: a `Display` may rely on that.
#[derive(Default)]
struct Message {
    text: String,
    is_cut: bool,
}

impl fmt::Write for Message {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if !self.is_cut {
            let fits = cut(part, MAX_TEXT_BYTES - self.text.len());
            self.text.push_str(fits);
            self.is_cut = fits.len() < part.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error with this message and source.
    #[derive(Debug)]
    struct Told(String, Option<Box<Told>>);

    impl fmt::Display for Told {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.0)
        }
    }

    impl StdError for Told {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.1.as_deref().map(|source| source as &dyn StdError)
        }
    }

    fn told(messages: &[&str]) -> Told {
        let (first, rest) = messages.split_first().unwrap();
        Told(first.to_string(), (!rest.is_empty()).then(|| Box::new(told(rest))))
    }

    #[test]
    fn each_message_is_said_once_in_the_order_of_the_sources() {
        for (messages, expected) in [
            (&["no rows"][..], "no rows"),
            (&["import failed", "no rows"], "import failed: no rows"),
            (&["import failed: no rows", "no rows"], "import failed: no rows"),
            (&["a (b) c", "b", "d"], "a (b) c: d"),
            (&["same", "same", "same"], "same"),
            (&["", "inner"], "inner"),
            (&["outer", "", "inner"], "outer: inner"),
            (&[""], ""),
        ] {
            assert_eq!(of_error(&told(messages)), expected, "{messages:?}");
        }
    }

    #[test]
    fn an_error_without_end_has_a_text_with_one() {
        #[derive(Debug)]
        struct Endless(std::cell::Cell<u64>);
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.set(self.0.get() + 1);
                write!(f, "{}", self.0.get())
            }
        }
        impl StdError for Endless {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(self)
            }
        }
        let error = Endless(std::cell::Cell::new(100));
        assert!(of_error(&error).starts_with("101: 102: 103"));
        assert_eq!(error.0.get(), 100 + 1 + MAX_SOURCES as u64);
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_its_writer_is_not_told() {
        #[derive(Debug)]
        struct Long(&'static str);
        impl fmt::Display for Long {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("ab")?;
                (0..MAX_TEXT_BYTES).for_each(|_| f.write_str(self.0).expect("all is taken"));
                f.write_str("!")
            }
        }
        impl StdError for Long {}
        assert_eq!(of_error(&Long("é")), format!("ab{}", "é".repeat(MAX_TEXT_BYTES / 2 - 1)));
        assert_eq!(of_error(&Long("日")), format!("ab{}", "日".repeat((MAX_TEXT_BYTES - 2) / 3)));
        let mut message = Message::default();
        write!(message, "{}", Long("é")).unwrap();
        assert_eq!(message.text.len(), MAX_TEXT_BYTES, "no more is kept");
        let halves = told(&[&"a".repeat(MAX_TEXT_BYTES - 1), "b", "c"]);
        assert_eq!(of_error(&halves), format!("{}:", "a".repeat(MAX_TEXT_BYTES - 1)));
    }

    #[test]
    fn a_display_that_fails_has_said_what_it_wrote() {
        #[derive(Debug)]
        struct Fails;
        impl fmt::Display for Fails {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("half")?;
                Err(fmt::Error)
            }
        }
        impl StdError for Fails {}
        assert_eq!(of_error(&Fails), "half");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        for (text, most, expected) in
            [("abc", 5, "abc"), ("abc", 2, "ab"), ("aé", 2, "a"), ("aé", 3, "aé"), ("é", 1, "")]
        {
            assert_eq!(cut(text, most), expected, "{text:?} {most}");
        }
    }
}
