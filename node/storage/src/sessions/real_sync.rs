//! sled 0.34.7 flushes with `sync_file_range`, which covers neither file size nor the drive's cache: a power cut
//! loses what it had reported as flushed, and, because sled reuses segments it believes synced, can break the whole
//! store. The crate that links sled therefore defines that C symbol itself, as a call to `fdatasync`.

use std::ffi::{c_int, c_uint};

/// Takes the place of libc's `sync_file_range` in this program.
///
/// # Safety
/// Called by C convention with any descriptor; `fdatasync` answers `EBADF` for one that is not open.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "a C symbol that sled calls, replaced on purpose")]
unsafe extern "C" fn sync_file_range(fd: c_int, _offset: i64, _bytes: i64, _flags: c_uint) -> c_int {
    // SAFETY: fdatasync takes any integer and touches no memory of ours.
    unsafe { libc::fdatasync(fd) }
}

/// Makes the linker keep the symbol: called when the store is opened.
pub(super) fn keep() {
    let symbol: unsafe extern "C" fn(c_int, i64, i64, c_uint) -> c_int = sync_file_range;
    std::hint::black_box(symbol);
}
