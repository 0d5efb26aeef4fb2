//! Fetching memory before it is needed.

/// Asks the processor for the cache line that a value begins in. No effect but on time.
#[inline(always)]
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching reads nothing architecturally and faults on no address; the address is a reference's.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch(std::ptr::from_ref(value).cast(), _MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Asks the kernel for huge pages under a large table, so that a random access costs one miss and not two.
pub(crate) fn huge_pages<T>(table: &[T]) {
    const HUGE: usize = 2 << 20;
    let start = (table.as_ptr() as usize).next_multiple_of(HUGE);
    let end = (table.as_ptr() as usize + size_of_val(table)) & !(HUGE - 1);
    if end > start {
        // SAFETY: the range lies inside the allocation that `table` borrows, and MADV_HUGEPAGE changes no
        // content. Its failure costs speed only.
        unsafe {
            libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE);
        }
    }
}
