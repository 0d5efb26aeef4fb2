//! Fetching memory before it is needed.

/// Asks the processor for the cache lines of a value, at most two. No effect but on time.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching reads nothing architecturally and faults on no address; the addresses are a reference's.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = std::ptr::from_ref(value).cast::<i8>();
        _mm_prefetch(start, _MM_HINT_T0);
        if size_of::<T>() > 64 {
            _mm_prefetch(start.wrapping_add(64), _MM_HINT_T0);
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
