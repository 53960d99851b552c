//! Reading ELF files that were cut, patched and scrambled: an answer, never a crash.

mod drivers_support;

use std::{fs, sync::LazyLock};

use capstan::drivers::{ElfFault, read};
use drivers_support::{entry, folder, good, manifest, refused};
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

#[tokio::test]
async fn flipped_bytes_never_end_the_daemon() {
    let folder = folder();
    let path = folder.path().join("flipped.so");
    let mut outcomes = std::collections::BTreeMap::<String, u32>::new();
    // Bytes of the headers, of the dynamic section and of what lies between, each in a file of its own.
    let places = (0..64).chain((64..GOOD.len()).step_by(GOOD.len() / 64));
    for (number, place) in places.enumerate() {
        let mut file = GOOD.clone();
        file[place] ^= 1 << (number % 8);
        fs::write(&path, &file).unwrap();
        let mut entry = entry("flipped", &path);
        entry.max_queue = 1;
        let registry = drivers_support::open(folder.path(), vec![entry]).await;
        let info = registry.list().remove(0);
        let stage = info.last_error.unwrap_or_default();
        let stage = stage.split(": ").find(|part| part.starts_with("stage ")).unwrap_or("loaded").to_owned();
        *outcomes.entry(stage).or_default() += 1;
    }
    assert!(outcomes["stage elf"] > 10, "{outcomes:?}");
    assert_eq!(outcomes.values().sum::<u32>(), 64 + 65, "{outcomes:?}");
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
