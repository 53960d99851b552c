//! A driver's file: arbitrary bytes, a real driver with patches, and a real driver with another manifest.
#![no_main]

use std::{fs, path::PathBuf, sync::LazyLock};

use capstan::drivers::{inspect, read};
use capstan_fuzz::Source;
use capstan_plugin_api::{Manifest, abi};
use libfuzzer_sys::fuzz_target;

/// The driver in C, as `build.rs` made it.
const DRIVER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/driver.so"));

/// Size of a section's header, and where in it offset and size of its bytes stand.
const SECTION_HEADER: usize = 64;
const OFFSET_AND_SIZE: std::ops::Range<usize> = 24..40;

struct Place {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

static PLACE: LazyLock<Place> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    Place { file: folder.path().join("driver.so"), _folder: folder }
});

fn number(at: usize, len: usize) -> usize {
    DRIVER[at..at + len].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// Where in the file each header and each section that the reader follows begins, so that patches hit what matters.
static BEGINNINGS: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let (table, count) = (number(40, 8), number(60, 2));
    let headers = (0..count).map(|index| table + index * SECTION_HEADER);
    let mut all: Vec<usize> = headers.clone().collect();
    all.extend(headers.map(|header| number(header + 24, 8)));
    all.extend((0..number(56, 2)).map(|index| 64 + index * 56));
    all.push(0);
    all
});

/// The manifest of the driver.
static MANIFEST: LazyLock<Vec<u8>> =
    LazyLock::new(|| read(DRIVER).expect("a real driver").manifest.expect("with a manifest"));

/// The header of the section that holds it.
static MANIFEST_HEADER: LazyLock<usize> = LazyLock::new(|| {
    let (table, count) = (number(40, 8), number(60, 2));
    (0..count)
        .map(|index| table + index * SECTION_HEADER)
        .find(|header| {
            let (offset, size) = (number(header + 24, 8), number(header + 32, 8));
            size > 0 && DRIVER.get(offset..offset + size).is_some_and(|bytes| bytes.starts_with(&MANIFEST))
        })
        .expect("the manifest's section")
});

fn patched(source: &mut Source<'_>) -> Vec<u8> {
    let mut file = DRIVER.to_vec();
    for _ in 0..=source.below(6) {
        let at = source.one(&BEGINNINGS) + source.below(72);
        let bytes = match source.below(3) {
            0 => &[0xff; 8],
            1 => &[0; 8],
            _ => source.bytes(8),
        };
        for (place, byte) in file.iter_mut().skip(at).zip(bytes) {
            *place = *byte;
        }
    }
    if source.byte() < 32 {
        file.truncate(source.number() as usize);
    }
    file
}

fn with_manifest(manifest: &[u8]) -> Vec<u8> {
    let mut file = DRIVER.to_vec();
    let place = file.len().to_le_bytes().into_iter().chain(manifest.len().to_le_bytes());
    for (byte, new) in file[*MANIFEST_HEADER..][OFFSET_AND_SIZE].iter_mut().zip(place) {
        *byte = new;
    }
    file.extend_from_slice(manifest);
    file
}

fn is_name(text: &str, also: &[u8]) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || also.contains(&b))
}

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let file = match source.below(3) {
        0 => source.0.to_vec(),
        1 => patched(&mut source),
        _ => with_manifest(source.0),
    };
    let facts = match read(&file) {
        Ok(facts) => facts,
        Err(fault) => return assert!(!fault.to_string().contains('\n'), "{fault}"),
    };
    assert!(facts.epochs.is_sorted() && facts.libraries.iter().all(|name| name.len() <= file.len()));
    let Some(section) = facts.manifest else { return };
    assert!(!section.ends_with(b"\0"), "{} is read without the zeros at its end", abi::MANIFEST_SECTION);
    if section == *MANIFEST {
        return;
    }

    fs::write(&PLACE.file, &file).expect("the file is written");
    match inspect(&PLACE.file, true) {
        Ok(driver) => {
            let Manifest { name, version, methods, .. } = &driver.manifest;
            assert!(is_name(name, b"_-") && name.as_bytes()[0].is_ascii_lowercase(), "{name:?}");
            assert!((1..=64).contains(&version.len()), "{version:?}");
            assert!(methods.iter().all(|method| is_name(method, b"_.")), "{methods:?}");
            let again = serde_json::to_vec(&driver.manifest).expect("a manifest can be written");
            let again: Manifest = serde_json::from_slice(&again).expect("and read again");
            assert_eq!(again, driver.manifest);
        }
        Err(error) => {
            let line = error.to_string();
            assert!(!line.contains(char::is_control), "{line:?}");
            assert!(line.contains("manifest"), "{line}");
        }
    }
});
