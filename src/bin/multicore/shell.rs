//! Where an input stands in a line for the shell: that decides how it is quoted, and whether it can be.
//!
//! | place                        | an input is                                  |
//! |------------------------------|-----------------------------------------------|
//! | bare                         | quoted                                        |
//! | `'…'`, `"…"`                 | put between quotes that end and begin again   |
//! | `"$(…)"`, `` `…` ``, `${…}`, `$((…))`, a comment, behind `<<` or `$'`, in the line of a second shell | refused |
//!
//! Invariant: where this reader is not sure what a shell would make of a place, the place is refused.

use crate::quote;

/// How an input is put into the line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// The quotes around it, if there are any.
    quotes: Option<u8>,
    /// What stands before it is a variable or begins with `~`, so that a bare word would change its name.
    is_joined: bool,
}

impl Place {
    pub fn append(self, value: &[u8], line: &mut Vec<u8>) {
        match self.quotes {
            _ if quote::is_harmless(value) && !self.is_joined => line.extend_from_slice(value),
            Some(sign) => {
                line.push(sign);
                quote::append_quoted(value, line);
                line.push(sign);
            }
            None => quote::append_quoted(value, line),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    Single,
    Double,
    /// The quotes hold a line for a second shell, as in `sh -c '…'`.
    Script(u8),
    /// `"$(` and `$((`, with the parentheses that are open.
    Parentheses(usize),
    Braces,
    Backticks,
    Comment,
}

/// Reads a line up to its placeholders.
#[derive(Debug, Default)]
pub struct Reader {
    frames: Vec<Frame>,
    /// What was read since the last blank, as far as it matters.
    is_joined: bool,
    is_in_word: bool,
    is_escaped: bool,
    is_behind_dollar: bool,
    /// From here on anything may be meant.
    is_lost: bool,
    /// The last bytes outside of quotes, to know `sh -c`.
    before: Vec<u8>,
}

impl Reader {
    /// Where an input stands that comes now.
    ///
    /// # Errors
    /// What hinders, and how to write it instead.
    pub fn place(&mut self) -> Result<Place, String> {
        const MEND: &str = "begin the line with x={}; and write \"$x\" there";
        if self.is_lost || self.is_escaped {
            return Err(format!("an input cannot be quoted behind <<, $', \\ or case: {MEND}"));
        }
        let quotes = match self.frames.as_slice() {
            [] if self.is_behind_dollar => return Err(format!("an input cannot be quoted behind $: {MEND}")),
            [] => None,
            [Frame::Single] => Some(b'\''),
            [Frame::Double] => Some(b'"'),
            [Frame::Comment] => return Err("an input cannot stand in a comment: write {} before it".to_string()),
            [Frame::Script(_), ..] => {
                return Err("a second shell would execute the input: write sh -c 'echo \"$1\"' sh {}".to_string());
            }
            _ => return Err(format!("an input cannot be quoted in \"$(…)\", `…`, ${{…}} or $((…)): {MEND}")),
        };
        self.is_in_word = true;
        Ok(Place { quotes, is_joined: self.is_joined })
    }

    pub fn read(&mut self, text: &[u8]) {
        let mut rest = text;
        while let Some((&byte, behind)) = rest.split_first() {
            let length = if std::mem::take(&mut self.is_escaped) { 1 } else { self.read_one(byte, behind) };
            self.is_behind_dollar = byte == b'$' && length == 1;
            rest = &rest[length..];
        }
    }

    /// Reads a byte, and what belongs to it. Gives the bytes read.
    fn read_one(&mut self, byte: u8, behind: &[u8]) -> usize {
        let top = self.frames.last().copied();
        match (top, byte) {
            (Some(Frame::Single | Frame::Script(b'\'')), b'\'') | (Some(Frame::Comment), b'\n') => self.leave(),
            (Some(Frame::Single | Frame::Script(b'\'') | Frame::Comment), _) => {}
            (_, b'\\') => (self.is_escaped, self.is_in_word) = (true, true),
            (Some(Frame::Backticks), b'`') => self.leave(),
            (Some(Frame::Backticks), _) => {}
            (_, b'`') => self.frames.push(Frame::Backticks),
            (_, b'$') => return self.read_dollar(top, behind),
            (Some(Frame::Double | Frame::Script(_)), b'"') | (Some(Frame::Braces), b'}') => self.leave(),
            (Some(Frame::Double | Frame::Script(_)), _) => {}
            (_, b'"') => self.enter_quotes(byte),
            // In quotes around the braces, shells do not agree on what it means.
            (Some(Frame::Braces), b'\'') => self.is_lost = true,
            (Some(Frame::Braces), _) => {}
            (_, b'\'') => self.enter_quotes(byte),
            _ => return self.read_bare(byte, behind),
        }
        1
    }

    fn read_dollar(&mut self, top: Option<Frame>, behind: &[u8]) -> usize {
        // A comment may begin behind `$(`.
        (self.is_joined, self.is_in_word) = (true, !behind.starts_with(b"("));
        match behind {
            [b'(', b'(', ..] => self.frames.push(Frame::Parentheses(2)),
            // Outside of quotes, what stands in there is read as what stands around it.
            [b'(', ..] if top.is_none() => return 1,
            [b'(', ..] => self.frames.push(Frame::Parentheses(1)),
            [b'{', ..] => self.frames.push(Frame::Braces),
            [b'\'', ..] if matches!(top, None | Some(Frame::Parentheses(_))) => self.is_lost = true,
            _ => return 1,
        }
        if behind.starts_with(b"((") { 3 } else { 2 }
    }

    fn read_bare(&mut self, byte: u8, behind: &[u8]) -> usize {
        match (self.frames.last_mut(), byte) {
            (Some(Frame::Parentheses(open)), b'(') => *open += 1,
            (Some(Frame::Parentheses(1)), b')') => self.leave(),
            (Some(Frame::Parentheses(open)), b')') => *open -= 1,
            // The patterns of a `case` have parentheses that close and do not open.
            (Some(Frame::Parentheses(_)), b'c') if !self.is_in_word && behind.starts_with(b"ase") => {
                self.is_lost = true;
            }
            (None, b'#') if !self.is_in_word => self.frames.push(Frame::Comment),
            // In parentheses it may be a comment, or a base as in 16#ff.
            (Some(_), b'#') if !self.is_in_word => self.is_lost = true,
            (_, b'<') if behind.starts_with(b"<") => self.is_lost = true,
            _ => {}
        }
        let is_end = b" \t\n;|&()<>".contains(&byte);
        self.is_in_word = !is_end;
        self.is_joined = !is_end && (self.is_joined || byte == b'~');
        self.before.push(byte);
        1
    }

    fn enter_quotes(&mut self, sign: u8) {
        let is_script = self.frames.is_empty() && is_for_a_shell(&self.before);
        self.frames.push(match sign {
            _ if is_script => Frame::Script(sign),
            b'"' => Frame::Double,
            _ => Frame::Single,
        });
        self.is_in_word = true;
        self.is_joined = false;
    }

    fn leave(&mut self) {
        let left = self.frames.pop();
        self.is_in_word = left != Some(Frame::Comment);
        self.is_joined = false;
        self.before.clear();
    }
}

/// True behind `sh -c`, `bash -ec`, `eval`.
fn is_for_a_shell(before: &[u8]) -> bool {
    let text = String::from_utf8_lossy(before);
    let mut words = text.split_whitespace().rev();
    match words.next() {
        Some("eval") => true,
        Some(option) if option.starts_with('-') && option.ends_with('c') => {
            words.find(|word| !word.starts_with('-')).is_some_and(|word| word.ends_with("sh"))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
