//! What an ELF file tells without being run: the manifest, what it needs, what it exports.
//!
//! A file whose headers point past its end kills whoever maps it with SIGBUS, so every offset is held against the size
//! of the file before anything else looks at it. Layout: System V ABI, chapters 4 and 5; versions: LSB 5.0, 10.7.

use std::fmt;

use capstan_plugin_api::abi;
use object::{
    Endianness,
    elf::{self, FileHeader64, ProgramHeader64, SectionHeader64},
    read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym},
};
use serde::Serialize;
use thiserror::Error;

type Header = FileHeader64<Endianness>;
type Sections<'a> = SectionTable<'a, Header>;

/// No manifest is longer.
pub(super) const LONGEST_MANIFEST: u64 = 1 << 20;
/// No library maps more.
const LARGEST_IMAGE: u64 = 1 << 32;

/// A version of the C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LibcVersion {
    /// 2 of `2.36`.
    pub major: u32,
    /// 36 of `2.36`.
    pub minor: u32,
}

impl LibcVersion {
    /// Reads `2.36`; what follows a second dot is ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        Some(Self { major: parts.next()?.parse().ok()?, minor: parts.next()?.parse().ok()? })
    }
}

impl fmt::Display for LibcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What a well-formed library says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ElfFacts {
    /// The bytes of `.capstan_manifest` without the zeros that a C string leaves at its end.
    pub manifest: Option<Vec<u8>>,
    /// The newest version of glibc that one of its symbols asks for.
    pub glibc: Option<LibcVersion>,
    /// Libraries that it is linked against.
    pub libraries: Vec<String>,
    /// Epochs of the boundary whose root symbol it defines.
    pub epochs: Vec<u32>,
    /// It defines the layout symbol of a Rust driver.
    pub has_layout: bool,
}

/// Why a file is no library that could be loaded here.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ElfFault {
    /// Nothing in it.
    #[error("an empty file")]
    Empty,
    /// An ELF file for another machine or use.
    #[error("{0}")]
    Foreign(String),
    /// Headers that contradict each other.
    #[error("a damaged ELF file: {0}")]
    Malformed(String),
    /// Not an ELF file.
    #[error("no ELF file: it begins with {0}")]
    NotElf(String),
    /// Something lies beyond the end.
    #[error("a truncated ELF file: {what} ends at byte {end}, the file has {size}")]
    Truncated {
        /// The part that is cut.
        what: String,
        /// Where it ends.
        end: u128,
        /// Size of the file.
        size: u64,
    },
}

/// Reads the facts. Any bytes may be given; nothing is run and nothing panics.
pub fn read(file: &[u8]) -> Result<ElfFacts, ElfFault> {
    let header = header(file)?;
    let endian = header.endian().map_err(malformed)?;
    check_segments(file, header, endian)?;
    let sections = checked_sections(file, header, endian)?;
    let mut facts = ElfFacts { manifest: manifest(file, &sections, endian)?, ..ElfFacts::default() };
    needs(file, &sections, endian, &mut facts)?;
    exports(file, &sections, endian, &mut facts)?;
    Ok(facts)
}

fn malformed(error: object::Error) -> ElfFault {
    ElfFault::Malformed(error.to_string())
}

fn header(file: &[u8]) -> Result<&Header, ElfFault> {
    if file.is_empty() {
        return Err(ElfFault::Empty);
    }
    if !file.starts_with(&elf::ELFMAG) {
        let begin = file.get(..16).unwrap_or(file);
        return Err(ElfFault::NotElf(format!("{:?}", String::from_utf8_lossy(begin))));
    }
    within(file, "the ELF header", 0, 64)?;
    if file.get(4) != Some(&elf::ELFCLASS64.0) {
        return Err(ElfFault::Foreign("an ELF file that is not 64-bit".into()));
    }
    let native = if cfg!(target_endian = "little") { elf::ELFDATA2LSB } else { elf::ELFDATA2MSB };
    if file.get(5) != Some(&native.0) {
        return Err(ElfFault::Foreign("an ELF file of the other byte order".into()));
    }
    let header = Header::parse(file).map_err(malformed)?;
    let endian = header.endian().map_err(malformed)?;
    let machine = header.e_machine(endian);
    let (native, name) = native_machine();
    if native.is_some_and(|native| native != machine) {
        return Err(ElfFault::Foreign(format!("an ELF file for machine {} (this host is {name})", machine.0)));
    }
    if header.e_type(endian) != elf::ET_DYN {
        return Err(ElfFault::Foreign(format!("an ELF file of type {}, not a shared object", header.e_type(endian).0)));
    }
    Ok(header)
}

fn native_machine() -> (Option<elf::Machine>, &'static str) {
    let machine = match std::env::consts::ARCH {
        "x86_64" => Some(elf::EM_X86_64),
        "aarch64" => Some(elf::EM_AARCH64),
        "riscv64" => Some(elf::EM_RISCV),
        "powerpc64" => Some(elf::EM_PPC64),
        "s390x" => Some(elf::EM_S390),
        _ => None,
    };
    (machine, std::env::consts::ARCH)
}

fn within(file: &[u8], what: impl Into<String>, offset: u64, size: u64) -> Result<(), ElfFault> {
    let end = u128::from(offset) + u128::from(size);
    let len = file.len() as u64;
    if end <= u128::from(len) { Ok(()) } else { Err(ElfFault::Truncated { what: what.into(), end, size: len }) }
}

/// Offset and size of a table of `count` headers.
fn table(file: &[u8], what: &str, offset: u64, count: u64, each: u64) -> Result<(), ElfFault> {
    let size = count.checked_mul(each).ok_or_else(|| ElfFault::Malformed(format!("{what} has no end")))?;
    within(file, what, offset, size)
}

fn check_segments(file: &[u8], header: &Header, endian: Endianness) -> Result<(), ElfFault> {
    table(
        file,
        "the program header table",
        header.e_phoff(endian),
        u64::from(header.e_phnum(endian)),
        size_of::<ProgramHeader64<Endianness>>() as u64,
    )?;
    let segments = header.program_headers(endian, file).map_err(malformed)?;
    let wrong = |index: usize, what: &str| Err(ElfFault::Malformed(format!("segment {index} {what}")));
    let (mut loads, mut end_of_last, mut has_dynamic) = (0_u32, 0_u64, false);
    for (index, segment) in segments.iter().enumerate() {
        let kind = segment.p_type(endian);
        if kind == elf::PT_NULL {
            continue;
        }
        let (offset, size) = (segment.p_offset(endian), segment.p_filesz(endian));
        within(file, format!("segment {index}"), offset, size)?;
        has_dynamic |= kind == elf::PT_DYNAMIC;
        if kind != elf::PT_LOAD {
            continue;
        }
        let (address, memory, align) = (segment.p_vaddr(endian), segment.p_memsz(endian), segment.p_align(endian));
        let Some(end) = address.checked_add(memory).filter(|end| *end <= LARGEST_IMAGE) else {
            return wrong(index, "reaches beyond 4 GiB");
        };
        if memory < size {
            return wrong(index, "has more bytes in the file than in memory");
        }
        if align > 1 && (!align.is_power_of_two() || address.wrapping_sub(offset) % align != 0) {
            return wrong(index, "is not aligned");
        }
        if loads > 0 && address < end_of_last {
            return wrong(index, "overlaps the one before");
        }
        loads += 1;
        end_of_last = end;
    }
    if loads == 0 || !has_dynamic {
        return Err(ElfFault::Malformed("it has no segment to load or no dynamic segment".into()));
    }
    Ok(())
}

fn checked_sections<'a>(file: &'a [u8], header: &Header, endian: Endianness) -> Result<Sections<'a>, ElfFault> {
    if header.e_shoff(endian) == 0 {
        return Err(ElfFault::Malformed("it has no section headers".into()));
    }
    let each = size_of::<SectionHeader64<Endianness>>() as u64;
    within(file, "the section header table", header.e_shoff(endian), each)?;
    let count = u64::from(header.shnum(endian, file).map_err(malformed)?);
    table(file, "the section header table", header.e_shoff(endian), count, each)?;
    // Before the table itself is made, which already follows one of them.
    for (index, section) in header.section_headers(endian, file).map_err(malformed)?.iter().enumerate() {
        if let Some((offset, size)) = section.file_range(endian)
            && section.sh_type(endian) != elf::SHT_NULL
        {
            within(file, format!("section {index}"), offset, size)?;
        }
    }
    header.sections(endian, file).map_err(malformed)
}

fn manifest(file: &[u8], sections: &Sections<'_>, endian: Endianness) -> Result<Option<Vec<u8>>, ElfFault> {
    let Some((_, section)) = sections.section_by_name(endian, abi::MANIFEST_SECTION.as_bytes()) else {
        return Ok(None);
    };
    if section.file_range(endian).is_none() {
        return Err(ElfFault::Malformed("the manifest section has no bytes in the file".into()));
    }
    let size = section.sh_size(endian);
    if size > LONGEST_MANIFEST {
        return Err(ElfFault::Malformed(format!("the manifest has {size} bytes, at most {LONGEST_MANIFEST} are read")));
    }
    let bytes = section.data(endian, file).map_err(malformed)?;
    Ok(Some(without_zeros(bytes).to_vec()))
}

/// Bytes without zeros at their end.
pub(super) fn without_zeros(bytes: &[u8]) -> &[u8] {
    let len = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.get(..len).unwrap_or(bytes)
}

fn needs(file: &[u8], sections: &Sections<'_>, endian: Endianness, facts: &mut ElfFacts) -> Result<(), ElfFault> {
    if let Some((mut libraries, strings)) = sections.gnu_verneed(endian, file).map_err(malformed)? {
        let strings = sections.strings(endian, file, strings).map_err(malformed)?;
        while let Some((_, mut versions)) = libraries.next().map_err(malformed)? {
            while let Some(version) = versions.next().map_err(malformed)? {
                let name = version.name(endian, strings).map_err(malformed)?;
                facts.glibc = facts.glibc.max(glibc_version(name));
            }
        }
    }
    if let Some((entries, strings)) = sections.dynamic(endian, file).map_err(malformed)? {
        let strings = sections.strings(endian, file, strings).map_err(malformed)?;
        for entry in entries.iter().take_while(|entry| entry.tag(endian) != elf::DT_NULL) {
            if entry.tag(endian) == elf::DT_NEEDED {
                let name = entry.string(endian, strings).map_err(malformed)?;
                facts.libraries.push(String::from_utf8_lossy(name).into_owned());
            }
        }
    }
    Ok(())
}

fn glibc_version(name: &[u8]) -> Option<LibcVersion> {
    let name = std::str::from_utf8(name).ok()?;
    match name.strip_prefix("GLIBC_")? {
        // Packed relative relocations came with 2.36 (its release notes).
        "ABI_DT_RELR" => Some(LibcVersion { major: 2, minor: 36 }),
        version => LibcVersion::parse(version),
    }
}

fn exports(file: &[u8], sections: &Sections<'_>, endian: Endianness, facts: &mut ElfFacts) -> Result<(), ElfFault> {
    let symbols = sections.symbols(endian, file, elf::SHT_DYNSYM).map_err(malformed)?;
    // Names are compared in place: looking for the end of each would take a crafted file for ever.
    let names = match symbols.string_section().0 {
        0 => &[][..],
        _ => sections.section(symbols.string_section()).and_then(|s| s.data(endian, file)).map_err(malformed)?,
    };
    let prefix = abi::ENTRY_SYMBOL.trim_end_matches(|c: char| c.is_ascii_digit()).as_bytes();
    let layout = [abi::LAYOUT_SYMBOL.as_bytes(), b"\0"].concat();
    for symbol in symbols.iter().filter(|symbol| !symbol.is_undefined(endian)) {
        let Some(name) = usize::try_from(symbol.st_name(endian)).ok().and_then(|at| names.get(at..)) else {
            continue;
        };
        if let Some(rest) = name.strip_prefix(prefix) {
            let digits: String = rest.iter().take(9).take_while(|b| b.is_ascii_digit()).map(|b| *b as char).collect();
            if rest.get(digits.len()) == Some(&0)
                && let Ok(epoch) = digits.parse()
            {
                facts.epochs.push(epoch);
            }
        }
        facts.has_layout |= name.starts_with(&layout);
    }
    facts.epochs.sort_unstable();
    facts.epochs.dedup();
    Ok(())
}
