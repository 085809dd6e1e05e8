//! Checks that a shared library is complete before it is loaded.
//!
//! The dynamic linker maps a library according to its headers. In a truncated file, it reads pages that the
//! file does not have, which ends the process with SIGBUS.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Why a file cannot be loaded as a library.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Damage {
    /// It is not a shared library of this kind of system.
    NotElf,
    /// Its headers describe more bytes than it has.
    Truncated {
        /// Size of the file in bytes.
        size: u64,
        /// The least number of bytes according to its headers.
        expected: u64,
    },
}

/// Offsets and sizes of the fields of an ELF header that say where the other headers are; see `Elf32_Ehdr`,
/// `Elf64_Ehdr`, `Elf32_Phdr` and `Elf64_Phdr` in `elf(5)`.
struct Layout {
    header: usize,
    /// Size of an address or an offset in the file.
    word: usize,
    program_headers: usize,
    section_headers: usize,
    /// Where `e_phentsize`, `e_phnum`, `e_shentsize` and `e_shnum` begin.
    counts: usize,
    /// Where a segment begins in the file, and its size there, within its header.
    segment_offset: usize,
    segment_size: usize,
}

const ELF32: Layout = Layout {
    header: 52,
    word: 4,
    program_headers: 28,
    section_headers: 32,
    counts: 42,
    segment_offset: 4,
    segment_size: 16,
};

const ELF64: Layout = Layout {
    header: 64,
    word: 8,
    program_headers: 32,
    section_headers: 40,
    counts: 54,
    segment_offset: 8,
    segment_size: 32,
};

/// Whether a library has all bytes that its headers describe; `None` if it has.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn damage(path: &Path) -> io::Result<Option<Damage>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(64).read_to_end(&mut head)?;
    let layout = match head.get(..6) {
        Some([0x7f, b'E', b'L', b'F', 1, 1 | 2]) => &ELF32,
        Some([0x7f, b'E', b'L', b'F', 2, 1 | 2]) => &ELF64,
        _ => return Ok(Some(Damage::NotElf)),
    };
    let big_endian = head[5] == 2;
    let truncated = |expected| Ok(Some(Damage::Truncated { size, expected }));
    if head.len() < layout.header {
        return truncated(layout.header as u64);
    }
    let count = |at: usize| number(&head[at..at + 2], big_endian);
    let offset = |at: usize| number(&head[at..at + layout.word], big_endian);
    let end = |start: u64, each: u64, count: u64| start.saturating_add(each.saturating_mul(count));
    let (each, segments) = (count(layout.counts), count(layout.counts + 2));
    let table = offset(layout.program_headers);
    let sections = end(
        offset(layout.section_headers),
        count(layout.counts + 4),
        count(layout.counts + 6),
    );
    let mut expected = sections.max(end(table, each, segments));
    // The segments are described in bytes that a short file may lack.
    if expected > size {
        return truncated(expected);
    }
    let mut headers = vec![0; (each * segments) as usize];
    file.seek(SeekFrom::Start(table))?;
    file.read_exact(&mut headers)?;
    for segment in headers.chunks(each.max(1) as usize) {
        let field = |at: usize| {
            let bytes = segment.get(at..at + layout.word);
            bytes.map_or(0, |bytes| number(bytes, big_endian))
        };
        let segment = end(field(layout.segment_offset), field(layout.segment_size), 1);
        expected = expected.max(segment);
    }
    match expected > size {
        true => truncated(expected),
        false => Ok(None),
    }
}

fn number(bytes: &[u8], big_endian: bool) -> u64 {
    let add = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
    match big_endian {
        true => bytes.iter().fold(0, add),
        false => bytes.iter().rev().fold(0, add),
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use super::*;

    /// The running test is an ELF file itself.
    fn executable() -> Vec<u8> {
        fs::read(env::current_exe().unwrap()).unwrap()
    }

    fn of(bytes: &[u8]) -> Option<Damage> {
        let path = env::temp_dir().join(format!(
            "topk-elf-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        fs::write(&path, bytes).unwrap();
        let found = damage(&path).unwrap();
        fs::remove_file(&path).unwrap();
        found
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn truncated_libraries_are_recognised_wherever_they_end() {
        let whole = executable();
        assert_eq!(of(&whole), None);
        for len in [20, 64, 1000, whole.len() / 2, whole.len() - 1] {
            let found = of(&whole[..len]);
            let Some(Damage::Truncated { size, expected }) = found else {
                panic!("{len} bytes: {found:?}");
            };
            assert_eq!(size, len as u64);
            assert!(expected > size && expected <= whole.len() as u64);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn segments_beyond_the_end_are_recognised_without_section_headers() {
        let mut whole = executable();
        // Stripped of its section headers, as by `sstrip`.
        whole[40..48].fill(0);
        whole[60..62].fill(0);
        assert_eq!(of(&whole), None);
        // Debug information, which is in no segment, may be the larger part.
        let first = of(&whole[..8192]);
        assert!(matches!(first, Some(Damage::Truncated { .. })), "{first:?}");
    }

    #[test]
    fn other_files_are_not_libraries() {
        for bytes in [
            &b""[..],
            b"version https://git-lfs.github.com/spec/v1\n",
            b"\x7fELF",
        ] {
            assert_eq!(of(bytes), Some(Damage::NotElf), "{bytes:?}");
        }
    }

    #[test]
    fn headers_with_invalid_numbers_are_not_followed() {
        let mut head = [0xff; 64];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert!(matches!(of(&head), Some(Damage::Truncated { .. })));
    }
}
