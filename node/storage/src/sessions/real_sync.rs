//! Makes sled's syncs real.
//!
//! sled 0.34 calls `sync_file_range` where it should sync: that covers neither the file's size nor the drive's
//! cache, so a power cut loses what `flush` had promised, or worse (sled reuses segments that it believes synced).
//! The symbol of that name defined here takes the C library's place in the whole executable, and calls `fdatasync`.

use std::sync::atomic::{AtomicU64, Ordering};

static CALLS: AtomicU64 = AtomicU64::new(0);

/// Stands in for the C library's function of this name; the range and the flags do not matter to `fdatasync`.
#[expect(unsafe_code, reason = "the definition of a C symbol, and the C call that it stands for")]
#[unsafe(no_mangle)]
extern "C" fn sync_file_range(
    fd: libc::c_int,
    _offset: i64,
    _bytes: i64,
    _flags: libc::c_uint,
) -> libc::c_int {
    // SAFETY: fdatasync accepts any number for a descriptor, and says so when it is none. It sets errno, which the
    // caller reads, as the function replaced here did.
    let result = unsafe { libc::fdatasync(fd) };
    CALLS.fetch_add(1, Ordering::SeqCst);
    result
}

/// How often sled has synced through this module. When a flush does not raise it, the linker took another symbol.
pub(crate) fn calls() -> u64 {
    // The reference makes sure that the linker looks at this object file before it looks for the C library's.
    std::hint::black_box(sync_file_range as extern "C" fn(_, _, _, _) -> _);
    CALLS.load(Ordering::SeqCst)
}
