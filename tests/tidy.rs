//! The claims of ARCHITECTURE.md, checked against the sources.
//!
//! The checks read text: comments and strings are told apart, braces are matched, and nothing more is parsed. Each
//! check gives its findings as lines `file:line: what; the cure`. The first part of this file reads sources, the
//! second part has the checks, and the last part tests the first one on small inputs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

/// The most lines of a file, and of a function. What is longer has more than one purpose.
const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 60;

/// The most files with unsafe code.
const MAX_UNSAFE_FILES: usize = 11;

/// Places outside `sys` that may name what only `sys` may use: file, name, reason.
const SYSTEM_EXCEPTIONS: [(&str, &str, &str); 0] = [];

/// The program: a package of its own in all but its manifest. It uses the crate's public interface, and the system as it likes.
const PROGRAM: &str = "src/bin/multicore/";

/// Places where a forbidden word may stand: file, word, reason.
const WORD_EXCEPTIONS: [(&str, &str, &str); 6] = [
    ("tests/hosts/scarcity.rs", "want of", "the name of a test"),
    ("tests/CASES.md", "want of", "that test's name"),
    ("tests/pools/pools.rs", "heed*", "the name of a test"),
    ("tests/CASES.md", "heed*", "that test's name"),
    ("tests/faults/hostile.rs", "scribbl*", "the name of an attack, `Act::Scribble`"),
    ("src/engine/link/tests.rs", "scribbl*", "the name of that attack"),
];

// Reading.

/// A source file.
struct Source {
    /// From the root of the repository, with `/`.
    path: String,
    text: String,
    /// The text with comments, and what strings and chars contain, replaced by spaces.
    code: String,
    /// `code` with all items under `cfg(test)` replaced by spaces.
    shipped: String,
    /// True for a file that only test builds compile.
    is_test: bool,
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below a folder whose names end in `ending`, in order. A folder that is not there has none: the
/// published crate lacks some.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).into_iter().flatten();
    for entry in entries.map(Result::unwrap) {
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            if !path.ends_with("/target") {
                found.extend(files(&path, ending));
            }
        } else if path.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// All sources of the crate.
fn sources() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(read_sources);
    &SOURCES
}

fn read_sources() -> Vec<Source> {
    let mut sources: Vec<Source> =
        files("src", ".rs").into_iter().map(|path| Source::new(path.clone(), read(&path))).collect();
    let tests: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        source.is_test = tests
            .iter()
            .any(|test| source.path == format!("{test}.rs") || source.path.starts_with(&format!("{test}/")));
    }
    sources
}

impl Source {
    fn new(path: String, text: String) -> Source {
        let code = without_comments(&text, false);
        let shipped = without_tests(&code);
        Source { path, text, code, shipped, is_test: false }
    }

    fn at(&self, offset: usize, what: impl Display) -> String {
        format!("{}:{}: {what}", self.path, line_of(&self.text, offset))
    }

    /// The folder in which the modules of this file lie.
    fn folder(&self) -> &str {
        let folder = self.path.strip_suffix(".rs").unwrap();
        ["/mod", "/lib", "/main"].iter().find_map(|end| folder.strip_suffix(end)).unwrap_or(folder)
    }

    /// The modules that this file declares under `cfg(test)`, as paths without `.rs`.
    fn test_modules(&self) -> Vec<String> {
        let items = test_items(&self.code);
        let declared = items.iter().filter_map(|&(start, end)| {
            let (_, name) = self.code[start..end].strip_suffix(';')?.rsplit_once("mod ")?;
            Some(format!("{}/{}", self.folder(), name.trim()))
        });
        declared.collect()
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Replaces comments by spaces, and without `keep_strings` also what strings and chars contain. Lines and offsets
/// stay as they are.
fn without_comments(text: &str, keep_strings: bool) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut blank = |range: std::ops::Range<usize>| {
        for byte in &mut code[range] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    };
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text.as_bytes()[at..];
        let (length, kept) = match rest {
            [b'/', b'/', ..] => (rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()), false),
            [b'/', b'*', ..] => (find(rest, b"*/").map_or(rest.len(), |end| end + 2), false),
            [b'r', b'"' | b'#', ..] if !is_word_before(bytes, at) && raw_string(rest).is_some() => {
                (raw_string(rest).unwrap(), keep_strings)
            }
            [b'"', ..] => (string(rest), keep_strings),
            [b'\'', ..] => (char_literal(rest), keep_strings || char_literal(rest) == 1),
            _ => (1, true),
        };
        let length = length.max(1);
        if !kept {
            // The quotes stay, so that what is left still reads as an expression.
            let quoted = matches!(rest[0], b'"' | b'\'') && length > 1;
            blank(at + usize::from(quoted)..at + length - usize::from(quoted));
        }
        at += length;
    }
    String::from_utf8(code.into_iter().map(|byte| if byte.is_ascii() { byte } else { b'?' }).collect()).unwrap()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_word_before(bytes: &[u8], at: usize) -> bool {
    at > 0 && is_word(bytes[at - 1])
}

/// The length of the string that begins here.
fn string(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// The length of the raw string that begins here, if it is one.
fn raw_string(bytes: &[u8]) -> Option<usize> {
    let hashes = bytes[1..].iter().take_while(|&&byte| byte == b'#').count();
    if bytes.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let end = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let start = 2 + hashes;
    Some(start + find(&bytes[start..], &end)? + end.len())
}

/// The length of the char that begins here; 1 for the quote of a lifetime.
fn char_literal(bytes: &[u8]) -> usize {
    let is_escaped = bytes.get(1) == Some(&b'\\');
    let end = bytes.iter().skip(if is_escaped { 3 } else { 2 }).take(10).position(|&byte| byte == b'\'');
    match end {
        Some(end) if is_escaped => end + 4,
        // One character has up to four bytes.
        Some(end) if end == 0 || (end < 4 && !bytes[1].is_ascii()) => end + 3,
        _ => 1,
    }
}

/// The offsets at which a word stands: no part of a longer one.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_whole = move |&(at, _): &(usize, &str)| {
        let after = code.as_bytes().get(at + word.len());
        !is_word_before(code.as_bytes(), at) && after.is_none_or(|&byte| !is_word(byte))
    };
    code.match_indices(word).filter(is_whole).map(|(at, _)| at)
}

/// Where the brace, bracket or parenthesis that opens at `start` closes: the offset behind it.
fn closing(code: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// The end of the item or statement that begins at `start`: behind its `;` or its closing brace.
fn item_end(code: &str, start: usize) -> usize {
    let mut at = start;
    while at < code.len() {
        match code.as_bytes()[at] {
            b';' => return at + 1,
            b'{' => return closing(code, at),
            b'(' | b'[' => at = closing(code, at),
            _ => at += 1,
        }
    }
    code.len()
}

/// The items under `cfg(test)`, attribute included.
fn test_items(code: &str) -> Vec<(usize, usize)> {
    let starts = code.match_indices("#[cfg(").map(|(start, _)| start);
    let mut items = Vec::new();
    for start in starts {
        let end = closing(code, start + 1);
        let condition = &code[start..end];
        if words(condition, "test").next().is_some() && !condition.contains("not(test") {
            items.push((start, item_end(code, end)));
        }
    }
    items
}

fn without_tests(code: &str) -> String {
    blanked(code, &test_items(code))
}

fn blanked(code: &str, ranges: &[(usize, usize)]) -> String {
    let is_in = |at: usize| ranges.iter().any(|&(start, end)| (start..end).contains(&at));
    code.char_indices().map(|(at, char)| if char != '\n' && is_in(at) { ' ' } else { char }).collect()
}

/// The paths of a `use` tree, or of a path in an expression, that begins at `start`: braces are spread out.
fn paths_at(code: &str, start: usize) -> Vec<String> {
    let rest = &code[start..];
    let plain: String =
        rest.chars().take_while(|&char| char.is_ascii_alphanumeric() || "_: \n*".contains(char)).collect();
    // A space ends a path, but not before or behind `::`.
    let mut prefix = String::new();
    let mut parts = plain.split_whitespace().peekable();
    while let Some(part) = parts.next() {
        prefix += part;
        if !prefix.ends_with("::") && parts.peek().is_none_or(|next| !next.starts_with("::")) {
            break;
        }
    }
    let braces = start + plain.len();
    if !prefix.ends_with("::") || !code[braces..].starts_with('{') {
        return vec![prefix.trim_end_matches("::").to_string()];
    }
    let inner = &code[braces + 1..closing(code, braces) - 1];
    let mut paths = Vec::new();
    let mut at = 0;
    while at < inner.len() {
        let lead = inner[at..].len() - inner[at..].trim_start().len();
        at += lead;
        let end = top_level_comma(inner, at);
        if !inner[at..end].trim().is_empty() {
            let tails = paths_at(inner, at).into_iter();
            paths.extend(tails.map(|tail| format!("{prefix}{tail}")));
        }
        at = end + 1;
    }
    paths
}

fn top_level_comma(code: &str, start: usize) -> usize {
    let mut at = start;
    while at < code.len() && code.as_bytes()[at] != b',' {
        at = if code.as_bytes()[at] == b'{' { closing(code, at) } else { at + 1 };
    }
    at
}

/// What a file imports, by `use` or by a path in its code: offset and path, from the root of the crate. Inline modules
/// count only by what they name with `crate`.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let code = &source.shipped;
    let modules: Vec<_> = words(code, "mod").map(|start| (start, item_end(code, start))).collect();
    let outside = blanked(code, &modules);
    let mut found = Vec::new();
    for start in words(&outside, "use") {
        let first = start + 3 + (outside[start + 3..].len() - outside[start + 3..].trim_start().len());
        found.extend(paths_at(&outside, first).into_iter().map(|path| (first, absolute(source, &path))));
    }
    for (text, root) in [(code, "crate"), (&outside, "super"), (&outside, "self")] {
        for start in words(text, root) {
            // A `use` is found above, `$crate` is the macro's, and what follows `::` is no root.
            let is_use = found.iter().any(|(at, _)| *at == start);
            if !is_use && text[start + root.len()..].starts_with("::") && !text[..start].ends_with(['$', ':']) {
                found.extend(paths_at(text, start).into_iter().map(|path| (start, absolute(source, &path))));
            }
        }
    }
    found
}

/// A path that begins with `self` or `super`, from the root of the crate.
fn absolute(source: &Source, path: &str) -> String {
    let module = source.path.strip_suffix(".rs").unwrap().strip_prefix("src").unwrap();
    let module = ["/mod", "/lib", "/main"].iter().find_map(|end| module.strip_suffix(end)).unwrap_or(module);
    let mut here: Vec<&str> = module.split('/').filter(|part| !part.is_empty()).collect();
    let mut parts = path.split("::").peekable();
    if !matches!(parts.peek(), Some(&"self" | &"super")) {
        // The program's root is its own.
        return match path.strip_prefix("crate::").filter(|_| source.path.starts_with(PROGRAM)) {
            Some(path) => format!("crate::bin::multicore::{path}"),
            None => path.to_string(),
        };
    }
    while let Some(part) = parts.next_if(|part| matches!(*part, "self" | "super")) {
        if part == "super" {
            here.pop();
        }
    }
    ["crate"].into_iter().chain(here).chain(parts).collect::<Vec<_>>().join("::")
}

/// The file that a path of the crate leads to: that of the innermost module.
fn file_of(path: &str, all: &BTreeSet<String>) -> Option<String> {
    let parts: Vec<&str> = path.split("::").collect();
    if parts[0] != "crate" {
        return None;
    }
    (1..=parts.len()).rev().find_map(|count| {
        let folder = [&["src"], &parts[1..count]].concat().join("/");
        let names = [".rs", "/mod.rs", "/lib.rs", "/main.rs"].map(|end| format!("{folder}{end}"));
        names.into_iter().find(|name| all.contains(name))
    })
}

/// The functions of a file: offset of `fn`, name, first and last line.
fn functions(code: &str) -> Vec<(usize, String, usize, usize)> {
    let mut found = Vec::new();
    for start in words(code, "fn") {
        let name: String = code[start + 2..].trim_start().chars().take_while(|&char| is_word(char as u8)).collect();
        let end = item_end(code, start);
        // The type of a function has no name, and a declaration no body.
        if !name.is_empty() && code[..end].ends_with('}') {
            found.push((start, name, line_of(code, start), line_of(code, end - 1)));
        }
    }
    found
}

/// The rows of the first table behind a heading of ARCHITECTURE.md, as cells, each with its line's number.
fn table(text: &str, heading: &str) -> Vec<(usize, Vec<String>)> {
    let first =
        text.lines().position(|line| line == heading).unwrap_or_else(|| panic!("ARCHITECTURE.md lacks {heading:?}"));
    let lines = text.lines().enumerate().skip(first + 1);
    let section = lines.take_while(|(_, line)| !line.starts_with("## "));
    let rows = section.skip_while(|(_, line)| !line.starts_with('|')).take_while(|(_, line)| line.starts_with('|'));
    // Behind the head and the line below it.
    rows.skip(2)
        .map(|(number, line)| {
            (number + 1, line.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect())
        })
        .collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_string).collect()
}

/// The rooms that ARCHITECTURE.md lists, from the top: name and paths.
fn rooms() -> Vec<(String, Vec<String>)> {
    let rows = table(&read("ARCHITECTURE.md"), "## Rooms").into_iter();
    rows.map(|(_, cells)| (quoted(&cells[0])[0].clone(), quoted(&cells[1]))).collect()
}

/// The place of a file in the order of rooms: the longest path that fits counts.
fn room_of(path: &str, rooms: &[(String, Vec<String>)]) -> Option<usize> {
    let fits = |own: &String| if own.ends_with('/') { path.starts_with(own.as_str()) } else { path == own };
    let all = rooms.iter().enumerate().flat_map(|(number, (_, paths))| paths.iter().map(move |path| (path, number)));
    all.filter(|(own, _)| fits(own)).max_by_key(|(own, _)| own.len()).map(|(_, number)| number)
}

/// A circle among nodes, if there is one, from a node back to itself.
fn circle(edges: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(
        node: &str,
        edges: &BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        if let Some(first) = way.iter().position(|passed| passed == node) {
            way.drain(..first);
            way.push(node.to_string());
            return true;
        }
        if !done.contains(node) {
            way.push(node.to_string());
            if edges.get(node).into_iter().flatten().any(|next| visit(next, edges, way, done)) {
                return true;
            }
            way.pop();
            done.insert(node.to_string());
        }
        false
    }
    let (mut way, mut done) = (Vec::new(), BTreeSet::new());
    edges.keys().any(|node| visit(node, edges, &mut way, &mut done)).then_some(way)
}

/// The struct or enum whose own methods a file has, and the file of the same folder that defines it.
fn owner(source: &Source, sources: &[Source]) -> Option<String> {
    let parent = |path: &str| path.rsplit_once('/').unwrap().0.to_string();
    let mut owners = words(&source.shipped, "impl").filter_map(|start| {
        let mut head =
            source.shipped[start + 4..item_end(&source.shipped, start)].split('{').next()?.trim().to_string();
        if head.starts_with('<') {
            let mut depth = 0;
            let end = head.char_indices().find_map(|(at, char)| {
                depth += match char {
                    '<' => 1,
                    '>' => -1,
                    _ => 0,
                };
                (depth == 0).then_some(at + 1)
            })?;
            head = head[end..].trim().to_string();
        }
        if words(&head, "for").next().is_some() {
            return None;
        }
        let name: String = head.chars().take_while(|&char| is_word(char as u8)).collect();
        let defines = |other: &&Source| {
            let is_near = parent(&other.path) == parent(&source.path);
            let forms = [format!("struct {name}"), format!("enum {name}")];
            is_near && forms.iter().any(|form| words(&other.shipped, form).next().is_some())
        };
        if defines(&source) { None } else { Some(sources.iter().find(defines)?.path.clone()) }
    });
    owners.next()
}

/// Reports all findings at once.
#[track_caller]
fn assert_none(findings: Vec<String>) {
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

// The checks.

#[test]
fn each_room_exists_and_each_file_has_a_room() {
    let (rooms, sources) = (rooms(), sources());
    let mut findings = Vec::new();
    for (name, paths) in &rooms {
        for path in paths {
            let is_there = sources.iter().any(|source| {
                if path.ends_with('/') { source.path.starts_with(path.as_str()) } else { source.path == *path }
            });
            if !is_there {
                findings.push(format!(
                    "ARCHITECTURE.md: the room {name} lists {path}, which is not there; correct the table of rooms"
                ));
            }
        }
    }
    let homeless = sources.iter().filter(|source| room_of(&source.path, &rooms).is_none());
    findings.extend(homeless.map(|source| {
        format!("{}:1: it is in no room; move it, or list it in the table of rooms of ARCHITECTURE.md", source.path)
    }));
    assert_none(findings);
}

#[test]
fn what_architecture_names_is_there() {
    let sources = sources();
    let mut findings = Vec::new();
    let mut is_diagram = false;
    for (number, line) in read("ARCHITECTURE.md").lines().enumerate() {
        is_diagram ^= line.starts_with("```");
        for name in quoted(line).into_iter().filter(|_| !is_diagram) {
            let is_there = if name.ends_with(".rs") {
                let ending = format!("/{name}");
                let files = [files("src", ".rs"), files("tests", ".rs")].concat();
                files.iter().any(|path| *path == name || path.ends_with(&ending))
            } else if let Some((_, item)) = name.rsplit_once("::").filter(|_| name.chars().all(is_of_path)) {
                sources.iter().any(|source| words(&source.code, item).next().is_some())
            } else {
                true
            };
            if !is_there {
                findings.push(format!(
                    "ARCHITECTURE.md:{}: there is no {name} any more; name what took its place",
                    number + 1
                ));
            }
        }
    }
    assert_none(findings);
}

fn is_of_path(char: char) -> bool {
    char.is_ascii_alphanumeric() || "_:".contains(char)
}

#[test]
fn imports_point_down_the_order_of_rooms() {
    let (rooms, sources) = (rooms(), sources());
    let all: BTreeSet<String> = sources.iter().map(|source| source.path.clone()).collect();
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test) {
        let Some(own) = room_of(&source.path, &rooms) else { continue };
        for (at, path) in imports(source) {
            let Some(target) = file_of(&path, &all).and_then(|file| room_of(&file, &rooms)) else { continue };
            if target < own {
                let (own, target) = (&rooms[own].0, &rooms[target].0);
                findings.push(source.at(
                    at,
                    format!("the room {own} imports {path} of {target}, which lies above it; move what both need down"),
                ));
            }
        }
    }
    assert_none(findings);
}

#[test]
fn imports_form_no_circle() {
    let sources = sources();
    let all: BTreeSet<String> = sources.iter().map(|source| source.path.clone()).collect();
    let owners: BTreeMap<&str, String> =
        sources.iter().filter_map(|source| Some((source.path.as_str(), owner(source, sources)?))).collect();
    let node = |path: &str| {
        let mut path = path.to_string();
        while let Some(owner) = owners.get(path.as_str()) {
            path = owner.clone();
        }
        path
    };
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_test) {
        for (_, path) in imports(source) {
            let own = node(&source.path);
            let target = file_of(&path, &all).map(|file| node(&file));
            edges.entry(own.clone()).or_default().extend(target.filter(|target| *target != own));
        }
    }
    if let Some(circle) = circle(&edges) {
        panic!(
            "{}:1: imports form a circle; move what both need to a file below them: {}",
            circle[0],
            circle.join(" -> ")
        );
    }
}

#[test]
fn only_sys_talks_to_the_system() {
    const NAMES: [&str; 6] = ["libc::", "rustix::", "sysinfo", "num_cpus", "std::fs", "std::process"];
    const PLAIN_TYPES: [&str; 4] = ["rustix::fd", "rustix::io::Errno", "rustix::process::Pid", "std::process::id"];
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    let others = sources()
        .iter()
        .filter(|source| !["src/sys/", "src/failpoint", PROGRAM].iter().any(|own| source.path.starts_with(own)));
    for source in others.filter(|source| !source.is_test) {
        let mut found: Vec<(usize, String)> = Vec::new();
        for start in NAMES.iter().flat_map(|name| source.shipped.match_indices(name)).map(|(start, _)| start) {
            if !is_word_before(source.shipped.as_bytes(), start) {
                let paths = paths_at(&source.shipped, start).into_iter();
                let is_plain = |path: &String| {
                    PLAIN_TYPES.iter().any(|plain| path == plain || path.starts_with(&format!("{plain}::")))
                };
                found.extend(paths.filter(|path| !is_plain(path)).map(|path| (start, path)));
            }
        }
        let strings = blanked(&without_comments(&source.text, true), &test_items(&source.code));
        for path in ["/proc", "/sys/fs/cgroup"] {
            let quoted = format!("\"{path}");
            let starts = strings.match_indices(&quoted).map(|(at, _)| at);
            found.extend(starts.map(|at| (at, path.to_string())));
        }
        for (at, what) in found {
            let exception =
                SYSTEM_EXCEPTIONS.iter().find(|(path, name, _)| *path == source.path && what.starts_with(name));
            match exception {
                Some(exception) => drop(used.insert(exception)),
                None => findings.push(source.at(at, format!("{what} outside src/sys; make it a function there"))),
            }
        }
    }
    let unused = SYSTEM_EXCEPTIONS.iter().filter(|exception| !used.contains(exception));
    findings.extend(
        unused.map(|(path, name, _)| {
            format!("tests/tidy.rs: {path} does not name {name} any more; remove the exception")
        }),
    );
    assert_none(findings);
}

#[test]
fn unsafe_code_stands_in_the_listed_files_with_a_proof_each() {
    let rows = table(&read("ARCHITECTURE.md"), "## Unsafe code");
    let listed: BTreeSet<String> = rows.iter().flat_map(|(_, cells)| quoted(&cells[0])).collect();
    let mut findings = Vec::new();
    let mut found = BTreeSet::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for start in words(&source.code, "unsafe") {
            if !source.is_test && !listed.contains(&source.path) {
                findings.push(source.at(start, "unsafe code in a file that ARCHITECTURE.md does not list under \"Unsafe code\"; find a safe way, or list it"));
            }
            found.insert(source.path.clone());
            let is_block = source.code[start + 6..].trim_start().starts_with('{');
            let line = line_of(&source.text, start) - 1;
            let above = lines[..=line].iter().rev().take_while(|line| !line.trim().is_empty()).take(8);
            if is_block && !above.into_iter().any(|line| line.contains("// SAFETY: ")) {
                findings.push(
                    source.at(start, "an unsafe block without a proof; write `// SAFETY: ` above it, and why it holds"),
                );
            }
        }
    }
    let unneeded = listed.difference(&found);
    findings.extend(
        unneeded.map(|path| {
            format!("ARCHITECTURE.md: {path} has no unsafe code; remove it from the table \"Unsafe code\"")
        }),
    );
    if listed.len() > MAX_UNSAFE_FILES {
        findings.push(format!("ARCHITECTURE.md: {} files with unsafe code, {MAX_UNSAFE_FILES} are allowed; find a safe way in one of them", listed.len()));
    }
    assert_none(findings);
}

#[test]
fn protocols_know_no_system() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("src/protocol/") && !source.is_test) {
        for (at, path) in all_imports(source) {
            let is_allowed = ["crate::protocol", "core", "std"]
                .iter()
                .any(|root| path == *root || path.starts_with(&format!("{root}::")));
            // The seam for atomics is compiled with loom's.
            let is_seam = source.path == "src/protocol/sync.rs" && path.starts_with("loom::");
            if !is_allowed && !is_seam {
                findings.push(source.at(at, format!("a protocol imports {path}; it may use std, core and other protocols, so that loom and miri can run it")));
            }
        }
    }
    assert_none(findings);
}

#[test]
fn decisions_are_pure_and_their_verdicts_must_be_used() {
    const IMPURE: [&str; 12] = [
        "Instant",
        "SystemTime",
        "clock",
        "Mutex",
        "RwLock",
        "Condvar",
        "sys",
        "fs",
        "thread",
        "sync",
        "env",
        "process",
    ];
    let sources: Vec<&Source> =
        sources().iter().filter(|source| source.path.starts_with("src/engine/policy/") && !source.is_test).collect();
    let mut findings = Vec::new();
    let marked: BTreeSet<String> = sources.iter().flat_map(|source| must_use_types(&source.shipped)).collect();
    for source in sources {
        for (at, path) in all_imports(source) {
            if !path.starts_with("crate::engine::policy") && !path.starts_with("std::") {
                findings.push(source.at(at, format!("a decision imports {path}; give it the numbers as arguments")));
            }
        }
        for name in IMPURE {
            findings.extend(
                words(&source.shipped, name)
                    .map(|at| source.at(at, format!("a decision names {name}; give it the numbers as arguments"))),
            );
        }
        for (at, name, ..) in functions(&source.shipped) {
            let head = source.shipped[at..].split('{').next().unwrap();
            let Some((_, verdict)) = head.split_once("->") else { continue };
            let is_public = source.shipped[..at].trim_end().ends_with("pub(crate)");
            let is_marked = marked.iter().any(|own| words(verdict, own).next().is_some())
                || attributes(&source.shipped, at).contains("#[must_use");
            if is_public && !is_marked {
                findings.push(
                    source.at(
                        at,
                        format!("the verdict of {name} may be lost; mark the function or its type #[must_use]"),
                    ),
                );
            }
        }
    }
    assert_none(findings);
}

/// The imports of a file, those of other crates included.
fn all_imports(source: &Source) -> Vec<(usize, String)> {
    let mut found = imports(source);
    // Paths in code that begin with another crate or module.
    for name in ["libc", "rustix", "memmap2", "sysinfo", "parking_lot", "crossbeam_channel"] {
        let starts = words(&source.shipped, name).filter(|&at| source.shipped[at + name.len()..].starts_with("::"));
        found.extend(starts.map(|at| (at, name.to_string())));
    }
    found
}

/// What stands before an item, from the end of the item before it.
fn attributes(code: &str, at: usize) -> &str {
    let before = &code[..at];
    &before[before.rfind([';', '}', '{']).map_or(0, |end| end + 1)..]
}

/// The types that are marked `#[must_use]`.
fn must_use_types(code: &str) -> Vec<String> {
    let types = ["struct", "enum"].into_iter().flat_map(|kind| words(code, kind).map(move |at| (at, kind.len())));
    types
        .filter(|&(at, _)| attributes(code, at).contains("#[must_use"))
        .map(|(at, length)| code[at + length..].trim_start().chars().take_while(|&char| is_word(char as u8)).collect())
        .collect()
}

#[test]
fn no_file_and_no_function_is_long() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test) {
        let lines = source.text.lines().count();
        if lines > MAX_FILE_LINES {
            findings
                .push(format!("{}:1: {lines} lines, {MAX_FILE_LINES} are allowed; split it by purpose", source.path));
        }
        for (at, name, first, last) in functions(&source.shipped) {
            let lines = last - first + 1;
            if lines > MAX_FUNCTION_LINES {
                findings.push(source.at(
                    at,
                    format!("{name} has {lines} lines, {MAX_FUNCTION_LINES} are allowed; give its steps names"),
                ));
            }
        }
    }
    assert_none(findings);
}

#[test]
fn one_word_for_one_idea() {
    let architecture = read("ARCHITECTURE.md");
    let glossary = table(&architecture, "## Glossary");
    let phrases: Vec<(String, String)> = glossary
        .iter()
        .flat_map(|(_, cells)| {
            let term = cells[0].clone();
            cells[2]
                .split(',')
                .map(|phrase| phrase.trim().to_string())
                .filter(|phrase| !phrase.is_empty())
                .map(move |phrase| (phrase, term.clone()))
                .collect::<Vec<_>>()
        })
        .collect();
    let folders = ["src", "tests", "benches", "examples", "fuzz", "docs"].into_iter();
    let sources = folders.flat_map(|folder| [files(folder, ".rs"), files(folder, ".md")].concat());
    let documents =
        ["README.md", "CHANGELOG.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"].map(str::to_string);
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    // This file names the exceptions.
    for path in sources.chain(documents).filter(|path| path != "tests/tidy.rs") {
        let text = read(&path);
        let prose = prose(&text);
        for (phrase, term) in &phrases {
            for line in lines_with(&prose, phrase) {
                let is_glossary = path == "ARCHITECTURE.md" && glossary.iter().any(|(number, _)| *number == line);
                let exception = WORD_EXCEPTIONS.iter().find(|(own, word, _)| *own == path && *word == phrase.as_str());
                match exception {
                    _ if is_glossary => {}
                    Some(exception) => drop(used.insert(exception)),
                    None => findings
                        .push(format!("{path}:{line}: {phrase:?}; the glossary of ARCHITECTURE.md has for it: {term}")),
                }
            }
        }
    }
    let unused = WORD_EXCEPTIONS.iter().filter(|exception| !used.contains(exception));
    findings.extend(
        unused.map(|(path, word, _)| {
            format!("tests/tidy.rs: {path} does not say {word:?} any more; remove the exception")
        }),
    );
    assert_none(findings);
}

/// The lines in small letters with their numbers, without the marks of comments and with names as words, so that a
/// phrase is found in names and across lines.
fn prose(text: &str) -> Vec<(usize, String)> {
    let marks = ["//!", "///", "//"];
    let lines = text.lines().enumerate().map(|(number, line)| {
        let line = line.trim();
        let bare = marks.iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line).trim();
        (number + 1, bare.to_lowercase().replace('_', " ").split_whitespace().collect::<Vec<_>>().join(" "))
    });
    lines.collect()
}

/// The lines on which a phrase begins. A `*` at its end stands for the rest of a word.
fn lines_with(prose: &[(usize, String)], phrase: &str) -> Vec<usize> {
    let (phrase, is_stem) = phrase.strip_suffix('*').map_or((phrase, false), |stem| (stem, true));
    let mut joined = String::new();
    let mut starts = Vec::new();
    for (number, line) in prose {
        starts.push((joined.len(), *number));
        joined += line;
        joined.push(' ');
    }
    let is_letter = |char: Option<char>| char.is_some_and(char::is_alphanumeric);
    let found = joined.match_indices(phrase).filter(|(at, _)| {
        let after = &joined[at + phrase.len()..];
        !is_letter(joined[..*at].chars().next_back()) && (is_stem || !is_letter(after.chars().next()))
    });
    found.map(|(at, _)| starts[starts.partition_point(|(start, _)| *start <= at) - 1].1).collect()
}

// The reading, on small inputs.

fn source(path: &str, text: &str) -> Source {
    Source::new(path.to_string(), text.to_string())
}

#[test]
fn comments_strings_and_chars_are_blanked() {
    for (text, code, with_strings) in [
        ("a // b\nc", "a     \nc", "a     \nc"),
        ("a /* b\n*/ c", "a     \n   c", "a     \n   c"),
        (r#"f("}\"{") + 1"#, r#"f("    ") + 1"#, r#"f("}\"{") + 1"#),
        ("r#\"{\"#;", "      ;", "r#\"{\"#;"),
        ("('{', '\\'', 'a')", "(' ', '  ', ' ')", "('{', '\\'', 'a')"),
        ("fn f<'a>(it: &'a u8)", "fn f<'a>(it: &'a u8)", "fn f<'a>(it: &'a u8)"),
        ("\"// no comment\" x", "\"             \" x", "\"// no comment\" x"),
    ] {
        assert_eq!(without_comments(text, false), code, "{text}");
        assert_eq!(without_comments(text, true), with_strings, "{text}");
    }
}

#[test]
fn items_of_tests_are_left_out() {
    for (code, shipped) in [
        ("a; #[cfg(test)] mod tests { b; } c;", "a;  c;"),
        ("#[cfg(all(test, not(any(miri, loom))))] mod tests; c;", " c;"),
        ("#[cfg(not(test))] a; b;", "#[cfg(not(test))] a; b;"),
        ("#[cfg(doctest)] a;", "#[cfg(doctest)] a;"),
        ("#[cfg(any(test, fuzzing))]\npub(crate) fn f(a: u8) -> u8 { { a } } b;", " b;"),
    ] {
        let blank = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(blank(&without_tests(code)), blank(shipped), "{code}");
    }
    let parent = source("src/engine/mod.rs", "#[cfg(any(test, fuzzing))]\npub(crate) mod fuzz;\nmod link;");
    assert_eq!(parent.test_modules(), ["src/engine/fuzz"]);
}

#[test]
fn imports_are_spread_out_and_absolute() {
    for (path, text, expected) in [
        ("src/a/b.rs", "use crate::x::{y::{self, Z}, w};", &["crate::x::y::self", "crate::x::y::Z", "crate::x::w"][..]),
        ("src/a/b.rs", "use super::c;\nuse self::d;", &["crate::a::c", "crate::a::b::d"]),
        ("src/a/mod.rs", "use super::c;\nuse self::d::{\n    E,\n};", &["crate::c", "crate::a::d::E"]),
        ("src/a/b.rs", "pub(crate) use super::super::c as d;", &["crate::c"]),
        ("src/a/b.rs", "use super::c::*;", &["crate::a::c::*"]),
        ("src/a/b.rs", "fn f() { super::c::d(self.e) }", &["crate::a::c::d"]),
        (
            "src/bin/multicore/a.rs",
            "use crate::b::C; fn f() { crate::d::e(super::g::h) }",
            &["crate::bin::multicore::b::C", "crate::bin::multicore::d::e", "crate::bin::multicore::g::h"],
        ),
        ("src/a/b.rs", "mod inner { use super::c; }", &[]),
        ("src/a/b.rs", "#[cfg(test)]\nmod tests { use crate::c; }", &[]),
        ("src/a/b.rs", "// use crate::c;\nfn f() { crate::d::e(1) + $crate::f::g }", &["crate::d::e"]),
    ] {
        let found: Vec<String> = imports(&source(path, text)).into_iter().map(|(_, path)| path).collect();
        assert_eq!(found, expected, "{path}: {text}");
    }
    let all: BTreeSet<String> = ["src/lib.rs", "src/a/mod.rs", "src/a/b.rs"].map(str::to_string).into();
    for (path, file) in [
        ("crate::a::b::C", Some("src/a/b.rs")),
        ("crate::a::C", Some("src/a/mod.rs")),
        ("crate::C", Some("src/lib.rs")),
        ("std::fs", None),
    ] {
        assert_eq!(file_of(path, &all).as_deref(), file, "{path}");
    }
}

#[test]
fn a_type_and_the_files_of_its_methods_are_found() {
    let all = [
        source("src/a/mod.rs", "pub struct Core<T> { t: T }"),
        source("src/a/b.rs", "impl<T: Into<u8>> Core<T> { fn f() {} }"),
        source("src/a/c.rs", "impl Clone for Core<u8> {}"),
        source("src/d.rs", "impl Core<u8> {}"),
        source("src/a/e.rs", "struct Own; impl Own {}"),
    ];
    let owners: Vec<Option<String>> = all.iter().map(|source| owner(source, &all)).collect();
    assert_eq!(owners, [None, Some("src/a/mod.rs".to_string()), None, None, None]);
}

#[test]
fn circles_functions_rooms_and_tables_are_found() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in edges {
            graph.entry(from.to_string()).or_default().insert(to.to_string());
        }
        circle(&graph)
    };
    assert_eq!(graph(&[("a", "b"), ("a", "c"), ("b", "c")]), None);
    assert_eq!(graph(&[("a", "b"), ("b", "c"), ("c", "b")]).unwrap(), ["b", "c", "b"]);

    let code = "fn one() -> [u8; 2] {\n}\ntrait T { fn declared(); }\ntype F = fn(u8);\nfn two()\n{\n{}\n}";
    let found: Vec<_> = functions(code).into_iter().map(|(_, name, first, last)| (name, first, last)).collect();
    assert_eq!(found, [("one".to_string(), 1, 2), ("two".to_string(), 5, 8)]);

    let rooms = [("a", "src/a/"), ("b", "src/a/b/"), ("c", "src/c.rs")]
        .map(|(name, path)| (name.to_string(), vec![path.to_string()]));
    for (path, room) in [("src/a/x.rs", Some(0)), ("src/a/b/x.rs", Some(1)), ("src/c.rs", Some(2)), ("src/d.rs", None)]
    {
        assert_eq!(room_of(path, &rooms), room, "{path}");
    }

    let text = "## T\n\nProse.\n\n| a | b |\n|---|---|\n| `1` | x, `2` |\n\n| c |\n|---|\n| 3 |\n\n## U\n";
    assert_eq!(table(text, "## T"), [(7, vec!["`1`".to_string(), "x, `2`".to_string()])]);
    assert_eq!(quoted("x, `2` and `3`"), ["2", "3"]);
}

#[test]
fn phrases_are_found_across_lines_and_in_names() {
    let text = "//! It is called\n//! back. Overdoomed, children_heed_all;\nDoomed";
    for (phrase, lines) in [("called back", &[1][..]), ("doomed", &[3]), ("heed", &[2]), ("chil*", &[2]), ("chil", &[])]
    {
        assert_eq!(lines_with(&prose(text), phrase), lines, "{phrase}");
    }
}

#[test]
fn verdicts_and_their_marks_are_found() {
    let code = "#[derive(Debug)]\n#[must_use]\npub(crate) enum V { A }\nstruct W;\n#[must_use = \"why\"]\nstruct X;";
    assert_eq!(must_use_types(code), ["X", "V"]);
}
