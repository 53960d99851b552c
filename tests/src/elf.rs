//! As much of ELF as is needed to spoil a driver's file: where its sections are, and patches of equal length.

/// A section of a 64-bit little-endian file.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Where it begins in the file.
    pub offset: usize,
    /// Its length in the file.
    pub size: usize,
}

fn number(bytes: &[u8], at: usize, length: usize) -> usize {
    bytes[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// The sections that have bytes in the file.
pub fn sections(file: &[u8]) -> Vec<Section> {
    assert_eq!(file[..6], *b"\x7fELF\x02\x01", "a 64-bit little-endian ELF file");
    let (table, count, names) = (number(file, 0x28, 8), number(file, 0x3C, 2), number(file, 0x3E, 2));
    let header = |index: usize| &file[table + index * 64..][..64];
    let names = &file[number(header(names), 0x18, 8)..];
    let with_bytes = (0..count).map(header).filter(|header| !matches!(number(header, 4, 4), 0 | 8));
    with_bytes
        .map(|header| {
            let name = &names[number(header, 0, 4)..];
            let name = &name[..name.iter().position(|byte| *byte == 0).unwrap_or(0)];
            Section {
                name: String::from_utf8_lossy(name).into_owned(),
                offset: number(header, 0x18, 8),
                size: number(header, 0x20, 8),
            }
        })
        .collect()
}

/// The file with a text replaced wherever it stands between `from` and `to`; both texts are of one length.
pub fn patched(file: &[u8], range: std::ops::Range<usize>, old: &str, new: &str) -> Vec<u8> {
    assert_eq!(old.len(), new.len(), "{old:?} and {new:?}");
    let mut patched = file.to_vec();
    let mut found = false;
    for at in range.start..=range.end - old.len() {
        if patched[at..].starts_with(old.as_bytes()) {
            patched[at..at + new.len()].copy_from_slice(new.as_bytes());
            found = true;
        }
    }
    assert!(found, "{old:?} is not in the file");
    patched
}

/// The file with a text of its manifest section replaced.
pub fn with_manifest(file: &[u8], old: &str, new: &str) -> Vec<u8> {
    let section = sections(file).into_iter().find(|one| one.name == ".capstan_manifest").expect("a manifest section");
    patched(file, section.offset..section.offset + section.size, old, new)
}
