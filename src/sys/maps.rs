//! Lines of /proc/PID/maps: which part of which file a process has at which addresses.
//!
//! ```text
//! START-END RIGHTS OFFSET DEVICE INODE            NAME
//! ```
//!
//! Invariant: a line is bytes. A name may have blanks, and need not be UTF-8; one strange line hides no other.

use std::io::{self, BufRead};
use std::ops::Range;

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "status"),
    allow(dead_code, reason = "a process that looks at itself needs no more than the name")
)]
pub(super) struct Mapping<'a> {
    pub(super) range: Range<u64>,
    /// Where the range begins in the file.
    pub(super) offset: u64,
    /// Its major and minor number.
    pub(super) device: (u32, u32),
    pub(super) inode: u64,
    /// Empty for memory without a name.
    pub(super) name: &'a [u8],
}

#[cfg(any(test, feature = "status"))]
impl Mapping<'_> {
    /// Where the bytes of an address that it has lie in the file.
    pub(super) fn place(&self, address: u64) -> Option<u64> {
        address.checked_sub(self.range.start)?.checked_add(self.offset)
    }
}

/// What the line of such a file says about this address that has it, if any.
pub(super) fn find<T>(
    mut maps: impl BufRead,
    address: u64,
    mut tell: impl FnMut(Mapping<'_>) -> T,
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if maps.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        if let Some(mapping) = parse(line).filter(|mapping| mapping.range.contains(&address)) {
            return Ok(Some(tell(mapping)));
        }
    }
}

fn parse(line: &[u8]) -> Option<Mapping<'_>> {
    let mut rest = line;
    let mut field = || {
        rest = rest.trim_ascii_start();
        let (field, behind) = rest.split_at(rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len()));
        rest = behind;
        std::str::from_utf8(field).ok()
    };
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    let (start, end) = field()?.split_once('-')?;
    let _rights = field()?;
    let (offset, (major, minor), inode) = (number(field()?)?, field()?.split_once(':')?, field()?.parse().ok()?);
    let device = (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    Some(Mapping { range: number(start)?..number(end)?, offset, device, inode, name: rest.trim_ascii_start() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_is_read_with_blanks_in_its_name() {
        let of = |range, name: &'static str| Some((range, name.as_bytes()));
        for (line, expected) in [
            (
                "7f0000001000-7f0000002000 r-xp 00001000 fd:01 1234                       /lib/x y.so",
                of(0x7f00_0000_1000..0x7f00_0000_2000, "/lib/x y.so"),
            ),
            ("1000-2000 r-xp 0 0:0 0 ", of(0x1000..0x2000, "")),
            ("1000-2000 r-xp 0 0:0 0", of(0x1000..0x2000, "")),
            ("1000-2000 r-xp 0 0:0 7 /x (deleted)", of(0x1000..0x2000, "/x (deleted)")),
            ("1000 r-xp 0 0:0 7 /x", None),
            ("x-2000 r-xp 0 0:0 7 /x", None),
            ("1000-2000 r-xp 0 00 7 /x", None),
            ("1000-2000 r-xp 0 0:0 x /x", None),
            ("1000-2000 r-xp 0 0:0", None),
            ("", None),
        ] {
            assert_eq!(parse(line.as_bytes()).map(|told| (told.range, told.name)), expected, "{line:?}");
        }
        let line = b"55d0-5600 r-xp 00001000 08:1f 77                         /opt/my app";
        let expected =
            Mapping { range: 0x55d0..0x5600, offset: 0x1000, device: (8, 0x1f), inode: 77, name: b"/opt/my app" };
        let told = parse(line);
        assert_eq!(told, Some(expected));
        let place = |address| told.as_ref().unwrap().place(address);
        assert_eq!([0x55cf, 0x55d0, 0x55ff].map(place), [None, Some(0x1000), Some(0x102f)]);
        // One that leads beyond all numbers.
        assert_eq!(parse(b"0-ffff rw-p ffffffffffffffff 00:00 0").unwrap().place(0x10), None);
    }

    #[test]
    fn the_line_of_an_address_is_found_among_others() {
        let maps =
            b"1000-2000 r--p 0 0:0 1 /a\n\xff\xfe garbage\n\n2000-3000 r-xp 0 0:0 2 /\xff b\n3000-4000 r--p 0 0:0 3 /c";
        for (address, expected) in
            [(0xfff, None), (0x1000, Some(1)), (0x1fff, Some(1)), (0x2000, Some(2)), (0x3fff, Some(3)), (0x4000, None)]
        {
            assert_eq!(find(&maps[..], address, |told| told.inode).unwrap(), expected, "{address:x}");
        }
        assert_eq!(find(&maps[..], 0x2000, |told| told.name.to_vec()).unwrap().unwrap(), b"/\xff b");
    }

    proptest! {
        /// As the kernel writes it: a name has each byte but the end of a line, and begins with none that is a blank.
        #[test]
        fn a_line_of_the_kernel_is_read_as_it_was_written(
            (start, length, offset) in (any::<u32>(), 1..=u32::MAX, any::<u64>()),
            (device, inode) in (any::<(u32, u32)>(), any::<u64>()),
            name in prop::option::of(prop::collection::vec(any::<u8>().prop_filter("an end of the line", |&it| it != b'\n'), 0..60)),
        ) {
            let (start, end) = (u64::from(start), u64::from(start) + u64::from(length));
            let (major, minor) = device;
            let name = name.map_or(Vec::new(), |name| [&b"/"[..], &name].concat());
            let mut line =
                format!("{start:08x}-{end:08x} r-xp {offset:08x} {major:02x}:{minor:02x} {inode} ").into_bytes();
            line.resize(line.len().max(73), b' ');
            line.extend(&name);
            let expected = Mapping { range: start..end, offset, device, inode, name: &name };
            prop_assert_eq!(parse(&line), Some(expected));
        }

        #[test]
        fn no_bytes_are_too_strange(maps in prop::collection::vec(any::<u8>(), 0..200), address: u64) {
            let _ = find(&maps[..], address, |told| told.inode);
        }
    }
}
