//! `dlopen`, the symbols, and whether what they lead to is a table of this epoch.
//!
//! Libraries are never unloaded: one thread-local with a destructor turns `dlclose` into nothing, and a pointer kept
//! beyond a real unload ends the process. A library costs less than half a megabyte.
#![allow(unsafe_code)]

use std::{ffi::CStr, os::raw::c_char, path::Path, ptr};

use abi_stable::{abi_stability::abi_checking::check_layout_compatibility, type_layout::TypeLayout};
use capstan_plugin_api::abi::{self, DriverTable, EntryFn, LayoutFn, LayoutRecord};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::error::{Failure, Stage, one_line};

/// A library in this process.
pub(super) struct Loaded {
    pub table: DriverTable,
    /// What `describe` answers.
    pub manifest: Vec<u8>,
}

/// The table as numbers: a function pointer may not be looked at as one before it is known not to be null.
#[repr(C)]
#[derive(Clone, Copy)]
struct Numbers {
    magic: u64,
    epoch: u32,
    size: u32,
    functions: [usize; 6],
}

const _: () = assert!(size_of::<Numbers>() == size_of::<DriverTable>());

fn refuse<T>(found: impl Into<String>, expected: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::new(
        Stage::Load,
        found,
        expected,
        "ask the driver's vendor for a build that follows docs/abi-epoch-1.md",
    ))
}

/// Loads a file whose bytes have been checked, and asks it for its table. Runs the library's constructors.
pub(super) fn load(path: &Path) -> Result<Loaded, Failure> {
    // SAFETY: constructors of the library run here. The bytes are those of a private copy that no one else writes, and
    // the throw-away child has been through this before the daemon comes here.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| {
        Failure::new(
            Stage::Load,
            format!("a library that the dynamic linker refuses ({})", one_line(&linker_text(&error))),
            "one that loads",
            "install the library that is missing, or build the driver for this host",
        )
    })?;
    let loaded = look(&library);
    // Its code may be on some stack or in some table by now; see the module's comment.
    std::mem::forget(library);
    loaded
}

fn linker_text(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn look(library: &Library) -> Result<Loaded, Failure> {
    // SAFETY: the symbol's type is what the epoch says; a file that lies about it dies in the throw-away child.
    let entry = unsafe { library.get::<EntryFn>(abi::ENTRY_SYMBOL) };
    let Ok(entry) = entry else {
        return refuse(format!("no symbol {}", abi::ENTRY_SYMBOL), "the root symbol of epoch 1");
    };
    // SAFETY: the function takes nothing and returns a pointer to a static table.
    let table = table(unsafe { entry() })?;
    // SAFETY: as for the entry.
    if let Ok(layout) = unsafe { library.get::<LayoutFn>(abi::LAYOUT_SYMBOL) } {
        // SAFETY: as above; the record is static.
        check_layout(unsafe { layout() })?;
    }
    // SAFETY: `describe` takes nothing and returns static bytes.
    let described = unsafe { (table.describe)() };
    if described.data.is_null() || described.len as u64 > super::elf::LONGEST_MANIFEST {
        return refuse(format!("a manifest of {} bytes from `describe`", described.len), "the bytes of the section");
    }
    // SAFETY: not null, and static by contract.
    let manifest = super::elf::without_zeros(unsafe { described.as_slice() }).to_vec();
    Ok(Loaded { table, manifest })
}

fn table(pointer: *const DriverTable) -> Result<DriverTable, Failure> {
    if pointer.is_null() || !pointer.is_aligned() {
        return refuse("a null or unaligned pointer from the root symbol", "a table");
    }
    // SAFETY: not null, aligned; every table of any epoch begins with magic, epoch and size (16 bytes).
    let (magic, epoch, size) = unsafe {
        let head = pointer.cast::<Numbers>();
        (ptr::addr_of!((*head).magic).read(), ptr::addr_of!((*head).epoch).read(), ptr::addr_of!((*head).size).read())
    };
    if magic != abi::MAGIC {
        return refuse(format!("a table with magic {magic:#018x}"), format!("{:#018x}", abi::MAGIC));
    }
    if epoch != abi::EPOCH {
        return refuse(format!("a table of epoch {epoch}"), format!("epoch {}", abi::EPOCH));
    }
    if (size as usize) < size_of::<DriverTable>() {
        return refuse(format!("a table of {size} bytes"), format!("{} bytes", size_of::<DriverTable>()));
    }
    // SAFETY: the table says that it is as large as ours.
    let numbers = unsafe { pointer.cast::<Numbers>().read() };
    const NAMES: [&str; 6] = ["describe", "open", "invoke", "cancel", "health", "close"];
    if let Some((name, _)) = NAMES.iter().zip(numbers.functions).find(|(_, function)| *function == 0) {
        return refuse(format!("a table whose `{name}` is null"), "six functions");
    }
    // SAFETY: as large as ours and no function is null, so it is a valid value.
    Ok(unsafe { pointer.read() })
}

fn check_layout(record: *const LayoutRecord) -> Result<(), Failure> {
    if record.is_null() || !record.is_aligned() {
        return refuse("a null or unaligned layout record", "a layout record, or no symbol for it");
    }
    // SAFETY: not null and aligned; the three numbers are the first field in every version of the record.
    let version = unsafe { ptr::addr_of!((*record).abi_stable).read() };
    if version[..2] != abi::LAYOUT.abi_stable[..2] {
        // Another version describes types in another way. Magic, epoch and size have been compared.
        return Ok(());
    }
    for (name, own, theirs) in [
        // SAFETY: same version, so same record; read as pointers because a reference may not be null.
        ("DriverTable", abi::LAYOUT.layout, unsafe {
            ptr::addr_of!((*record).layout).cast::<*const TypeLayout>().read()
        }),
        // SAFETY: as above.
        ("HostTable", abi::LAYOUT.host_layout, unsafe {
            ptr::addr_of!((*record).host_layout).cast::<*const TypeLayout>().read()
        }),
    ] {
        // SAFETY: static by contract, checked for null; walked in the throw-away child first.
        let Some(theirs) = (unsafe { theirs.as_ref() }) else {
            return refuse(format!("a null layout of {name}"), "the layout of the table");
        };
        if let Err(error) = check_layout_compatibility(own, theirs) {
            let text = error.to_string();
            tracing::debug!(table = name, "{text}");
            return refuse(format!("another layout of {name} ({})", reduced(&text)), "the layout of epoch 1");
        }
    }
    Ok(())
}

/// The first of the errors in abi_stable's report, which has hundreds of lines.
fn reduced(report: &str) -> String {
    let lines = report.lines().map(str::trim).filter(|line| !line.is_empty());
    let first: Vec<&str> = lines.skip_while(|line| !line.starts_with("Error:")).take(4).collect();
    one_line(&first.join(" "))
}

/// Version of the glibc in this process, as `2.36`; none where another C library runs.
pub(super) fn glibc_version() -> Option<String> {
    let this = Library::this();
    // SAFETY: glibc's <gnu/libc-version.h> declares it so, and no other C library has it.
    let version = unsafe { this.get::<unsafe extern "C" fn() -> *const c_char>("gnu_get_libc_version") }.ok()?;
    // SAFETY: takes nothing; the string is static and ends with a zero.
    let text = unsafe { CStr::from_ptr(version()) };
    text.to_str().ok().map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(abi_stable: [u32; 3], layout: &'static TypeLayout) -> LayoutRecord {
        LayoutRecord { abi_stable, layout, host_layout: abi::LAYOUT.host_layout }
    }

    #[test]
    fn another_layout_is_refused_in_a_few_words() {
        let own = abi::LAYOUT.abi_stable;
        assert!(check_layout(&abi::LAYOUT).is_ok());
        let failure = check_layout(&record(own, abi::LAYOUT.host_layout)).unwrap_err();
        assert!(failure.found.starts_with("another layout of DriverTable (Error:"), "{}", failure.found);
        assert!(failure.found.len() < 500, "{}", failure.found);
        // Another abi_stable describes types in its own way, so there is nothing to compare.
        assert!(check_layout(&record([own[0], own[1] + 1, 0], abi::LAYOUT.host_layout)).is_ok());
        assert!(check_layout(ptr::null()).is_err());
    }

    #[test]
    fn tables_are_looked_at_before_they_are_believed() {
        #[repr(C)]
        struct Patched(Numbers);
        let good =
            Numbers { magic: abi::MAGIC, epoch: abi::EPOCH, size: size_of::<DriverTable>() as u32, functions: [1; 6] };
        let refused = |numbers: Numbers| {
            let patched = Patched(numbers);
            table(ptr::addr_of!(patched).cast()).err().map(|failure| failure.found)
        };
        assert_eq!(refused(good), None);
        assert!(refused(Numbers { magic: 1, ..good }).is_some());
        assert!(refused(Numbers { epoch: 2, ..good }).is_some());
        assert!(refused(Numbers { size: 16, ..good }).is_some());
        assert_eq!(refused(Numbers { size: 4096, ..good }), None, "a longer table begins like ours");
        for index in 0..6 {
            let mut functions = [1; 6];
            functions[index] = 0;
            assert!(refused(Numbers { functions, ..good }).is_some());
        }
    }
}
