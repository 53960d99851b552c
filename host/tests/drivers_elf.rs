//! Reading ELF files that were cut, patched and scrambled: an answer, never a crash.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod drivers_support;

use std::{collections::BTreeMap, fs, sync::LazyLock};

use capstan::drivers::{ElfFault, inspect, read};
use drivers_support::{build, entry, folder, good, manifest, refused};
use object::{
    Endianness,
    elf::FileHeader64,
    read::elf::{FileHeader, ProgramHeader, SectionHeader},
};
use proptest::prelude::*;
use serde_json::json;

static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = folder();
    fs::read(good(folder.path())).unwrap()
});

/// Every offset at which a header, a section or a segment begins or ends.
fn boundaries(file: &[u8]) -> Vec<usize> {
    let header = FileHeader64::<Endianness>::parse(file).unwrap();
    let endian = header.endian().unwrap();
    let mut all = vec![0, 1, 4, 16, 63, 64, header.e_phoff(endian) as usize, header.e_shoff(endian) as usize];
    for section in header.section_headers(endian, file).unwrap() {
        if let Some((offset, size)) = section.file_range(endian) {
            all.extend([offset as usize, (offset + size) as usize]);
        }
    }
    for segment in header.program_headers(endian, file).unwrap() {
        let (offset, size) = segment.file_range(endian);
        all.extend([offset as usize, (offset + size) as usize]);
    }
    let around: Vec<usize> = all.iter().flat_map(|at| [at.saturating_sub(1), *at, at + 1]).collect();
    let mut all: Vec<usize> = around.into_iter().filter(|at| *at < file.len()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn a_whole_file_tells_its_facts() {
    let facts = read(&GOOD).unwrap();
    assert_eq!(facts.manifest.unwrap(), manifest(json!({})).to_string().as_bytes());
    assert_eq!((facts.epochs, facts.has_layout), (vec![1], false));
    assert!(facts.libraries.iter().any(|name| name.starts_with("libc.so")), "{:?}", facts.libraries);
    assert!(facts.glibc.is_some());
}

#[test]
fn a_file_cut_at_any_boundary_is_called_truncated() {
    let cuts = boundaries(&GOOD);
    assert!(cuts.len() > 50, "{cuts:?}");
    for cut in cuts {
        match read(&GOOD[..cut]) {
            Err(ElfFault::Truncated { size, .. }) => assert_eq!(size, cut as u64),
            Err(ElfFault::Empty) if cut == 0 => {}
            Err(ElfFault::NotElf(_)) if cut < 4 => {}
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
}

#[test]
fn a_part_that_reaches_beyond_the_end_is_named() {
    let header = FileHeader64::<Endianness>::parse(&GOOD[..]).unwrap();
    let endian = header.endian().unwrap();
    // Offsets of p_filesz in a program header and of sh_size in a section header.
    let segments = (0..usize::from(header.e_phnum(endian))).map(|n| (n, header.e_phoff(endian) as usize + n * 56 + 32));
    let sections = header.section_headers(endian, &GOOD[..]).unwrap().iter().enumerate();
    let sections = sections.skip(1).filter(|(_, section)| section.file_range(endian).is_some());
    let sections = sections.map(|(n, _)| (n, header.e_shoff(endian) as usize + n * 64 + 32));
    let all = segments.map(|(n, at)| (format!("segment {n}"), at));
    for (part, at) in all.chain(sections.map(|(n, at)| (format!("section {n}"), at))) {
        for size in [GOOD.len() as u64 + 1, u64::MAX] {
            let mut file = GOOD.clone();
            file[at..at + 8].copy_from_slice(&size.to_le_bytes());
            let fault = read(&file).unwrap_err();
            assert!(matches!(&fault, ElfFault::Truncated { what, .. } if *what == part), "{part}: {fault}");
        }
    }
}

#[tokio::test]
async fn a_truncated_file_is_refused_in_one_line_without_a_probe() {
    let folder = folder();
    let path = folder.path().join("cut.so");
    for cut in boundaries(&GOOD).into_iter().step_by(7) {
        fs::write(&path, &GOOD[..cut]).unwrap();
        let line = refused(folder.path(), entry("bad", &path)).await;
        assert!(line.contains("stage elf"), "{line}");
    }
    assert!(!folder.path().join("state/drivers").exists(), "nothing came as far as a copy");
}

#[test]
fn a_file_for_another_machine_is_named() {
    for (offset, value, what) in
        [(4, 1, "not 64-bit"), (5, 2, "byte order"), (16, 2, "type 2, not a shared object"), (18, 2, "machine 2")]
    {
        let mut file = GOOD.clone();
        file[offset] = value;
        let fault = read(&file).unwrap_err();
        assert!(matches!(&fault, ElfFault::Foreign(text) if text.contains(what)), "{fault}");
    }
}

/// Bytes of the headers and bytes of all that follows.
fn places() -> impl Iterator<Item = usize> {
    (0..64).chain((64..GOOD.len()).step_by(GOOD.len() / 128))
}

#[tokio::test]
async fn flipped_bytes_are_refused_or_survived_in_the_child() {
    let folder = folder();
    // Nothing of these files runs in this process: each that comes through the child is refused for its configuration.
    let schema = json!({ "type": "object", "required": ["nothing"] });
    let library = build(folder.path(), "whole", &manifest(json!({ "config_schema": schema })).to_string(), &[]);
    let whole = fs::read(library).unwrap();
    let path = folder.path().join("flipped.so");
    let mut stages = BTreeMap::<String, u32>::new();
    for (number, place) in places().enumerate() {
        let mut file = whole.clone();
        file[place] ^= 1 << (number % 8);
        fs::write(&path, &file).unwrap();
        let line = refused(folder.path(), entry("flipped", &path)).await;
        let stage = line.split(": ").find(|part| part.starts_with("stage ")).unwrap().to_owned();
        *stages.entry(stage).or_default() += 1;
    }
    assert!(stages["stage elf"] > 10 && stages["stage configuration"] > 10, "{stages:?}");
}

#[tokio::test]
async fn a_pin_refuses_every_flipped_byte() {
    let folder = folder();
    let path = folder.path().join("flipped.so");
    fs::write(&path, &*GOOD).unwrap();
    let mut pinned = entry("flipped", &path);
    pinned.sha256 = Some(inspect(&path, true).unwrap().sha256);
    for (number, place) in places().enumerate() {
        let mut file = GOOD.clone();
        file[place] ^= 1 << (number % 8);
        fs::write(&path, &file).unwrap();
        refused(folder.path(), pinned.clone()).await;
    }
    assert!(!folder.path().join("state/drivers").exists(), "nothing came as far as a copy");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        prop_assert!(read(&bytes).is_err());
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.extend(bytes);
        let _any_answer = read(&elf);
    }

    #[test]
    fn a_scrambled_file_gets_an_answer(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        in_headers in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut file = GOOD.clone();
        let tables = boundaries(&GOOD);
        for (place, value) in changes {
            // Half of the time where numbers steer the reader: around boundaries.
            let at = if in_headers { tables[place.index(tables.len())] } else { place.index(file.len()) };
            file[at] = value;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        let _any_answer = read(&file);
    }

    #[test]
    fn header_fields_may_say_anything(
        place in 0_usize..64, value in any::<u64>(), section in any::<prop::sample::Index>(), field in 0_usize..8,
    ) {
        let mut file = GOOD.clone();
        let header = FileHeader64::<Endianness>::parse(&GOOD[..]).unwrap();
        let endian = header.endian().unwrap();
        let count = usize::from(header.e_shnum(endian));
        let at = header.e_shoff(endian) as usize + section.index(count) * 64 + field * 8;
        file[at..at + 8].copy_from_slice(&value.to_le_bytes());
        let _any_answer = read(&file);
        let end = (place + 8).min(64);
        file[place..end].copy_from_slice(&value.to_le_bytes()[..end - place]);
        let _any_answer = read(&file);
    }
}
