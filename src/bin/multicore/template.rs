//! From a command with placeholders and an input to the words that are executed.
//!
//! | placeholder | becomes                             | for `/a/b.c/d.tar.gz` |
//! |-------------|-------------------------------------|-----------------------|
//! | `{}`        | the input                           | `/a/b.c/d.tar.gz`     |
//! | `{.}`       | the input without its extension     | `/a/b.c/d.tar`        |
//! | `{/}`       | its last component                  | `d.tar.gz`            |
//! | `{//}`      | its folder                          | `/a/b.c`              |
//! | `{/.}`      | its last component without extension| `d.tar`               |
//! | `{#}`       | the number of the job, from 1       |                       |
//! | `{i}`, `{n}`| with `--clusters`: the cluster, and how many there are |    |
//!
//! Invariant: what an input contains is never read as a placeholder, and by a shell only as text.

use crate::quote;
use crate::shell::{Place, Reader};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// One command, ready to be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What is executed: with a shell, `/bin/sh -c LINE`.
    pub words: Vec<Vec<u8>>,
    /// What people and the job log read, and what a shell would run.
    pub line: Vec<u8>,
}

#[derive(Debug)]
pub struct Template {
    words: Vec<Vec<Part>>,
    is_shell: bool,
    /// For each part of the shell's line, how an input is quoted there.
    places: Vec<Place>,
    clusters: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Input,
    Stem,
    Name,
    Folder,
    NameStem,
    Job,
    Cluster,
    Clusters,
}

const PLACEHOLDERS: [(&[u8], Part); 8] = [
    (b"{}", Part::Input),
    (b"{.}", Part::Stem),
    (b"{/}", Part::Name),
    (b"{//}", Part::Folder),
    (b"{/.}", Part::NameStem),
    (b"{#}", Part::Job),
    (b"{i}", Part::Cluster),
    (b"{n}", Part::Clusters),
];

/// One word with one of these is a line for the shell. Braces are not among them: they are placeholders here.
const SHELL_SIGNS: &[u8] = b" \t\n|&;<>()$`\\\"'*?[]#~";

impl Template {
    /// `clusters` is given with `--clusters`; elsewhere `{i}` and `{n}` are text, as awk and others write them.
    ///
    /// # Errors
    /// A line for people: an input would stand where a shell cannot be told to read it as text.
    pub fn new(words: &[impl AsRef<OsStr>], clusters: Option<u64>) -> Result<Template, String> {
        let mut words: Vec<Vec<Part>> =
            words.iter().map(|word| parts(word.as_ref().as_bytes(), clusters.is_some())).collect();
        let is_shell = words.len() == 1
            && words[0]
                .iter()
                .any(|part| matches!(part, Part::Text(text) if text.iter().any(|byte| SHELL_SIGNS.contains(byte))));
        if words.iter().flatten().all(|part| matches!(part, Part::Text(_))) {
            append_input(&mut words, is_shell, clusters.is_some());
        }
        let places = if is_shell { places(&words[0])? } else { Vec::new() };
        Ok(Template { words, is_shell, places, clusters })
    }

    /// The command's own first word, if it is the same for all inputs and no shell's line.
    pub fn program(&self) -> Option<&OsStr> {
        match self.words.first().map(Vec::as_slice) {
            Some([Part::Text(text)]) if !self.is_shell => Some(OsStr::from_bytes(text)),
            _ => None,
        }
    }

    /// The command of the job with this number.
    pub fn command(&self, input: &[u8], number: u64) -> Command {
        let fill = |parts: &Vec<Part>| {
            let mut word = Vec::new();
            for (index, part) in parts.iter().enumerate() {
                self.append(part, self.places.get(index), (input, number), &mut word);
            }
            word
        };
        let words: Vec<Vec<u8>> = self.words.iter().map(fill).collect();
        if !self.is_shell {
            return Command { line: quote::line(&words), words };
        }
        let line = words.into_iter().next().unwrap_or_default();
        Command { words: vec![b"/bin/sh".to_vec(), b"-c".to_vec(), line.clone()], line }
    }

    fn append(&self, part: &Part, place: Option<&Place>, (input, number): (&[u8], u64), word: &mut Vec<u8>) {
        let value = match part {
            Part::Text(text) => return word.extend_from_slice(text),
            Part::Job => return word.extend_from_slice(number.to_string().as_bytes()),
            Part::Cluster => return word.extend_from_slice(number.to_string().as_bytes()),
            Part::Clusters => return word.extend_from_slice(self.clusters.unwrap_or(0).to_string().as_bytes()),
            Part::Input => input,
            Part::Stem => without_extension(input),
            Part::Name => name(input),
            Part::Folder => folder(input),
            Part::NameStem => without_extension(name(input)),
        };
        match place {
            Some(place) => place.append(value, word),
            None => word.extend_from_slice(value),
        }
    }
}

/// How an input is quoted at each part of a shell's line.
fn places(line: &[Part]) -> Result<Vec<Place>, String> {
    let mut reader = Reader::default();
    let place = |part: &Part| match part {
        Part::Text(text) => {
            reader.read(text);
            Ok(Place::default())
        }
        Part::Job | Part::Cluster | Part::Clusters => {
            reader.read(b"0");
            Ok(Place::default())
        }
        _ => reader.place(),
    };
    line.iter().map(place).collect()
}

/// Without a placeholder the input comes last: as a word of its own, or behind the `=` of `--cluster=`.
fn append_input(words: &mut Vec<Vec<Part>>, is_shell: bool, is_clusters: bool) {
    let Some(last) = words.last_mut() else { return };
    // Behind the end of a line, the input would be a command.
    if let Some(Part::Text(text)) = last.last_mut().filter(|_| is_shell) {
        text.truncate(text.trim_ascii_end().len());
    }
    let is_glued = is_clusters && matches!(last.last(), Some(Part::Text(text)) if text.ends_with(b"="));
    match (is_glued, is_shell) {
        (true, _) => last.push(Part::Input),
        (false, true) => last.extend([Part::Text(b" ".to_vec()), Part::Input]),
        (false, false) => words.push(vec![Part::Input]),
    }
}

fn parts(word: &[u8], is_clusters: bool) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut text = Vec::new();
    let mut rest = word;
    while let Some((&byte, behind)) = rest.split_first() {
        let is_known = |part: &Part| is_clusters || !matches!(part, Part::Cluster | Part::Clusters);
        match PLACEHOLDERS.iter().find(|(sign, part)| rest.starts_with(sign) && is_known(part)) {
            Some((sign, part)) => {
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(part.clone());
                rest = &rest[sign.len()..];
            }
            None => {
                text.push(byte);
                rest = behind;
            }
        }
    }
    if !text.is_empty() || parts.is_empty() {
        parts.push(Part::Text(text));
    }
    parts
}

/// What stands before the last dot of the last component. As GNU parallel has it, `.bashrc` is all extension.
fn without_extension(input: &[u8]) -> &[u8] {
    let start = input.len() - name(input).len();
    match input[start..].iter().rposition(|&byte| byte == b'.') {
        Some(dot) => &input[..start + dot],
        None => input,
    }
}

fn name(input: &[u8]) -> &[u8] {
    let start = input.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    &input[start..]
}

/// As `dirname` has it.
fn folder(input: &[u8]) -> &[u8] {
    let trimmed = trim_slashes(input);
    if trimmed.is_empty() {
        return if input.is_empty() { b"." } else { b"/" };
    }
    match trimmed.iter().rposition(|&byte| byte == b'/') {
        None => b".",
        Some(slash) => match trim_slashes(&trimmed[..slash]) {
            b"" => b"/",
            folder => folder,
        },
    }
}

fn trim_slashes(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    &path[..end]
}

#[cfg(test)]
mod tests;
